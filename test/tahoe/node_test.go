package tahoe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// node is a Tahoe-LAFS node: a storage server whose shares are in a mount, and a client that uses it alone.
type node struct {
	t    *testing.T
	root string
	base string // the directory that the node's is in, and the mountpoint
	name string // of its directory in base
	web  string // where its client listens: http://127.0.0.1:PORT
	stop func()
}

// nodeEnd is how long a node may take to end.
const nodeEnd = 2 * time.Minute

const nodeConfig = `
[node]
nickname = test
web.port = tcp:%[2]s:interface=127.0.0.1
tub.port = tcp:%[1]s:interface=127.0.0.1
tub.location = tcp:127.0.0.1:%[1]s
[client]
shares.needed = 1
shares.happy = 1
shares.total = 1
[storage]
enabled = true
storage_dir = /mnt/%[3]s
`

const knownServers = `storage:
  %[1]s:
    ann:
      nickname: test
      anonymous-storage-FURL: %[2]s
`

// newNode makes a node beside a mount, and tells its client of its server.
func newNode(t *testing.T, root string, m *harness.Mount) *node {
	t.Helper()
	n := &node{t: t, root: root, base: filepath.Dir(m.Dir), name: "node", stop: func() {}}
	dir := filepath.Join(n.base, "node")
	n.tahoe("create-node", "--hostname=127.0.0.1", "/mnt/node")
	server, web := n.port(), n.port()
	n.web = "http://127.0.0.1:" + web
	n.check(os.WriteFile(filepath.Join(dir, "tahoe.cfg"), fmt.Appendf(nil, nodeConfig, server, web, filepath.Base(m.Dir)), 0o600))
	n.start()
	furl, err := os.ReadFile(filepath.Join(dir, "private", "storage.furl"))
	n.check(err)
	key, err := os.ReadFile(filepath.Join(dir, "node.pubkey"))
	n.check(err)
	n.end()
	id := strings.TrimPrefix(strings.TrimSpace(string(key)), "pub-")
	n.check(os.WriteFile(filepath.Join(dir, "private", "servers.yaml"),
		fmt.Appendf(nil, knownServers, id, strings.TrimSpace(string(furl))), 0o600))
	return n
}

func (n *node) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) port() string {
	n.t.Helper()
	return freePort(n.t)
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	return port
}

// tahoe runs a command of Tahoe-LAFS to its end, and returns what it said.
func (n *node) tahoe(args ...string) string {
	n.t.Helper()
	out, err := Command(n.t.Context(), n.root, n.base, append([]string{"tahoe"}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("tahoe %q: %v\n%s", args, err, lastLines(out))
	}
	return string(out)
}

// start runs the node until end, and waits until its client answers.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := Command(ctx, n.root, n.base, "tahoe", "run", "/mnt/"+n.name)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	stdin, err := cmd.StdinPipe()
	n.check(err)
	n.check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	n.stop = func() {
		stdin.Close() // which ends it
		select {
		case <-ended:
		case <-time.After(nodeEnd):
			n.t.Errorf("tahoe run does not end\n%s", lastLines(log.Bytes()))
			cancel()
			<-ended
		}
		cancel()
		n.stop = func() {}
	}
	n.t.Cleanup(func() { n.stop() })
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(n.web + "/?t=json")
		if err == nil {
			res.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			n.t.Fatalf("tahoe run: %v\n%s", err, lastLines(log.Bytes()))
		default:
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the node does not answer: %v\n%s", err, lastLines(log.Bytes()))
		}
	}
}

// end ends the node.
func (n *node) end() { n.stop() }

// ask sends a request to the node's client until it has found its server, and returns the answer's body.
func (n *node) ask(method, path string, body []byte) []byte {
	n.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		req, err := http.NewRequestWithContext(n.t.Context(), method, n.web+path, bytes.NewReader(body))
		n.check(err)
		res, err := http.DefaultClient.Do(req)
		n.check(err)
		answer, err := io.ReadAll(res.Body)
		n.check(err)
		res.Body.Close()
		if res.StatusCode/100 == 2 {
			return answer
		}
		if res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusGone || time.Now().After(deadline) {
			n.t.Fatalf("%s %s: %s\n%s", method, path, res.Status, lastLines(answer))
		}
	}
}

// put stores a file and returns its capability.
func (n *node) put(query string, body []byte) string {
	n.t.Helper()
	return url.PathEscape(strings.TrimSpace(string(n.ask("PUT", "/uri"+query, body))))
}

// holds compares what a capability gives.
func (n *node) holds(capability string, want []byte) {
	n.t.Helper()
	if got := n.ask("GET", "/uri/"+capability, nil); !bytes.Equal(got, want) {
		n.t.Errorf("a file of %d bytes comes back with %d, or others", len(want), len(got))
	}
}

// healthy lets the client read all of a file's shares, and renew or add its lease.
func (n *node) healthy(capability string) {
	n.t.Helper()
	var answer struct {
		Results struct {
			Healthy bool `json:"healthy"`
			Shares  int  `json:"count-shares-good"`
		} `json:"results"`
	}
	n.check(json.Unmarshal(n.ask("POST", "/uri/"+capability+"?t=check&verify=true&add-lease=true&output=JSON", nil), &answer))
	if r := answer.Results; !r.Healthy || r.Shares != 1 {
		n.t.Errorf("a file is not healthy: %+v", r)
	}
}

// TestSoakATahoeNodeKeepsItsSharesInAMount runs a whole node, as tahoe run does: files and mutable files go through its client
// to its storage server, which is on a mount, and come back on another machine.
func TestSoakATahoeNodeKeepsItsSharesInAMount(t *testing.T) {
	root := debian(t)
	store, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	m := harness.NewMount(t, store, "--profile", "tahoe")
	n := newNode(t, root, m)
	n.start()
	m.Flush()
	proxy.Reset()
	body := func(size int) []byte {
		b := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b) // never fails
		return b
	}
	files := map[string][]byte{}
	for _, size := range []int{100, 300_000, 5_000_000, 12_000_000} {
		files[n.put("", body(size))] = body(size)
	}
	m.Flush()
	if counts := proxy.Counts(); counts.Total().Requests > len(files)+states+6 {
		t.Errorf("storing %d files, one of them in parts, cost %v", len(files), counts)
	}
	for _, format := range []string{"sdmf", "mdmf"} {
		c := n.put("?format="+format, body(1000))
		for _, size := range []int{2000, 700_000, 1234} {
			n.ask("PUT", "/uri/"+c, body(size))
			files[c] = body(size)
		}
	}
	for c, want := range files {
		n.holds(c, want)
		n.healthy(c)
	}
	n.end()
	m.Flush()
	if found := len(sharesIn(store.Keys(t))); found != len(files) {
		t.Errorf("%d shares in the bucket, want %d: %q", found, len(files), store.Keys(t))
	}
	m.Unmount()
	m.RemountEmpty()
	n.start()
	for c, want := range files {
		n.holds(c, want)
		n.healthy(c)
	}
	n.end()
}
