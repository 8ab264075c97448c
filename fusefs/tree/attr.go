package tree

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/commit"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// stat returns an inode's attributes. The kernel keeps them, unless a change began after it asked; so they tell of every
// change that ended before. The node is taken before the row is read: what one that is gone by then knew is in the row.
func (t *Tree) stat(ctx context.Context, ino uint64) (Attr, error) {
	if n := t.acquireOpen(ino); n != nil {
		defer t.release(n)
	}
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		return Attr{}, err
	}
	return t.attrOf(row), nil
}

// attrOf returns a row's attributes, with what only memory knows of an open file.
func (t *Tree) attrOf(row *catalog.Inode) Attr {
	a := Attr{Ino: row.Ino, Mode: row.Mode, Nlink: 1, UID: row.UID, GID: row.GID, Size: row.Size,
		Atime: row.Atime, Mtime: row.Mtime, Ctime: row.Ctime}
	if row.Parent == 0 && row.Ino != Root {
		a.Nlink = 0
	}
	if !row.IsFile() {
		return a
	}
	a.Blocks = (a.Size + 4095) / 4096 * 8
	t.mu.Lock()
	n := t.nodes[row.Ino]
	t.mu.Unlock()
	if n == nil {
		return a
	}
	if f := n.file.Load(); f != nil {
		n.attrMu.Lock()
		defer n.attrMu.Unlock()
		if !n.changed && n.outdated() {
			return a
		}
		copied := *row
		if !n.changed { // what memory knew may have gone to the row since that was read
			if now, err := n.row(); err == nil {
				copied = *now
			}
		}
		n.overlay(&copied, f)
		a.Size, a.Mtime, a.Ctime, a.Blocks = copied.Size, copied.Mtime, copied.Ctime, f.Blocks()
	}
	return a
}

// GetAttr returns an inode's attributes.
func (t *Tree) GetAttr(ctx context.Context, ino uint64) (Attr, error) {
	a, err := t.stat(ctx, ino)
	return a, errGone(err)
}

// SetAttr changes attributes.
func (t *Tree) SetAttr(ctx context.Context, ino uint64, set SetAttr) (Attr, error) {
	if t.readOnly() {
		return Attr{}, syscall.EROFS
	}
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		return Attr{}, errGone(err)
	}
	n := t.acquire(ino) // keeps what only memory knows in memory
	defer t.release(n)
	if set.Size != nil {
		if row.IsDir() {
			return Attr{}, syscall.EISDIR
		}
		if err := t.truncate(ctx, ino, *set.Size); err != nil {
			return Attr{}, err
		}
	}
	if err := n.persist(); err != nil {
		return Attr{}, err
	}
	err = t.cat.Update(func(tx *catalog.Tx) error {
		if row, err = tx.Get(ino); err != nil {
			return errGone(err)
		}
		if set.Mode != nil {
			row.Mode = row.Mode&provider.ModeType | *set.Mode&0o7777
		}
		if set.UID != nil {
			row.UID = *set.UID
		}
		if set.GID != nil {
			row.GID = *set.GID
		}
		if set.Atime != nil {
			row.Atime = *set.Atime
		}
		if set.Mtime != nil {
			row.Mtime = *set.Mtime
		}
		row.Ctime = t.o.Now()
		t.markMeta(tx, row)
		return tx.Put(row)
	})
	if err == nil && set.Size != nil {
		t.secureLater(ino)
	}
	if err == nil {
		err = t.followAttrs(ctx, n)
	}
	if err != nil {
		return Attr{}, err
	}
	return t.attrOf(row), nil
}

// markMeta notes that the stored metadata is not the desired one.
func (t *Tree) markMeta(tx *catalog.Tx, row *catalog.Inode) {
	if t.o.Attributes == AttributesListed || row.Parent == 0 {
		return // attributes live in the catalog; or: nothing is stored
	}
	row.MetaDirty = true
	t.markDirty(tx, row)
}

func (t *Tree) truncate(ctx context.Context, ino uint64, size int64) error {
	if size < 0 || t.caps.MaxObjectSize > 0 && size > t.caps.MaxObjectSize {
		return syscall.EFBIG
	}
	n := t.acquire(ino)
	defer t.release(n)
	return noSpace(n.change(ctx, edit{truncate: size == 0, end: size}, func(f *stage.File) error { return f.Truncate(t.ctx, size) }))
}

