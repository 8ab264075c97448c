package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"sharefs/fusefs/failpoint"
)

// File is a staged file. Its methods are safe for concurrent use. Errors of the local disk come back as syscall.Errno,
// those of the base and of a context unchanged; a method of a closed File returns os.ErrClosed.
//
// Locks, in the order in which they are taken: mu, then fetchMu or watchMu. None is held while the base is read.
type File struct {
	store *Store
	id    ID
	base  Base // nil when nothing was ever absent

	mu     rwLock
	data   *os.File // guarded by mu; its own methods are safe beside Close
	pages  *pageMap // guarded by mu
	closed bool     // guarded by mu

	fetchMu sync.Mutex
	fetches []*fetch // guarded by fetchMu

	watchMu sync.Mutex
	watches []*changes // guarded by watchMu: of snapshots that want to know what changes after them

	// Written under mu, read by anybody. size is always that of the data file.
	size    atomic.Int64
	gen     atomic.Uint64
	changed atomic.Int64 // nanoseconds since 1970, 0: never; used only with a sidecar
	sided   atomic.Bool  // there is a sidecar

	// Changes of the file's directory entries, and how many of them are durable.
	entries, entriesSynced atomic.Uint64

	use       *usage     // what it takes of the local disk: see room.go
	allocated allocation // guarded by mu
}

func (s *Store) newFile(id ID, data *os.File, size int64, pages *pageMap, base Base) *File {
	f := &File{store: s, id: id, base: base, mu: newRWLock(), data: data, pages: pages}
	f.size.Store(size)
	f.gen.Store(1)
	f.entries.Store(1) // by this process or an earlier one
	if pages.side != nil {
		f.changed.Store(pages.side.changed)
		f.sided.Store(true)
	}
	f.use = s.room.enter(id)
	f.recharge()
	return f
}

// ID returns the content's name.
func (f *File) ID() ID { return f.id }

// Size returns the length in bytes.
func (f *File) Size() int64 { return f.size.Load() }

// Gen returns a number that grows with every change of the content. It says nothing about another File of the same ID.
func (f *File) Gen() uint64 { return f.gen.Load() }

// Present reports whether no page is absent.
func (f *File) Present() bool { return f.pages.absent.Load() == 0 }

// ModTime returns when the content was last changed; the zero time when it was not since Adopt.
func (f *File) ModTime() time.Time {
	ns := f.changed.Load()
	if !f.sided.Load() { // then nothing but changes writes to the data file
		if st, err := f.data.Stat(); err == nil {
			ns = st.ModTime().UnixNano()
		}
	}
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Blocks returns what stat(2) shows as st_blocks, in units of 512 bytes. An absent page counts as one that is there.
func (f *File) Blocks() int64 {
	blocks := f.pages.absent.Load() * (pageSize / 512)
	if st, err := f.data.Stat(); err == nil {
		blocks += st.Sys().(*syscall.Stat_t).Blocks
	}
	return blocks
}

// Dirty returns the ranges that may differ from the object that the file started from, or that Stored was told of last, in
// order, in whole pages but at the end of the file. All other bytes are the object's at the same offset. After a restart a
// file of up to 8 MiB that was wholly present when it was adopted is dirty as a whole once it has been changed.
func (f *File) Dirty() []Range {
	if f.rlock(context.Background()) != nil {
		return nil
	}
	defer f.mu.runlock()
	return f.pages.changed(f.Size())
}

// ReadAt reads len(p) bytes from off and fetches those that are absent. Fewer bytes come with io.EOF at the end of the
// file, or with another error.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	for {
		if err := f.rlock(ctx); err != nil {
			return 0, err
		}
		lo, hi := off/pageSize, pagesOf(min(off+int64(len(p)), f.Size()))
		page, absent := f.pages.nextAbsent(lo, hi)
		if !absent || off >= f.Size() {
			defer f.mu.runlock()
			return f.readData(p, off)
		}
		released := f.pages.released(page)
		f.mu.runlock()
		if released {
			return f.readAround(ctx, p, off)
		}
		err := f.fill(ctx, page, f.readWindow(lo, hi))
		if _, full := err.(syscall.Errno); full { // the disk does not take it: the reader need not know
			return f.readAround(ctx, p, off)
		}
		if err != nil {
			return 0, err
		}
	}
}

// readData reads present bytes. The caller holds mu.
func (f *File) readData(p []byte, off int64) (int, error) {
	n, err := f.data.ReadAt(p, off)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, errno(err)
}

