package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the part of a file system that a Store needs. Its errors are those of package os: errors.Is with fs.ErrNotExist and
// fs.ErrExist works.
type FS interface {
	// OpenFile opens a file with the flags of package os: O_RDONLY, or O_RDWR, with or without O_CREATE, O_EXCL and O_TRUNC.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Mkdir makes a directory.
	Mkdir(name string, perm fs.FileMode) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename gives a file another name, from which another file goes, at once.
	Rename(oldName, newName string) error
	// ReadDir returns what is in a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Space returns the room on the disk that a directory is on.
	Space(dir string) (Space, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the contents durable.
	Sync() error
	Stat() (fs.FileInfo, error)
}

// Space is the room on a disk, in bytes.
type Space struct {
	Total     int64
	Free      int64 // for root
	Available int64 // for others
}

// OS returns the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osFS) Remove(name string) error                   { return os.Remove(name) }
func (osFS) Rename(oldName, newName string) error       { return os.Rename(oldName, newName) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Space(dir string) (Space, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	unit := int64(st.Frsize)
	return Space{Total: unit * int64(st.Blocks), Free: unit * int64(st.Bfree), Available: unit * int64(st.Bavail)}, nil
}

// mkdirAll makes a directory and what it is in. That it is there is no error. Directories that it is in may be removed
// meanwhile, as long as they are empty: then they are made again.
func mkdirAll(fsys FS, dir string) error {
	err := fsys.Mkdir(dir, 0o777)
	for tries := 0; errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir && tries < maxTries; tries++ {
		if err := mkdirAll(fsys, filepath.Dir(dir)); err != nil {
			return err
		}
		err = fsys.Mkdir(dir, 0o777)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// maxTries is how often the directory above may be removed in between. Each time somebody else has ended something.
const maxTries = 100

// removeAll removes a file or a directory with all that is in it. That it is not there is no error.
func removeAll(fsys FS, name string) error {
	err := fsys.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, listErr := fsys.ReadDir(name)
	if listErr != nil || len(entries) == 0 {
		return err
	}
	for _, e := range entries {
		if err := removeAll(fsys, filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return fsys.Remove(name)
}
