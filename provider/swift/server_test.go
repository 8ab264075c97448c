package swift

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"sharefs/provider"
	"sharefs/provider/providertest"
	"sharefs/test/servers"
)

// steps are calls of every method, in an order in which they work.
func steps(b *bed) []step {
	ctx, data := b.t.Context(), []byte("some bytes")
	body := func() io.ReadSeeker { return bytes.NewReader(data) }
	var up provider.Upload
	var part provider.Part
	return []step{
		{"put", servers.Put, func() error { _, err := b.Put(ctx, "src", body(), 10, provider.PutOptions{}); return err }},
		{"stat", servers.Head, func() error { _, err := b.Stat(ctx, "src"); return err }},
		{"open", servers.Get, func() error { _, err := b.read("src", provider.OpenOptions{}); return err }},
		{"open a range", servers.Get, func() error { _, err := b.read("src", provider.OpenOptions{Offset: 3, Length: 4}); return err }},
		{"copy", servers.Copy, func() error { _, err := b.Copy(ctx, "src", "dst", provider.CopyOptions{}); return err }},
		{"change", servers.Copy, func() error {
			_, err := b.Copy(ctx, "src", "src", provider.CopyOptions{Metadata: provider.Metadata{"a": "b"}, IfSourceVersion: "1dd3f17d8a4f7c9b1f0a7a5d0f5f7d8e"})
			if provider.Is(err, provider.KindPrecondition) {
				err = nil
			}
			return err
		}},
		{"list", servers.List, func() error { _, err := b.List(ctx, provider.ListOptions{}); return err }},
		{"delete", servers.Delete, func() error { return b.Delete(ctx, provider.DeleteOptions{}, "dst") }},
		{"delete several", servers.DeleteBatch, func() error { return b.Delete(ctx, provider.DeleteOptions{}, "dst", "none") }},
		{"newupload", servers.CreateUpload, func() (err error) { up, err = b.NewUpload(ctx, "up", provider.UploadOptions{}); return err }},
		{"putpart", servers.PutPart, func() (err error) { part, err = up.PutPart(ctx, 1, body(), 10); return err }},
		{"copypart", servers.CopyPart, func() error {
			_, err := up.CopyPart(ctx, 2, "src", provider.CopyPartOptions{Length: 5})
			return err
		}},
		{"listuploads", servers.List, func() error { _, err := b.ListUploads(ctx, ""); return err }},
		{"complete", servers.CompleteUpload, func() error {
			_, err := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
			return err
		}},
		{"usage", servers.HeadBucket, func() error { _, err := b.Usage(ctx); return err }},
		{"create", servers.CreateBucket, func() error { return b.Create(ctx) }},
	}
}

type step struct {
	name string
	kind servers.Request
	do   func() error
}

func TestMostCallsAreOneRequest(t *testing.T) {
	b := newBed(t)
	more := map[string]int{ // beside the one
		"newupload": 2, "copypart": 1, "listuploads": 2, "complete": 1, "usage": 2, // the container of the segments; a HEAD; and so on
	}
	for _, s := range steps(b) {
		b.proxy.Reset()
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		counts := b.proxy.Counts()
		if counts[s.kind].Requests == 0 || counts.Total().Requests > 1+more[s.name] {
			t.Errorf("%s took %v", s.name, counts)
		}
	}
}

