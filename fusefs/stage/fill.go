package stage

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sharefs/fusefs/failpoint"
)

// fillParallel is how many requests Fill has under way.
const fillParallel = 4

// window is a range of pages that may be fetched along with the one that is needed.
type window struct{ lo, hi int64 }

// readWindow widens the pages [lo, hi) of a read to the fill size.
func (f *File) readWindow(lo, hi int64) window {
	unit := f.store.limits.fill / pageSize
	return window{lo / unit * unit, (hi + unit - 1) / unit * unit}
}

// writeWindow is the window for a page that a change needs. The caller holds mu.
func (f *File) writeWindow(page int64) window {
	if f.pages.released(page) {
		return window{page, page + 1}
	}
	if f.pages.limit <= min(f.store.limits.smallFile, f.store.memory.limit) {
		return window{0, f.pages.count()}
	}
	return f.readWindow(page, page+1)
}

// fetch is a range of absent pages that is being read from the base.
type fetch struct {
	window
	done chan struct{} // closed when it has ended
	// What it ended with: valid after done. An error that came because whoever fetched gave up concerns nobody else.
	err   error
	given bool // gave up
}

// lockFilled locks for a change of the bytes [off, end) when no absent page would change only in part.
func (f *File) lockFilled(ctx context.Context, off, end int64) error {
	for {
		if err := f.lock(ctx); err != nil {
			return err
		}
		page, absent := f.pages.edge(off, end)
		if !absent {
			return nil
		}
		w := f.writeWindow(page)
		f.mu.unlock()
		err := f.fill(ctx, page, w)
		if _, full := err.(syscall.Errno); full { // of the window; the page itself has its room
			err = f.fillPage(ctx, page)
		}
		if err != nil {
			return err
		}
	}
}

// Fill fetches everything that is absent.
func (f *File) Fill(ctx context.Context) error { return f.fillPages(ctx, window{0, math.MaxInt64}) }

// fillRanges fetches what is absent of the pages of some ranges of bytes, and nothing else.
func (f *File) fillRanges(ctx context.Context, ranges []Range) error {
	for _, r := range ranges {
		if err := f.fillPages(ctx, window{r.Off / pageSize, pagesOf(r.end())}); err != nil {
			return err
		}
	}
	return nil
}

// fillPages fetches what is absent in a window, in parallel.
func (f *File) fillPages(ctx context.Context, all window) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillParallel)
	for next := all.lo; ; {
		page, absent, err := f.nextAbsent(ctx, next, all.hi)
		if err != nil {
			group.Go(func() error { return err }) // an error of a fetch that came before is the one to tell
		}
		if err != nil || !absent {
			return group.Wait()
		}
		w := window{page, min(page+f.store.limits.fillChunk/pageSize, all.hi)}
		next = w.hi
		group.Go(func() error { return f.fillWindow(ctx, w) })
	}
}

// nextAbsent returns the first absent page in [lo, hi).
func (f *File) nextAbsent(ctx context.Context, lo, hi int64) (page int64, absent bool, err error) {
	if err := f.rlock(ctx); err != nil {
		return 0, false, err
	}
	defer f.mu.runlock()
	page, absent = f.pages.nextAbsent(lo, hi)
	return page, absent, nil
}

// fillWindow fetches the absent pages of a window.
func (f *File) fillWindow(ctx context.Context, w window) error {
	for {
		page, absent, err := f.nextAbsent(ctx, w.lo, w.hi)
		if err != nil || !absent {
			return err
		}
		if err := f.fill(ctx, page, w); err != nil {
			return err
		}
	}
}

