package tahoe

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

//go:embed server.py
var serverProgram string

// What server.py has.
const (
	shares    = 20
	shareSize = 1<<20 + 12 + 2*72 // a header and two leases
	slots     = 5
	slotSize  = 32 << 10 // more than one has
	states    = 3        // files of crawlers
)

// storageServer is Tahoe-LAFS's storage server on a mount.
type storageServer struct {
	t      *testing.T
	orders io.WriteCloser
	done   *bufio.Scanner
	wait   func() error
	log    bytes.Buffer
}

// startServer starts a program with a server on a directory and waits until it is ready. It ends with stop.
func startServer(t *testing.T, root, dir, program string) *storageServer {
	t.Helper()
	s := &storageServer{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cmd := Command(ctx, root, filepath.Dir(dir), "python3", "-c", program, "/mnt/"+filepath.Base(dir))
	cmd.Stderr = &s.log
	var err error
	if s.orders, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.done, s.wait = bufio.NewScanner(out), cmd.Wait
	s.awaitDone("the start")
	return s
}

func (s *storageServer) awaitDone(what string) {
	s.t.Helper()
	if !s.done.Scan() || s.done.Text() != "done" {
		s.t.Fatalf("%s: %v: %s\n%s", what, s.wait(), s.done.Text(), &s.log)
	}
}

// do lets the server do something.
func (s *storageServer) do(order string) {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.orders, order); err != nil {
		s.t.Fatal(err)
	}
	s.awaitDone(order)
}

func (s *storageServer) stop() {
	s.t.Helper()
	s.orders.Close()
	if err := s.wait(); err != nil {
		s.t.Errorf("the storage server: %v\n%s", err, &s.log)
	}
}

// phase is something that the server does, and what it may cost at most.
type phase struct {
	order         string
	again         bool // on another machine: with an empty cache
	requests      map[servers.Request]int
	sent, fetched int64
}

// TestSoakTahoesStorageServerCostsItsFloors lets Tahoe-LAFS's own storage server store, renew, update and crawl, and counts at
// the store.
func TestSoakTahoesStorageServerCostsItsFloors(t *testing.T) {
	root := debian(t)
	store, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	m := harness.NewMount(t, store, "--profile", "tahoe", "--writeback", "5s")
	s := startServer(t, root, m.Dir, serverProgram)
	for _, p := range []phase{
		{order: "store", requests: map[servers.Request]int{servers.Put: shares}, sent: shares * shareSize},
		{order: "renew", requests: map[servers.Request]int{servers.Put: shares}, sent: shares * shareSize},
		{order: "add", requests: map[servers.Request]int{servers.Put: shares}, sent: shares * shareSize},
		{order: "update", requests: map[servers.Request]int{servers.Put: slots}, sent: slots * slotSize},
		{order: "read"},
		{order: "crawl", requests: map[servers.Request]int{servers.Put: states}, sent: 1 << 20},
		{order: "read"},
		// A LIST of the top, and two of each level below, until they are seen to be crawled.
		{order: "crawl", again: true, requests: map[servers.Request]int{
			servers.List: 8, servers.Get: 2*(shares+slots) + states, servers.Put: states,
		}, sent: 1 << 20, fetched: (shares+slots)*128<<10 + 1<<20},
		{order: "renew", requests: map[servers.Request]int{servers.Get: shares, servers.Put: shares},
			sent: shares * shareSize, fetched: shares * shareSize},
		{order: "read"},
	} {
		if p.again {
			s.stop()
			if kept := m.Status().Kept; kept.ScratchSeen < shares || kept.Scratch != 0 {
				t.Errorf("status says %+v of scratch paths, after %d shares", kept, shares)
			}
			m.Unmount()
			m.RemountEmpty()
			s = startServer(t, root, m.Dir, serverProgram)
		}
		m.Flush()
		proxy.Reset()
		s.do(p.order)
		m.Flush()
		p.check(t, proxy.Counts())
	}
	proxy.Reset()
	s.do("crawl")
	for began := time.Now(); m.Status().Kept.LazySeen < states; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("status says %+v of lazy paths after a crawl", m.Status().Kept)
		}
	}
	if counts := proxy.Counts(); len(counts) > 0 {
		t.Errorf("the crawlers' states were stored at once: %v", counts)
	}
	s.stop()
	m.Flush()
	if n := len(sharesIn(store.Keys(t))); n != shares+slots {
		t.Errorf("%d shares in the bucket, want %d", n, shares+slots)
	}
}

// check compares what was counted with what is allowed.
func (p phase) check(t *testing.T, counts servers.Counts) {
	t.Helper()
	total := counts.Total()
	soak.Record(t, p.order, fmt.Sprintf("%d requests, %d bytes sent, %d fetched", total.Requests, total.Sent, counts[servers.Get].Received))
	for kind, c := range counts {
		if c.Requests > p.requests[kind] {
			t.Errorf("%s: %d requests %s, want at most %d", p.order, c.Requests, kind, p.requests[kind])
		}
	}
	if total.Sent > p.sent || counts[servers.Get].Received > p.fetched {
		t.Errorf("%s: %d bytes sent and %d fetched, want at most %d and %d", p.order, total.Sent, counts[servers.Get].Received, p.sent, p.fetched)
	}
}

// sharesIn returns the keys of shares: shares/PP/STORAGEINDEX/SHNUM.
func sharesIn(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		parts := strings.Split(key, "/")
		return len(parts) != 4 || parts[0] != "shares" || parts[1] == "incoming" || parts[3] == ""
	})
}
