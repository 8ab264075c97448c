package commit

import (
	"fmt"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
)

// instead does what is left to do when the request that was to copy or move an inode's object failed with err. After nil
// the inode is looked at again.
func (c *Committer) instead(p plan, err error) error {
	var lost error
	switch provider.KindOf(err) {
	case provider.KindUnsupported: // the store cannot copy: the bytes travel
		lost = c.content.Localise(c.ctx, p.n.Ino)
	case provider.KindNotFound: // another program has deleted the object: likewise, if they can still be had
		lost = c.save(p.n.Ino, p.n.Key)
	case provider.KindPrecondition:
		return c.adopt(p.n, err)
	default:
		return err
	}
	if lost != nil {
		return fmt.Errorf("%w; and its content: %w", err, lost)
	}
	return nil
}

// adopt takes what another program has made of an inode's object for its content, as a file on a shared disk has what was
// written to it last, whoever renames it. err is how that was noticed.
func (c *Committer) adopt(seen *catalog.Inode, err error) error {
	have, serr := c.store.Stat(c.ctx, seen.Key)
	if serr != nil {
		return serr
	}
	if have.Version == seen.Version {
		return err
	}
	c.o.Logger.Warn("another program has changed the object; its content is kept", "key", seen.Key,
		"version", have.Version, "modified", have.ModTime)
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(seen.Ino)
		if catalog.IsNotFound(err) || err == nil && (n.Key != seen.Key || n.Version != seen.Version || n.Stage != 0) {
			return nil
		}
		if err != nil {
			return err
		}
		if n.Content, err = tx.NewID(); err != nil {
			return err
		}
		c.content.Changed(tx, n.Ino)
		n.Version, n.Revision, n.Size, n.StoredSz, n.Target = have.Version, have.Revision, have.Size, have.Size, ""
		return tx.Put(n)
	})
}
