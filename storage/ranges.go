package storage

import (
	"cmp"
	"slices"
)

// Range is a part of a share's data, in bytes.
type Range struct{ Offset, Length int64 }

// End is where the range ends.
func (r Range) End() int64 { return r.Offset + r.Length }

// ranges are parts in order, with gaps between them.
type ranges []Range

// add adds a part.
func (r *ranges) add(p Range) {
	if p.Length == 0 {
		return
	}
	first := r.reaching(p.Offset)
	last := first
	end := p.End()
	for ; last < len(*r) && (*r)[last].Offset <= end; last++ {
		end = max(end, (*r)[last].End())
		p.Offset = min(p.Offset, (*r)[last].Offset)
	}
	*r = slices.Replace(*r, first, last, Range{p.Offset, end - p.Offset})
}

// within returns the parts of p that are in r.
func (r ranges) within(p Range) []Range {
	var parts []Range
	for _, x := range r[r.reaching(p.Offset):] {
		if x.Offset >= p.End() {
			break
		}
		if from, to := max(x.Offset, p.Offset), min(x.End(), p.End()); from < to {
			parts = append(parts, Range{from, to - from})
		}
	}
	return parts
}

// reaching returns the first part that reaches up to an offset.
func (r ranges) reaching(at int64) int {
	i, _ := slices.BinarySearchFunc(r, at, func(x Range, at int64) int { return cmp.Compare(x.End(), at) })
	return i
}

// missing returns the parts from 0 to size that are not in r.
func (r ranges) missing(size int64) []Range {
	var parts []Range
	at := int64(0)
	for _, x := range r {
		if x.Offset > at {
			parts = append(parts, Range{at, x.Offset - at})
		}
		at = x.End()
	}
	if at < size {
		parts = append(parts, Range{at, size - at})
	}
	return parts
}
