package cache

import (
	"context"
	"errors"
	"io"
	"slices"

	"sharefs/cache/internal/blockfile"
	"sharefs/provider"
)

// flight is one GET of a run of blocks, shared by all who want them. Blocks land in order.
//
// It is wanted while a reader waits for a block that has not landed, or a File holds it as its read-ahead; one that
// nobody wants is cancelled, and leaves its object in the same step, so that nobody joins it.
type flight struct {
	o      *object
	fetch  Fetch
	first  int64
	cancel context.CancelFunc

	// Guarded by object.mu.
	state   flightState
	end     int64 // before this block
	next    int64 // blocks before this one have landed
	holds   int   // Files that have it as read-ahead, and itself when it lingers
	linger  lingerState
	landed  map[int64]landed
	err     error         // why it ended
	changed chan struct{} // closed at the next change; nil while nobody waits
}

type flightState int

const (
	flightRunning flightState = iota
	flightEnded               // all there is has landed, or err says why not
)

// lingerState says whether a flight goes on after the File that held it.
type lingerState int

const (
	lingerNot   lingerState = iota
	lingerHolds             // it has the hold that its File had
	lingerOver              // it had
)

// landed is a block that is at hand in memory.
type landed struct {
	data []byte // nobody changes it
	at   landedState
}

type landedState int

const (
	landedStoring landedState = iota // on its way to disk
	landedKept                       // on disk too
	landedUnkept                     // nowhere else for certain
)

// want is a range of blocks that a reader is about to read.
type want struct {
	span
	failed *flight // one that ended with an error and owed some of them; guarded by object.mu
}

// start begins a GET. o.mu is locked; the caller is counted in Cache.life. done is called at its end.
func (o *object) start(blocks span, fetch Fetch, done func()) *flight {
	c := o.c
	ctx, cancel := context.WithCancel(c.ctx)
	f := &flight{
		o: o, fetch: fetch, cancel: cancel,
		first: blocks.first, next: blocks.first, end: blocks.end, landed: make(map[int64]landed),
	}
	o.flights = append(o.flights, f)
	c.stats.fetches.Add(1)
	o.count(1)
	c.life.wg.Add(1)
	go func() {
		defer c.life.done()
		defer done()
		defer cancel()
		f.finish(f.transfer(ctx))
		o.count(-1)
		o.rest()
	}()
	return f
}

// count counts flights, which keep the object in the index and its files open though nobody holds it.
func (o *object) count(n int) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.running += n
}

// lingerOn turns a File's hold into one of its own. o.mu is locked.
func (f *flight) lingerOn() bool {
	if f.state != flightRunning || f.linger != lingerNot {
		return false
	}
	f.linger = lingerHolds
	return true
}

// stopLingering ends a flight's hold on itself. o.mu is locked.
func (f *flight) stopLingering() {
	if f.linger == lingerHolds {
		f.linger = lingerOver
		f.holds--
	}
}

// abandon lets go of all flights that go on by themselves.
func (o *object) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.flights {
		f.stopLingering()
	}
	o.sweep()
}

// awaitStored waits until no block is between the store and the disk.
func (o *object) awaitStored() {
	for {
		wait := o.storing()
		if wait == nil {
			return
		}
		<-wait
	}
}

// storing returns what is closed when a block that is on its way to disk has got there, or nil when there is none.
func (o *object) storing() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.flights {
		for _, l := range f.landed {
			if l.at == landedStoring {
				return f.onChange()
			}
		}
	}
	return nil
}

// transfer fetches the blocks and lands them.
func (f *flight) transfer(ctx context.Context) error {
	o, c := f.o, f.o.c
	off, end := f.first*blockfile.BlockSize, f.endBlock()
	source, err := f.fetch(ctx, off, min(end*blockfile.BlockSize, o.size)-off)
	if err != nil {
		return err
	}
	defer source.Close()
	var room *reservation
	defer func() { room.release() }()
	var buf []byte
	for b := f.first; b < end; b++ {
		if buf == nil {
			buf = make([]byte, blockfile.BlockSize)
		}
		data := buf[:o.blockLen(b)]
		if _, err := io.ReadFull(source, data); err != nil {
			return f.short(ctx, err)
		}
		c.stats.fetchedBytes.Add(int64(len(data)))
		f.offer(b, data) // a reader does not wait for the disk
		if b == f.first {
			room = f.reserve(end)
			o.unkept.Store(room == nil)
		}
		held, more := f.land(b, data, o.store(room, b, data))
		if !more {
			return nil
		}
		if held {
			buf = nil
		}
	}
	return nil
}

// reserve sets room aside for the flight's blocks.
func (f *flight) reserve(end int64) *reservation {
	o := f.o
	n := int64(0)
	for b := f.first; b < end; b++ {
		n += blockfile.Cost(o.size, b)
	}
	bits := o.endBits(f.first, end)
	if bits != 0 && o.markedAll(bits) {
		if r := o.c.reserve(o, ends, n); r != nil {
			return r
		}
		o.moveEnds(bits, body)
	}
	return o.c.reserve(o, body, n)
}

