package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"sharefs/fusefs/failpoint"
	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// streamed is a file that is larger than the stage while it is written.
type streamed struct {
	t     *testing.T
	m     *harness.Mount
	s     *harness.Store
	proxy *servers.ReverseProxy
	f     *os.File
	want  []byte

	mayFail, failed bool
	cut             func() // the write that failed
}

const (
	streamStage = "24MiB"
	streamSize  = 100 * mib
	streamStep  = 512 << 10
)

func newStreamed(t *testing.T, kind harness.Kind) *streamed {
	t.Helper()
	x := prepareStreamed(t, kind)
	x.check(x.m.TryMount())
	x.open(os.O_CREATE | os.O_RDWR)
	x.proxy.Reset()
	return x
}

func prepareStreamed(t *testing.T, kind harness.Kind) *streamed {
	t.Helper()
	s, proxy := harness.NewStore(t, kind).Behind(t)
	return &streamed{t: t, s: s, proxy: proxy,
		m: harness.PrepareMount(t, s, "--stage-size", streamStage, "--writeback", "100ms", "--io-timeout", "2m")}
}

func (x *streamed) open(flags int) {
	x.t.Helper()
	f, err := os.OpenFile(x.m.Path("streamed"), flags, 0o644)
	x.check(err)
	x.f = f
}

func (x *streamed) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// fill appends until the file has a size.
func (x *streamed) fill(size int) {
	x.t.Helper()
	for len(x.want) < size && !x.failed {
		x.write(len(x.want), step{Seed: uint64(len(x.want)), Size: streamStep}.bytes())
	}
}

// write writes to the file and to what is wanted. A write that fails when it may is left for rewrite.
func (x *streamed) write(off int, p []byte) {
	x.t.Helper()
	if x.failed {
		return
	}
	if _, err := x.f.WriteAt(p, int64(off)); err != nil {
		if !x.mayFail {
			x.t.Fatal(err)
		}
		x.failed, x.cut = true, func() { x.failed = false; x.write(off, p) }
		return
	}
	if end := off + len(p); end > len(x.want) {
		x.want = append(x.want, make([]byte, end-len(x.want))...)
	}
	copy(x.want[off:], p)
}

// patch overwrites.
func (x *streamed) patch(off, n int) {
	x.t.Helper()
	n = min(n, len(x.want)-off)
	x.write(off, step{Seed: uint64(off + 1), Size: n}.bytes())
}

// readBack compares some of the open file.
func (x *streamed) readBack(off, n int) {
	x.t.Helper()
	p := make([]byte, n)
	_, err := x.f.ReadAt(p, int64(off))
	x.check(err)
	if !bytes.Equal(p, x.want[off:off+n]) {
		x.t.Errorf("%d bytes at %d are others", n, off)
	}
}

// unseen checks that the file's key is not in the bucket.
func (x *streamed) unseen() {
	x.t.Helper()
	if keys := x.s.Keys(x.t); len(keys) > 0 {
		x.t.Errorf("before it is closed the bucket has %q", keys)
	}
}

// stored checks what the bucket has in the end, and that nothing else is there.
func (x *streamed) stored() {
	x.t.Helper()
	x.m.Flush()
	if got := x.s.Object(x.t, "streamed").Body; !bytes.Equal(got, x.want) {
		x.t.Errorf("the bucket has %d bytes of %d, or others", len(got), len(x.want))
	}
	x.nothingElse()
	x.m.Unmount()
	x.m.RemountEmpty()
	x.check(readBack(x.m.Path("streamed"), x.want))
}

func (x *streamed) nothingElse() {
	x.t.Helper()
	if left := x.s.KeysBelow(x.t, spilled); len(left) > 0 {
		x.t.Errorf("the bucket has %q", left)
	}
	if left := x.s.Uploads(x.t, "streamed"); left > 0 {
		x.t.Errorf("%d uploads are left", left)
	}
}

// spilled is where ranges of files lie that are not stored yet.
const spilled = ".sharefs/open/"

// TestAFileLargerThanTheStageGoesThroughWhileItIsWritten, and is read and changed before it is closed.
func TestAFileLargerThanTheStageGoesThroughWhileItIsWritten(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := newStreamed(t, kind)
			x.fill(streamSize)
			x.unseen()
			sent := x.proxy.Counts().Total().Sent
			if sent < streamSize/2 {
				t.Errorf("%d bytes are sent before the file is closed", sent)
			}
			x.readBack(3*mib+7, 2*mib)
			x.patch(10*mib+100, 72)
			x.patch(40*mib, mib)
			x.readBack(9*mib, 3*mib)
			x.readBack(39*mib, 3*mib)
			x.check(x.f.Close())
			x.m.Flush()
			if total := x.proxy.Counts().Total().Sent; total > streamSize*5/4 {
				t.Errorf("%d bytes are sent for %d", total, streamSize)
			}
			x.stored()
		})
	}
}

