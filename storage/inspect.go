package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sharefs/storage/container"
)

// Prefixes are the names that directories of storage indexes are in, in order: two letters each.
func Prefixes() []string {
	const letters = "234567abcdefghijklmnopqrstuvwxyz"
	all := make([]string, 0, len(letters)*len(letters))
	for _, a := range letters {
		for _, b := range letters {
			all = append(all, string([]rune{a, b}))
		}
	}
	return all
}

// Buckets returns what is in the directory of a prefix, in order: storage indexes, and what others may have put there. No directory
// is no bucket.
func (s *Store) Buckets(prefix string) ([]string, error) {
	entries, err := s.fs.ReadDir(filepath.Join(s.sharesDir(), prefix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// BucketIndex returns the storage index of a bucket, if its name is one and it is where that belongs.
func BucketIndex(prefix, bucket string) (Index, bool) {
	i, err := ParseIndex(bucket)
	return i, err == nil && strings.HasPrefix(bucket, prefix)
}

// BucketDisk returns how much of the disk the directory of a storage index takes itself, in bytes.
func (s *Store) BucketDisk(index Index) (int64, error) {
	fi, err := s.fs.Stat(s.bucketDir(index))
	if err != nil {
		return 0, err
	}
	return diskBytes(fi), nil
}

// ShareInfo is what the file of a share tells.
type ShareInfo struct {
	Kind      Kind
	Version   int
	Size      int64 // of the data
	FileSize  int64
	DiskBytes int64 // what the file takes on the disk
	Leases    []Lease
	Doubt     error // what is odd with a container that can be read; nil: nothing
}

// Inspect describes a share.
func (s *Store) Inspect(index Index, number int) (ShareInfo, error) {
	defer s.locks.rlock(index)()
	f, c, size, err := s.open(shareName{index, number}, os.O_RDONLY)
	if err != nil {
		return ShareInfo{}, err
	}
	info := ShareInfo{Kind: c.Kind(), Version: c.Version(), Size: c.Size(), FileSize: size}
	if i, ok := c.(*container.ImmutableFile); ok {
		info.Doubt = i.Check()
	}
	fi, err := f.Stat()
	if err == nil {
		info.DiskBytes = diskBytes(fi)
		info.Leases, err = c.Leases()
	}
	return info, errors.Join(err, f.Close())
}

// SharePath returns where the file of a share is.
func (s *Store) SharePath(index Index, number int) string {
	return s.sharePath(shareName{index, number})
}

// CancelLeases removes those leases of a share that which says, and the share when none is left. A share without any is left
// as it is.
func (s *Store) CancelLeases(index Index, number int, which func(Lease) bool) (left int, err error) {
	defer s.locks.lock(index)()
	err = s.changeLeases(index, []int{number}, func(c container.Container) error {
		leases, err := c.Leases()
		left = len(leases)
		for _, l := range leases {
			if err == nil && which(l) {
				left, err = c.CancelLease(l)
			}
		}
		if err == nil && left == 0 && len(leases) > 0 {
			return errNothingLeft
		}
		return err
	})
	if errors.Is(err, errNothingLeft) {
		err = s.removeShares(index, []int{number})
	}
	return left, err
}

// errNothingLeft ends a change of leases whose share is to be removed.
var errNothingLeft = errors.New("no lease is left")

// diskBytes returns how much of the disk a file takes; where the file system does not tell, whole sectors of its size, and a page
// for a directory.
func diskBytes(fi fs.FileInfo) int64 {
	const sector, page = 512, 4096
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * sector
	}
	if fi.IsDir() {
		return page
	}
	return (fi.Size() + sector - 1) / sector * sector
}
