package file

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// Copy copies a file in the kernel, sharing its blocks where the file system can, keeping its holes elsewhere. Onto
// itself it changes the metadata in place. A marker's copy is a directory without the entries. A source that another
// program changes meanwhile is KindUnavailable, so that no mixture is stored.
func (s *Store) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	const op = "copy"
	if err := s.mayStore(ctx, op, dst, opts.If); err != nil {
		return provider.Object{}, err
	}
	in, err := s.lookup(src)
	if err != nil {
		return provider.Object{}, s.failRead(ctx, op, src, err)
	}
	defer in.close()
	o, err := s.describe(src, in)
	if err != nil {
		return provider.Object{}, s.failRead(ctx, op, src, err)
	}
	_, _, dstIsDir := split(dst)
	switch {
	case opts.IfSourceVersion != "" && o.Version != opts.IfSourceVersion:
		return provider.Object{}, refuse(op, src, provider.KindPrecondition, "the object has another version")
	case dstIsDir != (in.kind == directory):
		return provider.Object{}, refuse(op, dst, provider.KindInvalid, "a directory is copied to a directory only, a file to a file")
	case src == dst && opts.If.Absent:
		return provider.Object{}, refuse(op, dst, provider.KindPrecondition, "the object exists")
	case src == dst && opts.Metadata == nil:
		return o, nil
	}
	md := opts.Metadata
	if md == nil {
		md = o.Metadata
	}
	switch {
	case src == dst && (in.kind == directory || isSymlink(md) == (in.kind == symlink)):
		o, err := s.change(dst, in, md)
		return o, s.failUnlessNil(ctx, op, dst, err)
	case in.kind == directory:
		o, err := s.putDir(ctx, op, dst, md, opts.If)
		return o, s.failUnlessNil(ctx, op, dst, err)
	}
	st, err := s.duplicate(ctx, op, dst, in, md, opts.IfSourceVersion)
	if err != nil {
		return provider.Object{}, s.fail(ctx, op, dst, err)
	}
	return s.finish(ctx, op, dst, st, opts.If)
}

// duplicate stages an object with the bytes of in.
func (s *Store) duplicate(ctx context.Context, op, key string, in inode, md provider.Metadata, version provider.Version) (staged, error) {
	src, err := in.content()
	if err != nil {
		return staged{}, err
	}
	defer func() { _ = src.Close() }()
	file, ok := src.(*os.File)
	if !ok || isSymlink(md) {
		size, err := src.Seek(0, io.SeekEnd)
		if err != nil {
			return staged{}, err
		}
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return staged{}, err
		}
		return s.stage(ctx, op, key, src, size, md)
	}
	return s.stageFile(md, func(dst *os.File) error {
		return unchanged(op, key, file, version, func(size int64) error { return cloneFile(ctx, dst, file, size) })
	})
}

// unchanged runs read and fails if the file was changed meanwhile.
func unchanged(op, key string, src *os.File, version provider.Version, read func(size int64) error) error {
	var before, after unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &before); err != nil {
		return err
	}
	if err := read(before.Size); err != nil {
		return err
	}
	if err := unix.Fstat(int(src.Fd()), &after); err != nil {
		return err
	}
	switch {
	case version != "" && before.Ctim != after.Ctim:
		return refuse(op, key, provider.KindPrecondition, "the source was changed while it was copied")
	case before.Size != after.Size || before.Mtim != after.Mtim:
		return refuse(op, key, provider.KindUnavailable, "the source was changed while it was copied")
	}
	return nil
}

// cloneFile makes dst, which is empty, equal to src.
func cloneFile(ctx context.Context, dst, src *os.File, size int64) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	for at := int64(0); at < size; {
		data, end, err := nextData(src, at, size)
		if err != nil {
			return err
		}
		if err := copyRange(ctx, dst, src, data, data, end-data); err != nil {
			return err
		}
		at = end
	}
	return dst.Truncate(size)
}

// nextData returns the next range that is no hole, from at on; an empty one at the end when only a hole is left.
func nextData(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch err {
	case nil:
	case unix.ENXIO:
		return size, size, nil
	case unix.EINVAL, unix.ENOTSUP: // it does not know holes
		return at, size, nil
	default:
		return 0, 0, err
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return min(start, size), min(end, size), nil
}

// copyRange copies length bytes between files, at the offsets.
func copyRange(ctx context.Context, dst, src *os.File, to, from, length int64) error {
	if _, err := dst.Seek(to, io.SeekStart); err != nil {
		return err
	}
	if _, err := src.Seek(from, io.SeekStart); err != nil {
		return err
	}
	n, err := copyAll(ctx, dst, src, length)
	if err == nil && n < length {
		err = fmt.Errorf("the file ended %d bytes too early: %w", length-n, io.ErrUnexpectedEOF)
	}
	return err
}

// Move renames a file, a symlink, or a directory with everything in it.
func (s *Store) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	const op = "move"
	if err := s.mayStore(ctx, op, dst, provider.Condition{}); err != nil {
		return provider.Object{}, err
	}
	in, err := s.lookup(src)
	if err != nil {
		return provider.Object{}, s.failRead(ctx, op, src, err)
	}
	defer in.close()
	_, _, dstIsDir := split(dst)
	switch {
	case src == provider.Reserved:
		return provider.Object{}, refuse(op, src, provider.KindInvalid, "the directory is the store's own")
	case dstIsDir != (in.kind == directory):
		return provider.Object{}, refuse(op, dst, provider.KindInvalid, "a directory is moved to a directory only, a file to a file")
	case src != dst:
		err = s.rename(ctx, op, src, dst, in)
	}
	if err != nil {
		return provider.Object{}, s.fail(ctx, op, dst, err)
	}
	o, err := s.describe(dst, in)
	return o, s.failUnlessNil(ctx, op, dst, err)
}

func (s *Store) rename(ctx context.Context, op, src, dst string, in inode) error {
	srcDir, srcName, _ := split(src)
	from, err := s.openDir(srcDir)
	if err != nil {
		return err
	}
	defer from.close()
	return s.inParent(ctx, dst, func(parent fd, name string) error {
		var old replaced
		if in.kind != directory {
			if old, err = s.inTheWay(op, dst); err != nil {
				return err
			}
			defer old.release()
		}
		var st unix.Stat_t
		if unix.Fstatat(int(from), srcName, &st, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT {
			return refuse(op, src, provider.KindNotFound, "it was removed in between")
		}
		if err := unix.Renameat(int(from), srcName, int(parent), name); err != nil {
			return err
		}
		if old.held && old.same(in) {
			// Renaming one of two names of a file onto the other does nothing, by definition.
			if err := unix.Unlinkat(int(from), srcName, 0); err != nil {
				return err
			}
		}
		s.forget(old)
		if err := s.syncDir(parent); err != nil {
			return err
		}
		return s.syncDir(from)
	})
}

// same reports whether two names have one inode.
func (in inode) same(other inode) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(in.fd), &a) == nil && unix.Fstat(int(other.fd), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
