package file

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fd is an open file descriptor that is not read or written.
type fd int

func (f fd) close() { _ = unix.Close(int(f)) }

// path names the inode itself, for the system calls that take no descriptor.
func (f fd) path() string { return "/proc/self/fd/" + strconv.Itoa(int(f)) }

// The directories that the store keeps for itself.
const (
	ownDir     = ".sharefs"
	scratchDir = ".sharefs/tmp"
	uploadsDir = ".sharefs/uploads"
	linksDir   = ".sharefs/links"
)

// reserved reports whether a key is, or is below, a directory of the store's own.
func reserved(key string) bool {
	for _, dir := range [...]string{scratchDir, uploadsDir, linksDir} {
		if rest, ok := strings.CutPrefix(key, dir); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// split returns the directory of a key ("" for the root) and the name in it; isDir tells that the key is a marker.
func split(key string) (dir, name string, isDir bool) {
	trimmed := strings.TrimSuffix(key, "/")
	dir, name = path.Split(trimmed)
	return strings.TrimSuffix(dir, "/"), name, trimmed != key
}

// openAt opens what is below the root, without following any symlink and without leaving the root.
func (s *Store) openAt(name string, flags uint64) (fd, error) {
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	for {
		n, err := unix.Openat2(int(s.root), name, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd(n), err
		}
	}
}

// openDir opens a directory, "" for the root.
func (s *Store) openDir(dir string) (fd, error) {
	return s.openAt(dir, unix.O_RDONLY|unix.O_DIRECTORY)
}

// makeDir opens a directory, which it makes, with those above it, when it is not there. ENOENT means that another
// caller removed one of them at the same time.
func (s *Store) makeDir(dir string) (fd, error) {
	f, err := s.openDir(dir)
	if err != unix.ENOENT || dir == "" {
		return f, err
	}
	above, name, _ := split(dir)
	parent, err := s.makeDir(above)
	if err != nil {
		return -1, err
	}
	defer parent.close()
	switch err := unix.Mkdirat(int(parent), name, 0o777); err {
	case nil:
		if err := s.syncDir(parent); err != nil {
			return -1, err
		}
	case unix.EEXIST:
	default:
		return -1, err
	}
	return s.openDir(dir)
}

// syncDir makes the entries of a directory durable.
func (s *Store) syncDir(f fd) error {
	if !s.sync {
		return nil
	}
	return unix.Fsync(int(f))
}

// reopen opens the regular file or directory that f names for reading.
func (f fd) reopen() (*os.File, error) {
	n, err := unix.Open(f.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), f.path()), nil
}
