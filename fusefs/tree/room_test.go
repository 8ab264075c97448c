package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// narrow is a tree with room for size bytes of staged files, over a store that can be made to fail. Nothing is stored for
// want of quiet: only what is short of room hurries it.
func narrow(t *testing.T, size int64, stall time.Duration) (*mount, *faulty.Provider) {
	t.Helper()
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
	m := openTree(t, f, Options{StageSize: size, StallTimeout: stall, KeepFree: -1, Writeback: time.Hour, WritebackMax: time.Hour})
	t.Cleanup(func() {
		if err := m.Tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, f
}

const quarter = 256 << 10

func block(n int) string { return strings.Repeat(string(rune('a'+n%26)), quarter) }

func TestAFullStageHurriesWhatIsClosedAndTakesAll(t *testing.T) {
	m, f := narrow(t, 4*quarter, time.Minute)
	want := map[string]string{}
	for n := range 20 {
		name := fmt.Sprint("f", n)
		want[name] = block(n)
		must(t, m.write(name, want[name]))
	}
	if got := m.Room().Used; got > 4*quarter {
		t.Errorf("%d bytes are staged", got)
	}
	m.flush()
	must(t, same(m.show(), want), same(objects(t, f), want))
	if got := m.Room(); got.Used != 0 || got.Waiting != 0 || !got.Since.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestAStageThatStaysFullSaysSoAndKeepsWhatItHas(t *testing.T) {
	const stall = 3 * time.Second
	m, f := narrow(t, 4*quarter, stall)
	if _, err := m.read("nothing"); !errors.Is(err, syscall.ENOENT) { // the root is known
		t.Fatal(err)
	}
	heal := f.Add(faulty.Rule{Kind: provider.KindUnavailable})
	want := map[string]string{}
	var full error
	for n := 0; full == nil && n < 10; n++ {
		name := fmt.Sprint("f", n)
		if full = m.write(name, block(n)); full == nil {
			want[name] = block(n)
		} else {
			want[name] = ""
		}
	}
	if !errors.Is(full, syscall.ENOSPC) || len(want) < 3 {
		t.Fatalf("%v after %d files", full, len(want))
	}
	began := time.Now()
	want["next"] = ""
	if err := m.write("next", block(1)+block(2)); err == nil {
		t.Error("there was room")
	} else if took := time.Since(began); !errors.Is(err, syscall.ENOSPC) || took >= stall {
		t.Errorf("the next one, after %v: %v", took, err)
	}
	must(t, same(m.show(), want))
	must(t, m.mv("f1", "renamed"), m.mkdir("dir"))
	want["renamed"], want["dir/"] = want["f1"], ""
	delete(want, "f1")
	must(t, m.write("f0", "there is room for less"))
	want["f0"] = "there is room for less"
	heal()
	m.flush()
	must(t, m.write("after", block(3)))
	want["after"] = block(3)
	m.flush()
	must(t, same(m.show(), want), same(objects(t, f), want))
}

// TestWhoWaitsForRoomHoldsNobodyUp looks at, reads, truncates and fsyncs the file that a writer waits to grow.
func TestWhoWaitsForRoomHoldsNobodyUp(t *testing.T) {
	m, f := narrow(t, 4*quarter, time.Minute)
	must(t, m.write("other", block(0)))
	h, err := m.open("file", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte(block(1)), 0)
	must(t, err)
	heal := f.Add(faulty.Rule{Ops: []string{"put"}, Key: func(k string) bool { return k == "other" }, Kind: provider.KindUnavailable})
	waits, giveUp := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := h.WriteAt(waits, []byte(block(2)+block(3)), quarter)
		ended <- err
	}()
	for m.Room().Waiting == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the writer does not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	within := func(what string, do func() error) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- do() }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s waits too", what)
		}
	}
	within("stat", func() error { _, err := m.GetAttr(ctx, h.Ino()); return err })
	within("read", func() error { _, err := h.ReadAt(ctx, make([]byte, 10), 0); return err })
	within("fsync", func() error { return h.Fsync(ctx) })
	within("statfs", func() error { m.Statfs(); return nil })
	within("unlink of something else", func() error { return m.rm("other") })
	heal()
	select {
	case err := <-ended: // what was unlinked is forgotten by the kernel only later
		t.Errorf("the writer ended: %v", err)
	default:
	}
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted writer: %v", err)
	}
	if a, err := m.GetAttr(ctx, h.Ino()); err != nil || a.Size != quarter {
		t.Errorf("%d bytes, %v", a.Size, err)
	}
}

