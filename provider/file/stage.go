package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// staged is a new file, directory or symlink in the scratch directory, complete but for its place. It is held.
type staged struct {
	inode
	name string
}

// discard removes what was not published, and lets go of it.
func (s *Store) discard(st staged) {
	s.scratch.remove(st.name)
	if st.kind == symlink {
		s.dropLinkRecord(st.inode)
	}
	st.close()
}

// stage makes the new inode of an object: a symlink when the metadata says so, else a file.
func (s *Store) stage(ctx context.Context, op, key string, body io.Reader, size int64, md provider.Metadata) (staged, error) {
	if isSymlink(md) {
		target, err := readTarget(ctx, op, key, body, size)
		if err != nil {
			return staged{}, err
		}
		return s.stageSymlink(target, md)
	}
	return s.stageFile(md, func(f *os.File) error { return writeBody(ctx, op, key, f, body, size) })
}

func isSymlink(md provider.Metadata) bool {
	a := provider.ParseAttrs(md)
	return a.Has&provider.HasMode != 0 && a.Mode&provider.ModeType == provider.ModeSymlink
}

// stageFile makes a file that write fills.
func (s *Store) stageFile(md provider.Metadata, write func(f *os.File) error) (staged, error) {
	f, name, err := s.scratch.create()
	if err != nil {
		return staged{}, err
	}
	err = write(f)
	if err == nil {
		err = s.apply(inode{fd(f.Fd()), regular}, md)
	}
	if err == nil && s.sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		s.scratch.remove(name)
		return staged{}, err
	}
	return s.hold(name, regular)
}

func (s *Store) stageSymlink(target string, md provider.Metadata) (staged, error) {
	name := s.scratch.newName()
	if err := unix.Symlinkat(target, int(s.scratch.dir), name); err != nil {
		return staged{}, err
	}
	st, err := s.hold(name, symlink)
	if err != nil {
		return st, err
	}
	if err := s.apply(st.inode, md); err != nil {
		s.discard(st)
		return staged{}, err
	}
	return st, nil
}

func (s *Store) stageDir(md provider.Metadata) (staged, error) {
	name := s.scratch.newName()
	if err := unix.Mkdirat(int(s.scratch.dir), name, 0o777); err != nil {
		return staged{}, err
	}
	st, err := s.hold(name, directory)
	if err != nil {
		return st, err
	}
	err = s.apply(st.inode, md)
	if err == nil {
		err = s.syncInode(st.inode)
	}
	if err != nil {
		s.discard(st)
		return staged{}, err
	}
	return st, nil
}

func (s *Store) hold(name string, k kind) (staged, error) {
	n, err := unix.Openat(int(s.scratch.dir), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		s.scratch.remove(name)
		return staged{}, err
	}
	return staged{inode{fd(n), k}, name}, nil
}

// syncInode makes a file's or a directory's attributes durable. Those of a symlink travel with its directory.
func (s *Store) syncInode(in inode) error {
	if !s.sync || in.kind == symlink {
		return nil
	}
	f, err := in.reopen()
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// writeBody copies the body, which must have exactly size bytes.
func writeBody(ctx context.Context, op, key string, f *os.File, body io.Reader, size int64) error {
	if _, ok := body.(*os.File); !ok { // the kernel copies from files
		body = &contextReader{ctx, body}
	}
	n, err := copyAll(ctx, f, body, size)
	if err != nil {
		return err
	}
	if n < size {
		return wrongSize(op, key, size)
	}
	switch n, err := io.ReadFull(body, make([]byte, 1)); {
	case n > 0:
		return wrongSize(op, key, size)
	case err != io.EOF:
		return err
	}
	return ctx.Err()
}

// readTarget reads the body of a symlink.
func readTarget(ctx context.Context, op, key string, body io.Reader, size int64) (string, error) {
	if size < 1 || size >= unix.PathMax {
		return "", refuse(op, key, provider.KindInvalid, "the target of a symlink has 1 to %d bytes, not %d", unix.PathMax-1, size)
	}
	target, err := io.ReadAll(io.LimitReader(&contextReader{ctx, body}, size+1))
	switch {
	case err != nil:
		return "", err
	case int64(len(target)) != size:
		return "", wrongSize(op, key, size)
	case strings.IndexByte(string(target), 0) >= 0:
		return "", refuse(op, key, provider.KindInvalid, "the target of a symlink has no NUL byte")
	}
	return string(target), ctx.Err()
}

func wrongSize(op, key string, size int64) error {
	return refuse(op, key, provider.KindInvalid, "the body has not the %d bytes that were announced", size)
}

const copyChunk = 4 << 20 // bytes between two looks at the context

// copyAll copies size bytes, or fewer when src ends before, in the kernel where it can.
func copyAll(ctx context.Context, dst *os.File, src io.Reader, size int64) (int64, error) {
	var done int64
	for done < size {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := io.CopyN(dst, src, min(copyChunk, size-done))
		done += n
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, fmt.Errorf("after %d of %d bytes: %w", done, size, err)
		}
	}
	return done, nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