// TestAFileLargerThanTheStageSurvivesAKilledDaemon while it is written, and grows on.
func TestAFileLargerThanTheStageSurvivesAKilledDaemon(t *testing.T) {
	t.Parallel()
	x := newStreamed(t, harness.InsteadOf(harness.MinIO))
	for _, size := range []int{45 * mib, 70 * mib, streamSize} {
		x.fill(size)
		x.patch(5*mib+3, 1000)
		x.m.Kill()
		_ = x.f.Close() // of a dead mount
		x.m.Remount()
		x.check(readBack(x.m.Path("streamed"), x.want))
		x.open(os.O_RDWR)
	}
	x.check(x.f.Close())
	x.stored()
}

// TestSoakAFileLargerThanTheStageSurvivesAKillAtEveryStep kills the daemon at each step by which ranges go to the store and give
// up their disk. What write(2) has taken is there afterwards, and nothing else but some of the write that was cut off.
func TestSoakAFileLargerThanTheStageSurvivesAKillAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"tree.spilled", "tree.kept", "stage.absent"} {
		for n := range soak.Count(1, 12) {
			t.Run(fmt.Sprintf("%s#%d", point, 2*n+3), func(t *testing.T) {
				t.Parallel()
				x := prepareStreamed(t, harness.InsteadOf(harness.MinIO))
				x.m.Env = []string{failpoint.EnvKill + "=" + fmt.Sprintf("%s#%d", point, 2*n+3)}
				x.check(x.m.TryMount())
				x.m.Env = nil
				x.open(os.O_CREATE | os.O_RDWR)
				x.mayFail = true
				for seed := 1; !x.failed && seed < 400; seed++ {
					x.fill(seed * mib)
					x.patch(seed*7919*1000%len(x.want), 3000) // where ranges are gone already, and where not
				}
				if !x.failed {
					t.Fatal("the daemon was not killed")
				}
				_ = x.f.Close() // of a dead mount
				x.m.Ended()
				x.m.Remount()
				x.mayFail = false
				x.open(os.O_RDWR)
				x.check(x.f.Truncate(int64(len(x.want)))) // some of a write that was cut off may be there
				x.rewrite()
				x.check(readBack(x.m.Path("streamed"), x.want))
				x.fill(len(x.want) + 40*mib)
				x.check(x.f.Close())
				x.stored()
			})
		}
	}
}

// rewrite does once more the change that was cut off.
func (x *streamed) rewrite() {
	x.t.Helper()
	if x.cut != nil {
		x.cut()
	}
}

// TestAFileLargerThanTheStageMayBeWrittenAtRandom.
func TestAFileLargerThanTheStageMayBeWrittenAtRandom(t *testing.T) {
	t.Parallel()
	x := newStreamed(t, harness.InsteadOf(harness.VersityGW))
	x.want = make([]byte, 64*mib)
	x.check(x.f.Truncate(int64(len(x.want))))
	r := rand.New(rand.NewPCG(soak.Seed(t), 0))
	for range 500 {
		n := 1 + r.IntN(200_000)
		x.patch(r.IntN(len(x.want)-n), n)
		if r.IntN(20) == 0 {
			x.readBack(r.IntN(len(x.want)-mib), mib)
		}
	}
	x.readBack(0, len(x.want))
	x.check(x.f.Close())
	x.stored()
}

// TestAFileLargerThanTheStageCanBeSyncedCutAndRemoved before it is closed.
func TestAFileLargerThanTheStageCanBeSyncedCutAndRemoved(t *testing.T) {
	t.Parallel()
	t.Run("fsync", func(t *testing.T) {
		t.Parallel()
		x := newStreamed(t, harness.InsteadOf(harness.MinIO))
		x.fill(60 * mib)
		x.check(x.f.Sync())
		if got := x.s.Object(t, "streamed").Body; !bytes.Equal(got, x.want) {
			t.Errorf("after fsync the bucket has %d bytes of %d, or others", len(got), len(x.want))
		}
		x.fill(90 * mib)
		x.patch(20*mib, mib)
		x.readBack(0, 30*mib)
		x.check(x.f.Close())
		x.stored()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		x := newStreamed(t, harness.InsteadOf(harness.MinIO))
		x.fill(60 * mib)
		x.want = x.want[:33*mib+77]
		x.check(x.f.Truncate(int64(len(x.want))))
		x.want = append(x.want, make([]byte, 5*mib)...)
		x.check(x.f.Truncate(int64(len(x.want))))
		x.readBack(20*mib, 17*mib)
		x.check(x.f.Close())
		x.stored()
	})
	t.Run("unlink", func(t *testing.T) {
		t.Parallel()
		x := newStreamed(t, harness.InsteadOf(harness.MinIO))
		x.fill(60 * mib)
		x.check(os.Remove(x.m.Path("streamed")))
		x.readBack(0, 10*mib)
		x.fill(75 * mib)
		x.check(x.f.Close())
		x.m.Flush()
		await(t, "the end of what was spilled", func() bool { return len(x.s.KeysBelow(t, spilled)) == 0 })
		x.unseen()
	})
}
