package cache

import (
	"slices"
	"testing"
)

// The numbers of requests are promises: see "Requests" in the package's comment.
func TestReadsCostNoMoreThanTheirFloor(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
		read func(t *testing.T, f *File, s *store)
		want []Range
	}{
		{"a file of up to a block, in small steps", 60 * kib, func(t *testing.T, f *File, s *store) { readAll(t, f, s, 4*kib) },
			[]Range{{0, 60 * kib}}},
		{"a first read of the whole file", 3 * mib, func(t *testing.T, f *File, s *store) { readAll(t, f, s, 4*mib) },
			[]Range{{0, 3 * mib}}},
		{"4 MiB in large steps", 4 * mib, func(t *testing.T, f *File, s *store) { readAll(t, f, s, mib) },
			[]Range{{0, 4 * mib}}},
		{"4 MiB in steps of 128 KiB", 4 * mib, func(t *testing.T, f *File, s *store) { readAll(t, f, s, 128*kib) },
			[]Range{{0, 4 * mib}}},
		{"4 MiB in small steps", 4 * mib, func(t *testing.T, f *File, s *store) { readAll(t, f, s, 4*kib) },
			[]Range{{0, blk}, {blk, 4*mib - blk}}},
		{"4 MiB in small steps, out of order at first", 4 * mib, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 0, 16*kib)
			readAt(t, f, s, 80*kib, 256*kib)
			readAt(t, f, s, 16*kib, 64*kib)
			readAt(t, f, s, 336*kib, 3*mib)
		}, []Range{{0, blk}, {blk, 4*mib - blk}}},
		{"filled and read", 8 * mib, func(t *testing.T, f *File, s *store) { fill(t, f); readAll(t, f, s, 4*kib) }, []Range{{0, 8 * mib}}},
		{"filled around what is there", 3 * mib, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, mib, 100)
			fill(t, f)
		}, []Range{{0, mib}, {mib, blk}, {mib + blk, 2*mib - blk}}},
		{"head and tail of a small file", 140 * kib, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 0, 8*kib)
			readAt(t, f, s, 140*kib-72, 72)
		}, []Range{{0, blk}, {2 * blk, 12 * kib}}},
		{"an odd size in odd steps", 3*mib + 17, func(t *testing.T, f *File, s *store) { readAll(t, f, s, 4999) },
			[]Range{{0, blk}, {blk, 3*mib + 17 - blk}}},
		{"head and tail", 10*mib + 100, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 0, 12)
			readAt(t, f, s, 10*mib+28, 72)
		}, []Range{{0, blk}, {10 * mib, 100}}},
		{"the head twice", 10 * mib, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 0, 12)
			readAt(t, f, s, 0, 12)
		}, []Range{{0, blk}}},
		{"a tail over two blocks", 10*mib + 100, func(t *testing.T, f *File, s *store) { readAt(t, f, s, 10*mib-50, 150) },
			[]Range{{10*mib - blk, blk + 100}}},
		{"in the middle", 10 * mib, func(t *testing.T, f *File, s *store) { readAt(t, f, s, 5*mib+1, 4*kib) },
			[]Range{{5 * mib, blk}}},
		{"random reads, some of them over what is there", 10 * mib, func(t *testing.T, f *File, s *store) {
			readAt(t, f, s, 5*mib, 4*kib)
			readAt(t, f, s, 5*mib-2*blk, 4*blk)
			readAt(t, f, s, 5*mib-2*blk, 4*blk)
		}, []Range{{5 * mib, blk}, {5*mib - 2*blk, 2 * blk}, {5*mib + blk, blk}}},
		{"nothing beyond the end", mib, func(t *testing.T, f *File, s *store) { readAt(t, f, s, 2*mib, 10) }, nil},
		{"an empty file", 0, func(t *testing.T, f *File, s *store) { readAt(t, f, s, 0, 10) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir(), Options{})
			s := newStore(1, tt.size)
			f := c.File(s.obj, s.fetch)
			defer mustClose(t, f)
			tt.read(t, f, s)
			settle(t, c)
			got := s.sent()
			slices.SortFunc(got, func(a, b Range) int { return int(a.Off - b.Off) })
			slices.SortFunc(tt.want, func(a, b Range) int { return int(a.Off - b.Off) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("requests %v, want %v", got, tt.want)
			}
			tt.read(t, f, s)
			if again := s.sent(); len(again) > 0 {
				t.Errorf("the second time: requests %v", again)
			}
		})
	}
}

func TestALargeFileIsReadAheadInFewRequests(t *testing.T) {
	const size = 100*mib + 12345
	c := openCache(t, t.TempDir(), Options{})
	s := newStore(1, size)
	f := c.File(s.obj, s.fetch)
	defer mustClose(t, f)
	readAll(t, f, s, mib)
	if got := s.bytes(); got != size {
		t.Errorf("%d bytes were fetched of %d", got, int64(size))
	}
	if n := s.requests(); n > 30 {
		t.Errorf("%d requests for 100 MiB", n)
	}
	if !whole(t, c, 1) {
		t.Error("the file is not whole")
	}
}

func TestKnownHeadsAndTailsCostNothingAfterARemount(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, Options{})
	stores := make([]*store, 20)
	for i := range stores {
		stores[i] = newStore(ID(i+1), mib+int64(i))
	}
	crawl := func(c *Cache) (requests int) {
		for _, s := range stores {
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, 12)
			readAt(t, f, s, s.obj.Size-72, 72)
			mustClose(t, f)
			requests += len(s.sent())
		}
		return requests
	}
	if n := crawl(c); n != 40 {
		t.Errorf("the first crawl: %d requests, want 2 for each file", n)
	}
	if n := crawl(c); n != 0 {
		t.Errorf("the second crawl: %d requests, want none", n)
	}
	closeCache(t, c)
	if n := crawl(openCache(t, dir, Options{})); n != 0 {
		t.Errorf("the crawl after a remount: %d requests, want none", n)
	}
}

// A storage server opens a share again for each step that it reads of it.
func TestReadingOverManyOpensCostsAsMuchAsOverOne(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
		step int64
		most int // requests
	}{
		{"4 MiB in small steps", 4 * mib, 32 * kib, 2},
		{"4 MiB in large steps", 4 * mib, 128 * kib, 2},
		{"a large file", 64 * mib, 128 * kib, 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir(), Options{})
			s := newStore(1, tt.size)
			for off := int64(0); off < tt.size; off += tt.step {
				f := c.File(s.obj, s.fetch)
				readAt(t, f, s, off, tt.step)
				mustClose(t, f)
			}
			if n := s.requests(); n > tt.most {
				t.Errorf("%d requests, want at most %d", n, tt.most)
			}
		})
	}
}
