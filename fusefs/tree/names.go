package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// maxName is the longest name, in bytes, as on Linux's own filesystems.
const maxName = 255

// reservedName is the name at the root below which the store keeps what is sharefs's own.
var reservedName = strings.TrimSuffix(provider.Reserved, "/")

// errGone is how a missing row reaches the kernel: the inode was known, and is no more.
func errGone(err error) error {
	if catalog.IsNotFound(err) {
		return syscall.ESTALE
	}
	return err
}

// dir returns the row of a directory.
func (t *Tree) dir(ino uint64) (row *catalog.Inode, err error) {
	err = t.cat.View(func(tx *catalog.Tx) (err error) {
		row, err = getDir(tx, ino)
		return err
	})
	return row, err
}

func getDir(tx *catalog.Tx, ino uint64) (*catalog.Inode, error) {
	row, err := tx.Get(ino)
	if err != nil {
		return nil, errGone(err)
	}
	if !row.IsDir() {
		return nil, syscall.ENOTDIR
	}
	return row, nil
}

// Lookup returns the attributes of a name; ".." is the directory above.
func (t *Tree) Lookup(ctx context.Context, parent uint64, name string) (Attr, error) {
	if len(name) > maxName {
		return Attr{}, syscall.ENAMETOOLONG
	}
	if parent == Root && name == reservedName {
		return Attr{}, syscall.ENOENT
	}
	if name == ".." {
		dir, err := t.dir(parent)
		if err != nil {
			return Attr{}, err
		}
		return t.GetAttr(ctx, max(dir.Parent, Root))
	}
	for {
		var row *catalog.Inode
		err := t.cat.View(func(tx *catalog.Tx) error {
			dir, err := getDir(tx, parent)
			if err != nil {
				return err
			}
			if !dir.Complete {
				return nil
			}
			if row, err = tx.Child(parent, name); catalog.IsNotFound(err) {
				return syscall.ENOENT
			}
			return err
		})
		switch {
		case err != nil:
			return Attr{}, err
		case row == nil:
			if err := t.complete(ctx, parent); err != nil {
				return Attr{}, err
			}
			continue
		}
		a, err := t.stat(ctx, row.Ino)
		if catalog.IsNotFound(err) {
			err = syscall.ENOENT
		}
		return a, err
	}
}

// mayAdd checks that a name can be made in a directory, and returns the directory's row.
func (t *Tree) mayAdd(tx *catalog.Tx, parent uint64, name string, isDir bool) (*catalog.Inode, error) {
	dir, err := getDir(tx, parent)
	if err != nil {
		return nil, err
	}
	if dir.Ino != Root && dir.Parent == 0 {
		return nil, syscall.ENOENT // removed, and still somebody's working directory
	}
	if parent == Root && name == reservedName {
		return nil, syscall.EPERM
	}
	return dir, t.checkName(tx, dir, name, isDir)
}

// checkName reports ENAMETOOLONG for a name that is too long, or whose key is.
func (t *Tree) checkName(tx *catalog.Tx, dir *catalog.Inode, name string, isDir bool) error {
	component := keycodec.Encode(name)
	if len(name) > maxName || t.caps.MaxComponent > 0 && len(component) > t.caps.MaxComponent {
		return syscall.ENAMETOOLONG
	}
	if isDir && t.caps.MaxMarker > 0 && len(component) > t.caps.MaxMarker {
		return syscall.ENAMETOOLONG // an empty one could not be stored
	}
	if t.caps.MaxKey == 0 {
		return nil
	}
	prefix, err := tx.Key(dir)
	if err != nil {
		return errGone(err)
	}
	n := len(prefix) + len(component)
	if isDir {
		n++
	}
	if n > t.caps.MaxKey {
		return syscall.ENAMETOOLONG
	}
	return nil
}