// Readlink returns a symlink's target.
func (t *Tree) Readlink(ctx context.Context, ino uint64) (string, error) {
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		return "", errGone(err)
	}
	if !row.IsSymlink() {
		return "", syscall.EINVAL
	}
	if row.Target != "" || row.Size == 0 {
		return row.Target, nil
	}
	r, err := t.openStored(ctx, ino, 0, 0, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxSymlink+1))
	if err != nil {
		return "", err
	}
	target := string(b)
	err = t.cat.Update(func(tx *catalog.Tx) error {
		if row, err = tx.Get(ino); err != nil {
			return errGone(err)
		}
		row.Target = target
		return tx.Put(row)
	})
	return target, err
}

// userXattr begins the names of the xattrs that are kept.
const userXattr = "user."

// xattrRow returns the row whose xattr is asked for.
func (t *Tree) xattrRow(ctx context.Context, ino uint64, name string) (*catalog.Inode, error) {
	if !strings.HasPrefix(name, userXattr) || len(name) == len(userXattr) {
		return nil, syscall.EOPNOTSUPP
	}
	row, err := t.knownAttrs(ctx, ino)
	return row, errGone(err)
}

// GetXattr returns an extended attribute. ENODATA when there is none, EOPNOTSUPP for other names than user.*.
func (t *Tree) GetXattr(ctx context.Context, ino uint64, name string) ([]byte, error) {
	row, err := t.xattrRow(ctx, ino, name)
	if err != nil {
		return nil, err
	}
	value, ok := row.Xattrs[name]
	if !ok {
		return nil, syscall.ENODATA
	}
	return value, nil
}

// SetXattr sets an extended attribute. ENOSPC when the store's limit of metadata is reached.
func (t *Tree) SetXattr(ctx context.Context, ino uint64, name string, value []byte, flags uint32) error {
	return t.changeXattrs(ctx, ino, name, func(x map[string][]byte) error {
		_, have := x[name]
		switch {
		case have && flags&XattrCreate != 0:
			return syscall.EEXIST
		case !have && flags&XattrReplace != 0:
			return syscall.ENODATA
		}
		x[name] = slices.Clone(value)
		return nil
	})
}

// RemoveXattr removes an extended attribute.
func (t *Tree) RemoveXattr(ctx context.Context, ino uint64, name string) error {
	return t.changeXattrs(ctx, ino, name, func(x map[string][]byte) error {
		if _, have := x[name]; !have {
			return syscall.ENODATA
		}
		delete(x, name)
		return nil
	})
}

// putTagSize is what the metadata sharefs-put takes at most, with its name.
const putTagSize = 80

func (t *Tree) changeXattrs(ctx context.Context, ino uint64, name string, change func(map[string][]byte) error) error {
	if t.readOnly() {
		return syscall.EROFS
	}
	if t.o.Attributes == AttributesListed {
		return syscall.EOPNOTSUPP // they would be lost with this machine
	}
	row, err := t.xattrRow(ctx, ino, name)
	if err != nil {
		return err
	}
	n := t.acquire(ino)
	defer t.release(n)
	err = t.cat.Update(func(tx *catalog.Tx) error {
		if row, err = tx.Get(ino); err != nil {
			return errGone(err)
		}
		xattrs := maps.Clone(row.Xattrs)
		if xattrs == nil {
			xattrs = map[string][]byte{}
		}
		if err := change(xattrs); err != nil {
			return err
		}
		row.Xattrs = xattrs
		if size := commit.Attrs(row).Metadata().Size() + row.Foreign.Size() + putTagSize; t.caps.MaxMetadata > 0 && size > t.caps.MaxMetadata {
			return syscall.ENOSPC
		}
		row.Ctime = t.o.Now()
		t.markMeta(tx, row)
		return tx.Put(row)
	})
	if err != nil {
		return err
	}
	return t.followAttrs(ctx, n)
}

// ListXattr returns the names of the extended attributes, sorted.
func (t *Tree) ListXattr(ctx context.Context, ino uint64) ([]string, error) {
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		return nil, errGone(err)
	}
	names := slices.Sorted(maps.Keys(row.Xattrs))
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, userXattr) }), nil
}
