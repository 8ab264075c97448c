package test

import (
	"bytes"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// streamed is a file that is larger than the stage while it is written.
type streamed struct {
	t     *testing.T
	m     *harness.Mount
	s     *harness.Store
	proxy *servers.ReverseProxy
	f     *os.File
	want  []byte
}

const (
	streamStage = "32MiB"
	streamSize  = 160 * mib
	streamStep  = 512 << 10
)

func newStreamed(t *testing.T, kind harness.Kind) *streamed {
	t.Helper()
	s, proxy := harness.NewStore(t, kind).Behind(t)
	x := &streamed{t: t, s: s, proxy: proxy}
	x.m = harness.NewMount(t, s, "--stage-size", streamStage, "--writeback", "100ms", "--io-timeout", "2m")
	x.open(os.O_CREATE | os.O_RDWR)
	proxy.Reset()
	return x
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
	for len(x.want) < size {
		p := step{Seed: uint64(len(x.want)), Size: streamStep}.bytes()
		_, err := x.f.WriteAt(p, int64(len(x.want)))
		x.check(err)
		x.want = append(x.want, p...)
	}
}

// patch overwrites.
func (x *streamed) patch(off, n int) {
	x.t.Helper()
	p := step{Seed: uint64(off + 1), Size: n}.bytes()
	_, err := x.f.WriteAt(p, int64(off))
	x.check(err)
	copy(x.want[off:], p)
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
	prefix := ".sharefs/open/"
	out, err := x.s.Server.Client().ListObjectsV2(x.t.Context(), &s3.ListObjectsV2Input{Bucket: &x.s.Bucket, Prefix: &prefix})
	x.check(err)
	if len(out.Contents) > 0 {
		x.t.Errorf("%d objects are left below %s", len(out.Contents), prefix)
	}
	if left := uploadsIn(x.t, x.s, "streamed"); left > 0 {
		x.t.Errorf("%d uploads are left", left)
	}
}

// TestAFileLargerThanTheStageGoesThroughWhileItIsWritten, and is read and changed before it is closed.
func TestAFileLargerThanTheStageGoesThroughWhileItIsWritten(t *testing.T) {
	t.Parallel()
	for _, kind := range []harness.Kind{harness.MinIO, harness.VersityGW} {
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
	x := newStreamed(t, harness.MinIO)
	for _, size := range []int{70 * mib, 110 * mib, streamSize} {
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

// TestAFileLargerThanTheStageCanBeSyncedCutAndRemoved before it is closed.
func TestAFileLargerThanTheStageCanBeSyncedCutAndRemoved(t *testing.T) {
	t.Parallel()
	t.Run("fsync", func(t *testing.T) {
		t.Parallel()
		x := newStreamed(t, harness.MinIO)
		x.fill(80 * mib)
		x.check(x.f.Sync())
		if got := x.s.Object(t, "streamed").Body; !bytes.Equal(got, x.want) {
			t.Errorf("after fsync the bucket has %d bytes of %d, or others", len(got), len(x.want))
		}
		x.fill(150 * mib)
		x.patch(20*mib, mib)
		x.readBack(0, 30*mib)
		x.check(x.f.Close())
		x.stored()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		x := newStreamed(t, harness.MinIO)
		x.fill(80 * mib)
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
		x := newStreamed(t, harness.MinIO)
		x.fill(80 * mib)
		x.check(os.Remove(x.m.Path("streamed")))
		x.readBack(0, 10*mib)
		x.fill(100 * mib)
		x.check(x.f.Close())
		x.m.Flush()
		await(t, "the end of what was spilled", func() bool {
			prefix := ".sharefs/open/"
			out, err := x.s.Server.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &x.s.Bucket, Prefix: &prefix})
			return err == nil && len(out.Contents) == 0
		})
		x.unseen()
	})
}