func TestAFileLargerThanTheStageIsNoSpaceAtOnce(t *testing.T) {
	m, f := narrow(t, 4*quarter, time.Hour)
	h, err := m.open("file", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	var content string
	for n := 0; ; n++ {
		k, err := h.WriteAt(ctx, []byte(block(n)), int64(len(content)))
		content += block(n)[:k]
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		must(t, err)
	}
	if err := h.Allocate(ctx, 0, 8*quarter, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fallocate: %v", err)
	}
	must(t, h.Flush(ctx))
	h.Release()
	m.flush()
	must(t, same(objects(t, f), map[string]string{"file": content}))
}

// TestACachedFileIsChangedInPlaceWhateverItsSize opens for change what is larger than the stage.
func TestACachedFileIsChangedInPlaceWhateverItsSize(t *testing.T) {
	m, f := narrow(t, 4*quarter, time.Minute)
	large := strings.Repeat(block(0), 8)
	put(t, f, "large", large, nil)
	got, err := m.read("large") // into the cache
	must(t, err)
	if len(got) != 1<<20 {
		t.Fatal(len(got))
	}
	h, err := m.open("large", syscall.O_RDWR)
	must(t, err)
	for off := int64(0); off < int64(len(large)); off += 1 << 20 {
		_, err := h.ReadAt(ctx, make([]byte, 1<<20), off)
		must(t, err)
	}
	if _, err := h.WriteAt(ctx, []byte("changed"), 100); err != nil {
		t.Fatal(err)
	}
	must(t, h.Flush(ctx))
	h.Release()
	m.flush()
	want := large[:100] + "changed" + large[107:]
	must(t, same(objects(t, f), map[string]string{"large": want}))
}

// TestAPartlyLocalFileIsStoredWithoutRoomForTheRest changes a page of an object for the whole of which there is no room.
func TestAPartlyLocalFileIsStoredWithoutRoomForTheRest(t *testing.T) {
	for _, blocks := range []int{4, 48} { // in memory, and read from the file
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			m, f := narrow(t, 2*quarter, time.Minute)
			content := strings.Repeat(block(7), blocks)
			put(t, f, "file", content, nil)
			h, err := m.open("file", syscall.O_RDWR)
			must(t, err)
			_, err = h.WriteAt(ctx, []byte("x"), 70_000)
			must(t, err)
			must(t, h.Fsync(ctx))
			must(t, same(objects(t, f), map[string]string{"file": content[:70_000] + "x" + content[70_001:]}))
			_, err = h.WriteAt(ctx, []byte("y"), 80_000)
			must(t, err)
			must(t, h.Flush(ctx))
			h.Release()
			m.flush()
			must(t, same(objects(t, f), map[string]string{"file": content[:70_000] + "x" + content[70_001:80_000] + "y" + content[80_001:]}))
		})
	}
}

// slowStore takes the end of a large content a MiB a time.
type slowStore struct{ provider.Provider }

func (s slowStore) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	return s.Provider.Put(ctx, key, slowBody{body}, size, opts)
}

type slowBody struct{ io.ReadSeeker }

func (b slowBody) Read(p []byte) (int, error) {
	if at, err := b.Seek(0, io.SeekCurrent); err == nil && at >= bufferedBytes {
		time.Sleep(1200 * time.Millisecond)
	}
	return b.ReadSeeker.Read(p[:min(len(p), 1<<20)])
}

func TestAStoreThatIsSlowIsWaitedForWhileItTakesSomething(t *testing.T) {
	m := openTree(t, slowStore{mem.New(mem.Options{})}, Options{StageSize: 16 << 20, KeepFree: -1, StallTimeout: 5 * time.Second})
	defer m.close()
	must(t, m.write("slow", strings.Repeat("x", 13<<20)))
	began := time.Now()
	must(t, m.write("next", strings.Repeat("y", 7<<20)))
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("there was room after %v", took)
	}
}
