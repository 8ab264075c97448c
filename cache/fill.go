package cache

import (
	"context"
	"fmt"
	"io/fs"
)

// Fill fetches what is missing of the content, in as few GETs as can be, and returns when all of it is at hand: for whoever
// is going to need all of it. Its errors are those of ReadAt.
func (f *File) Fill(ctx context.Context) error {
	o := f.o
	if o.size == 0 {
		return nil
	}
	if !o.c.life.begin() {
		return ErrClosed
	}
	defer o.c.life.done()
	o.attach()
	w := &want{span: span{0, o.blocks}}
	if err := f.fetchAll(w); err != nil {
		return err
	}
	defer o.leave(w)
	for b := range o.blocks {
		if err := f.await(ctx, b, w); err != nil {
			return err
		}
	}
	return nil
}

// fetchAll enters a want of the whole content and starts the GETs for what is missing.
func (f *File) fetchAll(w *want) error {
	o := f.o
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("fill content %d: %w", o.id, fs.ErrClosed)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wants = append(o.wants, w)
	f.fetchMissing(w.span, w.end)
	return nil
}

// await returns when a block is at hand.
func (f *File) await(ctx context.Context, block int64, w *want) error {
	for f.o.c.memory.get(f.o.id, f.o.size, block) == nil {
		_, pending := f.fromFlight(block, w)
		if pending == nil {
			return nil
		}
		if err := pending.await(ctx, block); err != nil {
			return err
		}
	}
	return nil
}
