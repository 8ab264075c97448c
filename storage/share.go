package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"sharefs/storage/container"
)

// Shares returns the numbers of the shares of a storage index, immutable or mutable, in order. Those being uploaded are not yet
// shares.
func (s *Store) Shares(index Index) ([]int, error) {
	defer s.stats.time("get", s.now)()
	return s.numbers(index)
}

// numbers lists the files that have a number for a name.
func (s *Store) numbers(index Index) ([]int, error) {
	entries, err := s.fs.ReadDir(s.bucketDir(index))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, ok := shareNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// shareNumber returns the number of a share from the name of its file.
func shareNumber(file string) (int, bool) {
	n, err := strconv.Atoi(file)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == file
}

// Share is an open share, of either kind. It reads what was there when it was opened, but for a slot that is changed in
// place: see the package.
type Share struct {
	store     *Store
	index     Index
	file      File
	container container.Container
}

// OpenShare opens a share for reading. fs.ErrNotExist: there is none. The caller closes it.
func (s *Store) OpenShare(index Index, number int) (*Share, error) {
	defer s.locks.rlock(index)()
	f, c, _, err := s.open(shareName{index, number}, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &Share{store: s, index: index, file: f, container: c}, nil
}

// Kind returns what the share is for.
func (h *Share) Kind() Kind { return h.container.Kind() }

// Size returns the number of bytes of data.
func (h *Share) Size() int64 { return h.container.Size() }

// ReadAt reads share data, up to the end that they had when the share was opened: io.EOF.
func (h *Share) ReadAt(p []byte, off int64) (int, error) {
	defer h.store.stats.time("read", h.store.now)()
	if h.Kind() == container.Mutable {
		defer h.store.locks.rlock(h.index)()
	}
	return h.container.ReadAt(p, off)
}

// Close closes the share's file.
func (h *Share) Close() error { return h.file.Close() }

// open opens a container, whose file has a size. The caller has the lock of its index, and closes the file.
func (s *Store) open(name shareName, flag int) (File, container.Container, int64, error) {
	path := s.sharePath(name)
	f, err := s.fs.OpenFile(path, flag, 0)
	if err != nil {
		return nil, nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	c, err := container.Open(path, f, fi.Size())
	if err != nil {
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	return f, c, fi.Size(), nil
}

// install makes a whole file a share, in one step. The caller has the lock of the index.
func (s *Store) install(temporary string, name shareName) error {
	bucket := s.bucketDir(name.index)
	fresh := !s.exists(bucket)
	if fresh {
		if err := mkdirAll(s.fs, bucket); err != nil {
			return err
		}
	}
	if err := s.fs.Rename(temporary, s.sharePath(name)); err != nil {
		return fmt.Errorf("giving it its name: %w", err)
	}
	if fresh {
		return s.syncDirs(bucket, filepath.Dir(bucket), s.sharesDir())
	}
	return s.syncDirs(bucket)
}

// removeBucket removes the directory of an index that has no share any more.
func (s *Store) removeBucket(index Index) {
	bucket := s.bucketDir(index)
	if s.fs.Remove(bucket) == nil {
		_ = s.fs.Remove(filepath.Dir(bucket)) // not empty, mostly
	}
}
