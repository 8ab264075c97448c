package transfer

import (
	"cmp"
	"slices"

	"sharefs/provider"
)

// Range is a range of bytes.
type Range struct{ Off, Len int64 }

// Piece is one part of a new version of an object.
type Piece struct {
	Off, Len int64
	Copy     bool    // the store copies the bytes: those at this place of the version before, unless From says others
	From     *Source // of a copy
}

// Source is where the bytes of a part are copied from.
type Source struct {
	Key     string
	Version provider.Version
	Off     int64
}

// Sent returns the bytes that the pieces send.
func Sent(pieces []Piece) (n int64) {
	for _, p := range pieces {
		if !p.Copy {
			n += p.Len
		}
	}
	return n
}

const (
	// minPiece is the smallest part that is worth a request, where the store takes smaller ones.
	minPiece = 256 << 10
	// maxCopy is the largest part that is copied on the server, where it need not be larger: such a request takes a while.
	maxCopy = 1 << 30
)

// PlanPatch returns the parts of which a store makes an object of size bytes that differs from the version before only
// in the changed ranges, which are in order and apart, and hold everything beyond the end of the version before. The
// parts are legal, are at most Capabilities.MaxParts, and send as few bytes as that allows. It is nil when the object is
// to be sent as a whole: nothing, or too little to be worth it, can be copied.
func PlanPatch(caps provider.Capabilities, size int64, changed []Range) []Piece {
	l := cuts{min: max(caps.MinPartSize, minPiece), send: DefaultPartSize, copy: maxCopy, most: caps.MaxParts}
	return planPatch(l, caps, size, changed)
}

func planPatch(l cuts, caps provider.Capabilities, size int64, changed []Range) []Piece {
	largest := size
	if caps.MaxPartSize > 0 {
		largest = min(largest, caps.MaxPartSize)
	}
	if !caps.Copy || size == 0 || caps.MaxObjectSize > 0 && size > caps.MaxObjectSize {
		return nil
	}
	apart := l.min
	for {
		// Any range of at least the smallest part can be cut into legal ones when the largest is at least twice that.
		l.send, l.copy = min(max(l.send, 2*l.min), largest), min(max(l.copy, 2*l.min), largest)
		if size > largest && largest < 2*l.min {
			return nil
		}
		pieces := l.pieces(size, l.widen(size, joined(changed, apart)))
		if l.most == 0 || len(pieces) <= l.most {
			return worthIt(pieces, l, size)
		}
		if l.send == largest && l.copy == largest && apart >= size {
			return nil
		}
		l.send, l.copy, apart = 2*l.send, 2*l.copy, 2*apart
	}
}

// worthIt returns nil instead of pieces that copy so little that one request, or parts that are all sent, do better.
func worthIt(pieces []Piece, l cuts, size int64) []Piece {
	copied := size - Sent(pieces)
	if copied < l.min || size <= 2*l.send && copied < size/4 {
		return nil
	}
	return pieces
}

