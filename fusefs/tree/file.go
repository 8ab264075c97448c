package tree

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
)

// File is an open file description.
type File struct {
	n        *node
	writes   bool
	era      uint64        // of the node when it was opened
	losses   uint64        // of the node when it was opened
	wrote    atomic.Uint64 // grows with each change
	stored   atomic.Uint64 // what wrote was of the last change that was stored
	released atomic.Bool
}

var _ Handle = (*File)(nil)

// newFile makes a handle of a node that is in use, and takes that use over.
func (t *Tree) newFile(n *node, flags uint32) *File {
	f := &File{n: n, writes: flags&syscall.O_ACCMODE != syscall.O_RDONLY, era: n.era.Load(), losses: n.losses.Load()}
	t.mu.Lock()
	defer t.mu.Unlock()
	n.handles++
	if f.writes {
		n.writers++
	}
	return f
}

// Open opens a file.
func (t *Tree) Open(ctx context.Context, ino uint64, flags uint32) (Handle, error) {
	writes := flags&syscall.O_ACCMODE != syscall.O_RDONLY
	if t.readOnly() && (writes || flags&syscall.O_TRUNC != 0) {
		return nil, syscall.EROFS
	}
	if err := t.fresh(ctx, ino); err != nil {
		return nil, err
	}
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		return nil, errGone(err)
	}
	switch {
	case row.IsDir():
		return nil, syscall.EISDIR
	case row.IsSymlink():
		return nil, syscall.ELOOP
	}
	f := t.newFile(t.acquire(ino), flags)
	if err := f.mayOpen(); err != nil {
		f.Release()
		return nil, err
	}
	if flags&syscall.O_TRUNC != 0 {
		err := f.n.change(ctx, edit{by: f, truncate: true}, func(s *stage.File) error { return s.Truncate(t.ctx, 0) })
		if err == nil {
			err = f.n.persist()
		}
		if err != nil {
			f.Release()
			return nil, err
		}
		f.wrote.Add(1)
	}
	return f, nil
}

// mayOpen looks at the row once more, now that the node is in use: an unlink from here on sees that the file is open. What
// was unlinked just before, or is opened through /proc/PID/fd, can be opened while its bytes can still be had.
func (f *File) mayOpen() error {
	t := f.n.t
	return t.cat.View(func(tx *catalog.Tx) error {
		row, err := tx.Get(f.n.ino)
		if err != nil || row.Parent != 0 || row.Stage != 0 || row.Size == 0 {
			return errGone(err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if s := f.n.file.Load(); s != nil && s.Present() || t.held[row.Key] == row.Ino {
			return nil
		}
		if _, doomed, err := tx.DoomedAt(row.Key); err != nil || !doomed {
			return errors.Join(syscall.ESTALE, err)
		}
		t.held[row.Key] = row.Ino
		return nil
	})
}

// Ino returns the inode number.
func (f *File) Ino() uint64 { return f.n.ino }

// ReadAt reads.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if f.stale() {
		return 0, syscall.ESTALE
	}
	k, err := f.n.readAt(ctx, p, off, f.writes)
	if f.stale() { // meanwhile: it may be of the one content or of the other
		return 0, syscall.ESTALE
	}
	return k, err
}

// mayWrite returns the error of a write that must not be.
func (f *File) mayWrite() error {
	switch {
	case !f.writes:
		return syscall.EBADF
	case f.n.t.readOnly(): // it was not when the file was opened
		return syscall.EROFS
	}
	return nil
}

// WriteAt writes. On a full disk it waits for room; with less than all of it, and in a store with less room than that, it
// writes what there is room for.
func (f *File) WriteAt(ctx context.Context, p []byte, off int64) (k int, err error) {
	if err := f.mayWrite(); err != nil {
		return 0, err
	}
	if limit := f.n.t.caps.MaxObjectSize; limit > 0 && off+int64(len(p)) > limit {
		return 0, syscall.EFBIG
	}
	defer f.wrote.Add(1) // afterwards: a close that came before has stored what was before
	for {
		k, err = f.writeOnce(ctx, p, off)
		over := overCapacity{}
		if !errors.As(err, &over) {
			return k, err
		}
		if over.end <= off || over.end >= off+int64(len(p)) {
			return 0, syscall.ENOSPC
		}
		p = p[:over.end-off]
	}
}

