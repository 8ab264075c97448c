package commit

import (
	"fmt"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
)

// outdated returns the items of a circle that need not wait for the next one any more: an item that waits is not looked
// at when names change.
func (c *Committer) outdated(circle []itemID) (list []itemID, err error) {
	err = c.cat.View(func(tx *catalog.Tx) error {
		for i, id := range circle {
			var first itemID
			if id.ino == 0 {
				var err error
				if first, _, err = c.planDelete(tx, id.key); err != nil {
					return err
				}
			} else {
				p, err := c.planInode(tx, id.ino)
				if err != nil {
					return err
				}
				first = p.first
			}
			if first != circle[(i+1)%len(circle)] {
				list = append(list, id)
			}
		}
		return nil
	})
	return list, err
}

// giveWay breaks a circle of items that wait for each other: one of them gives up the object that it is to leave anyway.
func (c *Committer) giveWay(circle []itemID) error {
	if free, err := c.outdated(circle); err != nil {
		return err
	} else if len(free) > 0 {
		c.q.unblock(free, c.o.Now())
		return ErrChanged
	}
	for _, id := range circle {
		var leaves string
		err := c.cat.View(func(tx *catalog.Tx) error {
			n, err := tx.Get(id.ino)
			if err != nil {
				return err
			}
			if key, err := tx.Key(n); err == nil && n.Key != key {
				leaves = n.Key
			}
			return nil
		})
		if err != nil && !catalog.IsNotFound(err) {
			return err
		}
		if leaves != "" {
			return c.save(id.ino, leaves)
		}
	}
	names := make([]string, len(circle))
	for i, id := range circle {
		names[i] = c.describe(id)
	}
	return fmt.Errorf("these wait for each other: %q", names)
}

// save makes a file's content local and gives up its object at key, so that another one can take the key.
func (c *Committer) save(ino uint64, key string) error {
	failpoint.Hit("commit.save")
	if err := c.content.Localise(c.ctx, ino); err != nil {
		return fmt.Errorf("content that is needed before its object goes: %w", err)
	}
	if err := c.content.Secure(c.ctx, ino); err != nil { // what is staged is all there is of it from here on
		return fmt.Errorf("content that is needed before its object goes: %w", err)
	}
	if c.content.Held(key) == ino {
		return fmt.Errorf("%q is still read by who has the unlinked file open", key)
	}
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		switch {
		case catalog.IsNotFound(err) || err == nil && (n.Key == "" || n.Parent == 0):
			return nil
		case err != nil:
			return err
		case n.Key != key:
			return nil // it has been stored elsewhere meanwhile
		case n.IsFile() && n.Stage == 0:
			return ErrChanged // likewise: its object is its only content
		}
		now := c.o.Now()
		if n.Dirty.IsZero() {
			n.Dirty = now
			tx.After(func() { c.q.touch(itemID{ino: ino}, now, now, c.o) })
		}
		if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
			return err
		}
		n.Key, n.Version, n.Revision = "", "", ""
		return tx.Put(n)
	})
}
