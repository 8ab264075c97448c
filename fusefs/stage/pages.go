package stage

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

const pageSize = 4096

func pageUp(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// pagesOf returns how many pages hold n bytes.
func pagesOf(n int64) int64 { return pageUp(n) / pageSize }

// pageMap knows which pages of a file are present and which were changed. It covers the bytes below limit, those that the
// base still stands for; all beyond is present and changed by definition, so a file that grows needs no larger map.
//
// It is guarded by File.mu, but for absent, which anybody may read.
type pageMap struct {
	limit   int64        // bytes
	absent  atomic.Int64 // pages below limit that are not present
	present bitmap       // nil when no page was ever absent
	dirty   bitmap
	side    *sidecar // where all this lies on disk; nil: in memory only
}

// wholePages returns the map of a wholly present, unchanged file that started from size bytes.
func wholePages(size int64) *pageMap {
	return &pageMap{limit: size, dirty: make(bitmap, bitmapBytes(size))}
}

func (m *pageMap) count() int64 { return pagesOf(m.limit) }

func (m *pageMap) isAbsent(page int64) bool {
	return m.absent.Load() > 0 && page < m.count() && !m.present.get(page)
}

// nextAbsent returns the first absent page in [lo, hi).
func (m *pageMap) nextAbsent(lo, hi int64) (int64, bool) {
	hi = min(hi, m.count())
	if m.absent.Load() == 0 || lo >= hi {
		return 0, false
	}
	page := m.present.next(lo, hi, false)
	return page, page < hi
}

// absentEnd returns the first page from lo on, at most hi, that is not absent.
func (m *pageMap) absentEnd(lo, hi int64) int64 {
	hi = min(hi, m.count())
	if m.absent.Load() == 0 || lo >= hi {
		return lo
	}
	return m.present.next(lo, hi, true)
}

// edge returns an absent page that a change of the bytes [off, end) would change only in part, as far as the base
// stands for it.
func (m *pageMap) edge(off, end int64) (int64, bool) {
	for _, page := range [2]int64{off / pageSize, (end - 1) / pageSize} {
		first, last := page*pageSize, min((page+1)*pageSize, m.limit)
		if m.isAbsent(page) && (off > first || end < last) {
			return page, true
		}
	}
	return 0, false
}

// setPresent marks the pages [lo, hi), as far as the map covers them. On an error none of them is marked.
func (m *pageMap) setPresent(lo, hi int64) error {
	hi = min(hi, m.count())
	if m.absent.Load() == 0 || lo >= hi {
		return nil
	}
	n := m.present.countZeros(lo, hi)
	if err := m.mark(m.present, 0, lo, hi); err != nil {
		return err
	}
	m.absent.Add(-n)
	return nil
}

// setDirty marks the pages of the bytes [off, end), as far as the map covers them.
func (m *pageMap) setDirty(off, end int64) error {
	end = min(end, m.limit)
	if off >= end {
		return nil
	}
	return m.mark(m.dirty, int64(len(m.present)), off/pageSize, pagesOf(end))
}

// mark sets the bits [lo, hi) of a bitmap that lies at an offset in the sidecar's bitmaps, there and in memory, or in
// neither.
func (m *pageMap) mark(b bitmap, at, lo, hi int64) error {
	if b.next(lo, hi, false) == hi {
		return nil
	}
	from, to := lo/8, (hi+7)/8
	old := slices.Clone(b[from:to])
	b.set(lo, hi)
	if m.side == nil {
		return nil
	}
	err := m.side.write(b[from:to], sideHeader+at+from)
	if err != nil {
		copy(b[from:to], old)
	}
	return err
}

// cut says that the base stands for no bytes from size on, ever again. It follows a truncation of the data file.
func (m *pageMap) cut(size int64) {
	if size >= m.limit {
		return
	}
	if m.absent.Load() > 0 {
		m.absent.Add(-m.present.countZeros(pagesOf(size), m.count()))
	}
	m.limit = size
}

// changed returns the changed ranges of a file of size bytes, in order.
func (m *pageMap) changed(size int64) []Range {
	var out []Range
	add := func(off, end int64) {
		end = min(end, size)
		if n := len(out); n > 0 && out[n-1].Off+out[n-1].Len >= off {
			out[n-1].Len = max(end, out[n-1].Off+out[n-1].Len) - out[n-1].Off
		} else if off < end {
			out = append(out, Range{off, end - off})
		}
	}
	n := m.count()
	for lo := m.dirty.next(0, n, true); lo < n; {
		hi := m.dirty.next(lo, n, false)
		add(lo*pageSize, hi*pageSize)
		lo = m.dirty.next(hi, n, true)
	}
	if size > m.limit {
		add(m.limit&^(pageSize-1), size)
	}
	return out
}

func (m *pageMap) close() error {
	if m.side == nil {
		return nil
	}
	return m.side.file.Close()
}

// bitmap is a row of bits, the lowest bit of a byte first.
type bitmap []byte

// bitmapBytes returns the length of a bitmap with a bit for each page of size bytes, rounded up to 8 bytes.
func bitmapBytes(size int64) int64 { return (pagesOf(size) + 63) / 64 * 8 }

func (b bitmap) get(i int64) bool { return b[i/8]&(1<<(i%8)) != 0 }

// set sets the bits [lo, hi).
func (b bitmap) set(lo, hi int64) {
	for lo < hi {
		if lo%8 == 0 && hi-lo >= 8 {
			b[lo/8] = 0xff
			lo += 8
			continue
		}
		b[lo/8] |= 1 << (lo % 8)
		lo++
	}
}

// next returns the first bit in [lo, hi) that has the value, or hi.
func (b bitmap) next(lo, hi int64, value bool) int64 {
	skip := byte(0xff)
	if value {
		skip = 0
	}
	for lo < hi {
		if lo%8 == 0 && b[lo/8] == skip {
			lo = min(lo+8, hi)
			continue
		}
		if b.get(lo) == value {
			return lo
		}
		lo++
	}
	return hi
}

// countZeros counts the zero bits in [lo, hi).
func (b bitmap) countZeros(lo, hi int64) int64 {
	var n int64
	for lo < hi {
		if lo%8 == 0 && hi-lo >= 8 {
			n += int64(8 - bits.OnesCount8(b[lo/8]))
			lo += 8
			continue
		}
		if !b.get(lo) {
			n++
		}
		lo++
	}
	return n
}

// presentPages returns the pages of a file of size bytes that the ranges cover wholly, as ranges of pages, in order.
func presentPages(size int64, present []Range) []Range {
	sorted := slices.Clone(present)
	slices.SortFunc(sorted, func(a, b Range) int {
		switch {
		case a.Off < b.Off:
			return -1
		case a.Off > b.Off:
			return 1
		}
		return 0
	})
	var out []Range
	var off, end int64
	flush := func() {
		lo, hi := pagesOf(off), end/pageSize
		if end >= size {
			hi = pagesOf(size)
		}
		if lo < hi {
			out = append(out, Range{lo, hi - lo})
		}
	}
	for _, r := range sorted {
		if r.Off > end {
			flush()
			off = r.Off
		}
		end = max(end, r.Off+r.Len)
	}
	flush()
	return out
}

// covers reports whether the ranges of pages, as presentPages returns them, are all pages of size bytes.
func covers(pages []Range, size int64) bool {
	return size == 0 || len(pages) == 1 && pages[0] == Range{0, pagesOf(size)}
}