// add makes a new inode under a name that must be free. fill completes the row.
func (t *Tree) add(ctx context.Context, c Caller, parent uint64, name string, mode uint32, fill func(*catalog.Tx, *catalog.Inode) error) (Attr, error) {
	if t.readOnly() {
		return Attr{}, syscall.EROFS
	}
	if err := t.complete(ctx, parent); err != nil {
		return Attr{}, err
	}
	room, err := t.entryRoom(ctx)
	if err != nil {
		return Attr{}, err
	}
	defer room.Release()
	var row *catalog.Inode
	err = t.cat.Update(func(tx *catalog.Tx) error {
		isDir := mode&provider.ModeType == provider.ModeDir
		dir, err := t.mayAdd(tx, parent, name, isDir)
		if err != nil {
			return err
		}
		if _, err := tx.Child(parent, name); !catalog.IsNotFound(err) {
			if err == nil {
				err = syscall.EEXIST
			}
			return err
		}
		if row, err = t.newRow(tx, parent, name); err != nil {
			return err
		}
		owned(row, dir, c, mode)
		if err := fill(tx, row); err != nil {
			return err
		}
		t.markDirty(tx, row)
		if err := tx.Put(row); err != nil {
			return err
		}
		t.commit.Created(tx, row)
		dir.Mtime, dir.Ctime = row.Ctime, row.Ctime
		return tx.Put(dir)
	})
	if err != nil {
		return Attr{}, err
	}
	return t.attrOf(row), nil
}

