package cache

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"sharefs/cache/internal/blockfile"
	"sharefs/provider"
)

// correlated is within what time uses of a content count as one.
const correlated = 5 * time.Second

// File is an open content. Files of one ID share everything but the read-ahead. It is safe for concurrent use.
type File struct {
	o     *object
	fetch Fetch

	mu      sync.Mutex
	closed  bool        // guarded by mu
	pattern pattern     // guarded by mu
	ahead   []*flight   // held for this reader; guarded by mu
	counted [tiers]bool // uses are counted once for each File; guarded by mu
	marked  uint8       // ends that this File made ones; guarded by mu
	steps   bool        // it goes on where another File of the content was; guarded by mu
}

// ReadAt reads as io.ReaderAt does; p may be of any length, at any offset. Errors of Fetch and of ctx come back as
// they are. It ends with ctx, and what others wait for goes on.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	o := f.o
	switch {
	case off < 0:
		return 0, fmt.Errorf("read content %d at %d: the offset is negative", o.id, off)
	case len(p) == 0:
		return 0, nil
	case off >= o.size:
		return 0, io.EOF
	}
	if !o.c.life.begin() {
		return 0, ErrClosed
	}
	defer o.c.life.done()
	o.attach()
	total := int(min(int64(len(p)), o.size-off))
	n := 0
	for n < total {
		m, err := f.readPart(ctx, p[n:min(total, n+maxPiece)], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPart reads all of p, within the content.
func (f *File) readPart(ctx context.Context, p []byte, off int64) (int, error) {
	w := &want{span: span{off / blockfile.BlockSize, blockfile.Blocks(off + int64(len(p)))}}
	sequential, err := f.prepare(w, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	n, waited, err := f.serve(ctx, p, off, w)
	f.o.leave(w)
	f.note(w.span, sequential)
	f.count(n, waited)
	if err != nil && provider.IsContext(err) {
		f.stopAhead() // it may be stuck
	}
	return n, err
}

func (f *File) count(n int, waited bool) {
	s := &f.o.c.stats
	if waited {
		s.misses.Add(1)
		return
	}
	s.hits.Add(1)
	s.hitBytes.Add(int64(n))
}

// prepare enters what the reader wants, and starts the GETs for what is missing of it and ahead of it.
func (f *File) prepare(w *want, off, n int64) (sequential bool, err error) {
	o := f.o
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false, fmt.Errorf("read content %d: %w", o.id, fs.ErrClosed)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.pattern.mode == modeFresh && o.last.mode != modeFresh && off == o.last.next {
		f.pattern, f.steps = o.last, true
	}
	f.pattern.size, f.pattern.limit = o.size, o.windowLimit()
	until, turned := f.pattern.observe(off, n)
	o.last = f.pattern
	o.wants = append(o.wants, w)
	if turned && o.size > wholeLimit {
		f.dropAhead()
	}
	f.prune(off)
	f.fetchMissing(span{w.first, blockfile.Blocks(until)}, w.end)
	return f.pattern.mode == modeSequential, nil
}

// leave ends a want.
func (o *object) leave(w *want) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wants = slices.DeleteFunc(o.wants, func(x *want) bool { return x == w })
	o.sweep()
}

// note accounts for the use that a read was.
func (f *File) note(blocks span, sequential bool) {
	o := f.o
	f.mu.Lock()
	defer f.mu.Unlock()
	t := body
	bits := o.endBits(blocks.first, blocks.end)
	switch {
	case sequential && f.marked != 0:
		// The head was not asked for alone after all.
		o.moveEnds(f.marked, body)
		f.marked = 0
	case !sequential && bits != 0:
		t = ends
		if !f.counted[ends] {
			f.marked |= o.moveEnds(bits, ends)
		}
	}
	if !f.counted[t] {
		f.counted[t] = true
		o.use(t)
	}
}

// Close lets go of the content. What was fetched ahead for this reader alone is cancelled.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.o.mu.Lock()
	f.leaveAhead()
	f.o.mu.Unlock()
	f.o.release()
	return nil
}