func TestTokensThatEndUnderEveryRequest(t *testing.T) {
	b := newBed(t)
	for _, s := range steps(b) {
		if err := b.srv.ForgetTokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.proxy.Reset()
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if n := b.proxy.Counts()[servers.Authenticate].Requests; n != 1 {
			t.Errorf("%s logged in %d times", s.name, n)
		}
	}
	b.wantContent("src", []byte("some bytes"))
	b.wantContent("up", []byte("some bytes"))

	// One login serves all, and each body goes on from where it began.
	if err := b.srv.ForgetTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.proxy.Reset()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			body := bytes.NewReader(append([]byte("skipped|"), bytesOf(byte('0'+i), 100_000)...))
			if _, err := body.Seek(8, io.SeekStart); err != nil {
				t.Error(err)
			}
			if _, err := b.Put(t.Context(), fmt.Sprintf("many/%d", i), body, 100_000, provider.PutOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.proxy.Counts()[servers.Authenticate].Requests; n != 1 {
		t.Errorf("%d logins", n)
	}
	for i := range 8 {
		b.wantContent(fmt.Sprintf("many/%d", i), bytesOf(byte('0'+i), 100_000))
	}
}

// callers are calls that fail when the container or the credentials are wrong.
func callers(ctx context.Context, p provider.Provider) map[string]func() error {
	return map[string]func() error{
		"stat":   func() error { _, err := p.Stat(ctx, "k"); return err },
		"open":   func() error { _, _, err := p.Open(ctx, "k", provider.OpenOptions{}); return err },
		"put":    func() error { _, err := p.Put(ctx, "k", strings.NewReader(""), 0, provider.PutOptions{}); return err },
		"copy":   func() error { _, err := p.Copy(ctx, "k", "l", provider.CopyOptions{}); return err },
		"list":   func() error { _, err := p.List(ctx, provider.ListOptions{}); return err },
		"usage":  func() error { _, err := p.Usage(ctx); return err },
		"delete": func() error { return p.Delete(ctx, provider.DeleteOptions{}, "k") },
	}
}

func TestAMissingContainerAndWrongCredentialsAreSaid(t *testing.T) {
	srv := cluster(t)
	cfg := configOf(t, srv.URL("no-such-container", ""))
	p := open(t, cfg, Options{ReadOnly: true})
	defer p.Close()
	for name, call := range callers(t.Context(), p) {
		if err := call(); !provider.Is(err, provider.KindNoStore) {
			t.Errorf("%s: %v, want KindNoStore", name, err)
		}
	}
	if _, err := Open(t.Context(), cfg, Options{}); !provider.Is(err, provider.KindNoStore) {
		t.Errorf("open: %v, want KindNoStore", err)
	}
	// A key that is revoked while a token still holds, which then ends.
	t.Setenv("ST_KEY", "wrong")
	if err := srv.ForgetTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, call := range callers(t.Context(), p) {
		if err := call(); !provider.Is(err, provider.KindAuth) || strings.Contains(err.Error(), srv.Key) {
			t.Errorf("%s: %v, want KindAuth", name, err)
		}
	}
	t.Setenv("ST_KEY", srv.Key) // given back
	if _, err := p.List(t.Context(), provider.ListOptions{}); !provider.Is(err, provider.KindNoStore) {
		t.Errorf("with the right key again: %v", err)
	}
}

func TestSecretsStandForTheEnvironment(t *testing.T) {
	srv := cluster(t)
	cfg := configOf(t, srv.URL(srv.Container(t), ""))
	t.Setenv("ST_KEY", "wrong")
	secrets := map[string]string{"ST_USER": srv.User, "ST_KEY": srv.Key}
	p := open(t, cfg, Options{Secrets: func(name string) (string, bool) { v, ok := secrets[name]; return v, ok }})
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestAQuotaThatIsReached(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	b.do(servers.SwiftRequest{Method: "POST", Container: b.container, Header: http.Header{"X-Container-Meta-Quota-Bytes": {"1000"}}})
	if u, err := b.Usage(ctx); err != nil || u.Quota != 1000 || u.Bytes != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	b.must("src", bytesOf('x', 900), nil)
	if err := b.srv.ForgetTokens(ctx); err != nil { // and what the proxy keeps of the container's size
		t.Fatal(err)
	}
	_, err := b.Put(ctx, "more", bytes.NewReader(bytesOf('x', 900)), 900, provider.PutOptions{})
	if !provider.Is(err, provider.KindQuota) {
		t.Errorf("put beyond the quota: %v", err)
	}
	if _, err := b.Copy(ctx, "src", "more", provider.CopyOptions{}); !provider.Is(err, provider.KindQuota) {
		t.Errorf("copy beyond the quota: %v", err)
	}
	b.do(servers.SwiftRequest{Method: "POST", Container: b.container, Header: http.Header{"X-Remove-Container-Meta-Quota-Bytes": {"x"}}})
	b.must("more", bytesOf('x', 900), nil)
}

// TestAQuotaThatIsPassed: such a one refuses what needs no room, too, and what the cluster would copy.
func TestAQuotaThatIsPassed(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	content := bytesOf('a', smallLimit)
	first := b.large("large", content, content)
	up, err := b.NewUpload(ctx, "large", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := up.CopyPart(ctx, 1, "large", provider.CopyPartOptions{Offset: 100, Length: 2000, IfVersion: first.Version})
	if err != nil {
		t.Fatal(err)
	}
	b.must("small", bytesOf('x', 900), nil)
	for _, container := range []string{b.container, b.container + segmentsSuffix} {
		b.do(servers.SwiftRequest{Method: "POST", Container: container, Header: http.Header{"X-Container-Meta-Quota-Bytes": {"100"}}})
	}
	if err := b.srv.ForgetTokens(ctx); err != nil { // and what the proxy keeps of the containers' sizes
		t.Fatal(err)
	}
	for what, do := range map[string]func() error{
		"an empty object": func() error {
			_, err := b.Put(ctx, "empty", bytes.NewReader(nil), 0, provider.PutOptions{})
			return err
		},
		"a copy": func() error { _, err := b.Copy(ctx, "small", "copy", provider.CopyOptions{}); return err },
		"a mode": func() error {
			_, err := b.Copy(ctx, "large", "large", provider.CopyOptions{Metadata: provider.Metadata{provider.MetaMode: "33188"}})
			return err
		},
		"an upload": func() error { _, err := b.NewUpload(ctx, "k", provider.UploadOptions{}); return err },
		"a range that is copied": func() error {
			_, err := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
			return err
		},
	} {
		if err := do(); !provider.Is(err, provider.KindQuota) {
			t.Errorf("%s: %v, want KindQuota", what, err)
		}
	}
	b.wantContent("large", slices.Concat(content, content))
}

func TestTheClusterVerifiesABody(t *testing.T) {
	b := newBed(t)
	data := bytesOf('x', 100_000)
	_, err := b.Put(t.Context(), "k", providertest.NewChanging(data), 100_000, provider.PutOptions{})
	if !provider.Is(err, provider.KindCorrupt) {
		t.Errorf("bytes that changed on the way: %v, want KindCorrupt", err)
	}
	if _, err := b.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNotFound) {
		t.Errorf("they were stored: %v", err)
	}
}

func TestMetadataBeyondTheLimits(t *testing.T) {
	b := newBed(t)
	for name, md := range map[string]provider.Metadata{
		"a long value":            {"xattr": strings.Repeat("0123456789", 200)},
		"spaces where it is cut":  {"xattr": strings.Repeat("x", 255) + "  " + strings.Repeat("y", 300)},
		"names with rare letters": {"a_b%5f": "1", "a-b": "2"},
		"all that fits":           {"xattr": strings.Repeat("v", b.Capabilities().MaxMetadata-5)},
	} {
		b.must("k", []byte("x"), md)
		o, err := b.Stat(t.Context(), "k")
		if err != nil || len(o.Metadata) != len(md) {
			t.Errorf("%s: %v, %v", name, o.Metadata, err)
		}
		for key, value := range md {
			if o.Metadata[key] != value {
				t.Errorf("%s: %s is %q", name, key, o.Metadata[key])
			}
		}
	}
	many := provider.Metadata{}
	for i := range 91 {
		many[fmt.Sprintf("n%d", i)] = "v"
	}
	for name, md := range map[string]provider.Metadata{"too many": many, "too long": {"x": strings.Repeat("v", 4097)}, "a long name": {strings.Repeat("n", 129): "v"}} {
		_, err := b.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{Metadata: md})
		if !provider.Is(err, provider.KindTooLarge) {
			t.Errorf("%s: %v, want KindTooLarge", name, err)
		}
	}
}

func TestSymlinksOfOthers(t *testing.T) {
	b := newBed(t)
	b.do(servers.SwiftRequest{Method: "PUT", Container: b.container, Key: "link", Header: http.Header{"Content-Type": {"application/link"}}, Body: []byte("target")})
	o, err := b.Stat(t.Context(), "link")
	if a := provider.ParseAttrs(o.Metadata); err != nil || a.Mode&provider.ModeType != provider.ModeSymlink {
		t.Errorf("%+v, %v", o, err)
	}
	b.must("ours", []byte("target"), provider.Metadata{provider.MetaMode: "41471"})
	if o, err := b.Stat(t.Context(), "ours"); err != nil || o.ContentType != "application/link" {
		t.Errorf("ours is %+v, %v", o, err)
	}
}

func TestOpenIsPatient(t *testing.T) {
	b := newBed(t)
	b.proxy.Refuse(2, "")
	b.reopen()
	b.proxy.Refuse(0, "")
	b.must("k", []byte("x"), nil)
}