// readAround is ReadAt without keeping what is fetched. It reads what the file holds when it begins.
func (f *File) readAround(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.rlock(ctx); err != nil {
		return 0, err
	}
	n, err := f.readData(p, off)
	end := min(off+int64(n), f.pages.limit)
	var absent []Range
	hi := pagesOf(end)
	for page, is := f.pages.nextAbsent(off/pageSize, hi); is; page, is = f.pages.nextAbsent(page, hi) {
		from := max(off, page*pageSize)
		page = f.pages.absentEnd(page, hi)
		if to := min(end, page*pageSize); from < to { // else the base does not stand for what is read of the page
			absent = append(absent, Range{from, to - from})
		}
	}
	f.mu.runlock()
	for _, r := range absent {
		if err := f.readBase(ctx, p[r.Off-off:r.end()-off], r.Off); err != nil {
			return 0, err
		}
	}
	return n, err
}

// WriteAt writes p at off; the file grows as needed. Absent pages that it covers only in part are fetched before. When the
// disk takes only some of the bytes it returns their number and the errno.
func (f *File) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	switch {
	case off < 0:
		return 0, unix.EINVAL
	case end < off:
		return 0, unix.EFBIG
	case len(p) == 0:
		return 0, nil
	}
	if err := f.lockFilled(ctx, off, end); err != nil {
		return 0, err
	}
	defer f.mu.unlock()
	defer f.recharge()
	if err := f.beginChange(off, end); err != nil {
		return 0, err
	}
	failpoint.Hit("stage.marked")
	n, err := pwrite(f.data, p, off)
	failpoint.Hit("stage.written")
	n, marked := f.accept(off, int64(n))
	if err == nil {
		err = marked
	}
	if err != nil {
		f.settleSize()
		return n, err
	}
	f.size.Store(max(f.Size(), end))
	return n, nil
}

// accept marks the pages of which the disk took n bytes and returns how many bytes count: those at the end that fill an
// absent page only in part do not, nor, on an error, those from the first page on that stays absent. The caller holds mu.
func (f *File) accept(off, n int64) (int, error) {
	end := off + n
	if last := end / pageSize; end < f.pages.limit && f.pages.isAbsent(last) {
		end = max(off, last*pageSize)
	}
	lo, hi := off/pageSize, end/pageSize
	if end >= f.pages.limit {
		hi = pagesOf(end)
	}
	if first, absent := f.pages.nextAbsent(lo, hi); absent {
		if err := f.pages.setPresent(first, hi); err != nil {
			return int(max(off, first*pageSize) - off), err
		}
	}
	return int(end - off), nil
}

// settleSize takes the size from the data file after a failed change. The caller holds mu.
func (f *File) settleSize() {
	st, err := f.data.Stat()
	if err != nil {
		f.store.log.Error("stage: cannot stat a staged file", "file", f.store.Path(f.id), "err", err)
		return
	}
	f.size.Store(st.Size())
}

// Truncate sets the length. Bytes beyond the old length are zeros; bytes cut off never come back.
func (f *File) Truncate(ctx context.Context, size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.mu.unlock()
	old := f.Size()
	if size == old {
		return nil
	}
	err := f.noteChange(min(size, old), max(size, old))
	if err != nil && size > old { // to a shorter file a full disk is no obstacle
		return err
	}
	failpoint.Hit("stage.truncate")
	err = f.data.Truncate(size)
	failpoint.Hit("stage.truncated")
	f.settleSize()
	f.allocated.cut(size, math.MaxInt64)
	defer f.recharge()
	f.pages.cut(f.Size()) // after the data: see sidecar.go
	f.tellWatches(func(w *changes) { w.least = min(w.least, f.Size()) })
	if f.pages.side != nil && f.pages.side.saveLimit(f.pages.limit) != nil {
		f.store.log.Debug("stage: a truncation is written to the sidecar later", "file", f.store.Path(f.id))
	}
	return errno(err)
}

// beginChange counts a change of the bytes [off, end), which is about to be made, and marks them. The caller holds mu.
func (f *File) beginChange(off, end int64) error {
	if err := f.noteChange(off, end); err != nil {
		return err
	}
	return f.pages.setDirty(off, end)
}

