package file

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// Put stores a file, a symlink or, for a marker, a directory; directories above it are made. Nothing travels, so no
// checksum does; the length is checked. A marker of a directory that exists changes its attributes.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	const op = "put"
	if err := s.mayStore(ctx, op, key, opts.If); err != nil {
		return provider.Object{}, err
	}
	if _, _, isDir := split(key); isDir {
		if err := checkEmpty(ctx, op, key, body, size); err != nil {
			return provider.Object{}, err
		}
		o, err := s.putDir(ctx, op, key, opts.Metadata, opts.If)
		return o, s.failUnlessNil(ctx, op, key, err)
	}
	st, err := s.stage(ctx, op, key, body, size, opts.Metadata)
	if err != nil {
		return provider.Object{}, s.fail(ctx, op, key, err)
	}
	return s.finish(ctx, op, key, st, opts.If)
}

// mayStore checks what can be known before anything is done.
func (s *Store) mayStore(ctx context.Context, op, key string, cond provider.Condition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.writable(op, key); err != nil {
		return err
	}
	switch {
	case cond.Version != "":
		return refuse(op, key, provider.KindUnsupported, "a file system cannot check a version when it replaces a file")
	case cond.Absent && !s.caps.CreateIfAbsent:
		return refuse(op, key, provider.KindUnsupported, "the file system cannot rename without replacing")
	case reserved(key) || key == provider.Reserved:
		return refuse(op, key, provider.KindInvalid, "the directory is the store's own")
	}
	return nil
}

func (s *Store) failUnlessNil(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	return s.fail(ctx, op, key, err)
}

// checkEmpty reads the body of a marker, which has none.
func checkEmpty(ctx context.Context, op, key string, body io.Reader, size int64) error {
	if size != 0 {
		return refuse(op, key, provider.KindInvalid, "a directory has no bytes, %d were announced", size)
	}
	n, err := io.ReadFull(&contextReader{ctx, body}, make([]byte, 1))
	switch {
	case n > 0:
		return wrongSize(op, key, size)
	case err != io.EOF:
		return provider.E(ctx, op, key, provider.KindOther, err)
	}
	return ctx.Err()
}

// finish publishes what is staged, or removes it.
func (s *Store) finish(ctx context.Context, op, key string, st staged, cond provider.Condition) (provider.Object, error) {
	err := s.publish(ctx, op, key, st, cond)
	if err == nil {
		defer st.close()
		o, err := s.describe(key, st.inode)
		return o, s.failUnlessNil(ctx, op, key, err)
	}
	s.discard(st)
	return provider.Object{}, s.fail(ctx, op, key, err)
}

// publish renames what is staged into place. Directories that another caller removes at the same time are made again.
func (s *Store) publish(ctx context.Context, op, key string, st staged, cond provider.Condition) error {
	return s.inParent(ctx, key, func(parent fd, name string) error {
		old, err := s.inTheWay(op, key)
		if err != nil {
			return err
		}
		defer old.release()
		if cond.Absent {
			err = unix.Renameat2(int(s.scratch.dir), st.name, int(parent), name, unix.RENAME_NOREPLACE)
			if err == unix.EEXIST {
				return refuse(op, key, provider.KindPrecondition, "the object exists")
			}
		} else {
			err = unix.Renameat(int(s.scratch.dir), st.name, int(parent), name)
		}
		if err != nil {
			return err
		}
		s.forget(old)
		return s.syncDir(parent)
	})
}

// inParent runs change with the directory of a key, which it makes, and again when that was removed in between.
func (s *Store) inParent(ctx context.Context, key string, change func(parent fd, name string) error) error {
	dir, name, _ := split(key)
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		parent, err := s.makeDir(dir)
		if err == nil {
			err = change(parent, name)
			parent.close()
		}
		if err != unix.ENOENT || try == 100 || s.removed() {
			return err
		}
	}
}

// putDir makes a directory, or changes the attributes of one that exists.
func (s *Store) putDir(ctx context.Context, op, key string, md provider.Metadata, cond provider.Condition) (provider.Object, error) {
	st, err := s.stageDir(md)
	if err != nil {
		return provider.Object{}, err
	}
	defer st.close()
	err = s.inParent(ctx, key, func(parent fd, name string) error {
		err := s.renameDir(st.name, parent, name)
		if err != nil {
			return err
		}
		return s.syncDir(parent)
	})
	if err == nil {
		return s.describe(key, st.inode)
	}
	s.scratch.remove(st.name)
	if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
		return provider.Object{}, err
	}
	old, err := s.lookup(key)
	if missing(err) {
		return provider.Object{}, refuse(op, key, provider.KindConflict, "a file is in the place of the directory")
	}
	if err != nil {
		return provider.Object{}, err
	}
	defer old.close()
	if cond.Absent {
		return provider.Object{}, refuse(op, key, provider.KindPrecondition, "the directory exists")
	}
	return s.change(key, old, md)
}

// renameDir moves a new directory into a place that is free. Where the kernel cannot check that, it may take the place
// of an empty directory, which is as good.
func (s *Store) renameDir(from string, parent fd, name string) error {
	if s.caps.CreateIfAbsent {
		return unix.Renameat2(int(s.scratch.dir), from, int(parent), name, unix.RENAME_NOREPLACE)
	}
	return unix.Renameat(int(s.scratch.dir), from, int(parent), name)
}

// change sets the metadata of an inode that is in its place.
func (s *Store) change(key string, in inode, md provider.Metadata) (provider.Object, error) {
	s.attributes.Lock()
	err := s.apply(in, md)
	s.attributes.Unlock()
	if err != nil {
		return provider.Object{}, err
	}
	if err := s.syncInode(in); err != nil {
		return provider.Object{}, err
	}
	return s.describe(key, in)
}

// replaced is what has a key before a change: nothing, a file, or a symlink whose record must go when it is gone.
type replaced struct {
	inode
	held bool
}

func (r replaced) release() {
	if r.held {
		r.close()
	}
}

// inTheWay looks at what has the place of an object that is no directory. What must not be replaced is an error.
func (s *Store) inTheWay(op, key string) (replaced, error) {
	old, err := s.inodeAt(key)
	switch {
	case err == unix.ENOENT:
		return replaced{}, nil
	case err != nil:
		return replaced{}, err
	}
	switch old.kind {
	case directory:
		err = refuse(op, key, provider.KindConflict, "a directory has this name")
	case foreign:
		err = refuse(op, key, provider.KindConflict, "a device, pipe or socket has this name")
	default:
		return replaced{old, true}, nil
	}
	old.close()
	return replaced{}, err
}

// forget removes what was kept of an inode that was replaced or removed.
func (s *Store) forget(old replaced) {
	if old.held && old.kind == symlink {
		s.dropLinkRecord(old.inode)
	}
}
