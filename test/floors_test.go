package test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// floor is a row of the table of what operations may cost: docs/design.md, "What operations cost".
type floor struct {
	name    string
	prepare func(*node) // not counted
	do      func(*node)
	want    needs
	sent    int64 // bytes of contents that may travel to the store at most
	fetched int64 // and from it
	parts   bool  // a large file is changed: see ofSegments
}

// needs are numbers of requests by kind. A kind that is not there may not come.
type needs map[servers.Request]span

// span is from least to most.
type span struct{ least, most int }

func exactly(n int) span { return span{n, n} }
func upTo(n int) span    { return span{0, n} }

const (
	shareSize  = 1 << 20  // bytes of a share
	largeShare = 20 << 20 // of one of which only parts travel
	endSize    = 64 << 10 // of what is fetched at an end of a share at most
	xmlSize    = 2 << 10  // of a request about an upload in parts at most
)

// tahoe are the flags of a storage node's mount, with a write-back delay that a busy machine does not outlast between
// two steps.
var tahoe = []string{"--profile", "tahoe", "--writeback", "5s"}

// idle is how long a mount is watched of which nobody wants anything.
var idle = time.Duration(soak.Count(3, 600)) * time.Second

// floors are in order: each row finds what those before it have stored.
var floors = []floor{
	{
		name: "store 10 shares of 1 MiB",
		do: func(n *node) {
			for i := range 10 {
				n.store(name(i), shareSize)
			}
		},
		want: needs{servers.Put: exactly(10)}, sent: 10 * shareSize,
	},
	{name: "read, stat and list them, read their leases", do: func(n *node) { n.crawl(10); n.readAll(10) }},
	{
		name: "renew a lease, local",
		do:   func(n *node) { n.lease(name(0), false) },
		want: needs{servers.Put: exactly(1)}, sent: shareSize,
	},
	{
		name: "add a lease, local",
		do:   func(n *node) { n.lease(name(0), true) },
		want: needs{servers.Put: exactly(1)}, sent: shareSize,
	},
	{
		name: "20 updates of a slot",
		do: func(n *node) {
			for range 20 {
				n.update(name(1))
			}
		},
		want: needs{servers.Put: exactly(1)}, sent: shareSize,
	},
	{
		name: "temporary file, fsync, rename",
		do:   func(n *node) { n.save("saved") },
		want: needs{servers.Put: exactly(1), servers.Copy: exactly(1), servers.Delete: exactly(1)}, sent: shareSize,
	},
	{name: "mkdir and rmdir; create and unlink", do: func(n *node) { n.comeAndGo() }},
	{
		name: "create, close, rename before the upload",
		do:   func(n *node) { n.write("before", shareSize); n.rename("before", "after") },
		want: needs{servers.Put: exactly(1)}, sent: shareSize,
	},
	{
		name: "unlink of a stored file",
		do:   func(n *node) { n.check(os.Remove(n.m.Path("after"))) },
		want: needs{servers.Delete: exactly(1)},
	},
	{
		name:    "unlink of 20 stored files",
		prepare: func(n *node) { n.writeMany("doomed", 20) },
		do: func(n *node) {
			for i := range 20 {
				n.check(os.Remove(n.m.Path(fmt.Sprintf("doomed/%d", i))))
			}
			n.check(os.Remove(n.m.Path("doomed")))
		},
		want: needs{servers.DeleteBatch: exactly(1)}, sent: 4 << 10,
	},
	{
		name:    "renew a lease of a share of 20 MiB, local",
		prepare: func(n *node) { n.store("large", largeShare) },
		do:      func(n *node) { n.lease("large", false) },
		want: needs{
			servers.CreateUpload: exactly(1), servers.PutPart: exactly(1), servers.CopyPart: upTo(4), servers.CompleteUpload: exactly(1),
		},
		sent: 5<<20 + xmlSize, parts: true,
	},
	{
		name: "add one to it, local",
		do:   func(n *node) { n.lease("large", true) },
		want: needs{
			servers.CreateUpload: exactly(1), servers.PutPart: exactly(2), servers.CopyPart: upTo(4), servers.CompleteUpload: exactly(1),
		},
		sent: 5<<20 + shareSize + xmlSize, parts: true,
	},
	{
		name:    "add one to it, not local",
		prepare: func(n *node) { n.forget(); n.list() },
		do:      func(n *node) { n.lease("large", true) },
		want: needs{
			servers.Get:          upTo(4),
			servers.CreateUpload: exactly(1), servers.PutPart: exactly(2), servers.CopyPart: upTo(4), servers.CompleteUpload: exactly(1),
		},
		sent: 5<<20 + shareSize + xmlSize, fetched: 5<<20 + shareSize, parts: true,
	},
	{
		name: "renew a lease, not local",
		do:   func(n *node) { n.lease(name(2), false) },
		want: needs{servers.Get: exactly(1), servers.Put: exactly(1)}, sent: shareSize, fetched: shareSize,
	},
	{
		name: "add a lease, not local",
		do:   func(n *node) { n.lease(name(3), true) },
		want: needs{servers.Get: exactly(1), servers.Put: exactly(1)}, sent: shareSize, fetched: shareSize,
	},
	{
		name: "read a share that is not local, at once",
		do:   func(n *node) { n.read(name(4), 4<<20) },
		want: needs{servers.Get: exactly(1)}, fetched: shareSize,
	},
	{
		name: "the same in small steps",
		do:   func(n *node) { n.read(name(5), 4<<10) },
		want: needs{servers.Get: span{1, 2}}, fetched: shareSize,
	},
	{
		// One for each thousand keys, one of the top, and two of each level below, until they are seen to be crawled.
		name:    "crawl of 10 shares, nothing known: names and sizes",
		prepare: func(n *node) { n.forget() },
		do:      func(n *node) { n.list() },
		want:    needs{servers.List: upTo(6)},
	},
	{
		name: "the same: leases",
		do:   func(n *node) { n.leases(10) },
		want: needs{servers.Get: upTo(20)}, fetched: 10 * 2 * endSize,
	},
	{name: "crawl of 10 shares that are known", do: func(n *node) { n.crawl(10) }},
	{
		name:    "idle",
		prepare: func(n *node) { n.m.Patience = max(n.m.Patience, 2*idle); n.forget(); n.list() },
		do:      func(*node) { time.Sleep(idle) },
	},
}

