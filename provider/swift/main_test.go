package swift

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sharefs/provider"
	"sharefs/test/servers"
)

// shared is the one cluster of the tests. Its objects have at most smallLimit bytes, so that large ones are cheap.
var shared struct {
	sync.Mutex
	srv *servers.SwiftServer
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.srv != nil {
		if err := shared.srv.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// cluster returns the shared cluster, started at first use, with its credentials in the environment.
func cluster(t *testing.T) *servers.SwiftServer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.srv == nil {
		srv, err := servers.StartSwift(context.Background(), servers.SwiftOptions{MaxFileSize: smallLimit})
		if err != nil {
			t.Fatal(err)
		}
		shared.srv = srv
	}
	shared.srv.SetEnv(t)
	return shared.srv
}

// bed is a container of a test's own, seen by the driver through a proxy that counts, and by Swift's protocol.
type bed struct {
	provider.Provider
	t         *testing.T
	srv       *servers.SwiftServer
	proxy     *servers.ReverseProxy
	container string
	cfg       Config
}

func newBed(t *testing.T) *bed {
	t.Helper()
	srv := cluster(t)
	b := &bed{t: t, srv: srv, proxy: servers.Proxy(t, srv.Endpoint), container: srv.Container(t)}
	b.cfg = configOf(t, srv.URLAt(b.proxy.Endpoint, b.container, ""))
	b.reopen()
	return b
}

// reopen opens the container anew, as another process would.
func (b *bed) reopen() {
	b.t.Helper()
	p := open(b.t, b.cfg, Options{})
	b.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.t.Error(err)
		}
	})
	b.Provider = p
}

// must puts an object.
func (b *bed) must(key string, data []byte, md provider.Metadata) provider.Object {
	b.t.Helper()
	o, err := b.Put(b.t.Context(), key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{Metadata: md})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// large makes an object of parts.
func (b *bed) large(key string, parts ...[]byte) provider.Object {
	b.t.Helper()
	up, sent := b.parts(key, parts...)
	o, err := up.Complete(b.t.Context(), sent, provider.CompleteOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *bed) parts(key string, parts ...[]byte) (provider.Upload, []provider.Part) {
	b.t.Helper()
	up, err := b.NewUpload(b.t.Context(), key, provider.UploadOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var sent []provider.Part
	for i, data := range parts {
		part, err := up.PutPart(b.t.Context(), i+1, bytes.NewReader(data), int64(len(data)))
		if err != nil {
			b.t.Fatal(err)
		}
		sent = append(sent, part)
	}
	return up, sent
}

func (b *bed) read(key string, opts provider.OpenOptions) ([]byte, error) {
	body, _, err := b.Open(b.t.Context(), key, opts)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

func (b *bed) wantContent(key string, want []byte) {
	b.t.Helper()
	if got, err := b.read(key, provider.OpenOptions{}); err != nil || !bytes.Equal(got, want) {
		b.t.Errorf("%s has %d bytes (%v), want %d others", key, len(got), err, len(want))
	}
}

// segments returns the names in the container of the segments.
func (b *bed) segments() []string {
	b.t.Helper()
	listed, err := b.srv.List(b.t.Context(), b.container+segmentsSuffix, "", "")
	var status *servers.SwiftStatus
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, l := range listed {
		names = append(names, l.Name)
	}
	return names
}

func (b *bed) wantSegments(n int, why string) {
	b.t.Helper()
	if names := b.segments(); len(names) != n {
		b.t.Errorf("%s: %d segments, want %d: %s", why, len(names), n, strings.Join(names, " "))
	}
}

// do sends a plain request, as another tool would.
func (b *bed) do(r servers.SwiftRequest) {
	b.t.Helper()
	res, err := b.srv.Do(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// bytesOf returns n bytes that no other letter has.
func bytesOf(letter byte, n int) []byte { return bytes.Repeat([]byte{letter}, n) }
