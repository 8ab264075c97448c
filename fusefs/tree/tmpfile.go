package tree

import (
	"context"
	"syscall"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// newStaged gives a new row an empty staged file, and returns its node, in use.
func (t *Tree) newStaged(tx *catalog.Tx, row *catalog.Inode) (*node, error) {
	id, err := tx.NewID()
	if err != nil {
		return nil, err
	}
	f, err := t.stage.Create(stage.ID(id))
	if err != nil {
		return nil, err
	}
	row.Stage, row.StageMtime = id, f.ModTime()
	n := &node{t: t, ino: row.Ino, refs: 1, loaded: true, stageID: id, staged: true}
	n.file.Store(f)
	tx.Live(row)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes[row.Ino] = n
	return n, nil
}

// Tmpfile makes a file without a name in a directory, and opens it. It goes with its last close, and with a crash, unless
// Link has given it a name.
func (t *Tree) Tmpfile(ctx context.Context, c Caller, parent uint64, mode, flags uint32) (Attr, Handle, error) {
	if t.o.ReadOnly {
		return Attr{}, nil, syscall.EROFS
	}
	room, err := t.entryRoom(ctx)
	if err != nil {
		return Attr{}, nil, err
	}
	defer room.Release()
	var n *node
	var row *catalog.Inode
	err = t.cat.Update(func(tx *catalog.Tx) error {
		dir, err := getDir(tx, parent)
		if err != nil {
			return err
		}
		if dir.Ino != Root && dir.Parent == 0 {
			return syscall.ENOENT
		}
		if row, err = t.newRow(tx, 0, ""); err != nil {
			return err
		}
		owned(row, dir, c, provider.ModeFile|mode&0o7777)
		if n, err = t.newStaged(tx, row); err != nil {
			return err
		}
		tx.After(func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.unlinked[row.Ino] = false
		})
		return tx.Put(row)
	})
	if err != nil {
		if n != nil {
			t.release(n)
		}
		return Attr{}, nil, err
	}
	f := t.newFile(n, flags)
	f.wrote.Add(1) // when it gets a name an empty file is something to store
	return t.attrOf(row), f, nil
}

// Link gives a file that Tmpfile has made its one name. Others are EPERM: an object has one name.
func (t *Tree) Link(ctx context.Context, ino, parent uint64, name string) (Attr, error) {
	if t.o.ReadOnly {
		return Attr{}, syscall.EROFS
	}
	n := t.acquire(ino)
	defer t.release(n)
	row, err := n.row()
	if err != nil {
		return Attr{}, err
	}
	if err := mayLink(row); err != nil {
		return Attr{}, err
	}
	if err := t.complete(ctx, parent); err != nil {
		return Attr{}, err
	}
	if err := n.persist(); err != nil {
		return Attr{}, err
	}
	err = t.cat.Update(func(tx *catalog.Tx) (err error) {
		row, err = t.link(tx, ino, parent, name)
		return err
	})
	if err != nil {
		return Attr{}, err
	}
	t.secureLater(ino)
	if err := t.followAttrs(ctx, n); err != nil {
		return Attr{}, err
	}
	return t.attrOf(row), nil
}

// mayLink checks that an inode has no name, and has had none that was stored.
func mayLink(row *catalog.Inode) error {
	switch {
	case row.Parent != 0 || !row.IsFile():
		return syscall.EPERM
	case row.Key != "" || row.PutKey != "":
		return syscall.ENOENT // it was removed
	}
	return nil
}

func (t *Tree) link(tx *catalog.Tx, ino, parent uint64, name string) (*catalog.Inode, error) {
	row, err := tx.Get(ino)
	if err != nil {
		return nil, errGone(err)
	}
	if err := mayLink(row); err != nil {
		return nil, err
	}
	dir, err := t.mayAdd(tx, parent, name, false)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Child(parent, name); !catalog.IsNotFound(err) {
		if err == nil {
			err = syscall.EEXIST
		}
		return nil, err
	}
	if t.cat.Usage().Bytes+row.Size > t.capacity {
		return nil, syscall.ENOSPC
	}
	row.Parent, row.Name, row.Ctime = parent, name, t.o.Now()
	t.markDirty(tx, row)
	if err := tx.Put(row); err != nil {
		return nil, err
	}
	t.commit.Created(tx, row)
	tx.After(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.unlinked, ino)
	})
	dir.Mtime, dir.Ctime = row.Ctime, row.Ctime
	return row, tx.Put(dir)
}
