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
	Gen() uint64 // File.Gen of that moment
	Layout() Layout
	Close() error
}

// SnapshotOptions are the options of File.Snapshot.
type SnapshotOptions struct {
	// Exclusive says that the caller keeps writers out, or discards the snapshot when Gen has moved: a large file is
	// then not copied, and the snapshot reads the staged file itself.
	Exclusive bool

	// Fill says that absent pages are to be fetched; else they are ErrAbsent. When there is no room to keep them they are
	// read from the base when the snapshot is read.
	Fill bool

	// Pick, if not nil, chooses what the snapshot holds, in order and apart, of a file with this layout: only that is fetched
	// and copied. It may be called more than once; the last call counts, and is the one with the snapshot's own Layout.
	Pick func(Layout) []Range
}

type snapshot struct {
	*io.SectionReader
	gen   uint64
	was   Layout
	from  held
	of    *File
	since *changes // what was changed since then; nil: a small file, of which that is not kept
	free  func()   // called by Close; may be nil
}

func (s *snapshot) Gen() uint64    { return s.gen }
func (s *snapshot) Layout() Layout { return s.was }

func (s *snapshot) Close() error {
	if s.since != nil {
		s.of.unwatch(s.since)
	}
	if s.free != nil {
		defer s.free()
	}
	if s.from.file == nil {
		return nil
	}
	return s.from.file.Close()
}

// held are the bytes of a snapshot: in a file, in memory, or in the staged file and its base.
type held struct {
	ranges []Range
	file   *os.File
	memory [][]byte // of each range
	around *aroundReader
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
		if n, err := h.readIn(i, part, off); n < len(part) {
			return done + n, err
		}
		done, off = done+len(part), off+int64(len(part))
	}
	if done < len(p) {
		return done, fmt.Errorf("stage: a snapshot holds nothing at %d: %w", off, ErrAbsent)
	}
	return done, nil
}

// readIn reads within a range.
func (h held) readIn(i int, p []byte, off int64) (int, error) {
	switch {
	case h.file != nil:
		return h.file.ReadAt(p, off)
	case h.around != nil:
		return h.around.readIn(h.ranges[i], p, off)
	}
	return copy(p, h.memory[i][off-h.ranges[i].Off:]), nil
}

// Snapshot returns the content as it is now: up to 8 MiB as a copy in memory if there is some, else as a clone, or a copy where the
// filesystem cannot clone, that takes room on the local disk until Close. While a copy is made reads and
// writes go on. It is ErrAbsent when a page is absent, unless Fill, and ENOSPC when there is no room for a copy.
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
		if absent.released {
			if s, err := f.aroundSnapshot(ctx, o); !errors.Is(err, unix.ENOSPC) && (s != nil || err != nil) {
				return s, err
			}
		}
		err = f.fillRanges(ctx, absent.ranges)
		if errors.Is(err, unix.ENOSPC) {
			s, err = f.aroundSnapshot(ctx, o)
		}
		if s != nil || err != nil {
			return s, err
		}
	}
}

// absentError says that a snapshot needs pages that are absent in these ranges.
type absentError struct {
	ranges   []Range
	released bool // some of them to free the disk: it is not to be taken again
}

func (absentError) Error() string { return ErrAbsent.Error() }

func (f *File) trySnapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	if err := f.rlock(ctx); err != nil {
		return nil, err
	}
	s := f.begin(o)
	var err error
	n := total(s.from.ranges)
	absent := f.absentIn(s.from.ranges)
	small := !absent && n <= f.store.limits.smallSnapshot
	if small {
		s.free, small = f.store.memory.copy(n)
	}
	switch {
	case absent:
		err = absentError{s.from.ranges, f.pages.anyReleased(s.from.ranges)}
	case small:
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
		if s.free != nil {
			s.free()
		}
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
func (f *File) begin(o SnapshotOptions) *snapshot {
	s := &snapshot{of: f, gen: f.Gen(), was: f.layout()}
	size := f.Size()
	s.from.ranges = []Range{{0, size}}
	if o.Pick != nil {
		s.from.ranges = o.Pick(s.was)
	}
	s.SectionReader = io.NewSectionReader(&s.from, 0, size)
	return s
}

// absentIn reports whether a page is absent in some ranges. The caller holds mu.
func (f *File) absentIn(ranges []Range) bool {
	for _, r := range ranges {
		if _, absent := f.pages.nextAbsent(r.Off/pageSize, pagesOf(r.end())); absent {
			return true
		}
	}
	return false
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

// reserveCopy sets room aside for a copy of the file, which copied counts; ENOSPC when there is none.
func (f *File) reserveCopy() (room *Reservation, err error) {
	if room = f.store.room.try(blocksOf(f.data)+roomSlack, ForContent); room == nil {
		return nil, unix.ENOSPC
	}
	return room, nil
}

// copied completes a snapshot that is in a file of its own, and counts what that takes until it is closed. The caller holds
// mu.
func (f *File) copied(s *snapshot, dst *os.File) *snapshot {
	s.from.file = dst
	f.account(s)
	u := &usage{open: true}
	f.store.room.settle(u, blocksOf(dst))
	s.free = func() { f.store.room.settle(u, 0) }
	return s
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
	room, err := f.reserveCopy()
	if err != nil {
		return nil, err
	}
	defer room.Release()

	var copied []Range
	for round := 0; ; round++ {
		if err := f.lock(ctx); err != nil {
			return nil, err
		}
		copied = without(copied, f.taken(w))
		s := f.begin(o)
		if f.absentIn(s.from.ranges) {
			f.mu.unlock()
			return nil, absentError{s.from.ranges, f.pages.anyReleased(s.from.ranges)}
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
		return f.copied(s, dst), nil
	}
}

// clone makes a snapshot of a clone, where the filesystem can. It returns nothing where it cannot. The caller holds mu.
func (f *File) clone(dst, src *os.File, o SnapshotOptions) (Snapshot, error) {
	s := f.begin(o)
	if f.absentIn(s.from.ranges) {
		return nil, absentError{s.from.ranges, f.pages.anyReleased(s.from.ranges)}
	}
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		return nil, nil
	}
	return f.copied(s, dst), nil
}
