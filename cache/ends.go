package cache

import "sharefs/cache/internal/blockfile"

// The ends of a content of more than one block are its first block and those of its last 64 KiB. Which of them are
// accounted in the tier of the ends is the object's set of marks.

// endBit returns the mark of a block, 0 when the block is no end.
func (o *object) endBit(block int64) uint8 {
	switch {
	case o.blocks < 2:
		return 0
	case block == 0:
		return 1
	case block == o.blocks-1:
		return 2
	case block == o.blocks-2 && o.size%blockfile.BlockSize != 0:
		return 4
	}
	return 0
}

// endBits returns the marks of the blocks from first to before end, 0 when one of them is no end.
func (o *object) endBits(first, end int64) (bits uint8) {
	for b := first; b < end; b++ {
		bit := o.endBit(b)
		if bit == 0 {
			return 0
		}
		bits |= bit
	}
	return bits
}

// ended returns the blocks of a set of marks, in order.
func (o *object) ended(bits uint8) []int64 {
	var blocks []int64
	for _, b := range []int64{0, o.blocks - 2, o.blocks - 1} {
		if bit := o.endBit(b); b >= 0 && bit&bits != 0 {
			blocks, bits = append(blocks, b), bits&^bit
		}
	}
	return blocks
}

// tierOf returns the tier that a block is accounted in. Cache.mu is locked.
func (o *object) tierOf(block int64) tier {
	if o.endBit(block)&o.marked != 0 {
		return ends
	}
	return body
}

// span is a range of blocks, from first to before end.
type span struct{ first, end int64 }

// tierBlocks returns the blocks that are accounted in a tier.
func (o *object) tierBlocks(t tier) []span {
	o.c.mu.Lock()
	marked := o.ended(o.marked)
	o.c.mu.Unlock()
	var in, out []span
	next := int64(0)
	for _, b := range marked {
		in = append(in, span{b, b + 1})
		out = append(out, span{next, b})
		next = b + 1
	}
	out = append(out, span{next, o.blocks})
	if t == ends {
		return in
	}
	return out
}

// markMissing marks blocks that are about to be fetched, and returns the marks that changed.
func (o *object) markMissing(bits uint8) (changed uint8) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	changed = bits &^ o.marked &^ o.charged
	o.marked |= changed
	return changed
}

// markedAll reports whether all of a set of marks are set.
func (o *object) markedAll(bits uint8) bool {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	return o.marked&bits == bits
}

// moveEnds accounts the blocks of a set of marks in the tier of the ends, or again in that of the body, and returns the
// marks that changed. The tier of the ends takes what it has room for without evicting.
func (o *object) moveEnds(bits uint8, to tier) (moved uint8) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index[o.id] != o {
		return 0
	}
	for _, b := range o.ended(bits) {
		from := o.tierOf(b)
		if from == to {
			continue
		}
		cost := int64(0)
		if o.charged&o.endBit(b) != 0 {
			cost = blockfile.Cost(o.size, b)
		}
		if to == ends && c.room.endsFull(cost) {
			continue
		}
		if cost > 0 {
			c.room.tiers[from].Grow(o.entry[from], -cost)
			c.room.tiers[to].Grow(c.entryOf(o, to), cost)
		}
		o.marked ^= o.endBit(b)
		moved |= o.endBit(b)
	}
	return moved
}

// use counts a use of what the object has in a tier. Uses within moments of each other are one: a server opens a file
// again for each step.
func (o *object) use(t tier) {
	c := o.c
	now := c.opts.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := o.entry[t]; e != nil && now.Sub(o.used[t]) >= correlated {
		c.room.tiers[t].Touch(e)
		o.used[t] = now
	}
}
