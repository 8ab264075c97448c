package tahoe

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"sharefs/test/soak"
)

const (
	loadClients = 64
	loadShares  = 8 // of 1 MiB, of each client
	maxLoadRSS  = 256 << 20
)

// TestSoakSixtyFourClientsAtOnce lets clients store and fetch shares of 1 MiB on a node of ours and on Tahoe-LAFS's own, both on a local
// disk, without an error. Ours stays within its memory.
func TestSoakSixtyFourClientsAtOnce(t *testing.T) {
	root := debian(t)
	base := t.TempDir()
	port := freePort(t)
	ours := newServing(t, filepath.Join(base, "ours"), "--location", "127.0.0.1:"+port)
	load(t, "ours", ours.nurl())
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", ours.pid))
	if err != nil {
		t.Fatal(err)
	}
	var peak int64
	if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); m != nil {
		_, _ = fmt.Sscan(string(m[1]), &peak) // digits
		peak <<= 10
	}
	soak.Record(t, "MiB of memory at most, of ours", peak>>20)
	if peak == 0 || peak > maxLoadRSS {
		t.Errorf("the node has taken %d MiB of memory, want at most %d", peak>>20, maxLoadRSS>>20)
	}
	ours.stop()
	theirs := &node{t: t, root: root, base: base, name: "ours", stop: func() {}}
	web := freePort(t)
	theirs.web = "http://127.0.0.1:" + web
	cfg := filepath.Join(base, "ours", "tahoe.cfg")
	text, err := os.ReadFile(cfg)
	theirs.check(err)
	theirs.check(os.WriteFile(cfg, bytes.Replace(text, []byte("web.port =\n"), []byte("web.port = tcp:"+web+":interface=127.0.0.1\n"), 1), 0o600))
	theirs.start()
	load(t, "theirs", ours.nurl())
	theirs.end()
}

// loader is a client of the protocol.
type loader struct {
	http *http.Client
	base string // URL
	auth string
}

// load stores and fetches, and records how fast that was.
func load(t *testing.T, name, nurl string) {
	t.Helper()
	u, err := url.Parse(nurl)
	if err != nil {
		t.Fatal(err)
	}
	l := loader{base: "https://" + u.Host + "/storage/v1/immutable/",
		auth: "Tahoe-LAFS " + base64.StdEncoding.EncodeToString([]byte(strings.TrimPrefix(u.Path, "/"))),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loadClients, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	defer l.http.CloseIdleConnections()
	for _, phase := range []struct {
		what string
		do   func(index string, data []byte) error
	}{{"store", l.store}, {"fetch", l.fetch}} {
		began := time.Now()
		var group sync.WaitGroup
		for client := range loadClients {
			group.Go(func() {
				for share := range loadShares {
					seed := sha256.Sum256(fmt.Append(nil, name, client, share))
					index := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed[:16]))
					if err := phase.do(index, bytes.Repeat(seed[:], 1<<20/len(seed))); err != nil {
						t.Errorf("%s, client %d: %s: %v", name, client, phase.what, err)
						return
					}
				}
			})
		}
		group.Wait()
		soak.Record(t, name+": MiB a second, "+phase.what, fmt.Sprintf("%.0f", loadClients*loadShares/time.Since(began).Seconds()))
	}
}

func (l loader) ask(method, path string, body []byte, header map[string]string, want int, secrets ...string) ([]byte, error) {
	r, err := http.NewRequest(method, l.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", l.auth)
	for _, s := range secrets {
		r.Header.Add("X-Tahoe-Authorization", s+" "+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("s"), 32)))
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	res, err := l.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return answer, err
}

func (l loader) store(index string, data []byte) error {
	message, err := cbor.Marshal(map[string]any{"share-numbers": cbor.Tag{Number: 258, Content: []int{0}}, "allocated-size": len(data)})
	if err != nil {
		return err
	}
	header := map[string]string{"Content-Type": "application/cbor"}
	if _, err := l.ask("POST", index, message, header, http.StatusOK, "lease-renew-secret", "lease-cancel-secret", "upload-secret"); err != nil {
		return err
	}
	header = map[string]string{"Content-Range": fmt.Sprintf("bytes 0-%d/*", len(data)-1)}
	_, err = l.ask("PATCH", index+"/0", data, header, http.StatusCreated, "upload-secret")
	return err
}

func (l loader) fetch(index string, data []byte) error {
	got, err := l.ask("GET", index+"/0", nil, map[string]string{"Range": fmt.Sprintf("bytes=0-%d", len(data)-1)}, http.StatusPartialContent)
	if err == nil && !bytes.Equal(got, data) {
		err = fmt.Errorf("%d bytes come back, or others", len(got))
	}
	return err
}
