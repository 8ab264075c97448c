package stage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// frugal is a store with little memory.
func frugal(t *testing.T, bytes int64) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{Logger: slog.New(slog.DiscardHandler), FillSize: 4 * page, BootID: testBoot, Memory: bytes})
	must(t, err)
	return s
}

func TestUploadsWithoutMemoryReadTheFile(t *testing.T) {
	s := frugal(t, 2*10*page)
	content := pattern(3, 6*page)
	f := create(t, s, 1)
	mustWrite(t, f, content, 0)
	var all []Snapshot
	for n, want := range []bool{true, false, false} { // the first has the memory
		snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: n != 2})
		must(t, err)
		all = append(all, snap)
		if inMemory := snap.(*snapshot).from.file == nil; inMemory != want {
			t.Errorf("snapshot %d is in memory: %v", n, inMemory)
		}
		if got, err := io.ReadAll(snap); err != nil || !bytes.Equal(got, content) {
			t.Errorf("snapshot %d: %d bytes, %v", n, len(got), err)
		}
	}
	for _, snap := range all {
		must(t, snap.Close())
	}
	snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: true})
	must(t, err)
	if snap.(*snapshot).from.file != nil {
		t.Error("the memory did not come back")
	}
	must(t, snap.Close())
	if n := s.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes stay counted", n)
	}
}

func TestManyReadersOfManyFilesStayWithinTheMemory(t *testing.T) {
	s := frugal(t, 2*8*page)
	var readers sync.WaitGroup
	for id := range ID(10) {
		content := pattern(uint64(id), 64*page)
		f, base := adoptAbsent(t, s, 1+id, content)
		base.started, base.release = make(chan struct{}, 1000), make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(base.release) })
		readers.Go(func() {
			if err := f.Fill(bg); err != nil {
				t.Error(err)
			}
			got := make([]byte, len(content))
			if n, err := f.ReadAt(bg, got, 0); n != len(got) || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	readers.Wait()
	if most := s.memory.most.Load(); most > 8*page || s.memory.used.Load() != 0 {
		t.Errorf("%d bytes at most, %d now", most, s.memory.used.Load())
	}
}

func TestAWaitForMemoryEndsWithItsContext(t *testing.T) {
	s := frugal(t, 2*4*page)
	done, err := s.memory.fetch(bg, 4*page)
	must(t, err)
	f, _ := adoptAbsent(t, s, 1, pattern(1, 8*page))
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	if _, err := f.ReadAt(ctx, make([]byte, page), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	done()
	if _, err := f.ReadAt(bg, make([]byte, page), 0); err != nil {
		t.Error(err)
	}
}