// owned gives a new row its mode and owner. Below a directory with set-group-id it has the directory's group.
func owned(row, dir *catalog.Inode, c Caller, mode uint32) {
	row.Mode, row.UID, row.GID, row.Known = mode, c.UID, c.GID, true
	if dir.Mode&syscall.S_ISGID != 0 {
		row.GID = dir.GID
		if row.IsDir() {
			row.Mode |= syscall.S_ISGID
		}
	}
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(ctx context.Context, c Caller, parent uint64, name string, mode uint32) (Attr, error) {
	attr, err := t.add(ctx, c, parent, name, provider.ModeDir|mode&0o7777, func(_ *catalog.Tx, row *catalog.Inode) error {
		row.Complete = true
		return nil
	})
	if err == nil {
		t.expire(attr.Ino) // empty is what it is now
		err = t.follow(ctx, []uint64{attr.Ino})
	}
	return attr, err
}

// Symlink makes a symlink.
func (t *Tree) Symlink(ctx context.Context, c Caller, parent uint64, name, target string) (Attr, error) {
	if len(target) > maxSymlink {
		return Attr{}, syscall.ENAMETOOLONG
	}
	if t.o.Attributes == AttributesListed {
		return Attr{}, syscall.EPERM // without its mode it would come back as a file
	}
	attr, err := t.add(ctx, c, parent, name, provider.ModeSymlink|0o777, func(_ *catalog.Tx, row *catalog.Inode) error {
		row.Target, row.Size = target, int64(len(target))
		return nil
	})
	if err == nil {
		err = t.follow(ctx, []uint64{attr.Ino})
	}
	return attr, err
}

// Mknod makes a regular file; other types are EPERM, as mknod(2) has it for a filesystem that does not support them.
func (t *Tree) Mknod(ctx context.Context, c Caller, parent uint64, name string, mode uint32) (Attr, error) {
	if kind := mode & provider.ModeType; kind != provider.ModeFile && kind != 0 {
		return Attr{}, syscall.EPERM
	}
	attr, h, err := t.Create(ctx, c, parent, name, mode, syscall.O_EXCL|syscall.O_RDWR)
	if err != nil {
		return Attr{}, err
	}
	err = h.Flush(ctx)
	h.Release()
	return attr, err
}

// Create makes a file and opens it.
func (t *Tree) Create(ctx context.Context, c Caller, parent uint64, name string, mode, flags uint32) (Attr, Handle, error) {
	var n *node
	attr, err := t.add(ctx, c, parent, name, provider.ModeFile|mode&0o7777, func(tx *catalog.Tx, row *catalog.Inode) (err error) {
		n, err = t.newStaged(tx, row)
		return err
	})
	switch {
	case err == nil:
		f := t.newFile(n, flags)
		f.wrote.Add(1) // an empty file is something to store
		return attr, f, nil
	case n != nil: // the commit failed: release removes the staged file, as of any inode without a row
		t.release(n)
	}
	if !errors.Is(err, syscall.EEXIST) || flags&syscall.O_EXCL != 0 {
		return Attr{}, nil, err
	}
	if attr, err = t.Lookup(ctx, parent, name); err != nil {
		return Attr{}, nil, err
	}
	h, err := t.Open(ctx, attr.Ino, flags)
	if err != nil {
		return Attr{}, nil, err
	}
	attr, err = t.GetAttr(ctx, attr.Ino)
	return attr, h, err
}

// Unlink removes the name of a file or symlink.
func (t *Tree) Unlink(ctx context.Context, parent uint64, name string) error {
	return t.remove(ctx, parent, name, func(_ *catalog.Tx, row *catalog.Inode) error {
		if row.IsDir() {
			return syscall.EISDIR
		}
		return nil
	})
}

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(ctx context.Context, parent uint64, name string) error {
	for {
		var unknown uint64
		err := t.remove(ctx, parent, name, func(tx *catalog.Tx, row *catalog.Inode) error {
			if !row.IsDir() {
				return syscall.ENOTDIR
			}
			if !row.Complete {
				unknown = row.Ino
				return syscall.EAGAIN
			}
			return mustBeEmpty(tx, row)
		})
		if unknown == 0 {
			return err
		}
		if err := t.complete(ctx, unknown); err != nil {
			return err
		}
	}
}

func mustBeEmpty(tx *catalog.Tx, row *catalog.Inode) error {
	children, err := tx.HasChildren(row.Ino)
	if err == nil && children {
		err = syscall.ENOTEMPTY
	}
	return err
}

// remove takes a name away that check agrees to.
func (t *Tree) remove(ctx context.Context, parent uint64, name string, check func(*catalog.Tx, *catalog.Inode) error) error {
	if t.readOnly() {
		return syscall.EROFS
	}
	call := fmt.Sprintf("remove %d/%s", parent, name)
	if t.repeated(call) {
		return syscall.ESTALE
	}
	if err := t.complete(ctx, parent); err != nil {
		return err
	}
	var keys []string
	var emptied []uint64
	err := t.cat.Update(func(tx *catalog.Tx) error {
		dir, err := getDir(tx, parent)
		if err != nil {
			return err
		}
		row, err := tx.Child(parent, name)
		if catalog.IsNotFound(err) {
			return syscall.ENOENT
		}
		if err != nil {
			return err
		}
		if err := check(tx, row); err != nil {
			return err
		}
		keys = []string{row.Key, row.PutKey}
		if err := t.detach(tx, row); err != nil {
			return err
		}
		emptied, err = t.leave(tx, dir)
		return err
	})
	if err != nil {
		return err
	}
	err = t.follow(ctx, emptied, keys...)
	t.lost(call, err)
	return err
}

// detach takes an inode's name away: its object is doomed, its row stays until the kernel has forgotten it.
func (t *Tree) detach(tx *catalog.Tx, row *catalog.Inode) error {
	now := t.o.Now()
	if row.Key != "" {
		if err := tx.Doom(row.Key, row.Version, now); err != nil {
			return err
		}
		tx.After(func() { t.commit.TouchDoomed(row.Key) })
	}
	if key := row.PutKey; key != "" && key != row.Key {
		// A request that is under way, or was when the last process died: it may have made an object, or may yet.
		if err := tx.DoomSent(key, "", now, catalog.SentWrite); err != nil {
			return err
		}
		tx.After(func() { t.commit.TouchDoomed(key) })
		row.PutKey, row.PutTag = "", ""
	}
	row.Parent, row.Name, row.Dirty, row.MetaDirty, row.Ctime = 0, "", time.Time{}, false, now
	tx.After(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.unlinked[row.Ino] = false
		n := t.nodes[row.Ino]
		if n == nil || n.handles == 0 || row.Key == "" || !row.IsFile() {
			return
		}
		if f := n.file.Load(); f == nil || !f.Present() {
			t.held[row.Key] = row.Ino
		}
	})
	return tx.Put(row)
}

