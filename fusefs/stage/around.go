package stage

import (
	"bytes"
	"context"
	"io"

	"golang.org/x/sys/unix"
)

// aroundSnapshot is Snapshot of a file for whose absent pages there is no room: they are read from the base, and not kept.
func (f *File) aroundSnapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error) {
	for {
		size, gen := f.Size(), f.Gen()
		if size > f.store.limits.smallSnapshot {
			if !o.Exclusive {
				return nil, unix.ENOSPC // a copy would need the room
			}
			return &snapshot{SectionReader: io.NewSectionReader(aroundReader{ctx, f}, 0, size), gen: gen}, nil
		}
		p := make([]byte, size)
		n, err := f.ReadAt(ctx, p, 0)
		if f.Gen() != gen {
			continue // changed meanwhile
		}
		if int64(n) < size {
			return nil, err
		}
		return &snapshot{SectionReader: io.NewSectionReader(bytes.NewReader(p), 0, size), gen: gen}, nil
	}
}

// aroundReader reads a file as long as it is open.
type aroundReader struct {
	ctx context.Context
	f   *File
}

func (r aroundReader) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(r.ctx, p, off) }
