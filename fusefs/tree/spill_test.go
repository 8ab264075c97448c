package tree

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// spillStage is a stage for a file of three times its size.
const spillStage = 12 << 20

// spilled are the objects of files that are being written.
func spilled(t *testing.T, p provider.Provider) (keys []string) {
	t.Helper()
	page, err := p.List(ctx, provider.ListOptions{Prefix: spillPrefix, Flat: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// awaitNoneSpilled waits for the deletes of what was spilled.
func awaitNoneSpilled(t *testing.T, p provider.Provider) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); len(spilled(t, p)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("left: %q", spilled(t, p))
		}
	}
}

// wantRead compares all of an open file.
func wantRead(t *testing.T, h Handle, want []byte) {
	t.Helper()
	got := make([]byte, len(want)+1)
	n, err := h.ReadAt(ctx, got, 0)
	if err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Fatalf("read %d bytes of %d, %v; or others", n, len(want), err)
	}
}

// TestAFileIsWrittenThroughASmallStage at random, by several writers with readers beside them, is cut, and survives a crash.
func TestAFileIsWrittenThroughASmallStage(t *testing.T) {
	store := mem.New(mem.Options{})
	m := openTree(t, strict{store}, Options{StageSize: spillStage, KeepFree: -1})
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	want := make([]byte, 36<<20)
	var wg sync.WaitGroup
	const writers = 3
	for w := range writers { // each has its own third
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			mine := want[w*len(want)/writers : (w+1)*len(want)/writers]
			base := w * len(want) / writers
			write := func(off, n int) {
				for i := range n {
					mine[off+i] = byte(r.Uint32())
				}
				if k, err := h.WriteAt(ctx, mine[off:off+n], int64(base+off)); err != nil || k != n {
					t.Errorf("write of %d bytes at %d: %d, %v", n, base+off, k, err)
				}
			}
			for off := 0; off < len(mine); off += 256 << 10 {
				write(off, 256<<10)
				if off > 1<<20 {
					write(r.IntN(off), 1+r.IntN(10_000))
				}
				p := make([]byte, 10_000)
				at := r.IntN(off + 1)
				if n, err := h.ReadAt(ctx, p, int64(base+at)); err != nil && err != io.EOF || !bytes.Equal(p[:min(n, len(mine)-at)], mine[at:min(at+n, len(mine))]) {
					t.Errorf("read at %d: %d, %v; or other bytes", base+at, n, err)
				}
			}
		})
	}
	wg.Wait()
	if len(spilled(t, store)) == 0 {
		t.Fatal("nothing was spilled")
	}
	if _, err := store.Stat(ctx, "f"); !provider.Is(err, provider.KindNotFound) {
		t.Fatalf("before the close there is an object: %v", err)
	}
	wantRead(t, h, want)
	m = m.crash()
	h.Release()
	defer m.close()
	if got, err := m.open("f", syscall.O_RDWR); err != nil {
		t.Fatal(err)
	} else {
		wantRead(t, got, want)
		want = want[:30<<20+77]
		size := int64(len(want))
		_, err := m.SetAttr(ctx, got.Ino(), SetAttr{Size: &size})
		must(t, err)
		_, err = got.WriteAt(ctx, []byte("changed"), 5<<20)
		must(t, err)
		copy(want[5<<20:], "changed")
		wantRead(t, got, want)
		must(t, got.Flush(ctx))
		got.Release()
	}
	m.flush()
	if got := objects(t, store); got["f"] != string(want) || len(got) != 1 {
		t.Errorf("the store has %d objects, and %d bytes of %d, or others", len(got), len(got["f"]), len(want))
	}
	awaitNoneSpilled(t, store)
}

// TestASpilledFileThatIsUnlinkedLeavesNothing, neither in this process nor after a crash.
func TestASpilledFileThatIsUnlinkedLeavesNothing(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(map[bool]string{true: "crash", false: "forget"}[crash], func(t *testing.T) {
			store := mem.New(mem.Options{})
			m := openTree(t, store, Options{StageSize: spillStage, KeepFree: -1})
			h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
			must(t, err)
			want := []byte(strings.Repeat("0123456789abcdef", 1<<20))
			for off := 0; off < len(want); off += 1 << 20 {
				_, err = h.WriteAt(ctx, want[off:off+1<<20], int64(off))
				must(t, err)
			}
			must(t, m.rm("f"))
			wantRead(t, h, want)
			if len(spilled(t, store)) == 0 {
				t.Fatal("nothing was spilled")
			}
			if crash {
				m = m.crash()
				h.Release()
			} else {
				h.Release()
				m.Forget(h.Ino())
			}
			defer m.close()
			awaitNoneSpilled(t, store)
			if got := objects(t, store); len(got) != 0 {
				t.Errorf("%d objects are left", len(got))
			}
		})
	}
}

