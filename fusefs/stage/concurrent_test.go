package stage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// slowBase lets others run before it answers.
type slowBase struct{ *memBase }

func (b slowBase) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	return b.memBase.ReadAt(ctx, p, off)
}

const (
	stripe  = 1500 // bytes; pages are shared by several workers
	workers = 6
	rounds  = 60
)

// worker owns every stripe whose number is its own modulo workers. It writes a counter first to a slot in one page, then
// to one in another, so that what is seen at one moment shows whether it was one moment.
type worker struct {
	t       *testing.T
	file    *File
	number  int
	content []byte // the whole file; only its own stripes are kept right
	rand    *rand.Rand
}

func (w *worker) ownRange() (off, end int) {
	stripes := len(w.content) / stripe / workers
	off = (w.rand.IntN(stripes)*workers + w.number) * stripe
	return off, off + stripe
}

func (w *worker) run() error {
	for n := 1; n <= rounds; n++ {
		for _, slot := range w.slots() {
			binary.LittleEndian.PutUint64(w.content[slot:], uint64(n))
			if _, err := w.file.WriteAt(bg, w.content[slot:slot+8], int64(slot)); err != nil {
				return err
			}
		}
		off, end := w.ownRange()
		off += w.rand.IntN(stripe - 8)
		if !slices.ContainsFunc(w.slots(), func(slot int) bool { return off < slot+8 && slot < end }) {
			copy(w.content[off:end], pattern(w.rand.Uint64(), int64(end-off)))
			if _, err := w.file.WriteAt(bg, w.content[off:end], int64(off)); err != nil {
				return err
			}
		}
		off, end = w.ownRange()
		got := make([]byte, end-off)
		if _, err := w.file.ReadAt(bg, got, int64(off)); err != nil {
			return err
		}
		if at := firstDiff(got, w.content[off:end]); at >= 0 {
			w.t.Errorf("worker %d: byte %d is %#x, want %#x", w.number, off+at, got[at], w.content[off+at])
		}
	}
	return nil
}

// slots are where the counter goes, in this order.
func (w *worker) slots() []int {
	first := w.number * stripe
	last := (len(w.content)/stripe/workers - 1) * workers * stripe
	return []int{last + first, first}
}

