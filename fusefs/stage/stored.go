package stage

import (
	"context"
	"slices"
)

// changes collects what changes in a File while somebody wants to know: the ranges, and the least size that it had. It is
// guarded by File.watchMu.
type changes struct {
	ranges []Range
	least  int64
}

// maxChanges bounds the memory of changes; beyond it they become one range.
const maxChanges = 1024

func (c *changes) add(off, end int64) {
	if n := len(c.ranges); n > 0 {
		if last := &c.ranges[n-1]; last.Off <= off && off <= last.Off+last.Len {
			last.Len = max(last.Len, end-last.Off)
			return
		}
	}
	c.ranges = append(c.ranges, Range{off, end - off})
	if len(c.ranges) > maxChanges {
		for _, r := range c.ranges {
			off, end = min(off, r.Off), max(end, r.Off+r.Len)
		}
		c.ranges = []Range{{off, end - off}}
	}
}

func (c *changes) take() []Range {
	r := c.ranges
	c.ranges = nil
	return r
}

// watch has changes noted from now on. The caller holds mu, shared at least.
func (f *File) watch() *changes {
	w := &changes{least: f.Size()}
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	f.watches = append(f.watches, w)
	return w
}

func (f *File) unwatch(w *changes) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	f.watches = slices.DeleteFunc(f.watches, func(o *changes) bool { return o == w })
}

// taken takes what was noted since the last time.
func (f *File) taken(w *changes) []Range {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	return sorted(w.take())
}

// tellWatches notes something with everybody who watches. The caller holds mu, exclusively.
func (f *File) tellWatches(note func(*changes)) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	for _, w := range f.watches {
		note(w)
	}
}

// Stored says that the object which Base reads from now on, for whoever has it under its new version already, holds what
// the snapshot held. Of a large file, Dirty then is what was changed since, so that the next upload can be a small one. A
// process that is killed before leaves more dirty than must be.
func (f *File) Stored(s Snapshot) {
	snap := s.(*snapshot)
	if snap.since == nil || snap.of != f || f.lock(context.Background()) != nil {
		return
	}
	defer f.mu.unlock()
	if err := f.restart(snap); err != nil {
		f.store.log.Debug("stage: what is stored counts as changed until the next upload", "file", f.store.Path(f.id), "err", err)
	}
}

// restart makes the page map that of a file that started from the snapshot. The caller holds mu.
func (f *File) restart(s *snapshot) error {
	old, limit := f.pages, min(s.Size(), s.since.least)
	if limit > old.limit && old.limit%pageSize != 0 && old.isAbsent(old.limit/pageSize) {
		return nil // the object would stand for bytes of this page for which it did not before
	}
	return f.replaceMap(sideState{size: limit, present: f.presentPages(pagesOf(limit)),
		dirty: s.since.pages(limit), changed: f.changedNano(), durable: true})
}

// replaceMap gives the file another page map and sidecar. The caller holds mu.
func (f *File) replaceMap(state sideState) error {
	old := f.pages
	pages, err := f.store.createSidecar(f.id, state)
	if err != nil {
		return err
	}
	_ = old.close() // what it said is in the new one
	f.changed.Store(pages.side.changed)
	old.limit, old.present, old.dirty, old.side = pages.limit, pages.present, pages.dirty, pages.side
	old.absent.Store(pages.absent.Load())
	f.sided.Store(true)
	f.entries.Add(1) // what is noted from now on is in a file whose name is not durable
	return nil
}

// presentPages returns the first n pages but those that are absent, as ranges of pages. The caller holds mu.
func (f *File) presentPages(n int64) []Range {
	var out []Range
	for lo := int64(0); lo < n; {
		next, absent := f.pages.nextAbsent(lo, n)
		if !absent {
			return append(out, Range{lo, n - lo})
		}
		if next > lo {
			out = append(out, Range{lo, next - lo})
		}
		lo = max(next+1, f.pages.absentEnd(next, n))
	}
	return out
}

// pages returns the pages that were changed below a limit, as ranges of pages.
func (c *changes) pages(limit int64) []Range {
	var out []Range
	for _, r := range c.ranges {
		if lo, hi := r.Off/pageSize, pagesOf(min(r.end(), limit)); lo < hi {
			out = append(out, Range{lo, hi - lo})
		}
	}
	return out
}

// changedNano returns ModTime as nanoseconds since 1970, 0 for none.
func (f *File) changedNano() int64 {
	if t := f.ModTime(); !t.IsZero() {
		return t.UnixNano()
	}
	return 0
}
