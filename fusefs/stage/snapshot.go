package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Snapshot is the content of a File at one moment. Later changes do not show in it, unless it was taken with Exclusive.
type Snapshot interface {
	io.ReadSeeker
	io.ReaderAt
	Size() int64
	Gen() uint64 // File.Gen of that moment
	Close() error
}

// SnapshotOptions are the options of File.Snapshot.
type SnapshotOptions struct {
	// Exclusive says that the caller keeps writers out, or discards the snapshot when Gen has moved: a large file is
	// then not copied, and the snapshot reads the staged file itself.
	Exclusive bool
	// Around says that absent pages are read from the base, when the snapshot is read, for want of room to keep them.
	Around bool
}

type snapshot struct {
	*io.SectionReader
	gen  uint64
	file *os.File // nil: in memory
	free func()   // called by Close; may be nil
}

func (s *snapshot) Gen() uint64 { return s.gen }

func (s *snapshot) Close() error {
	if s.free != nil {
		defer s.free()
	}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Snapshot returns the content as it is now: up to 8 MiB as a copy in memory, above as a clone, or a copy where the
// filesystem cannot clone, that takes room on the local disk until Close. While a copy is made reads and
// writes go on. It is ErrAbsent when a page is absent, and ENOSPC when there is no room for a copy.
func (f *File) Snapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	if err := f.rlock(ctx); err != nil {
		return nil, err
	}
	size, gen := f.Size(), f.Gen()
	if !f.Present() {
		f.mu.runlock()
		if o.Around {
			return f.aroundSnapshot(ctx, o)
		}
		return nil, fmt.Errorf("stage: snapshot of %s: %w", f.store.Path(f.id), ErrAbsent)
	}
	if size <= f.store.limits.smallSnapshot {
		defer f.mu.runlock()
		p := make([]byte, size)
		if n, err := f.readData(p, 0); int64(n) < size {
			return nil, err
		}
		return &snapshot{SectionReader: io.NewSectionReader(bytes.NewReader(p), 0, size), gen: gen}, nil
	}
	if o.Exclusive {
		defer f.mu.runlock()
		return fileSnapshot(f.data, size, gen)
	}
	f.mu.runlock()
	return f.copySnapshot(ctx)
}

// fileSnapshot reads the staged file itself, by a descriptor of its own.
func fileSnapshot(data *os.File, size int64, gen uint64) (Snapshot, error) {
	file, err := duplicate(data)
	if err != nil {
		return nil, err
	}
	return &snapshot{SectionReader: io.NewSectionReader(file, 0, size), gen: gen, file: file}, nil
}

// duplicate returns a descriptor of the same file that a Close of the first leaves open.
func duplicate(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// copySnapshot makes a snapshot in a file of its own, without a name.
func (f *File) copySnapshot(ctx context.Context) (Snapshot, error) {
	file, err := f.store.temp()
	if err != nil {
		return nil, errno(err)
	}
	s, err := f.copyTo(ctx, file)
	if err := os.Remove(file.Name()); err != nil {
		f.store.log.Warn("stage: cannot unlink a snapshot", "file", file.Name(), "err", err)
	}
	if err != nil {
		file.Close()
		return nil, errno(err)
	}
	return s, nil
}

// reserveCopy sets room aside for a copy of the file, which copied counts; ENOSPC when there is none.
func (f *File) reserveCopy() (room *Reservation, err error) {
	if room = f.store.room.try(blocksOf(f.data)+roomSlack, ForContent); room == nil {
		return nil, unix.ENOSPC
	}
	return room, nil
}

// copied counts what a copy takes until it is closed.
func (f *File) copied(s *snapshot) *snapshot {
	u := &usage{open: true}
	f.store.room.settle(u, blocksOf(s.file))
	s.free = func() { f.store.room.settle(u, 0) }
	return s
}

// Rounds of a copy without the lock; after them, or when a round leaves less than a small snapshot to copy, the rest is
// copied under it.
const copyRounds = 3

// copyTo copies the file to dst while it may be changed: what changed meanwhile is copied again, and the last, small
// rest while changes wait.
func (f *File) copyTo(ctx context.Context, dst *os.File) (Snapshot, error) {
	w := &changes{}
	if err := f.lock(ctx); err != nil {
		return nil, err
	}
	size, gen := f.Size(), f.Gen()
	src, err := duplicate(f.data)
	if err != nil {
		f.mu.unlock()
		return nil, err
	}
	defer src.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err == nil {
		f.mu.unlock()
		return &snapshot{SectionReader: io.NewSectionReader(dst, 0, size), gen: gen, file: dst}, nil
	}
	f.watches = append(f.watches, w)
	w.add(0, size)
	f.mu.unlock()
	defer f.unwatch(w)
	room, err := f.reserveCopy()
	if err != nil {
		return nil, err
	}
	defer room.Release()

	for round := 0; ; round++ {
		if err := f.lock(ctx); err != nil {
			return nil, err
		}
		ranges := w.take()
		if round < copyRounds && total(ranges) > f.store.limits.smallSnapshot {
			f.mu.unlock()
			if err := copyRanges(ctx, dst, src, ranges); err != nil {
				return nil, err
			}
			continue
		}
		defer f.mu.unlock()
		size, gen := f.Size(), f.Gen()
		if err := copyRanges(ctx, dst, src, ranges); err != nil {
			return nil, err
		}
		if err := dst.Truncate(size); err != nil {
			return nil, err
		}
		return f.copied(&snapshot{SectionReader: io.NewSectionReader(dst, 0, size), gen: gen, file: dst}), nil
	}
}

func (f *File) unwatch(w *changes) {
	f.mu.lock(context.Background()) // never fails
	defer f.mu.unlock()
	f.watches = slices.DeleteFunc(f.watches, func(o *changes) bool { return o == w })
}

// changes collects the ranges that change while a snapshot is copied. It is guarded by File.mu.
type changes struct{ ranges []Range }

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

func total(ranges []Range) (n int64) {
	for _, r := range ranges {
		n += r.Len
	}
	return n
}
