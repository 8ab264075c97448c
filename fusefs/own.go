package fusefs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"sharefs/fusefs/tree"
	"sharefs/provider"
)

// ownNamespace is a namespace with sharefs's own directory at its root: .sharefs, which no listing shows, and in it
// conflicts, a directory of this machine with what could not be stored. What is there can be read and removed, and mv(1) takes it
// to a place in the mount: rename(2) is EXDEV, so that it copies and removes. Nothing can be made there: EPERM.
type ownNamespace struct {
	tree.Namespace
	conflicts string // the directory

	mu    sync.Mutex
	last  uint64            // the inode number that was given out last; guarded by mu
	inos  map[string]uint64 // of names in conflicts; guarded by mu
	names map[uint64]string // guarded by mu
}

// The inode numbers of what is ours. A tree's are given out from 1.
const (
	ownIno       uint64 = 1<<62 + iota // .sharefs
	conflictsIno                       // .sharefs/conflicts
	firstKeptIno                       // what is in it
)

const conflictsName = "conflicts"

var ownName = strings.TrimSuffix(provider.Reserved, "/")

func withOwn(ns tree.Namespace, conflicts string) *ownNamespace {
	return &ownNamespace{Namespace: ns, conflicts: conflicts, last: firstKeptIno - 1, inos: map[string]uint64{}, names: map[uint64]string{}}
}

func isOwn(ino uint64) bool { return ino >= ownIno }

// reserved reports whether an entry is ours, or would be in a directory of ours.
func reserved(parent uint64, name string) bool {
	return isOwn(parent) || parent == tree.Root && name == ownName
}

// ino returns the inode number of a name in conflicts.
func (o *ownNamespace) ino(name string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	ino, ok := o.inos[name]
	if !ok {
		o.last++
		ino = o.last
		o.inos[name], o.names[ino] = ino, name
	}
	return ino
}

