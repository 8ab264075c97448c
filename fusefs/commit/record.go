package commit

import (
	"maps"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
)

// record tells the catalog that a request has succeeded. stored, if not nil, says what became of the content.
func (c *Committer) record(p plan, obj provider.Object, md provider.Metadata, size int64,
	stored func(*catalog.Tx, *catalog.Inode) error) (clean bool, err error) {
	var moved uint64
	err = c.cat.Update(func(tx *catalog.Tx) error {
		clean, moved = false, 0
		c.watches.note(p.n.Ino)
		if err := c.takeKey(tx, p.key, p.n.Ino); err != nil {
			return err
		}
		n, err := tx.Get(p.n.Ino)
		if catalog.IsNotFound(err) || err == nil && n.Parent == 0 {
			// It was unlinked meanwhile: nobody wants the object.
			clean = true
			if n != nil {
				if p.kind != copyFile { // whoever still has it open reads the object at the old key
					n.Key, n.Version, n.Revision = p.key, obj.Version, obj.Revision
				}
				n.PutKey, n.PutTag = "", ""
				if err := tx.Put(n); err != nil {
					return err
				}
			}
			return c.doom(tx, p.key, obj.Version, p.n.Dirty)
		}
		if err != nil {
			return err
		}
		if n.Key != "" && n.Key != p.key && p.kind != moveFile {
			if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
				return err
			}
		}
		n.Key, n.Version, n.Revision = p.key, obj.Version, obj.Revision
		n.PutKey, n.PutTag = "", ""
		switch {
		case p.kind == putFile:
			n.StoredSz = size
		case p.kind == putSymlink:
			n.StoredSz = int64(len(p.n.Target))
		case n.IsFile():
			moved = n.Content
		}
		if stored != nil {
			if err := stored(tx, n); err != nil {
				return err
			}
		}
		if p.kind != moveFile {
			n.MetaDirty = !maps.Equal(md, c.metadata(n, md[provider.MetaPut]))
		}
		if err := tx.Put(n); err != nil {
			return err
		}
		left, err := c.planInode(tx, n.Ino)
		if err != nil {
			return err
		}
		if left.kind == putFile && p.kind == putFile {
			n.Dirty = c.o.Now() // the content that is pending came after the snapshot
			return tx.Put(n)
		}
		if left.kind != nothing {
			return nil
		}
		clean = true
		n.Dirty, n.MetaDirty = time.Time{}, false
		return tx.Put(n)
	})
	if err == nil && moved != 0 {
		c.content.Moved(moved, p.key, obj.Version)
	}
	return clean, err
}

// takeKey takes a key from everybody who had an object there, but for the inode that has it now; 0: nobody has.
func (c *Committer) takeKey(tx *catalog.Tx, key string, ino uint64) error {
	if err := tx.Spare(key); err != nil {
		return err
	}
	others, err := tx.StoredAt(key)
	if err != nil {
		return err
	}
	for _, x := range others {
		if x.Ino == ino {
			continue
		}
		x.Key, x.Version, x.Revision = "", "", ""
		if err := tx.Put(x); err != nil {
			return err
		}
	}
	return nil
}

// doom notes an object that is to be deleted because of a change that was made at since, and has it looked at.
func (c *Committer) doom(tx *catalog.Tx, key string, v provider.Version, since time.Time) error {
	now := c.o.Now()
	if since.IsZero() {
		since = now
	}
	tx.After(func() { c.q.touch(itemID{key: key}, since, now, c.o) })
	return tx.Doom(key, v, since)
}
