package commit

import (
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider/transfer"
)

// piecesOfSpilled are the parts of a file of which some ranges are in objects of their own: those that nobody has changed
// since are copied from there, what else is clean from the stored object, if it may be patched. It is nil when the file has
// too many parts, or nothing of it can be copied.
func (c *Committer) piecesOfSpilled(l stage.Layout, spills []catalog.Spill, patch bool) []transfer.Piece {
	var pieces []transfer.Piece
	var at int64
	between := func(end int64) {
		if at < end {
			pieces = append(pieces, c.unspilled(l, at, end, patch)...)
		}
	}
	for _, s := range spills {
		end := min(s.Off+s.Len, l.Size)
		if s.Off < at || s.Off >= end || !holds(l.Absent, s.Off, end) {
			continue
		}
		between(s.Off)
		pieces = append(pieces, transfer.Piece{Off: s.Off, Len: end - s.Off, Copy: true, From: &transfer.Source{Key: s.Key, Version: s.Version}})
		at = end
	}
	between(l.Size)
	return c.lawful(pieces)
}

// unspilled are the parts of a range that is not copied from a spill. Of one that was changed in places only those are sent, if it
// may be patched: what is sent of the rest would have to be fetched.
func (c *Committer) unspilled(l stage.Layout, off, end int64, patch bool) []transfer.Piece {
	changed := within(l.Dirty, off, end)
	if patch && len(changed) > 0 {
		if pieces := c.planPatch(c.caps, end-off, changed); pieces != nil {
			for i := range pieces {
				pieces[i].Off += off
			}
			return pieces
		}
	}
	copied := patch && len(changed) == 0
	most := int64(transfer.DefaultPartSize)
	if copied {
		most = end - off
	}
	if c.caps.MaxPartSize > 0 {
		most = min(most, c.caps.MaxPartSize)
	}
	var out []transfer.Piece
	for n := (end - off + most - 1) / most; n > 0; n-- {
		length := (end - off) / n
		out = append(out, transfer.Piece{Off: off, Len: length, Copy: copied})
		off += length
	}
	return out
}

// lawful joins what is too short for a part of its own to what is sent beside it, and returns nil when the store does not take
// the parts.
func (c *Committer) lawful(pieces []transfer.Piece) []transfer.Piece {
	var out []transfer.Piece
	for i, p := range pieces {
		if n := len(out); n > 0 && out[n-1].Len < c.caps.MinPartSize {
			out[n-1] = transfer.Piece{Off: out[n-1].Off, Len: out[n-1].Len + p.Len}
			continue
		}
		if n := len(out); n > 0 && i < len(pieces)-1 && p.Len < c.caps.MinPartSize {
			out[n-1] = transfer.Piece{Off: out[n-1].Off, Len: out[n-1].Len + p.Len}
			continue
		}
		out = append(out, p)
	}
	copies := false
	for _, p := range out {
		copies = copies || p.Copy
		if c.caps.MaxPartSize > 0 && p.Len > c.caps.MaxPartSize {
			return nil
		}
	}
	if !copies || c.caps.MaxParts > 0 && len(out) > c.caps.MaxParts {
		return nil
	}
	return out
}

// holds reports whether one of the ranges has all of [off, end).
func holds(ranges []stage.Range, off, end int64) bool {
	for _, r := range ranges {
		if r.Off <= off && end <= r.Off+r.Len {
			return true
		}
	}
	return false
}

// within returns what ranges have of [off, end), counted from off.
func within(ranges []stage.Range, off, end int64) []transfer.Range {
	var out []transfer.Range
	for _, r := range ranges {
		lo, hi := max(r.Off, off), min(r.Off+r.Len, end)
		if lo < hi {
			out = append(out, transfer.Range{Off: lo - off, Len: hi - lo})
		}
	}
	return out
}

// dropSpills forgets the spills of a staged file whose content is stored, and dooms their objects.
func (c *Committer) dropSpills(tx *catalog.Tx, stage uint64, since time.Time) error {
	spills, err := tx.Spills(stage)
	if err != nil || len(spills) == 0 {
		return err
	}
	for _, s := range spills {
		if err := c.doom(tx, s.Key, s.Version, since); err != nil {
			return err
		}
	}
	return tx.DeleteSpills(stage)
}
