package cache

import (
	"context"

	"sharefs/cache/internal/blockfile"
)

// serve fills p, the reader's want. It reports whether it had to wait for the store.
func (f *File) serve(ctx context.Context, p []byte, off int64, w *want) (n int, waited bool, err error) {
	for n < len(p) {
		m, pending := f.step(p[n:], off+int64(n), w)
		n += m
		if pending == nil {
			continue
		}
		waited = true
		if err := pending.await(ctx, (off+int64(n))/blockfile.BlockSize); err != nil {
			return n, waited, err
		}
	}
	return n, waited, nil
}

// step reads what is at hand at off: from memory, from a flight or from disk. Else it returns the flight to wait for.
func (f *File) step(p []byte, off int64, w *want) (n int, pending *flight) {
	o := f.o
	block, in := off/blockfile.BlockSize, off%blockfile.BlockSize
	if data := o.c.memory.get(o.id, o.size, block); data != nil {
		return copy(p, data[in:]), nil
	}
	data, pending := f.fromFlight(block, w)
	switch {
	case pending != nil:
		return 0, pending
	case data == nil:
		return f.fromDisk(p, block, in), nil
	}
	n = copy(p, data[in:])
	if n < len(data) {
		o.c.memory.put(o.id, o.size, block, data)
	}
	return n, nil
}

// fromFlight returns the block that a flight has landed, or the flight that it is pending in, which is started if there
// is none, or the one that failed for this want; neither when the block is on disk.
func (f *File) fromFlight(block int64, w *want) (data []byte, pending *flight) {
	o := f.o
	o.mu.Lock()
	defer o.mu.Unlock()
	fl := o.flightOf(block)
	if fl == nil {
		if o.run(block, 1) > 0 {
			return nil, nil
		}
		if w.failed != nil && w.failed.next <= block && block < w.failed.end {
			return nil, w.failed
		}
		to := block + 1
		for to < w.end && o.missing(to) {
			to++
		}
		return nil, o.start(span{block, to}, f.fetch, func() {})
	}
	if l, ok := fl.landed[block]; ok {
		return l.data, nil
	}
	return nil, fl
}

// fromDisk reads whole blocks straight into p, or a part of one. It returns 0 when the block turns out not to be there.
func (f *File) fromDisk(p []byte, block, in int64) int {
	o := f.o
	if in == 0 && int64(len(p)) >= o.blockLen(block) {
		whole := int64(len(p)) / blockfile.BlockSize
		if last := o.blocks - 1; block+whole == last && int64(len(p))%blockfile.BlockSize >= o.blockLen(last) {
			whole++
		}
		good := o.read(p[:min(int64(len(p)), whole*blockfile.BlockSize)], block)
		return int(min(good*blockfile.BlockSize, int64(len(p))))
	}
	data := make([]byte, o.blockLen(block))
	if o.read(data, block) == 0 {
		return 0
	}
	o.c.memory.put(o.id, o.size, block, data)
	return copy(p, data[in:])
}