// noteChange counts a change of the bytes [off, end), which is about to be made. The caller holds mu.
func (f *File) noteChange(off, end int64) error {
	f.gen.Add(1)
	f.tellWatches(func(w *changes) { w.add(off, end) })
	side := f.pages.side
	if side == nil {
		return nil
	}
	if err := side.saveLimit(f.pages.limit); err != nil {
		return err
	}
	ns := f.store.now().UnixNano()
	f.changed.Store(ns)
	return side.saveChanged(ns)
}

// Sync makes the content and the sidecar durable as they are at a moment in the call, and returns the Gen of that moment:
// as long as Gen returns the same, what is on the disk is what the file holds. Changes made while it runs may not be.
func (f *File) Sync() (gen uint64, err error) {
	if err := f.rlock(context.Background()); err != nil {
		return 0, err
	}
	gen = f.Gen() // no change that it counts is half made: those hold mu
	whole := f.Present()
	f.mu.runlock()
	// Not fdatasync: the modification time says whether a file without a sidecar was changed, see markUnchanged.
	if err := fsync(f.data); err != nil {
		return 0, errno(err)
	}
	if whole {
		if err := f.saveWhole(); err != nil {
			return 0, err
		}
	}
	if err := f.syncSide(); err != nil {
		return 0, errno(err)
	}
	entries := f.entries.Load()
	if f.entriesSynced.Load() >= entries {
		return gen, nil
	}
	if err := syncDir(f.store.dir); err != nil {
		return 0, errno(err)
	}
	f.entriesSynced.Store(entries) // an older number of somebody beside us costs one syncDir more
	return gen, nil
}

func (f *File) saveWhole() error {
	if err := f.lock(context.Background()); err != nil {
		return err
	}
	defer f.mu.unlock()
	if f.pages.side == nil {
		return nil
	}
	return f.pages.side.saveWhole()
}

// syncSide makes the sidecar durable: the one that there is now, if it is replaced meanwhile.
func (f *File) syncSide() error {
	for {
		if err := f.rlock(context.Background()); err != nil {
			return err
		}
		side := f.pages.side
		f.mu.runlock()
		if side == nil {
			return nil
		}
		if err := fsync(side.file); !errors.Is(err, os.ErrClosed) {
			return err
		}
	}
}

// Detach closes the File and leaves the data file at the path that it returns, without a sidecar, for the caller to take
// away. It is ErrAbsent, and changes nothing, when a page is absent.
func (f *File) Detach() (path string, err error) {
	if err := f.lock(context.Background()); err != nil {
		return "", err
	}
	defer f.mu.unlock()
	path = f.store.Path(f.id)
	if !f.Present() {
		return "", fmt.Errorf("stage: detach %s: %w", path, ErrAbsent)
	}
	if f.pages.side != nil {
		if err := removeIfThere(f.store.mapPath(f.id)); err != nil {
			return "", fmt.Errorf("stage: detach: %w", err)
		}
	}
	failpoint.Hit("stage.detached")
	err = f.close()
	f.store.room.forget(f.id)
	return path, err
}

// Close frees what the File holds. The files stay, for Load.
func (f *File) Close() error {
	if err := f.lock(context.Background()); err != nil {
		return err
	}
	defer f.mu.unlock()
	return f.close()
}

func (f *File) close() error {
	f.recharge()
	f.closed = true
	defer f.store.room.leave(f.id, f.use)
	return errors.Join(f.pages.close(), f.data.Close())
}

// lock locks for a change. On success the file is not closed.
func (f *File) lock(ctx context.Context) error {
	if err := f.mu.lock(ctx); err != nil {
		return err
	}
	if f.closed {
		f.mu.unlock()
		return os.ErrClosed
	}
	return nil
}

// rlock locks for reading, beside others. On success the file is not closed.
func (f *File) rlock(ctx context.Context) error {
	if err := f.mu.rlock(ctx); err != nil {
		return err
	}
	if f.closed {
		f.mu.runlock()
		return os.ErrClosed
	}
	return nil
}

// rwLock is a read-write lock for which one can stop waiting. Waiters get it in their order.
type rwLock struct{ sem *semaphore.Weighted }

const allReaders = 1 << 30

func newRWLock() rwLock { return rwLock{semaphore.NewWeighted(allReaders)} }

func (l rwLock) lock(ctx context.Context) error  { return l.sem.Acquire(ctx, allReaders) }
func (l rwLock) unlock()                         { l.sem.Release(allReaders) }
func (l rwLock) rlock(ctx context.Context) error { return l.sem.Acquire(ctx, 1) }
func (l rwLock) runlock()                        { l.sem.Release(1) }