// leave notes in a directory's row that a child has gone. One that is empty now, and returned, may need a marker.
func (t *Tree) leave(tx *catalog.Tx, dir *catalog.Inode) (emptied []uint64, err error) {
	dir.Mtime = t.o.Now()
	dir.Ctime = dir.Mtime
	if dir.Ino != Root && dir.Parent != 0 {
		children, err := tx.HasChildren(dir.Ino)
		if err != nil {
			return nil, err
		}
		if !children {
			t.markDirty(tx, dir)
			emptied = []uint64{dir.Ino}
		}
	}
	return emptied, tx.Put(dir)
}

// Forget says that the kernel no longer knows an inode: the row of an unlinked one goes, when nobody has it open.
func (t *Tree) Forget(ino uint64) {
	t.mu.Lock()
	_, unlinked := t.unlinked[ino]
	open := t.nodes[ino] != nil
	if unlinked {
		t.unlinked[ino] = true
	}
	t.mu.Unlock()
	if unlinked && !open {
		t.dropRow(ino)
	}
}

// dropRow deletes the row of an inode that is unlinked, not open and not known to the kernel, and its staged file.
func (t *Tree) dropRow(ino uint64) {
	err := t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		if err != nil || row.Parent != 0 {
			return err
		}
		if row.Stage != 0 {
			tx.After(func() { t.discard(row.Stage, row.Synced) })
			if err := t.dropSpills(tx, row.Stage); err != nil {
				return err
			}
		}
		return tx.Delete(ino)
	})
	if err != nil && !catalog.IsNotFound(err) {
		t.o.Logger.Error("catalog", "err", err)
		return
	}
	t.mu.Lock()
	delete(t.unlinked, ino)
	t.mu.Unlock()
}

// ReadDir lists a directory.
func (t *Tree) ReadDir(ctx context.Context, ino, offset uint64, emit func(DirEntry) bool) error {
	if err := t.complete(ctx, ino); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if offset, more, err = t.readDirBatch(ctx, ino, offset, emit); err != nil {
			return err
		}
	}
	return nil
}

// readDirBatch emits some entries, and says where and whether there are more to be emitted. As in stat, nodes are taken
// before rows are read.
func (t *Tree) readDirBatch(ctx context.Context, ino, offset uint64, emit func(DirEntry) bool) (next uint64, more bool, err error) {
	for _, n := range t.openNodes() {
		defer t.release(n)
	}
	const batch = 256
	var rows []*catalog.Inode
	err = t.cat.View(func(tx *catalog.Tx) (err error) {
		rows, err = tx.Children(ino, offset, batch)
		return err
	})
	if err != nil {
		return offset, false, err
	}
	for _, row := range rows {
		if row.IsFile() && row.Stage == 0 && row.Key == "" { // whether there is such a file is to be found out
			if known, err := t.knownAttrs(ctx, row.Ino); catalog.IsNotFound(err) {
				continue
			} else if err == nil {
				row = known
			}
		}
		if !emit(t.entryOf(row)) {
			return offset, false, nil
		}
		offset = row.Ino
	}
	return offset, len(rows) == batch, nil
}

func (t *Tree) entryOf(row *catalog.Inode) DirEntry {
	e := DirEntry{Name: row.Name, Ino: row.Ino, Offset: row.Ino, Type: row.Mode & provider.ModeType}
	if row.Known {
		a := t.attrOf(row)
		e.Attr = &a
	} else if row.IsFile() && row.Size <= maxSymlink {
		e.Type = 0 // it may be a symlink
	}
	return e
}
