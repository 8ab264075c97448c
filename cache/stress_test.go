package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/test/soak"
)

// TestSoakManyReadersOfASmallCacheSeeTheRightBytes runs everything at once on a cache that is too small for it, with a
// store and a disk that fail now and then, and checks each byte, each promotion, and the accounts at the end.
func TestSoakManyReadersOfASmallCacheSeeTheRightBytes(t *testing.T) {
	const contents, workers = 24, 8
	steps := soak.Count(50, 1000)
	seed := soak.Seed(t)
	dir := t.TempDir()
	var disk, ticks atomic.Int64
	now := func() time.Time { return time.Unix(ticks.Add(1), 0) }
	c := openCache(t, filepath.Join(dir, "cache"), Options{Size: 12 * mib, Memory: 2 * mib, Now: now, fault: func(op, _ string) error {
		if op != "create" && disk.Add(1)%997 == 0 {
			return syscall.EIO
		}
		return nil
	}})
	stores := make([]*store, contents)
	for i := range stores {
		size := []int64{100, blk, blk + 1, 300 * kib, mib, 3*mib + 11, 6 * mib}[i%7]
		stores[i] = newStore(ID(i+1), size)
		var gets atomic.Int64
		stores[i].fail = func(int64, int64) error {
			if gets.Add(1)%11 == 0 {
				return &provider.Error{Op: "open", Kind: provider.KindUnavailable}
			}
			return nil
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		rnd := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for step := range steps {
				s := stores[rnd.IntN(contents)]
				staged := filepath.Join(dir, fmt.Sprintf("staged-%d-%d", w, step))
				if err := anyStep(rnd, c, s, staged); err != nil {
					t.Errorf("worker %d, step %d, content %d: %v", w, step, s.obj.ID, err)
					return
				}
			}
		})
	}
	wg.Wait()
	st := stats(t, c)
	t.Logf("%+v", st)
	if st.Evicted == 0 || st.DiskErrors == 0 || st.Hits == 0 {
		t.Error("the test did not reach evictions, hits and trouble of the disk")
	}
}

// anyStep does something with a content, and checks it.
func anyStep(rnd *rand.Rand, c *Cache, s *store, staged string) error {
	switch rnd.IntN(12) {
	case 0:
		c.Drop(s.obj.ID)
		return nil
	case 1:
		if err := os.WriteFile(staged, s.data, 0o600); err != nil {
			return err
		}
		return c.Give(s.obj, staged)
	case 2:
		return takeAndCheck(c, s, staged)
	case 3:
		return c.Retarget(s.obj.ID, "key", "v1")
	}
	f := c.File(s.obj, s.fetch)
	defer f.Close()
	if rnd.IntN(2) == 0 {
		return sequentialReads(rnd, f, s)
	}
	for range 1 + rnd.IntN(4) {
		off := rnd.Int64N(s.obj.Size)
		ctx, cancel := context.WithCancel(context.Background())
		if rnd.IntN(8) == 0 {
			cancel()
		}
		err := tryReadCtx(ctx, f, s, off, 1+rnd.Int64N(200*kib))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func sequentialReads(rnd *rand.Rand, f *File, s *store) error {
	step := []int64{4 * kib, 64 * kib, 128 * kib, mib}[rnd.IntN(4)]
	upTo := rnd.Int64N(s.obj.Size + 1)
	for off := int64(0); off < upTo; off += step {
		if err := tryReadCtx(context.Background(), f, s, off, step); err != nil {
			return err
		}
	}
	return nil
}

// tryReadCtx reads and compares; the failures that the test makes are none.
func tryReadCtx(ctx context.Context, f *File, s *store, off, n int64) error {
	p := make([]byte, n)
	m, err := f.ReadAt(ctx, p, off)
	want := s.data[off:min(off+n, s.obj.Size)]
	switch {
	case !slices.Equal(p[:m], want[:m]):
		return &mismatch{off, n, m}
	case err == nil || err == io.EOF:
		if m != len(want) {
			return fmt.Errorf("%d bytes at %d: got %d, %v", n, off, m, err)
		}
		return nil
	case errors.Is(err, context.Canceled) && ctx.Err() != nil, provider.Is(err, provider.KindUnavailable):
		return nil
	}
	return err
}

func takeAndCheck(c *Cache, s *store, staged string) error {
	present, ok, err := c.Take(s.obj, staged)
	if errors.Is(err, ErrOpen) || err == nil && !ok {
		return nil
	}
	if err != nil {
		return err
	}
	defer os.Remove(staged)
	data, err := os.ReadFile(staged)
	if err != nil || int64(len(data)) != s.obj.Size {
		return fmt.Errorf("the promoted file has %d bytes, %v", len(data), err)
	}
	for _, r := range present {
		if !slices.Equal(data[r.Off:r.Off+r.Len], s.data[r.Off:r.Off+r.Len]) {
			return fmt.Errorf("wrong bytes in the promoted range %v", r)
		}
	}
	return nil
}
