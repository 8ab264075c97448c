package tree

import (
	"errors"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
)

// What another program makes of an object while the file is open here. A node counts such changes: its era. What it has open of
// the content before (a staged file that is stored, the read cache) is of an older era then, and given up at the next use; it is
// never taken for the new content, whatever its length. A handle belongs to the era in which it was opened: in a
// later one it is stale, so that nobody reads a mixture, or writes into a content that he has not seen.

// Changed says that an inode has another program's content now. It is called in the transaction that records it.
func (t *Tree) Changed(tx *catalog.Tx, ino uint64) {
	t.newEra(ino)
	tx.After(func() { t.newEra(ino) }) // for who came meanwhile, and has seen the row of before
}

func (t *Tree) newEra(ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[ino]; n != nil {
		n.era.Add(1)
	}
}

// outdated reports whether what the node has open is of a content that is not the inode's any more, unless it is staged.
func (n *node) outdated() bool { return n.at.Load() != n.era.Load() }

// current returns the staged file if it holds the inode's content. The gate is held.
func (n *node) current() *stage.File {
	if !n.staged && n.outdated() {
		return nil
	}
	return n.file.Load()
}

// refresh gives up what the node has open of an older era. The gate is locked.
func (n *node) refresh() {
	era := n.era.Load()
	if n.at.Load() == era {
		return
	}
	n.closeSource()
	if f := n.file.Load(); f != nil && !n.staged {
		n.file.Store(nil)
		_ = f.Close()
		n.t.discard(n.stageID, n.synced)
		n.synced = false
		_, _ = n.settled() // its length is the row's again; an error shows at the next use of the row
	}
	n.at.Store(era)
}

// errOther says that bytes were asked for of a content that the row does not name any more.
var errOther = errors.New("the content is another one now")

// stale reports whether another program has changed the file since it was opened.
func (f *File) stale() bool { return f != nil && f.era != f.n.era.Load() }
