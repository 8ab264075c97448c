package test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// The suites run on Swift when the long counts are wanted (harness.Kinds). These are the short ones: one mount, one kill, one
// file that is larger than an object may be.

// TestSwiftKeepsWhatShellToolsDo uses some of the tools on mounts of one Swift, by its own protocol and by its S3 layer.
func TestSwiftKeepsWhatShellToolsDo(t *testing.T) {
	t.Parallel()
	native := harness.NewStore(t, harness.SwiftSmall)
	t.Run("native", func(t *testing.T) { keepsWhatShellToolsDo(t, native) })
	t.Run("s3api", func(t *testing.T) { keepsWhatShellToolsDo(t, harness.NewStoreOn(t, native.Swift.S3())) })
}

func keepsWhatShellToolsDo(t *testing.T, s *harness.Store) {
	t.Parallel()
	useTools(t, harness.NewMount(t, s), sourceTree(t, 20), func(name string) bool {
		switch name {
		case "tar packs and unpacks", "sed -i edits in place", "mv renames files over others, and directories",
			"ln -s links, ln is refused", "chmod and touch are kept", "setfattr and getfattr keep attributes":
			return true
		}
		return false
	})
}

// TestSwiftLosesNothingWhenTheDaemonIsKilled is a short TestSoakNothingIsLostWhenTheDaemonIsKilled.
func TestSwiftLosesNothingWhenTheDaemonIsKilled(t *testing.T) {
	t.Parallel()
	k := newKiller(t, harness.NewStore(t, harness.SwiftSmall))
	k.round()
	k.finish()
}

// aboveTheLimit stores a file that is larger than an object may be, changes it in the middle, reads it with an empty cache, overwrites
// and removes it.
type aboveTheLimit struct {
	t     *testing.T
	s     *harness.Store
	m     *harness.Mount
	proxy *servers.ReverseProxy
	limit int // bytes of an object
	body  []byte
}

func newAboveTheLimit(t *testing.T, s *harness.Store, limit, size int) *aboveTheLimit {
	x := &aboveTheLimit{t: t, s: s, limit: limit, body: make([]byte, size)}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(x.body) // never fails
	behind, proxy := s.Behind(t)
	x.m, x.proxy = harness.NewMount(t, behind), proxy
	return x
}

// segments returns the segments that the cluster holds.
func (x *aboveTheLimit) segments() []servers.SwiftListed {
	x.t.Helper()
	listed, err := x.s.Swift.List(x.t.Context(), x.s.Bucket+"_segments", "", "")
	var status *servers.SwiftStatus
	if err != nil && !(errors.As(err, &status) && status.Status == http.StatusNotFound) {
		x.t.Fatal(err)
	}
	return listed
}

// wantSegments compares what the segments hold with what the file has.
func (x *aboveTheLimit) wantSegments(bytes int64) {
	x.t.Helper()
	var held int64
	for _, l := range x.segments() {
		held += l.Bytes
		if l.Bytes > int64(x.limit) {
			x.t.Errorf("the segment %s has %d bytes", l.Name, l.Bytes)
		}
	}
	if held != bytes {
		x.t.Errorf("the segments have %d bytes, want %d", held, bytes)
	}
}

func (x *aboveTheLimit) wantFile() {
	x.t.Helper()
	got, err := os.ReadFile(x.m.Path("file"))
	if err != nil {
		x.t.Fatal(err)
	}
	if !bytes.Equal(got, x.body) {
		x.t.Errorf("the file has %d bytes, want %d others", len(got), len(x.body))
	}
}

// write writes the file and stores it.
func (x *aboveTheLimit) write() {
	x.t.Helper()
	if err := os.WriteFile(x.m.Path("file"), x.body, 0o644); err != nil {
		x.t.Fatal(err)
	}
	x.m.Flush()
}

