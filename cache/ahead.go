package cache

import (
	"slices"

	"sharefs/cache/internal/blockfile"
)

// fetchMissing starts GETs for the missing blocks, one for each run of them. Those that begin at wanted or later are
// read-ahead: they need a slot. f.mu and o.mu are locked.
func (f *File) fetchMissing(blocks span, wanted int64) {
	o := f.o
	piece := blockfile.Blocks(f.pattern.piece())
	for b := blocks.first; b < blocks.end; {
		if n := o.run(b, blocks.end-b); n > 0 {
			b += n
			continue
		}
		end := b
		for end < min(blocks.end, b+piece) && o.missing(end) {
			end++
		}
		if end == b {
			b++
			continue
		}
		done := func() {}
		if b >= wanted {
			if done = o.c.slot(); done == nil {
				f.pattern.stopped(b * blockfile.BlockSize)
				return
			}
		}
		fl := f.start(span{b, end}, done)
		if end > wanted {
			fl.holds++
			f.ahead = append(f.ahead, fl)
		}
		b = end
	}
}

// windowLimit returns how far read-ahead may go: less when it has to wait in memory.
func (o *object) windowLimit() int64 {
	if !o.unkept.Load() {
		return maxWindow
	}
	return min(maxWindow, o.c.memory.spareLimit/2)
}

// missing reports whether a block is neither here nor on its way. o.mu is locked.
func (o *object) missing(block int64) bool {
	return o.run(block, 1) == 0 && o.flightOf(block) == nil && o.c.memory.get(o.id, o.size, block) == nil
}

// slot takes a slot of read-ahead and returns what gives it back, or nil when none is free.
func (c *Cache) slot() (done func()) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }
	default:
		return nil
	}
}

// start begins a GET, of ends if these are what is asked for alone. f.mu and o.mu are locked.
func (f *File) start(blocks span, done func()) *flight {
	if bits := f.o.endBits(blocks.first, blocks.end); bits != 0 && f.pattern.mode != modeSequential {
		f.marked |= f.o.markMissing(bits)
	}
	return f.o.start(blocks, f.fetch, done)
}

// prune lets go of read-ahead that the reader has passed or that is on disk. f.mu and o.mu are locked.
func (f *File) prune(off int64) {
	passed := (off - slop) / blockfile.BlockSize
	f.ahead = slices.DeleteFunc(f.ahead, func(fl *flight) bool {
		for b, l := range fl.landed {
			if b < passed && l.at != landedStoring && fl.holds == 1 && !f.o.wanted(b, b+1) {
				fl.unland(b)
			}
		}
		if fl.state != flightEnded || len(fl.landed) > 0 && fl.end > passed {
			return false
		}
		fl.holds--
		return true
	})
}

// leaveAhead lets go of the read-ahead of a File that is closed. A reader that opens the file again for each step will
// be back for it, so its GETs go on. f.mu and o.mu are locked.
func (f *File) leaveAhead() {
	if f.steps {
		f.ahead = slices.DeleteFunc(f.ahead, func(fl *flight) bool { return fl.lingerOn() })
	}
	f.dropAhead()
}

// dropAhead lets go of all read-ahead. f.mu and o.mu are locked.
func (f *File) dropAhead() {
	for _, fl := range f.ahead {
		fl.holds--
		if fl.state == flightRunning {
			f.pattern.ahead, f.o.last.ahead = 0, 0 // what was asked for does not come
		}
	}
	f.ahead = nil
	f.o.sweep()
}

func (f *File) stopAhead() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	f.dropAhead()
}