// path returns where something of ours is on this machine; .sharefs is nowhere, and has the attributes of conflicts.
func (o *ownNamespace) path(ino uint64) (string, error) {
	if ino < firstKeptIno {
		return o.conflicts, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	name, ok := o.names[ino]
	if !ok {
		return "", syscall.ESTALE
	}
	return filepath.Join(o.conflicts, name), nil
}

// attr returns the attributes of something of ours.
func (o *ownNamespace) attr(ino uint64) (tree.Attr, error) {
	a := tree.Attr{Ino: ino, Mode: provider.ModeDir | 0o700, Nlink: 1, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	path, err := o.path(ino)
	if err != nil {
		return a, err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && ino < firstKeptIno:
		return a, nil // nothing was ever kept
	case errors.Is(err, os.ErrNotExist):
		return a, syscall.ENOENT
	case err != nil:
		return a, err
	}
	a.Atime, a.Mtime, a.Ctime = info.ModTime(), info.ModTime(), info.ModTime()
	if ino >= firstKeptIno {
		if !info.Mode().IsRegular() {
			return a, syscall.ENOENT // none of ours
		}
		a.Mode, a.Size = provider.ModeFile|0o600, info.Size()
		a.Blocks = (a.Size + 511) / 512
	}
	return a, nil
}

// Lookup knows the own names.
func (o *ownNamespace) Lookup(ctx context.Context, parent uint64, name string) (tree.Attr, error) {
	switch {
	case !reserved(parent, name):
		return o.Namespace.Lookup(ctx, parent, name)
	case parent == tree.Root:
		return o.attr(ownIno)
	case name == ".." && parent == ownIno:
		return o.Namespace.GetAttr(ctx, tree.Root)
	case name == "..":
		return o.attr(ownIno)
	case parent == ownIno && name == conflictsName:
		return o.attr(conflictsIno)
	case parent == conflictsIno && len(name) <= unix.NAME_MAX:
		if _, err := os.Lstat(filepath.Join(o.conflicts, name)); err != nil {
			return tree.Attr{}, syscall.ENOENT // without a number for each name that somebody tries
		}
		return o.attr(o.ino(name))
	}
	return tree.Attr{}, syscall.ENOENT
}

// ReadDir lists an own directory. The offset of an entry is its inode number.
func (o *ownNamespace) ReadDir(ctx context.Context, ino, offset uint64, emit func(tree.DirEntry) bool) error {
	if !isOwn(ino) {
		return o.Namespace.ReadDir(ctx, ino, offset, emit)
	}
	names := map[uint64]string{}
	if ino == ownIno {
		names[conflictsIno] = conflictsName
	} else {
		list, err := os.ReadDir(o.conflicts)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range list {
			names[o.ino(e.Name())] = e.Name()
		}
	}
	inos := make([]uint64, 0, len(names))
	for n := range names {
		inos = append(inos, n)
	}
	slices.Sort(inos)
	for _, n := range inos {
		a, err := o.attr(n)
		if n <= offset || err != nil {
			continue
		}
		if !emit(tree.DirEntry{Name: names[n], Ino: n, Type: a.Mode & provider.ModeType, Attr: &a, Offset: n}) {
			return nil
		}
	}
	return nil
}

// GetAttr knows the own inodes.
func (o *ownNamespace) GetAttr(ctx context.Context, ino uint64) (tree.Attr, error) {
	if isOwn(ino) {
		return o.attr(ino)
	}
	return o.Namespace.GetAttr(ctx, ino)
}

// Open opens what is kept, for reading.
func (o *ownNamespace) Open(ctx context.Context, ino uint64, flags uint32) (tree.Handle, error) {
	switch {
	case !isOwn(ino):
		return o.Namespace.Open(ctx, ino, flags)
	case ino < firstKeptIno:
		return nil, syscall.EISDIR
	case flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0:
		return nil, syscall.EPERM
	}
	path, err := o.path(ino)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return keptFile{f, ino}, nil
}

// Unlink removes what is kept.
func (o *ownNamespace) Unlink(ctx context.Context, parent uint64, name string) error {
	if !reserved(parent, name) {
		return o.Namespace.Unlink(ctx, parent, name)
	}
	if parent != conflictsIno {
		return syscall.EPERM
	}
	err := unix.Unlink(filepath.Join(o.conflicts, name))
	if err == nil {
		o.forget(name)
	}
	return err
}

// forget forgets a name that was removed: if it comes again it is another inode.
func (o *ownNamespace) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.names, o.inos[name])
	delete(o.inos, name)
}

// Rename is EXDEV for what is kept, so that mv(1) copies it.
func (o *ownNamespace) Rename(ctx context.Context, oldParent uint64, oldName string, newParent uint64, newName string, flags uint32) error {
	switch {
	case oldParent == conflictsIno && !reserved(newParent, newName):
		return syscall.EXDEV
	case reserved(oldParent, oldName) || reserved(newParent, newName):
		return syscall.EPERM
	}
	return o.Namespace.Rename(ctx, oldParent, oldName, newParent, newName, flags)
}

// keptFile is an open file of conflicts.
type keptFile struct {
	*os.File
	ino uint64
}

func (f keptFile) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}
func (f keptFile) WriteAt(context.Context, []byte, int64) (int, error)  { return 0, syscall.EBADF }
func (f keptFile) Append(context.Context, []byte, int64) (int, error)   { return 0, syscall.EBADF }
func (f keptFile) Allocate(context.Context, int64, int64, uint32) error { return syscall.EBADF }
func (f keptFile) Seek(_ context.Context, off int64, whence uint32) (int64, error) {
	return unix.Seek(int(f.Fd()), off, int(whence))
}
func (f keptFile) Flush(context.Context) error { return nil }
func (f keptFile) Fsync(context.Context) error { return nil }
func (f keptFile) Release()                    { _ = f.Close() }
func (f keptFile) Ino() uint64                 { return f.ino }
