package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"sharefs/provider"
)

// gated returns a store whose bodies wait for tokens, one for each 64 KiB.
func gated(id ID, size int64) *store {
	s := newStore(id, size)
	s.gate = make(chan struct{})
	return s
}

// pass lets n blocks through.
func pass(t *testing.T, s *store, n int) {
	t.Helper()
	for range n {
		select {
		case s.gate <- struct{}{}:
		case <-time.After(10 * time.Second):
			t.Error("nobody takes the block")
			return
		}
	}
}

// waitFor waits until a condition on the object holds; something else changes it.
func waitFor(t *testing.T, o *object, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		ok := cond()
		o.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not happen", what)
		}
	}
}

func TestConcurrentReadersShareOneGET(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := gated(1, 3*mib)
	const readers = 8
	var wg sync.WaitGroup
	var files [readers]*File
	for i := range files {
		files[i] = c.File(s.obj, s.fetch)
		wg.Go(func() {
			if err := tryRead(files[i], s, 0, 3*mib); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, files[0].o, "all readers wait", func() bool { return len(files[0].o.wants) == readers })
	pass(t, s, 3*mib/blk)
	wg.Wait()
	if n := s.requests(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	for _, f := range files {
		mustClose(t, f)
	}
}

func TestAReaderGetsItsBytesBeforeTheGETEnds(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := gated(1, 3*mib)
	f := c.File(s.obj, s.fetch)
	go pass(t, s, 2)
	readAt(t, f, s, 0, 100*kib) // asks for all of it, needs two blocks
	mustClose(t, f)
}

func TestAReaderThatLeavesDoesNotDisturbOthers(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := gated(1, mib)
	f, g := c.File(s.obj, s.fetch), c.File(s.obj, s.fetch)
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error), make(chan error)
	go func() {
		_, err := f.ReadAt(ctx, make([]byte, mib), 0)
		first <- err
	}()
	waitFor(t, f.o, "the first reader waits", func() bool { return len(f.o.wants) == 1 })
	go func() { second <- tryRead(g, s, 0, mib) }()
	waitFor(t, f.o, "the second reader waits", func() bool { return len(f.o.wants) == 2 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the reader who left got %v", err)
	}
	mustClose(t, f)
	pass(t, s, mib/blk)
	if err := <-second; err != nil {
		t.Errorf("the reader who stayed got %v", err)
	}
	if n := s.requests(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	mustClose(t, g)
}

func TestAGETThatNobodyWantsIsCancelled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, c *Cache, s *store) *File
		leave func(t *testing.T, f *File, s *store)
	}{
		{"its only reader left", func(t *testing.T, c *Cache, s *store) *File {
			f := c.File(s.obj, s.fetch)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() {
				_, err := f.ReadAt(ctx, make([]byte, blk), 0)
				done <- err
			}()
			waitFor(t, f.o, "the reader waits", func() bool { return len(f.o.wants) == 1 })
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the reader got %v", err)
			}
			return f
		}, func(*testing.T, *File, *store) {}},
		{"the file that read ahead is closed", startAhead, func(t *testing.T, f *File, _ *store) { mustClose(t, f) }},
		{"the file turned random", startAhead, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 10, 10)
			readAt(t, f, s, 5, 10)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir(), Options{})
			s := gated(1, 60*mib)
			f := tt.start(t, c, s)
			tt.leave(t, f, s)
			waitFor(t, f.o, "no GET is left", func() bool { return len(f.o.flights) == 0 })
			closeCache(t, c)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.open != 0 {
				t.Errorf("%d bodies are still open", s.open)
			}
		})
	}
}

// startAhead returns a file with read-ahead under way.
func startAhead(t *testing.T, c *Cache, s *store) *File {
	f := c.File(s.obj, s.fetch)
	s.free = 5 * mib
	readAt(t, f, s, 4*mib, blk)
	readAt(t, f, s, 4*mib+blk, blk)
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if len(f.o.flights) == 0 {
		t.Fatal("there is no read-ahead")
	}
	return f
}