// TestConcurrentReadersWritersAndFillsLoseNothing also checks that snapshots show one moment, and that a tail which is
// cut off meanwhile does not come back.
func TestConcurrentReadersWritersAndFillsLoseNothing(t *testing.T) {
	const pages = 240
	object := pattern(40, pages*page)
	tail := int64(len(object) / stripe / workers * workers * stripe) // no worker's
	object = append(object, pattern(41, 20*page)...)

	s := openStore(t, t.TempDir())
	s.limits = limits{fill: 4 * page, fillChunk: 16 * page, smallSnapshot: 10 * page}
	f, err := s.Adopt(1, int64(len(object)), nil, slowBase{&memBase{content: object}})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)

	var group errgroup.Group
	var working sync.WaitGroup
	var stop atomic.Bool
	all := make([]*worker, workers)
	for i := range all {
		all[i] = &worker{t: t, file: f, number: i, content: bytes.Clone(object[:tail]), rand: rand.New(rand.NewPCG(uint64(i), 7))}
		for _, slot := range all[i].slots() { // so that counters begin at zero
			clear(all[i].content[slot : slot+8])
			mustWrite(t, f, make([]byte, 8), int64(slot))
		}
		working.Add(1)
		group.Go(func() error {
			defer working.Done()
			return all[i].run()
		})
	}
	background := func(do func() error) {
		group.Go(func() error {
			for {
				if err := do(); err != nil || stop.Load() {
					return err
				}
				runtime.Gosched()
			}
		})
	}
	background(func() error { // a reader of everything
		_, err := f.ReadAt(bg, make([]byte, tail), 0)
		return err
	})
	background(func() error { // one that gives up
		ctx, cancel := context.WithCancel(bg)
		go cancel()
		if err := f.Fill(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	background(func() error { // one that cuts the tail
		if err := f.Truncate(bg, tail+page/2); err != nil {
			return err
		}
		return f.Truncate(bg, int64(len(object)))
	})
	background(func() error {
		if err := f.Fill(bg); err != nil {
			return err
		}
		return checkSnapshot(t, f, all)
	})
	go func() {
		working.Wait()
		stop.Store(true)
	}()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	want := bytes.Clone(object)
	clear(want[tail+page/2:])
	for _, w := range all {
		for off := w.number * stripe; off < int(tail); off += workers * stripe {
			copy(want[off:off+stripe], w.content[off:])
		}
	}
	wantContent(t, f, want)
	loaded, err := s.Load(1, (&memBase{content: object}).load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, loaded)
	wantContent(t, loaded, want)
	if len(f.fetches) != 0 || len(f.watches) != 0 {
		t.Errorf("%d fetches, %d snapshots are left", len(f.fetches), len(f.watches))
	}
}

func checkSnapshot(t *testing.T, f *File, all []*worker) error {
	s, err := f.Snapshot(bg, SnapshotOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := io.ReadAll(s)
	if err != nil {
		return err
	}
	for _, w := range all {
		slots := w.slots()
		a, b := binary.LittleEndian.Uint64(p[slots[0]:]), binary.LittleEndian.Uint64(p[slots[1]:])
		if b > a || a > b+1 {
			t.Errorf("a snapshot shows change %d of worker %d, and %d of those before", b, w.number, a)
		}
	}
	return nil
}

func TestReadersOfTheSameRangeShareOneRequest(t *testing.T) {
	object := pattern(42, 8*page)
	s := openStore(t, t.TempDir())
	f, base := adoptAbsent(t, s, 1, object)
	base.started, base.release = make(chan struct{}), make(chan struct{})
	var group errgroup.Group
	read := func() error {
		p := make([]byte, 4*page)
		if _, err := f.ReadAt(bg, p, 0); err != nil {
			return err
		}
		if !bytes.Equal(p, object[:4*page]) {
			return errors.New("wrong bytes")
		}
		return nil
	}
	group.Go(read)
	<-base.started
	for range 5 {
		group.Go(read)
	}
	close(base.release)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := base.asked(); len(got) != 1 {
		t.Errorf("asked for %v, want one request", got)
	}
}

func TestAReaderThatGivesUpLeavesTheFetchToOthers(t *testing.T) {
	object := pattern(43, 4*page)
	s := openStore(t, t.TempDir())
	f, base := adoptAbsent(t, s, 1, object)
	base.started, base.release = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(bg)
	var group errgroup.Group
	group.Go(func() error {
		if _, err := f.ReadAt(ctx, make([]byte, page), 0); !errors.Is(err, context.Canceled) {
			return errors.New("the first reader was not cancelled")
		}
		return nil
	})
	<-base.started
	group.Go(func() error {
		_, err := f.ReadAt(bg, make([]byte, page), 0)
		return err
	})
	cancel()
	<-base.started // the second reader asks itself
	close(base.release)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestAFetchDoesNotOverwriteWhatWasWrittenMeanwhile(t *testing.T) {
	object := pattern(44, 4*page)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, base := adoptAbsent(t, s, 1, object)
	base.started, base.release = make(chan struct{}), make(chan struct{})
	read := make(chan error)
	go func() {
		_, err := f.ReadAt(bg, make([]byte, page), 0)
		read <- err
	}()
	<-base.started
	patch := pattern(45, page)
	mustWrite(t, f, patch, page) // no lock is held over the request
	if err := f.Truncate(bg, 3*page+5); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(bg, 4*page); err != nil {
		t.Fatal(err)
	}
	close(base.release)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	wantContent(t, f, resize(put(bytes.Clone(object), patch, page)[:3*page+5], 4*page))
}
