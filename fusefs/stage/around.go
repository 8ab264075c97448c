package stage

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"
)

// aroundSnapshot is Snapshot of a file for whose absent pages there is no room: they are read from the base, and not kept. It
// returns nothing when the file was changed meanwhile.
func (f *File) aroundSnapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	if err := f.rlock(ctx); err != nil {
		return nil, err
	}
	s := f.begin(o)
	f.account(s)
	f.mu.runlock()
	err := f.readAroundTo(ctx, s, o.Exclusive)
	if err == nil && (o.Exclusive || f.Gen() == s.gen) {
		return s, nil
	}
	s.Close()
	return nil, err
}

// readAroundTo gives a snapshot its bytes.
func (f *File) readAroundTo(ctx context.Context, s *snapshot, exclusive bool) error {
	small := total(s.from.ranges) <= f.store.limits.smallSnapshot
	if small {
		s.free, small = f.store.memory.copy(total(s.from.ranges))
	}
	if !small {
		if !exclusive {
			return unix.ENOSPC // a copy would need the room
		}
		s.from.around = &aroundReader{ctx: ctx, f: f}
		if free, ok := f.store.memory.copy(aheads * f.store.limits.ahead); ok {
			s.from.around.ahead, s.free = f.store.limits.ahead, free
		}
		return nil
	}
	for _, r := range s.from.ranges {
		p := make([]byte, r.Len)
		if n, err := f.ReadAt(ctx, p, r.Off); int64(n) < r.Len {
			return err
		}
		s.from.memory = append(s.from.memory, p)
	}
	return nil
}

// aheads is how much an aroundReader keeps: so many parts of a file are read at a time.
const aheads = 4

// aroundReader reads a file as long as it is open. Who sends it asks for a few KiB at a time, and reads all twice, so what is read
// of the base is read ahead.
type aroundReader struct {
	ctx   context.Context
	f     *File
	ahead int64 // bytes that are read at a time; 0: as many as are asked for

	mu   sync.Mutex
	kept [aheads]stretch // the latest
	next int             // whose place is the next one's
}

// stretch is what was read from an offset on.
type stretch struct {
	off int64
	p   []byte
}

// readIn reads p at off, within a range.
func (r *aroundReader) readIn(within Range, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if n := r.copyKept(p[done:], at); n > 0 {
			done += n
			continue
		}
		if int64(len(p)-done) >= r.ahead {
			n, err := r.f.ReadAt(r.ctx, p[done:], at)
			return done + n, err
		}
		s := stretch{at, make([]byte, min(r.ahead, within.end()-at))}
		if n, err := r.f.ReadAt(r.ctx, s.p, at); n < len(s.p) {
			return done, err
		}
		r.keep(s)
	}
	return done, nil
}

// copyKept copies what is kept of the bytes from off on.
func (r *aroundReader) copyKept(p []byte, off int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.kept {
		if off >= s.off && off < s.off+int64(len(s.p)) {
			return copy(p, s.p[off-s.off:])
		}
	}
	return 0
}

// keep keeps a stretch in the place of the one that it goes on from: each part that is read has a place of its own.
func (r *aroundReader) keep(s stretch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, was := range r.kept {
		if was.p != nil && was.off+int64(len(was.p)) == s.off {
			r.kept[i] = s
			return
		}
	}
	r.kept[r.next] = s
	r.next = (r.next + 1) % aheads
}
