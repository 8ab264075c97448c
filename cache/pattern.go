package cache

import "sharefs/cache/internal/blockfile"

const (
	wholeLimit = 4 << 20 // an object up to this size is fetched whole by a sequential reader
	minWindow  = 1 << 20 // how far read-ahead goes at first
	maxWindow  = 32 << 20
	windowGETs = 4 // a window is fetched in about so many GETs, within the bounds below
	minPiece   = 1 << 20
	maxPiece   = 8 << 20

	// A reader stays sequential while it is within this many bytes of where it should be: kernels read ahead with
	// several requests at a time, which do not arrive in order.
	slop = 1 << 20

	// The same right behind a small read of the head, where only a reader of all of it comes.
	headSlop = blockfile.BlockSize
)

// pattern tells how one File is read, and decides how far ahead to fetch.
type pattern struct {
	size   int64 // of the content
	limit  int64 // of the window
	mode   mode
	next   int64 // where a sequential reader goes on
	window int64
	ahead  int64 // before here everything was asked for
}

type mode int

const (
	modeFresh      mode = iota // nothing was read
	modeHead                   // a part of the first block was read, from its start, and nothing else
	modeRandom                 // what is touched is fetched
	modeSequential             // what follows is fetched too
)

// observe takes note of a read of n bytes at off, and returns up to where to fetch. It reports whether a sequential
// reader has just turned random.
func (p *pattern) observe(off, n int64) (until int64, turned bool) {
	was := p.mode
	p.mode = p.modeWith(off, n)
	if p.mode != modeSequential {
		p.next = off + n
		return off + n, was == modeSequential
	}
	if was != modeSequential {
		p.next, p.window, p.ahead = off, minWindow, off
	}
	p.next = max(p.next, off+n)
	return p.reach(off + n), false
}

// modeWith returns the mode that a read leads to.
func (p *pattern) modeWith(off, n int64) mode {
	switch p.mode {
	case modeFresh:
		switch {
		case off == 0 && n > blockfile.BlockSize:
			return modeSequential
		case off == 0:
			return modeHead
		}
	case modeHead:
		if off >= p.next && off <= p.next+headSlop {
			return modeSequential
		}
	case modeRandom:
		if off == p.next {
			return modeSequential
		}
	case modeSequential:
		if off >= p.next-slop && off <= p.next+slop {
			return modeSequential
		}
	}
	return modeRandom
}

// reach returns up to where to fetch for a sequential reader who reads up to end. The window moves when half of it is used.
func (p *pattern) reach(end int64) int64 {
	if p.size <= wholeLimit {
		return p.size
	}
	p.window = min(p.window, p.limit)
	if p.ahead-end >= p.window/2 {
		return end
	}
	p.ahead = max(p.ahead, end, min(p.size, end+p.window))
	p.window *= 2
	return p.ahead
}

// stopped says that read-ahead got only so far.
func (p *pattern) stopped(at int64) { p.ahead = min(p.ahead, at) }

// piece returns the bytes that one GET fetches at most.
func (p *pattern) piece() int64 {
	if p.mode != modeSequential {
		return maxPiece
	}
	if p.size <= wholeLimit {
		return wholeLimit
	}
	return min(max(p.window/windowGETs, minPiece), maxPiece)
}
