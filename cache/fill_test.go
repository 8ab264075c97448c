package cache

import (
	"context"
	"errors"
	"io/fs"
	"testing"
)

func fill(t *testing.T, f *File) {
	t.Helper()
	if err := f.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAFilledContentCanBeTakenWhole(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := newStore(1, 3*mib+5)
	f := c.File(s.obj, s.fetch)
	fill(t, f)
	mustClose(t, f)
	present, _, err := c.Take(s.obj, t.TempDir()+"/taken")
	if err != nil || len(present) != 1 || present[0] != (Range{0, 3*mib + 5}) {
		t.Errorf("taken: %v, %v", present, err)
	}
}

func TestFillEndsWithTheErrorOfItsGET(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := newStore(1, 3*mib)
	broken := errors.New("broken")
	s.fail = func(int64, int64) error { return broken }
	f := c.File(s.obj, s.fetch)
	if err := f.Fill(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	s.fail = nil
	fill(t, f)
	mustClose(t, f)
	if err := f.Fill(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("of a closed file: %v", err)
	}
}

func TestFillEndsWithItsContext(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := gated(1, 3*mib)
	f := c.File(s.obj, s.fetch)
	defer mustClose(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Fill(ctx) }()
	waitFor(t, f.o, "it waits", func() bool { return len(f.o.wants) == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
