package stage

import (
	"context"

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
		s.from.around = aroundReader{ctx, f}
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

// aroundReader reads a file as long as it is open.
type aroundReader struct {
	ctx context.Context
	f   *File
}

func (r aroundReader) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(r.ctx, p, off) }
