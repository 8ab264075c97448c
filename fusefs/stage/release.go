package stage

import (
	"context"

	"golang.org/x/sys/unix"

	"sharefs/fusefs/failpoint"
)

// Layout is what a snapshot is planned by. Ranges are in order, in whole pages but at the end of the file.
type Layout struct {
	Size   int64
	Dirty  []Range // as of File.Dirty
	Absent []Range // bytes that are not here, for the base has them
}

// layout returns the layout of now. The caller holds mu.
func (f *File) layout() Layout {
	l := Layout{Size: f.Size(), Dirty: f.pages.changed(f.Size())}
	n := pagesOf(min(l.Size, f.pages.limit))
	for page, absent := f.pages.nextAbsent(0, n); absent; page, absent = f.pages.nextAbsent(page, n) {
		end := f.pages.absentEnd(page, n)
		off := page * pageSize
		l.Absent = append(l.Absent, Range{off, min(end*pageSize, l.Size) - off})
		page = end
	}
	return l
}

// Local returns how many bytes of disk a range of the file takes.
func (f *File) Local(r Range) (n int64) {
	if f.rlock(context.Background()) != nil {
		return 0
	}
	defer f.mu.runlock()
	for off := r.Off; off < r.end(); {
		data, err := seekData(f.data, off)
		if err != nil || data >= r.end() {
			return n
		}
		hole, err := seekHole(f.data, data)
		if err != nil {
			return n
		}
		n += min(hole, r.end()) - data
		off = hole
	}
	return n
}

// Release gives up the disk of a range that a snapshot holds, after the base has what it held: the whole pages that were
// not changed since the snapshot are absent from then on. A base that the file was made without is used from now on.
//
// What is absent is so on disk, synced, before the bytes go: neither a killed process nor a power loss leaves a page that
// counts as present and is a hole.
func (f *File) Release(ctx context.Context, s Snapshot, r Range, base Base) error {
	snap := s.(*snapshot)
	if err := f.lockEnd(ctx); err != nil {
		return err
	}
	defer f.mu.unlock()
	if snap.since == nil {
		return unix.EINVAL // a small file: nothing knows what was changed since
	}
	lo, hi := pagesOf(r.Off), min(r.end(), snap.since.least, f.Size())/pageSize
	if lo >= hi {
		return nil
	}
	if err := f.cover(hi * pageSize); err != nil {
		return err
	}
	gone := without([]Range{{lo, hi - lo}}, sorted(snap.since.pages(hi*pageSize)))
	for _, g := range gone {
		if err := f.pages.clearPresent(g.Off, g.end()); err != nil {
			return err
		}
	}
	if f.base == nil {
		f.base = base
	}
	if err := fsync(f.pages.side.file); err != nil {
		return errno(err)
	}
	failpoint.Hit("stage.absent")
	defer f.recharge()
	for _, g := range gone {
		off, end := g.Off*pageSize, g.end()*pageSize
		if err := fallocate(f.data, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, end-off); err != nil {
			return err
		}
		f.allocated.cut(off, end)
	}
	return nil
}

// lockEnd locks for a change of the map's limit: a page for which the base stands only in part, because the rest was cut off,
// is present then.
func (f *File) lockEnd(ctx context.Context) error {
	for {
		if err := f.lock(ctx); err != nil {
			return err
		}
		page := f.pages.limit / pageSize
		if f.pages.limit%pageSize == 0 || !f.pages.isAbsent(page) {
			return nil
		}
		f.mu.unlock()
		if err := f.fill(ctx, page, window{page, page + 1}); err != nil {
			return err
		}
	}
}

// cover makes the page map cover the bytes below size, and as many again, so that a file that grows has not to do this often:
// all that it did not cover is present and dirty. The caller holds mu.
func (f *File) cover(size int64) error {
	if f.pages.side != nil && f.pages.limit >= size {
		return nil
	}
	size = pageUp(2 * size)
	var dirty []Range
	for _, r := range f.pages.changed(size) {
		dirty = append(dirty, Range{r.Off / pageSize, pagesOf(r.Len)})
	}
	err := f.replaceMap(sideState{size: size, present: f.presentPages(pagesOf(size)), dirty: dirty, changed: f.changedNano(), durable: true})
	if err != nil {
		return err
	}
	return syncDir(f.store.dir)
}

// clearPresent marks the pages [lo, hi) as absent. On an error none of them is.
func (m *pageMap) clearPresent(lo, hi int64) error {
	from, to := lo/8, (hi+7)/8
	old := append(bitmap(nil), m.present[from:to]...)
	n := hi - lo - m.present.countZeros(lo, hi)
	for page := lo; page < hi; page++ {
		m.present[page/8] &^= 1 << (page % 8)
	}
	if err := m.side.write(m.present[from:to], sideHeader+from); err != nil {
		copy(m.present[from:to], old)
		return err
	}
	m.absent.Add(n)
	return nil
}

// released reports whether a page is absent that was changed here: the base has it because it was released, and it is not
// fetched for those who only read it.
func (m *pageMap) released(page int64) bool {
	return m.isAbsent(page) && m.dirty.get(page)
}

// anyReleased reports whether there is such a page in some ranges of bytes.
func (m *pageMap) anyReleased(ranges []Range) bool {
	for _, r := range ranges {
		hi := pagesOf(r.end())
		for page, absent := m.nextAbsent(r.Off/pageSize, hi); absent; page, absent = m.nextAbsent(page+1, hi) {
			if m.released(page) {
				return true
			}
		}
	}
	return false
}
