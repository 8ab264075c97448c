package commit

import (
	"errors"
	"fmt"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider"
	"sharefs/provider/transfer"
)

// PatchFrom is the size, in bytes, above which a changed file is stored by sending what was changed and having the store copy
// the rest. Up to here one PUT is as good.
const PatchFrom = 8 << 20

// Pick chooses what a snapshot holds of a staged file with this layout and these spills. See stage.SnapshotOptions.
type Pick func(l stage.Layout, spills []catalog.Spill) []stage.Range

// mayPatch reports whether what is stored for an inode can be the base of what is to be stored. It says nothing of how much
// was changed.
func (c *Committer) mayPatch(n *catalog.Inode) bool {
	return c.caps.Copy && n.IsFile() && n.Stage != 0 && n.Key != "" && n.Version != "" && n.StoredSz > c.patchFrom
}

// method is how a changed file is stored.
type method uint8

const (
	asWhole method = iota // all of it is sent
	asPatch               // what was changed is sent; the store copies the rest from the stored object, and from spills
	asNew                 // the same without the stored object
)

// pieces are the parts in which a file is sent, or nil for the whole of it.
func (c *Committer) pieces(how method, l stage.Layout, spills []catalog.Spill) []transfer.Piece {
	switch {
	case how == asWhole || l.Size <= c.patchFrom:
		return nil
	case len(spills) > 0:
		return c.piecesOfSpilled(l, spills, how == asPatch)
	case how == asNew:
		return nil
	}
	changed := make([]transfer.Range, len(l.Dirty))
	for i, r := range l.Dirty {
		changed[i] = transfer.Range(r)
	}
	return c.planPatch(c.caps, l.Size, changed)
}

// pickSent is the Pick of a method.
func (c *Committer) pickSent(how method) Pick {
	return func(l stage.Layout, spills []catalog.Spill) []stage.Range {
		pieces := c.pieces(how, l, spills)
		if pieces == nil {
			return []stage.Range{{Len: l.Size}}
		}
		var sent []stage.Range
		for _, p := range pieces {
			if !p.Copy {
				sent = append(sent, stage.Range{Off: p.Off, Len: p.Len})
			}
		}
		return sent
	}
}

// putFile stores a changed file: where that is worth it as a patch of what is stored, else, or when that is not there any
// more, as a whole.
func (c *Committer) putFile(p plan, urgent bool) (clean bool, err error) {
	how := asNew
	if p.patch {
		how = asPatch
	}
	clean, err = c.upload(p, urgent, how)
	if !errors.Is(err, transfer.ErrSource) {
		return clean, err
	}
	c.o.Logger.Warn("a changed file cannot be made of the object that is stored for it; sending the whole of it", "key", p.n.Key, "err", err)
	clean, whole := c.upload(p, urgent, asWhole)
	if whole != nil && !errors.Is(whole, ErrBusy) && !errors.Is(whole, ErrChanged) && !provider.IsContext(whole) {
		whole = fmt.Errorf("%w; and as a whole: %w", err, whole)
	}
	return clean, whole
}

// upload stores a changed file.
func (c *Committer) upload(p plan, urgent bool, how method) (clean bool, err error) {
	snap, err := c.content.Snapshot(c.ctx, p.n.Ino, urgent, c.pickSent(how))
	if err != nil {
		return false, err
	}
	defer snap.Close()
	p.pieces = c.pieces(how, snap.Layout(), snap.Spills())
	return c.send(p, snap)
}
