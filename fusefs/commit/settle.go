package commit

import (
	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/provider"
)

// putOrVanish puts a row, or removes it when it is of a file of which nothing is left: a power loss took what was staged,
// and the store never got it.
func (c *Committer) putOrVanish(tx *catalog.Tx, n *catalog.Inode) error {
	if !n.IsFile() || n.Stage != 0 || n.Key != "" || n.Parent == 0 {
		return tx.Put(n)
	}
	if err := tx.Delete(n.Ino); err != nil {
		return err
	}
	dir, err := tx.Get(n.Parent)
	if err != nil || dir.Ino == catalog.RootIno {
		return err
	}
	now := c.o.Now()
	if dir.Dirty.IsZero() { // it may be empty now
		dir.Dirty = now
	}
	tx.After(func() { c.q.touch(itemID{ino: dir.Ino}, now, now, c.o) })
	return tx.Put(dir)
}

// settle finds out what became of a request whose answer never came, because this process died or the store was gone. An
// object of ours is adopted as what is stored for the inode; whether it still is what is desired is looked at next.
func (c *Committer) settle(p plan) error {
	if err := c.abortUploads(c.ctx, p.n.PutKey); err != nil { // what has not been completed never will be
		return err
	}
	have, ours, moved, err := c.ours(p.n)
	if err != nil {
		return err
	}
	failpoint.Hit("commit.settle")
	if !ours {
		return c.forgetUnlessLate(p)
	}
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(p.n.Ino)
		if catalog.IsNotFound(err) || err == nil && (n.Parent == 0 || n.PutKey != p.n.PutKey) {
			return nil // unlinked: then the key was doomed
		}
		if err != nil {
			return err
		}
		if n.Key != "" && n.Key != n.PutKey && !moved {
			if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
				return err
			}
		}
		if err := c.takeKey(tx, n.PutKey, n.Ino); err != nil {
			return err
		}
		if n.IsFile() && n.Stage == 0 { // a copy of what it had, or all that a power loss has left of a change
			if n.Content, err = tx.NewID(); err != nil {
				return err
			}
			n.Size = have.Size
		}
		n.Key, n.Version, n.Revision, n.StoredSz = n.PutKey, have.Version, have.Revision, have.Size
		n.PutKey, n.PutTag = "", ""
		if n.Dirty.IsZero() {
			n.Dirty = c.o.Now()
		}
		return tx.Put(n)
	})
}

// ours looks at what is at an inode's PutKey, and whether our request has put it there. moved: by a move, so that there is
// nothing at the old key any more.
func (c *Committer) ours(n *catalog.Inode) (have provider.Object, ours, moved bool, err error) {
	have, err = c.store.Stat(c.ctx, n.PutKey)
	if provider.Is(err, provider.KindNotFound) {
		return have, false, false, nil
	}
	if err != nil {
		return have, false, false, err
	}
	if tag := have.Metadata[provider.MetaPut]; tag != "" && tag == n.PutTag {
		return have, true, false, nil
	}
	if n.Key == "" || n.Key == n.PutKey {
		return have, false, false, nil
	}
	_, err = c.store.Stat(c.ctx, n.Key)
	if !provider.Is(err, provider.KindNotFound) {
		return have, false, false, err // still there: what was to copy or move it can be sent again
	}
	copied := have.Version != "" && have.Version == n.Version // without metadata of its own it has no tag
	return have, c.caps.AtomicMove || copied, true, nil
}
