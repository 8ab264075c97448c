package fusefs

import (
	"context"
	"syscall"

	"sharefs/fusefs/tree"
)

// What cannot be done with what is ours: nothing is made there, and nothing is changed.

func (o *ownNamespace) SetAttr(ctx context.Context, ino uint64, set tree.SetAttr) (tree.Attr, error) {
	if isOwn(ino) {
		return tree.Attr{}, syscall.EPERM
	}
	return o.Namespace.SetAttr(ctx, ino, set)
}

func (o *ownNamespace) Readlink(ctx context.Context, ino uint64) (string, error) {
	if isOwn(ino) {
		return "", syscall.EINVAL
	}
	return o.Namespace.Readlink(ctx, ino)
}

func (o *ownNamespace) Mkdir(ctx context.Context, c tree.Caller, parent uint64, name string, mode uint32) (tree.Attr, error) {
	if reserved(parent, name) {
		return tree.Attr{}, syscall.EPERM
	}
	return o.Namespace.Mkdir(ctx, c, parent, name, mode)
}

func (o *ownNamespace) Mknod(ctx context.Context, c tree.Caller, parent uint64, name string, mode uint32) (tree.Attr, error) {
	if reserved(parent, name) {
		return tree.Attr{}, syscall.EPERM
	}
	return o.Namespace.Mknod(ctx, c, parent, name, mode)
}

func (o *ownNamespace) Symlink(ctx context.Context, c tree.Caller, parent uint64, name, target string) (tree.Attr, error) {
	if reserved(parent, name) {
		return tree.Attr{}, syscall.EPERM
	}
	return o.Namespace.Symlink(ctx, c, parent, name, target)
}

func (o *ownNamespace) Rmdir(ctx context.Context, parent uint64, name string) error {
	if reserved(parent, name) {
		return syscall.EPERM
	}
	return o.Namespace.Rmdir(ctx, parent, name)
}

func (o *ownNamespace) Create(ctx context.Context, c tree.Caller, parent uint64, name string, mode, flags uint32) (tree.Attr, tree.Handle, error) {
	if reserved(parent, name) {
		return tree.Attr{}, nil, syscall.EPERM
	}
	return o.Namespace.Create(ctx, c, parent, name, mode, flags)
}

func (o *ownNamespace) Tmpfile(ctx context.Context, c tree.Caller, parent uint64, mode, flags uint32) (tree.Attr, tree.Handle, error) {
	if isOwn(parent) {
		return tree.Attr{}, nil, syscall.EPERM
	}
	return o.Namespace.Tmpfile(ctx, c, parent, mode, flags)
}

func (o *ownNamespace) Link(ctx context.Context, ino, parent uint64, name string) (tree.Attr, error) {
	if isOwn(ino) || reserved(parent, name) {
		return tree.Attr{}, syscall.EPERM
	}
	return o.Namespace.Link(ctx, ino, parent, name)
}

func (o *ownNamespace) FsyncDir(ctx context.Context, ino uint64) error {
	if isOwn(ino) {
		return nil
	}
	return o.Namespace.FsyncDir(ctx, ino)
}

func (o *ownNamespace) GetXattr(ctx context.Context, ino uint64, name string) ([]byte, error) {
	if isOwn(ino) {
		return nil, syscall.ENODATA
	}
	return o.Namespace.GetXattr(ctx, ino, name)
}

func (o *ownNamespace) SetXattr(ctx context.Context, ino uint64, name string, value []byte, flags uint32) error {
	if isOwn(ino) {
		return syscall.EPERM
	}
	return o.Namespace.SetXattr(ctx, ino, name, value, flags)
}

func (o *ownNamespace) ListXattr(ctx context.Context, ino uint64) ([]string, error) {
	if isOwn(ino) {
		return nil, nil
	}
	return o.Namespace.ListXattr(ctx, ino)
}

func (o *ownNamespace) RemoveXattr(ctx context.Context, ino uint64, name string) error {
	if isOwn(ino) {
		return syscall.EPERM
	}
	return o.Namespace.RemoveXattr(ctx, ino, name)
}

func (o *ownNamespace) Forget(ino uint64) {
	if !isOwn(ino) {
		o.Namespace.Forget(ino)
	}
}