// TestASpillThatCannotBeStoredLeavesTheFileAsItIs: the write fails with ENOSPC at a clean point, and goes on when the store is back.
func TestASpillThatCannotBeStoredLeavesTheFileAsItIs(t *testing.T) {
	store := mem.New(mem.Options{})
	faults := faulty.New(store, faulty.Options{})
	m := openTree(t, faults, Options{StageSize: spillStage, KeepFree: -1, StallTimeout: time.Second})
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	for _, effect := range []faulty.Effect{faulty.Fail, faulty.ApplyFail} {
		gone := faults.Add(faulty.Rule{Ops: []string{"put"}, Effect: effect, Kind: provider.KindDenied})
		var want []byte
		chunk := bytes.Repeat([]byte{byte(effect) + 1}, 1<<20)
		for err = nil; err == nil; {
			var n int
			n, err = h.WriteAt(ctx, chunk, int64(len(want)))
			want = append(want, chunk[:n]...)
			if len(want) > 2*spillStage {
				t.Fatal("no room was needed")
			}
		}
		if err := asErrno(err); err != syscall.ENOSPC {
			t.Fatalf("%v, want ENOSPC", err)
		}
		wantRead(t, h, want)
		gone()
		for len(want) < 2*spillStage {
			n, err := h.WriteAt(ctx, chunk, int64(len(want)))
			if err != nil && asErrno(err) != syscall.ENOSPC { // until something is free
				t.Fatal(err)
			}
			want = append(want, chunk[:n]...)
		}
		wantRead(t, h, want)
		must(t, m.commit.Sync(ctx, h.Ino()))
		if got := objects(t, store)["f"]; got != string(want) {
			t.Errorf("the store has %d bytes of %d, or others", len(got), len(want))
		}
		size := int64(0)
		_, err = m.SetAttr(ctx, h.Ino(), SetAttr{Size: &size})
		must(t, err)
	}
	h.Release()
	m.flush()
	awaitNoneSpilled(t, store)
}

func asErrno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// TestAfterARebootASpilledFileIsNeverAMixture: either all of it was durable, or the store's version stands.
func TestAfterARebootASpilledFileIsNeverAMixture(t *testing.T) {
	for _, durable := range []bool{true, false} {
		t.Run(map[bool]string{true: "durable", false: "not durable"}[durable], func(t *testing.T) {
			store := mem.New(mem.Options{})
			old, changed := bytes.Repeat([]byte("old "), 5<<20), bytes.Repeat([]byte("new "), 6<<20)
			_, err := store.Put(ctx, "f", bytes.NewReader(old), int64(len(old)), provider.PutOptions{})
			must(t, err)
			m := openTree(t, store, Options{Writeback: time.Hour, WritebackMax: time.Hour, BootID: bootNumber(1), secureAfter: time.Hour,
				StageSize: spillStage, KeepFree: -1})
			h, err := m.open("f", syscall.O_RDWR)
			must(t, err)
			for off := 0; off < len(changed); off += 1 << 20 {
				_, err = h.WriteAt(ctx, changed[off:off+1<<20], int64(off))
				must(t, err)
			}
			if len(spilled(t, store)) == 0 {
				t.Fatal("nothing was spilled")
			}
			must(t, h.Flush(ctx))
			want := old
			if durable {
				h.Release()
				must(t, m.secureBatch())
				want = changed
			}
			m = m.reboot(2)
			if !durable {
				h.Release()
			}
			defer m.close()
			again, err := m.open("f", syscall.O_RDONLY)
			must(t, err)
			wantRead(t, again, want)
			again.Release()
			m.flush()
			if got := objects(t, store)["f"]; got != string(want) {
				t.Errorf("the store has %d bytes of %d, or others", len(got), len(want))
			}
			awaitNoneSpilled(t, store)
		})
	}
}

// TestASpilledFileIsMadeOfPartsThatTheStoreTakes writes a file that the stage cannot hold where parts are small.
func TestASpilledFileIsMadeOfPartsThatTheStoreTakes(t *testing.T) {
	caps := mem.Full()
	caps.AtomicMove, caps.MinPartSize, caps.MaxPartSize, caps.MaxPutSize = false, 100_000, 700_000, 2<<20
	store := mem.New(mem.Options{Capabilities: caps})
	m := openTree(t, store, Options{StageSize: spillStage, KeepFree: -1, StallTimeout: 20 * time.Second})
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	want := []byte(block(1) + block(2) + block(3))
	for len(want) < 3*spillStage {
		want = append(want, want...)
	}
	for off := 0; off < len(want); off += 1 << 20 {
		_, err := h.WriteAt(ctx, want[off:min(off+1<<20, len(want))], int64(off))
		must(t, err)
	}
	if len(spilled(t, store)) == 0 {
		t.Fatal("nothing was spilled")
	}
	_, err = h.WriteAt(ctx, []byte("once more"), 3_000_000)
	must(t, err, h.Fsync(ctx))
	copy(want[3_000_000:], "once more")
	if got := objects(t, store)["f"]; got != string(want) {
		t.Errorf("the store has %d bytes of %d, or others", len(got), len(want))
	}
}
