// Package file is a store of objects in a directory: each key is a real file, directory or symlink below a root, so
// that the store can be read, written and backed up with any program. Linux only; it needs /proc, and a file system
// with user.* extended attributes (ext4, xfs, btrfs, zfs, tmpfs since Linux 6.6) and no mount points below the root.
//
// What a key is: `a/b` is the file b in the directory a; `a/` is the directory itself. An object whose metadata mode
// says that it is a symlink is one, with the body as its target; no symlink below the root is ever followed. Devices,
// pipes and sockets are no objects: they are not listed, and nothing is stored over them.
//
// What becomes of metadata: mode, uid, gid, mtime and atime are set on the inode, user.* names of xattr are real
// extended attributes, and all of it is kept in the extended attribute user.sharefs.metadata as it was given (of a
// symlink, which cannot have one, in a file below .sharefs/links/). So it comes back letter by letter, until another
// program changes the inode: then what it changed is told as it is now, and when the bytes may have changed (size or
// mtime differ) nothing of the old metadata is. An owner that this process may not set (it is not root) is kept in
// that attribute only. When it is not root it always keeps its own permission to read and write what it stored. The
// content type is not kept. As with any store, who may write below the root decides what its metadata say.
//
// What is promised: a Put is a temporary file, synced and renamed into place, so that an object is the old one or the
// new one, after a power loss too. CreateIfAbsent is the kernel's renameat2(RENAME_NOREPLACE). A file has no compare
// and swap, so there is no ReplaceIfVersion and no DeleteIfVersion. Changing the metadata of a file (Copy onto itself)
// is done in place: other processes may see some attributes changed before others.
//
// Versions are made of inode number, change time (which no program can set), size and a random id that every Put
// writes. Two versions of different bytes could be equal only where another program changes a file in place within
// the tick of the clock in which its version was read (at most 10 ms; since Linux 6.13 not even then).
//
// The store keeps for itself .sharefs/tmp, .sharefs/uploads and .sharefs/links below the root; they are not listed and
// no keys. Several processes may use one root.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// Options of a Store. The zero value is safe.
type Options struct {
	Create bool         // make the root, and directories above it, when it does not exist
	NoSync bool         // do not sync: faster, and a power loss may lose what was stored; for tests
	Logger *slog.Logger // nil: slog.Default()
}

// Store is a provider.Provider in a directory.
type Store struct {
	path     string
	root     fd
	caps     provider.Capabilities
	sync     bool
	log      *slog.Logger
	scratch  *scratch // nil when readOnly is not
	readOnly error    // why nothing can be changed, or nil

	// attributes keeps those who read the attributes of an inode apart from those who change them in place.
	attributes sync.RWMutex
}

var _ provider.Provider = (*Store)(nil)

// Open opens the store in the directory root. A root that does not exist is KindNoStore unless Options.Create, one on a
// file system without user.* extended attributes KindUnsupported. A root that this process cannot write is opened for
// reading: what changes it fails with KindReadOnly or KindDenied.
func Open(root string, opts Options) (*Store, error) {
	path, err := filepath.Abs(root)
	if err != nil {
		return nil, openError(root, provider.KindInvalid, err)
	}
	if opts.Create {
		if err := os.MkdirAll(path, 0o777); err != nil {
			return nil, openError(path, kindOf(err), err)
		}
	}
	rootFD, err := openRoot(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, root: rootFD, sync: !opts.NoSync, log: opts.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.prepare(); err != nil {
		rootFD.close()
		return nil, err
	}
	return s, nil
}

func openRoot(path string) (fd, error) {
	n, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return -1, openError(path, provider.KindNoStore, fmt.Errorf("there is no directory %s", path))
	case errors.Is(err, unix.ENOTDIR):
		return -1, openError(path, provider.KindConflict, fmt.Errorf("%s is not a directory", path))
	case err != nil:
		return -1, openError(path, kindOf(err), err)
	}
	if _, err := os.Stat(fd(n).path()); err != nil {
		fd(n).close()
		return -1, openError(path, provider.KindUnsupported, fmt.Errorf("/proc is needed and not mounted: %w", err))
	}
	return fd(n), nil
}

func openError(path string, kind provider.Kind, err error) error {
	return &provider.Error{Op: "open", Key: path, Kind: kind, Err: err}
}

// prepare makes the scratch directory and probes what the file system can do.
func (s *Store) prepare() error {
	s.caps = provider.Capabilities{
		Copy:           true,
		AtomicMove:     true,
		Directories:    true,
		ListMetadata:   true,
		Consistent:     true,
		MaxParts:       10_000,
		MaxKey:         unix.PathMax - 1,
		MaxComponent:   255,
		MaxMetadata:    2048, // with what is kept beside it, it fits into ext4's one block
		MaxListPage:    10_000,
		MaxDeleteBatch: 1000,
		TimeGrain:      10 * time.Millisecond, // the kernel's tick
	}
	sc, err := s.newScratch()
	switch kind := kindOf(err); {
	case err == nil:
	case kind == provider.KindReadOnly, kind == provider.KindDenied:
		s.readOnly = err
		s.log.Info("the store can only be read", "store", s.String(), "error", err)
		return nil
	default:
		return openError(s.path, kind, err)
	}
	s.scratch = sc
	if s.caps.CreateIfAbsent, err = sc.probe(); err != nil {
		sc.close()
		return openError(s.path, kindOf(err), err)
	}
	return nil
}

// String returns the root as a file URL.
func (s *Store) String() string { return (&url.URL{Scheme: "file", Path: s.path}).String() }

// Capabilities returns what the file system can do.
func (s *Store) Capabilities() provider.Capabilities { return s.caps }

// Create does nothing more: Open has found or made the directory.
func (s *Store) Create(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.removed() {
		return s.fail(ctx, "create", "", unix.ENOENT)
	}
	return nil
}

// Usage tells of the whole file system, which others may fill too: Bytes are those taken, by whomever, and Quota those
// plus what this process may still store, so that Quota - Bytes is what is free for it.
func (s *Store) Usage(ctx context.Context) (provider.Usage, error) {
	if err := ctx.Err(); err != nil {
		return provider.Usage{}, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.root), &st); err != nil {
		return provider.Usage{}, s.fail(ctx, "usage", "", err)
	}
	used := int64(st.Blocks-st.Bfree) * st.Frsize
	return provider.Usage{Bytes: used, Objects: -1, Quota: used + int64(st.Bavail)*st.Frsize}, nil
}

// Close frees the directory.
func (s *Store) Close() error {
	if s.scratch != nil {
		s.scratch.close()
		s.tidy()
	}
	return unix.Close(int(s.root))
}
