package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sharefs/fusefs/catalog"
)

// Inspection is what a cache directory holds while nobody uses it.
type Inspection struct {
	Store      string // what identifies the store that it belongs to
	Pending    int    // changes that are not stored
	Bytes      int64  // of contents among them
	Oldest     time.Time
	Paths      []string // of the changes, at most maxInspected; deletions have none
	Superseded bool     // another mount has had the store since: what is pending will be kept aside, not stored
	Conflicts  []Conflict
	CacheSize  int64 // bytes of the local disk
	StageSize  int64
}

// maxInspected is how many paths an Inspection names.
const maxInspected = 1000

// IsCacheDir reports whether a directory is a cache directory.
func IsCacheDir(dir string) bool {
	fi, err := os.Stat(filepath.Join(dir, "catalog.db"))
	return err == nil && fi.Mode().IsRegular()
}

// Inspect looks into a cache directory, and changes nothing in it. It fails with ErrLocked while a mount has it.
func Inspect(ctx context.Context, dir string) (in Inspection, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return in, err
	}
	defer lock.Close()
	cat, err := catalog.Open(ctx, dir)
	if err != nil {
		return in, err
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	if err := cat.View(in.read); err != nil {
		return in, err
	}
	if in.Conflicts, err = conflictsIn(dir); err != nil {
		return in, err
	}
	if in.CacheSize, err = diskSize(filepath.Join(dir, "cache")); err != nil {
		return in, err
	}
	in.StageSize, err = diskSize(filepath.Join(dir, "stage"))
	return in, err
}

func (in *Inspection) read(tx *catalog.Tx) error {
	s, err := tx.PendingSummary()
	if err != nil {
		return err
	}
	in.Pending, in.Bytes, in.Oldest = s.Items, s.Bytes, s.Oldest
	c, err := tx.Claim()
	if err != nil {
		return err
	}
	in.Superseded = c.Superseded
	if in.Store, err = tx.Store(); err != nil {
		return err
	}
	dirty, err := tx.Dirty()
	for _, n := range dirty[:min(len(dirty), maxInspected)] {
		in.Paths = append(in.Paths, tx.Path(n))
	}
	return err
}

// diskSize returns the bytes that the files of a directory take on the disk.
func diskSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreMissing(err)
		}
		fi, err := e.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			size += st.Blocks * 512
		}
		return nil
	})
	return size, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