// short makes the error of a body that failed. A body that ends early is the store's fault, whatever it says.
func (f *flight) short(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || err == io.ErrUnexpectedEOF {
		return provider.E(ctx, "open", f.o.place().key, provider.KindUnavailable, io.ErrUnexpectedEOF)
	}
	return err
}

func (f *flight) endBlock() int64 {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	return f.end
}

// offer hands a block to those who want it, before it is on disk. land follows.
func (f *flight) offer(block int64, data []byte) {
	o := f.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.state == flightEnded || !o.wanted(block, block+1) {
		return
	}
	f.landed[block] = landed{data, landedStoring}
	f.next = block + 1
	f.notify()
}

// land settles where a block is. It reports whether data is kept by somebody, and whether to go on.
func (f *flight) land(block int64, data []byte, at landedState) (held, more bool) {
	o, m := f.o, f.o.c.memory
	o.mu.Lock()
	defer o.mu.Unlock()
	_, offered := f.landed[block]
	wanted := o.wanted(block, block+1)
	switch {
	case offered && at == landedUnkept:
		m.spare.Add(int64(len(data)))
	case offered:
	case f.state == flightEnded: // cancelled
		return false, false
	case at == landedUnkept && wanted:
		m.spare.Add(int64(len(data)))
	case at == landedUnkept && !m.takeSpare(int64(len(data))):
		// Neither disk nor memory has room for what nobody waits for: whoever comes to it fetches it again.
		f.end, f.state = block, flightEnded
		f.notify()
		return false, false
	}
	if at == landedUnkept {
		m.put(o.id, o.size, block, data)
	}
	held = offered || wanted || at == landedUnkept
	if held {
		f.landed[block] = landed{data, at}
	}
	f.next = block + 1
	f.notify()
	if offered {
		o.sweep()
	}
	return held, f.state == flightRunning
}

// finish ends the flight.
func (f *flight) finish(err error) {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if f.state == flightRunning {
		f.state, f.err = flightEnded, err
		f.fail()
	}
	f.stopLingering()
	f.notify()
	f.o.sweep()
}

// fail tells those who want what did not land, for they need not be waiting yet. o.mu is locked.
func (f *flight) fail() {
	for _, w := range f.o.wants {
		if f.err != nil && w.first < f.end && f.next < w.end {
			w.failed = f
		}
	}
}

// notify wakes those who wait. o.mu is locked.
func (f *flight) notify() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// change returns what is closed at the next change; nil when the block is not pending, with the error for it.
func (f *flight) change(block int64) (<-chan struct{}, error) {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if !f.pending(block) {
		if block < f.next {
			return nil, nil
		}
		return nil, f.err
	}
	return f.onChange(), nil
}

// onChange returns what is closed at the next change. o.mu is locked.
func (f *flight) onChange() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// await waits until a block that the caller wants has landed, or will not. Without an error the caller looks again: a
// flight may end early for lack of room.
func (f *flight) await(ctx context.Context, block int64) error {
	closed := f.o.c.ctx.Done()
	for {
		change, err := f.change(block)
		switch {
		case err != nil && f.o.c.ctx.Err() != nil:
			return ErrClosed
		case change == nil:
			return err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return ErrClosed
		}
	}
}

// pending reports whether the block has yet to land. o.mu is locked.
func (f *flight) pending(block int64) bool {
	return f.state == flightRunning && f.next <= block && block < f.end
}

// flightOf returns the flight that has the block in memory or is about to, or nil. o.mu is locked.
func (o *object) flightOf(block int64) *flight {
	for _, f := range o.flights {
		if _, ok := f.landed[block]; ok || f.pending(block) {
			return f
		}
	}
	return nil
}

// wanted reports whether a reader wants one of the blocks. o.mu is locked.
func (o *object) wanted(first, end int64) bool {
	return slices.ContainsFunc(o.wants, func(w *want) bool { return w.first < end && first < w.end })
}

// sweep frees what nobody wants any more, and cancels the flights that nobody wants. o.mu is locked.
func (o *object) sweep() {
	o.flights = slices.DeleteFunc(o.flights, func(f *flight) bool {
		for b, l := range f.landed {
			if (l.at == landedKept || l.at == landedUnkept && f.holds == 0) && !o.wanted(b, b+1) {
				f.unland(b)
			}
		}
		if f.state == flightRunning && f.holds == 0 && !o.wanted(f.next, f.end) {
			f.cancel()
			f.state, f.err = flightEnded, context.Canceled
			f.notify()
		}
		return f.state == flightEnded && len(f.landed) == 0
	})
}

// unland frees a block. o.mu is locked.
func (f *flight) unland(block int64) {
	l := f.landed[block]
	if l.at == landedUnkept {
		f.o.c.memory.spare.Add(-int64(len(l.data)))
	}
	delete(f.landed, block)
}