// joined merges ranges that are less than apart from each other.
func joined(ranges []Range, apart int64) []Range {
	var out []Range
	for _, r := range ranges {
		if r.Len <= 0 {
			continue
		}
		if n := len(out); n > 0 && r.Off-(out[n-1].Off+out[n-1].Len) < apart {
			out[n-1].Len = max(out[n-1].Len, r.Off+r.Len-out[n-1].Off)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// cuts says where an object may be cut into parts. Sizes are in bytes.
type cuts struct {
	min        int64 // of a part but the last
	send, copy int64 // the largest of each kind
	most       int   // parts
}

// option is one way to deal with the changed ranges up to one of them. The ranges that are sent so far are final but for
// need bytes by which the last one is too short, and which have to come from behind it.
type option struct {
	cost, need int64
	before     *option
	join       bool  // the gap before this range is sent too
	left       int64 // bytes that are sent before this range, else
}

// widen returns the ranges to send: the changed ones, which are at least min apart, made larger or joined so that each, and
// each gap between them, is at least min long, at the least cost in bytes. Only what reaches the end may be shorter.
func (l cuts) widen(size int64, changed []Range) []Range {
	if len(changed) == 0 {
		return nil
	}
	if gap := changed[0].Off; gap < l.min {
		changed = slices.Clone(changed)
		changed[0].Off, changed[0].Len = 0, changed[0].Len+gap
	}
	options := []*option{{}}
	var end int64
	for i, r := range changed {
		options = l.extend(options, r, r.Off-end, i == 0)
		end = r.Off + r.Len
	}
	return l.trace(size, changed, l.cheapest(options, size-end), size-end)
}

// extend adds a range, with a gap before it, to the options.
func (l cuts) extend(options []*option, r Range, gap int64, first bool) []*option {
	short := max(0, l.min-r.Len)
	var next []*option
	for _, o := range options {
		if first && gap == 0 {
			return []*option{{need: short, before: o}}
		}
		next = append(next, &option{cost: o.cost + gap, before: o, join: true})
		room := gap - l.min - o.need
		if room < 0 {
			continue
		}
		left := min(short, room)
		next = append(next, &option{cost: o.cost + o.need + left, need: short - left, before: o, left: left})
		if left > 0 { // for the case that the next gap is sent, and makes it long enough
			next = append(next, &option{cost: o.cost + o.need, need: short, before: o})
		}
	}
	return undominated(next)
}

// undominated drops the options that are nowhere better than another one.
func undominated(options []*option) []*option {
	slices.SortStableFunc(options, func(a, b *option) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.need, b.need))
	})
	kept := options[:1]
	for _, o := range options[1:] {
		if o.need < kept[len(kept)-1].need {
			kept = append(kept, o)
		}
	}
	return kept
}

// cheapest returns the option that costs least with the tail behind the last range.
func (l cuts) cheapest(options []*option, tail int64) *option {
	var best *option
	var least int64
	for _, o := range options {
		if cost := o.cost + min(o.need, tail); best == nil || cost < least {
			best, least = o, cost
		}
	}
	return best
}

// trace returns the ranges of an option.
func (l cuts) trace(size int64, changed []Range, o *option, tail int64) []Range {
	var out []Range
	right := min(o.need, tail)
	for i := len(changed) - 1; i >= 0; i, o = i-1, o.before {
		r := changed[i]
		end := r.Off + r.Len + right
		for o.join {
			if i == 0 {
				r.Off = 0
				break
			}
			i, o = i-1, o.before
			r.Off = changed[i].Off
		}
		if !o.join {
			r.Off -= o.left
		}
		out = append(out, Range{r.Off, end - r.Off})
		right = 0
		if o.before != nil {
			right = o.before.need
		}
	}
	slices.Reverse(out)
	l.align(size, out, changed)
	return out
}

// align moves ranges of the smallest size, which could lie anywhere around what was changed, to a multiple of it where there
// is room: the same place changed again is the same part, and what was fetched around a change lies in it.
func (l cuts) align(size int64, out, changed []Range) {
	at := 0
	for i := range out {
		first := at
		for at < len(changed) && changed[at].Off < out[i].Off+out[i].Len {
			at++
		}
		wish := changed[first].Off / l.min * l.min
		if last := changed[at-1]; out[i].Len != l.min || wish+l.min < last.Off+last.Len {
			continue
		}
		before, behind := wish, size-(wish+l.min) // the gaps that there would be
		if i > 0 {
			before -= out[i-1].Off + out[i-1].Len
		}
		if i+1 < len(out) {
			behind = out[i+1].Off - (wish + l.min)
		}
		if (before >= l.min || before == 0 && i == 0) && (behind >= l.min || behind >= 0 && i+1 == len(out)) {
			out[i].Off = wish
		}
	}
}

// pieces cuts the ranges to send, and those between them to copy.
func (l cuts) pieces(size int64, send []Range) []Piece {
	var out []Piece
	var at int64
	for _, r := range append(slices.Clone(send), Range{size, 0}) {
		out = cut(out, at, r.Off, l.copy, true)
		out = cut(out, r.Off, r.Off+r.Len, l.send, false)
		at = r.Off + r.Len
	}
	return out
}

// cut appends [off, end) in parts of about the same length.
func cut(out []Piece, off, end, largest int64, copied bool) []Piece {
	if off >= end {
		return out
	}
	for n := (end - off + largest - 1) / largest; n > 0; n-- {
		length := (end - off) / n
		out = append(out, Piece{Off: off, Len: length, Copy: copied})
		off += length
	}
	return out
}
