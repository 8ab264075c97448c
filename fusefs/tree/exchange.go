package tree

import (
	"syscall"

	"sharefs/fusefs/catalog"
)

// exchange swaps what two names stand for. Both are there at every moment: it is one transaction.
func (t *Tree) exchange(tx *catalog.Tx, oldParent uint64, oldName string, newParent uint64, newName string) (renamed, error) {
	a, err := tx.Child(oldParent, oldName)
	if err != nil {
		return renamed{}, errNoName(err)
	}
	b, err := tx.Child(newParent, newName)
	if err != nil {
		return renamed{}, errNoName(err)
	}
	if err := t.mayGo(tx, a, newParent, newName); err != nil {
		return renamed{}, err
	}
	if err := t.mayGo(tx, b, oldParent, oldName); err != nil {
		return renamed{}, err
	}
	if a.Ino == b.Ino {
		return renamed{}, nil
	}
	a.Parent, a.Name = 0, "" // two cannot have a name at once
	if err := tx.Put(a); err != nil {
		return renamed{}, err
	}
	var done renamed
	for _, m := range []struct {
		row    *catalog.Inode
		parent uint64
		name   string
	}{{b, oldParent, oldName}, {a, newParent, newName}} {
		m.row.Parent, m.row.Name, m.row.Ctime = m.parent, m.name, t.o.Now()
		below, err := t.putMoved(tx, m.row)
		if err != nil {
			return renamed{}, err
		}
		done.inos = append(append(done.inos, m.row.Ino), below...)
	}
	_, err = t.touchParents(tx, oldParent, newParent)
	return done, err
}

// errNoName makes the errno of a name that is not there.
func errNoName(err error) error {
	if catalog.IsNotFound(err) {
		return syscall.ENOENT
	}
	return err
}

// mayGo checks that an inode can have a name in a directory, whatever has that name now.
func (t *Tree) mayGo(tx *catalog.Tx, row *catalog.Inode, parent uint64, name string) error {
	to, err := t.mayAdd(tx, parent, name, row.IsDir())
	if err != nil || !row.IsDir() {
		return err
	}
	return t.mayMoveDir(tx, row, to, name)
}

// putMoved puts a row that has another name, and marks what is below it, whose keys have changed with it.
func (t *Tree) putMoved(tx *catalog.Tx, row *catalog.Inode) (below []uint64, err error) {
	t.markDirty(tx, row)
	if err := tx.Put(row); err != nil || !row.IsDir() {
		return nil, err
	}
	below, err = tx.MarkBelow(row.Ino, t.o.Rules.HasScratch(), row.Ctime)
	tx.After(func() {
		for _, ino := range below {
			t.commit.Touch(ino)
		}
	})
	return below, err
}