func (f *File) writeOnce(ctx context.Context, p []byte, off int64) (k int, err error) {
	var short error // of a write that the disk took only in part
	span := stage.Range{Off: off, Len: int64(len(p))}
	err = f.n.change(ctx, edit{by: f, span: span, end: off + span.Len}, func(s *stage.File) (err error) {
		if k, err = s.WriteAt(ctx, p, off); k > 0 {
			short, err = err, nil
		}
		return err
	})
	if err == nil {
		err = short
	}
	return k, err
}

// Modes of fallocate(2).
const (
	fallocKeepSize  = 1 // FALLOC_FL_KEEP_SIZE
	fallocPunchHole = 2 // FALLOC_FL_PUNCH_HOLE
)

// Allocate is fallocate(2). The store has no room to set aside, so what keeps the size is bounded by this disk alone.
func (f *File) Allocate(ctx context.Context, off, length int64, mode uint32) error {
	if err := f.mayWrite(); err != nil {
		return err
	}
	if limit := f.n.t.caps.MaxObjectSize; limit > 0 && off+length > limit {
		return syscall.EFBIG
	}
	defer f.wrote.Add(1)
	e := edit{by: f, span: stage.Range{Off: off, Len: length}, end: off + length}
	if mode&fallocPunchHole != 0 {
		e.span.Len = 0
	}
	if mode&fallocKeepSize != 0 {
		e.end = 0
	}
	return noSpace(f.n.change(ctx, e, func(s *stage.File) error { return s.Allocate(ctx, off, length, mode) }))
}

// Seek is lseek(2) for data and holes. What is not staged is data.
func (f *File) Seek(ctx context.Context, off int64, whence uint32) (int64, error) {
	if whence != SeekData && whence != SeekHole {
		return 0, syscall.EINVAL
	}
	if f.stale() {
		return 0, syscall.ESTALE
	}
	f.n.gate.RLock()
	if s := f.n.current(); s != nil {
		defer f.n.gate.RUnlock()
		return s.Seek(ctx, off, whence)
	}
	f.n.gate.RUnlock()
	row, err := f.n.row()
	switch {
	case err != nil:
		return 0, err
	case off < 0 || off >= row.Size:
		return 0, syscall.ENXIO
	case whence == SeekHole:
		return row.Size, nil
	}
	return off, nil
}

// Flush is close(2). With CommitSync it is fsync(2) for a handle that has changed something. Processes that have forked close one
// handle several times, at once too: each waits until what was written before is stored.
func (f *File) Flush(ctx context.Context) error {
	if !f.writes {
		return nil
	}
	attrs := f.n.unfollowed.Load()
	if !f.n.t.o.CommitSync || attrs == f.n.followed.Load() && f.wrote.Load() == f.stored.Load() {
		return f.n.persist()
	}
	err := f.Fsync(ctx)
	if err == nil {
		raise(&f.n.followed, attrs)
	}
	return err
}

// Fsync returns when the file is in the store; on a scratch path when it is durable on the local disk.
func (f *File) Fsync(ctx context.Context) error {
	t := f.n.t
	if t.o.ReadOnly {
		return nil
	}
	wrote := f.wrote.Load() // a write that comes meanwhile is the next one's
	err := f.n.persist()
	switch {
	case err != nil:
	case f.stale() && wrote != f.stored.Load():
		err = syscall.ESTALE // what was written is not the file's any more
	case t.commit.Scratch(f.n.ino):
		err = t.secure(f.n.ino, true)
	default:
		err = t.storeNow(ctx, f.n.ino)
		if err == nil && f.losses != f.n.losses.Load() && wrote != f.stored.Load() {
			err = syscall.ESTALE // there was nothing to store any more: another call has lost it meanwhile
		}
	}
	if err == nil {
		raise(&f.stored, wrote)
	}
	return err
}

// raise makes v at least to.
func raise(v *atomic.Uint64, to uint64) {
	for have := v.Load(); have < to && !v.CompareAndSwap(have, to); have = v.Load() {
	}
}

// Release ends the handle.
func (f *File) Release() {
	if f.released.Swap(true) {
		return
	}
	t, n := f.n.t, f.n
	if f.writes {
		if err := n.persist(); err != nil { // mmap may have written after the last flush
			t.o.Logger.Error("a change after the last close is known by its staged file only", "inode", n.ino, "err", err)
		}
	}
	t.mu.Lock()
	n.handles--
	if f.writes {
		n.writers--
	}
	touch := f.writes && n.writers == 0
	t.mu.Unlock()
	if touch && n.file.Load() != nil {
		t.secureLater(n.ino)
	}
	t.release(n)
	if touch && !t.o.ReadOnly {
		t.commit.Closed(n.ino)
	}
}
