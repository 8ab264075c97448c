package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Snapshot is the content of a File at one moment, or some ranges of it. Later changes do not show in it, unless it was
// taken with Exclusive. Reading what it does not hold is ErrAbsent.
type Snapshot interface {
	io.ReadSeeker
	io.ReaderAt
	Size() int64
	Gen() uint64    // File.Gen of that moment
	Dirty() []Range // File.Dirty of that moment
	Close() error
}

// SnapshotOptions are the options of File.Snapshot.
type SnapshotOptions struct {
	// Exclusive says that the caller keeps writers out, or discards the snapshot when Gen has moved: a large file is
	// then not copied, and the snapshot reads the staged file itself.
	Exclusive bool

	// Fill says that absent pages are to be fetched; else they are ErrAbsent.
	Fill bool

	// Pick, if not nil, chooses what the snapshot holds, in order and apart, of a file of this size and these dirty ranges:
	// only that is fetched and copied. It may be called more than once; the last call counts, and is the one with
	// the snapshot's own Size and Dirty.
	Pick func(size int64, dirty []Range) []Range
}

type snapshot struct {
	*io.SectionReader
	gen   uint64
	dirty []Range
	from  held
	of    *File
	since *changes // what was changed since then; nil: a small file, of which that is not kept
}

func (s *snapshot) Gen() uint64    { return s.gen }
func (s *snapshot) Dirty() []Range { return s.dirty }

func (s *snapshot) Close() error {
	if s.since != nil {
		s.of.unwatch(s.since)
	}
	if s.from.file == nil {
		return nil
	}
	return s.from.file.Close()
}

// held are the bytes of a snapshot: in a file, or in memory.
type held struct {
	ranges []Range
	file   *os.File // nil: in memory
	memory [][]byte // of each range
}

// ReadAt reads what is held.
func (h held) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for i, r := range h.ranges {
		if done == len(p) || off < r.Off {
			break
		}
		if off >= r.end() {
			continue
		}
		part := p[done:min(int64(len(p)), int64(done)+r.end()-off)]
		if h.file == nil {
			copy(part, h.memory[i][off-r.Off:])
		} else if n, err := h.file.ReadAt(part, off); n < len(part) {
			return done + n, err
		}
		done, off = done+len(part), off+int64(len(part))
	}
	if done < len(p) {
		return done, fmt.Errorf("stage: a snapshot holds nothing at %d: %w", off, ErrAbsent)
	}
	return done, nil
}

// Snapshot returns the content as it is now: up to 8 MiB as a copy in memory, above as a clone, or a copy where the
// filesystem cannot clone, that takes room on the local disk until Close. While a copy is made reads and
// writes go on. It is ErrAbsent when a page is absent, unless Fill.
func (f *File) Snapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	for {
		s, err := f.trySnapshot(ctx, o)
		var absent absentError
		if !errors.As(err, &absent) {
			return s, err
		}
		if !o.Fill {
			return nil, fmt.Errorf("stage: snapshot of %s: %w", f.store.Path(f.id), ErrAbsent)
		}
		if err := f.fillRanges(ctx, absent.ranges); err != nil {
			return nil, err
		}
	}
}

// absentError says that a snapshot needs pages that are absent in these ranges.
type absentError struct{ ranges []Range }

func (absentError) Error() string { return ErrAbsent.Error() }

func (f *File) trySnapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	if err := f.rlock(ctx); err != nil {
		return nil, err
	}
	s, err := f.begin(o)
	switch {
	case err != nil:
		f.mu.runlock()
		return nil, err
	case total(s.from.ranges) <= f.store.limits.smallSnapshot:
		err = f.copyToMemory(s)
	case o.Exclusive:
		s.from.file, err = duplicate(f.data)
	default:
		f.mu.runlock()
		return f.copySnapshot(ctx, o)
	}
	if err == nil {
		f.account(s)
	}
	f.mu.runlock()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// account keeps account of what changes after a snapshot of a large file. The caller holds mu.
func (f *File) account(s *snapshot) {
	if s.Size() > f.store.limits.smallFile {
		s.since = f.watch()
	}
}

// begin returns a snapshot of now, without its bytes. The caller holds mu.
func (f *File) begin(o SnapshotOptions) (*snapshot, error) {
	s := &snapshot{of: f, gen: f.Gen(), dirty: f.pages.changed(f.Size())}
	size := f.Size()
	s.from.ranges = []Range{{0, size}}
	if o.Pick != nil {
		s.from.ranges = o.Pick(size, s.dirty)
	}
	for _, r := range s.from.ranges {
		if _, absent := f.pages.nextAbsent(r.Off/pageSize, pagesOf(r.end())); absent {
			return nil, absentError{s.from.ranges}
		}
	}
	s.SectionReader = io.NewSectionReader(&s.from, 0, size)
	return s, nil
}

// copyToMemory gives a snapshot its bytes. The caller holds mu.
func (f *File) copyToMemory(s *snapshot) error {
	for _, r := range s.from.ranges {
		p := make([]byte, r.Len)
		if n, err := f.readData(p, r.Off); n < len(p) {
			return err
		}
		s.from.memory = append(s.from.memory, p)
	}
	return nil
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
func (f *File) copySnapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	file, err := f.store.temp()
	if err != nil {
		return nil, errno(err)
	}
	s, err := f.copyTo(ctx, file, o)
	if err := os.Remove(file.Name()); err != nil {
		f.store.log.Warn("stage: cannot unlink a snapshot", "file", file.Name(), "err", err)
	}
	if err != nil {
		file.Close()
		return nil, errno(err)
	}
	return s, nil
}

// Rounds of a copy without the lock; after them, or when a round leaves less than a small snapshot to copy, the rest is
// copied under it.
const copyRounds = 3

// copyTo copies the file to dst while it may be changed: what changed meanwhile is copied again, and the last, small
// rest while changes wait.
func (f *File) copyTo(ctx context.Context, dst *os.File, o SnapshotOptions) (Snapshot, error) {
	if err := f.lock(ctx); err != nil {
		return nil, err
	}
	src, err := duplicate(f.data)
	if err != nil {
		f.mu.unlock()
		return nil, err
	}
	defer src.Close()
	if s, err := f.clone(dst, src, o); s != nil || err != nil {
		f.mu.unlock()
		return s, err
	}
	w := f.watch()
	f.mu.unlock()
	defer f.unwatch(w)

	var copied []Range
	for round := 0; ; round++ {
		if err := f.lock(ctx); err != nil {
			return nil, err
		}
		copied = without(copied, f.taken(w))
		s, err := f.begin(o)
		if err != nil {
			f.mu.unlock()
			return nil, err
		}
		ranges := without(s.from.ranges, copied)
		if round < copyRounds && total(ranges) > f.store.limits.smallSnapshot {
			f.mu.unlock()
			if err := copyRanges(ctx, dst, src, ranges); err != nil {
				return nil, err
			}
			copied = sorted(append(copied, ranges...))
			continue
		}
		defer f.mu.unlock()
		if err := copyRanges(ctx, dst, src, ranges); err != nil {
			return nil, err
		}
		if err := dst.Truncate(f.Size()); err != nil {
			return nil, err
		}
		s.from.file = dst
		f.account(s)
		return s, nil
	}
}

// clone makes a snapshot of a clone, where the filesystem can. It returns nothing where it cannot. The caller holds mu.
func (f *File) clone(dst, src *os.File, o SnapshotOptions) (Snapshot, error) {
	s, err := f.begin(o)
	if err != nil {
		return nil, err
	}
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		return nil, nil
	}
	s.from.file = dst
	f.account(s)
	return s, nil
}