func (x *aboveTheLimit) run() {
	x.t.Helper()
	size := int64(len(x.body))
	x.write()
	x.wantSegments(size)
	soak.Record(x.t, "segments of the file", len(x.segments()))

	changed := x.body[size/2+1000:][:1000]
	for i := range changed {
		changed[i] ^= 0xff
	}
	x.proxy.Reset()
	f, err := os.OpenFile(x.m.Path("file"), os.O_WRONLY, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	_, err = f.WriteAt(changed, size/2+1000)
	if err := errors.Join(err, f.Close()); err != nil {
		x.t.Fatal(err)
	}
	x.m.Flush()
	counts := x.proxy.Counts()
	sent := counts[servers.PutPart].Sent + counts[servers.Put].Sent
	if sent > int64(x.limit) || sent < int64(len(changed)) || counts.Total().Received > int64(x.limit) {
		x.t.Errorf("a change of %d bytes sent %d and fetched %d; an object has %d at most", len(changed), sent, counts.Total().Received, x.limit)
	}
	soak.Record(x.t, "bytes sent for a change of 1000", sent)
	soak.Record(x.t, "ranges copied by the cluster for it", counts[servers.CopyPart].Requests)
	x.wantSegments(size)

	x.m.Unmount()
	x.m.RemountEmpty()
	start := time.Now()
	x.wantFile()
	soak.Record(x.t, "read back with an empty cache", time.Since(start).Round(time.Millisecond))

	for i := range x.body {
		x.body[i] ^= 0x55
	}
	x.write()
	x.wantFile()
	x.wantSegments(size)

	if err := os.Remove(x.m.Path("file")); err != nil {
		x.t.Fatal(err)
	}
	x.m.Flush()
	if left := x.segments(); len(left) > 0 {
		x.t.Errorf("the file is gone and %d segments are there: %v", len(left), left)
	}
}

func TestSwiftTakesAFileAboveTheLimit(t *testing.T) {
	t.Parallel()
	newAboveTheLimit(t, harness.NewStore(t, harness.SwiftSmall), harness.SmallObject, 40<<20).run()
}

// TestDoctorFindsSegmentsThatNothingUses overwrites a large file while the cluster deletes no segments, and kills the daemon.
func TestDoctorFindsSegmentsThatNothingUses(t *testing.T) {
	t.Parallel()
	x := newAboveTheLimit(t, harness.NewStore(t, harness.SwiftSmall), harness.SmallObject, 2*harness.SmallObject+1000)
	x.write()
	for i := range x.body {
		x.body[i] ^= 0x55
	}
	x.proxy.Break(1, servers.Fault{Effects: []servers.Effect{servers.Answer500}, Kinds: []servers.Request{servers.DeleteBatch}, Every: 1})
	x.write()
	x.m.Kill()
	x.m.Detach()
	x.proxy.Break(1)
	size := int64(len(x.body))
	x.wantSegments(2 * size)

	for _, c := range []struct {
		args []string
		want string // how the finding ends
		held int64  // by segments, then
	}{
		{nil, "old: too young to be mended, see --older", 2 * size},
		{[]string{"--fix", "uploads"}, "old: too young to be mended, see --older", 2 * size},
		{[]string{"--older", "0s"}, "old", 2 * size},
		{[]string{"--older", "0s", "--fix", "uploads"}, "old: mended", size},
	} {
		args := append([]string{"doctor", "--force"}, append(c.args, x.m.Store.URL)...) // the dead daemon holds the claim
		out, err := x.m.Sharefs(args...)
		want := regexp.MustCompile(`(?m)^  uploads +file: an upload that was not ended, or parts that one left, 8.0 MiB, .* ` + c.want + `$`)
		if !want.MatchString(out) {
			t.Errorf("%q: %s (%v), want %s", args, out, err, want)
		}
		x.wantSegments(c.held)
	}
	x.m.RemountEmpty()
	x.wantFile()
}

// TestSoakAFileAboveTheLimitOfSwift does the same with a file of 1 GiB and objects of 16 MiB.
func TestSoakAFileAboveTheLimitOfSwift(t *testing.T) {
	if !soak.Long() {
		t.Skip("TestSwiftTakesAFileAboveTheLimit does it with a small file")
	}
	const limit = 16 << 20
	s := harness.NewSwift(t, servers.Swift(t, servers.SwiftOptions{MaxFileSize: limit}))
	start := time.Now()
	newAboveTheLimit(t, s, limit, 1<<30).run()
	soak.Record(t, "all of it took", time.Since(start).Round(time.Second))
}