func TestAnErrorGoesToThoseWhoWaitedAndIsNotKept(t *testing.T) {
	changed := &provider.Error{Op: "open", Key: "key", Kind: provider.KindPrecondition}
	for _, tt := range []struct {
		name  string
		spoil func(s *store)
		check func(err error) bool
	}{
		{"the object has changed", func(s *store) { s.fail = func(int64, int64) error { return changed } },
			func(err error) bool { return err == error(changed) }},
		{"a body that ends early", func(s *store) { s.cut = 3*blk + 5 },
			func(err error) bool {
				return provider.Is(err, provider.KindUnavailable) && errors.Is(err, io.ErrUnexpectedEOF)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir(), Options{})
			s := newStore(1, mib)
			tt.spoil(s)
			f := c.File(s.obj, s.fetch)
			defer mustClose(t, f)
			if err := tryRead(f, s, 0, mib); !tt.check(err) {
				t.Errorf("the error is %v", err)
			}
			s.fail, s.cut = nil, 0
			readAt(t, f, s, 0, mib)
		})
	}
}

func TestWhatLandedBeforeAnErrorIsKept(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := newStore(1, mib)
	s.cut = 4 * blk
	f := c.File(s.obj, s.fetch)
	defer mustClose(t, f)
	p := make([]byte, mib)
	n, err := f.ReadAt(context.Background(), p, 0)
	if n != 4*blk || err == nil || !bytes.Equal(p[:n], s.data[:n]) {
		t.Errorf("%d bytes, %v; want the 256 KiB that came, and an error", n, err)
	}
	s.sent()
	readAt(t, f, s, 0, 4*blk)
	for _, g := range s.sent() {
		if g.Off < 4*blk {
			t.Errorf("request %v for what had landed", g)
		}
	}
}

func TestClosedFilesAndCachesRefuse(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := gated(1, mib)
	f := c.File(s.obj, s.fetch)
	g := c.File(s.obj, s.fetch)
	mustClose(t, g)
	if err := tryRead(g, s, 0, 1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
	done := make(chan error)
	go func() { done <- tryRead(f, s, 0, mib) }()
	waitFor(t, f.o, "the reader waits", func() bool { return len(f.o.wants) == 1 })
	closeCache(t, c)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the reader at Close: %v", err)
	}
	if err := tryRead(f, s, 0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
	mustClose(t, f)
}

func TestReadAtKeepsTheRulesOfReaderAt(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{})
	s := newStore(1, 100)
	f := c.File(s.obj, s.fetch)
	defer mustClose(t, f)
	for _, tt := range []struct {
		off, n int64
		want   int
		err    error
	}{{0, 100, 100, nil}, {0, 101, 100, io.EOF}, {99, 1, 1, nil}, {99, 2, 1, io.EOF}, {100, 1, 0, io.EOF}, {200, 1, 0, io.EOF}, {50, 0, 0, nil}} {
		n, err := f.ReadAt(context.Background(), make([]byte, tt.n), tt.off)
		if n != tt.want || err != tt.err {
			t.Errorf("%d bytes at %d: %d, %v; want %d, %v", tt.n, tt.off, n, err, tt.want, tt.err)
		}
	}
	if _, err := f.ReadAt(context.Background(), make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("a negative offset: %v", err)
	}
}

func TestAReaderDoesNotWaitForItsBlockToBeStored(t *testing.T) {
	stuck := make(chan struct{})
	dir := t.TempDir()
	c := openCache(t, dir, Options{fault: func(op, path string) error {
		if op == "write" && strings.HasSuffix(path, ".data") {
			<-stuck
		}
		return nil
	}})
	s := newStore(1, 10*mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, 4*kib)
	readAt(t, f, s, 0, 4*kib)
	mustClose(t, f)
	taken := make(chan error)
	go func() {
		_, ok, err := c.Take(s.obj, dir+"/staged")
		if err == nil && !ok {
			err = errors.New("nothing was taken")
		}
		taken <- err
	}()
	close(stuck)
	if err := <-taken; err != nil {
		t.Errorf("take of a block on its way to the disk: %v", err)
	}
	if n := s.requests(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