// fill fetches a page, and those absent pages next to it that lie in the window; or it waits for the fetch under way that
// brings the page. It may return without the page being present: the caller looks again.
func (f *File) fill(ctx context.Context, page int64, w window) error {
	own, other, err := f.startFetch(ctx, page, w)
	switch {
	case err != nil:
		return err
	case other != nil:
		select {
		case <-other.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if other.given {
			return nil
		}
		return other.err
	case own == nil:
		return nil
	}
	own.err = f.runFetch(ctx, own)
	own.given = ctx.Err() != nil
	f.fetchMu.Lock()
	f.fetches = slices.DeleteFunc(f.fetches, func(o *fetch) bool { return o == own })
	f.fetchMu.Unlock()
	close(own.done)
	return own.err
}

// startFetch registers a fetch of the page, or returns the one that is under way; neither when the page is present.
func (f *File) startFetch(ctx context.Context, page int64, w window) (own, other *fetch, err error) {
	if err := f.rlock(ctx); err != nil {
		return nil, nil, err
	}
	defer f.mu.runlock()
	if !f.pages.isAbsent(page) {
		return nil, nil, nil
	}
	f.fetchMu.Lock()
	defer f.fetchMu.Unlock()
	for _, o := range f.fetches {
		switch {
		case o.lo <= page && page < o.hi:
			return nil, o, nil
		case o.hi <= page:
			w.lo = max(w.lo, o.hi)
		default:
			w.hi = min(w.hi, o.lo)
		}
	}
	lo := page
	for lo > w.lo && f.pages.isAbsent(lo-1) {
		lo--
	}
	own = &fetch{window: window{lo, f.pages.absentEnd(page, w.hi)}, done: make(chan struct{})}
	f.fetches = append(f.fetches, own)
	return own, nil, nil
}

// runFetch reads the pages from the base and stores those that are still absent then.
func (f *File) runFetch(ctx context.Context, r *fetch) error {
	if err := f.rlock(ctx); err != nil {
		return err
	}
	off, end := r.lo*pageSize, min(r.hi*pageSize, f.pages.limit)
	f.mu.runlock()
	if off >= end {
		return nil // cut off meanwhile
	}
	room := f.store.room.try(pageUp(end-off)+roomSlack, ForContent)
	if room == nil {
		return unix.ENOSPC
	}
	defer room.Release()
	return f.fetch(ctx, off, end)
}

// fillPage fetches one page in room that the caller has.
func (f *File) fillPage(ctx context.Context, page int64) error {
	if err := f.rlock(ctx); err != nil {
		return err
	}
	off, end := page*pageSize, min((page+1)*pageSize, f.pages.limit)
	f.mu.runlock()
	if off >= end {
		return nil
	}
	return f.fetch(ctx, off, end)
}

// fetch reads the bytes [off, end) from the base, off at the beginning of a page, and stores them.
func (f *File) fetch(ctx context.Context, off, end int64) error {
	done, err := f.store.memory.fetch(ctx, end-off)
	if err != nil {
		return err
	}
	defer done()
	data := make([]byte, end-off)
	if err := f.readBase(ctx, data, off); err != nil {
		return err
	}
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.mu.unlock()
	defer f.recharge()
	return f.storeFetched(data, off/pageSize)
}

// readBase reads len(p) bytes of the base. The caller does not hold mu.
func (f *File) readBase(ctx context.Context, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := f.base.ReadAt(ctx, p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("stage: the base has %d bytes at %d, not %d: %w", n, off, len(p), io.ErrUnexpectedEOF)
	}
	return err
}

// storeFetched writes what was fetched from page lo on to those pages that are still absent, and marks them. The caller
// holds mu.
func (f *File) storeFetched(data []byte, lo int64) error {
	start, hi := lo*pageSize, lo+pagesOf(int64(len(data)))
	for {
		page, absent := f.pages.nextAbsent(lo, hi)
		if !absent {
			return nil
		}
		lo = f.pages.absentEnd(page, hi)
		off, end := page*pageSize, min(lo*pageSize, f.pages.limit)
		if _, err := pwrite(f.data, data[off-start:end-start], off); err != nil {
			return err
		}
		failpoint.Hit("stage.filled")
		if err := f.pages.setPresent(page, lo); err != nil {
			return err
		}
	}
}