// ofSegments is what a change of a large file takes besides in Swift, which knows segments and no uploads: the manifest of the
// object is read for what is copied and for what is replaced, and so is what it says of itself; what stands for the upload is
// removed, and the segments that nothing uses any more are found and removed.
var ofSegments = needs{
	servers.Head: upTo(3), servers.GetManifest: upTo(2), servers.List: upTo(1), servers.Delete: upTo(2), servers.DeleteBatch: upTo(1),
}

// on is the floor on a kind of store.
func (f floor) on(kind harness.Kind) floor {
	if f.parts && (kind == harness.Swift || kind == harness.SwiftSmall) {
		f.want = maps.Clone(f.want)
		maps.Copy(f.want, ofSegments)
		f.sent += 2 << 10 // names
	}
	return f
}

// TestSoakNothingCostsMoreThanItsFloor counts at the server, and prints what is measured beside what is allowed.
func TestSoakNothingCostsMoreThanItsFloor(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, kind).Behind(t)
			n := &node{t: t, m: harness.NewMount(t, s, tahoe...), proxy: proxy}
			harness.Script(t, n.m.Dir, "mkdir -p shares/incoming; ls -lR . >/dev/null")
			n.m.Flush()
			var table strings.Builder
			w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "operation\trequests\tfloor\tsent\tfloor\tfetched\tfloor")
			for _, f := range floors {
				fmt.Fprintln(w, n.measure(f.on(kind)))
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%s", &table)
		})
	}
}

// measure returns a row of the table.
func (n *node) measure(f floor) string {
	if f.prepare != nil {
		f.prepare(n)
		n.m.Flush()
	}
	n.proxy.Reset()
	began := time.Now()
	f.do(n)
	n.m.Flush()
	counts := n.proxy.Counts()
	if problem := f.check(counts); problem != "" {
		n.t.Errorf("%s: %s", f.name, problem)
	}
	if own := n.proxy.Own(); own.Total().Requests > 1+int(time.Since(began)/time.Minute) {
		n.t.Errorf("%s: more than one request a minute keeps the claim: %v", f.name, own)
	}
	total := counts.Total()
	soak.Record(n.t, f.name, fmt.Sprintf("%s; %d bytes sent, %d fetched", show(counts), total.Sent, counts[servers.Get].Received))
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\t%d", f.name, show(counts), f.want, total.Sent, f.sent, counts[servers.Get].Received, f.fetched)
}

// check says what is not as it must be.
func (f floor) check(counts servers.Counts) string {
	var found []string
	for _, kind := range kindsOf(counts, f.want) {
		if n, want := counts[kind].Requests, f.want[kind]; n < want.least || n > want.most {
			found = append(found, fmt.Sprintf("%d requests %s, want %v", n, kind, want))
		}
	}
	// S3's checksums and framing of a body take a little, too.
	if sent := counts.Total().Sent; sent > f.sent*101/100 {
		found = append(found, fmt.Sprintf("%d bytes are sent, want at most %d", sent, f.sent))
	}
	if got := counts[servers.Get].Received; got > f.fetched {
		found = append(found, fmt.Sprintf("%d bytes are fetched, want at most %d", got, f.fetched))
	}
	return strings.Join(found, "; ")
}

func kindsOf(counts servers.Counts, want needs) []servers.Request {
	var kinds []servers.Request
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	for kind := range want {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// show lists requests by kind.
func show(counts servers.Counts) string {
	var parts []string
	for _, kind := range kindsOf(counts, nil) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind].Requests, kind))
	}
	return orNone(parts)
}

func (w needs) String() string {
	var parts []string
	for _, kind := range kindsOf(nil, w) {
		parts = append(parts, fmt.Sprintf("%v %s", w[kind], kind))
	}
	return orNone(parts)
}

func (s span) String() string {
	if s.least == s.most {
		return fmt.Sprint(s.most)
	}
	return fmt.Sprintf("%d-%d", s.least, s.most)
}

func orNone(parts []string) string {
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
