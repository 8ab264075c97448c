package commit

import (
	"errors"
	"fmt"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider"
	"sharefs/provider/transfer"
)

// patchFrom is the size, in bytes, above which a changed file is stored by sending what was changed and having the store copy
// the rest. Up to here one PUT is as good.
const patchFrom = 8 << 20

// Pick chooses what a snapshot holds of a file of this size and these changed ranges. See stage.SnapshotOptions.
type Pick func(size int64, dirty []stage.Range) []stage.Range

// mayPatch reports whether what is stored for an inode can be the base of what is to be stored. It says nothing of how much
// was changed.
func (c *Committer) mayPatch(n *catalog.Inode) bool {
	return c.caps.Copy && n.IsFile() && n.Stage != 0 && n.Key != "" && n.Version != "" && n.StoredSz > c.patchFrom
}

// pieces are the parts in which a file is sent, or nil for the whole of it.
func (c *Committer) pieces(size int64, dirty []stage.Range) []transfer.Piece {
	if size <= c.patchFrom {
		return nil
	}
	changed := make([]transfer.Range, len(dirty))
	for i, r := range dirty {
		changed[i] = transfer.Range(r)
	}
	return c.planPatch(c.caps, size, changed)
}

// pickSent is the Pick of a patch.
func (c *Committer) pickSent(size int64, dirty []stage.Range) []stage.Range {
	pieces := c.pieces(size, dirty)
	if pieces == nil {
		return []stage.Range{{Len: size}}
	}
	var sent []stage.Range
	for _, p := range pieces {
		if !p.Copy {
			sent = append(sent, stage.Range{Off: p.Off, Len: p.Len})
		}
	}
	return sent
}

// putFile stores a changed file: where that is worth it as a patch of what is stored, else, or when that is not there any
// more, as a whole.
func (c *Committer) putFile(p plan, urgent bool) (clean bool, err error) {
	if !p.patch {
		return c.upload(p, urgent, false)
	}
	clean, err = c.upload(p, urgent, true)
	if !errors.Is(err, transfer.ErrSource) {
		return clean, err
	}
	c.o.Logger.Warn("a changed file cannot be made of the object that is stored for it; sending the whole of it", "key", p.n.Key, "err", err)
	clean, whole := c.upload(p, urgent, false)
	if whole != nil && !errors.Is(whole, ErrBusy) && !errors.Is(whole, ErrChanged) && !provider.IsContext(whole) {
		whole = fmt.Errorf("%w; and as a whole: %w", err, whole)
	}
	return clean, whole
}

// upload stores a changed file as a patch, if it is one, or as a whole.
func (c *Committer) upload(p plan, urgent, patch bool) (clean bool, err error) {
	var pick Pick
	if patch {
		pick = c.pickSent
	}
	snap, err := c.content.Snapshot(c.ctx, p.n.Ino, urgent, pick)
	if err != nil {
		return false, err
	}
	defer snap.Close()
	if patch {
		p.pieces = c.pieces(snap.Size(), snap.Dirty())
	}
	return c.send(p, snap)
}
