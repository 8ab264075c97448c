package tree

import (
	"context"
	"errors"
	"syscall"
	"time"

	"sharefs/fusefs/stage"
)

// DefaultCapacity is what statfs shows as the size of a store that tells none, in bytes: 1 PiB.
const DefaultCapacity = 1 << 50

const (
	// spaceBlock is the unit of statfs, in bytes.
	spaceBlock = 4096
	// quotaPatience is how long a mount waits for the store to tell its quota.
	quotaPatience = 5 * time.Second
	// spaceInodes is how many inodes statfs shows in all: nothing bounds them.
	spaceInodes = 1 << 40
)

// Space is what files take of the store, as the mount counts it: each at its length, holes included, from the moment
// that it is written, not only when it is stored. What is unlinked, or not linked yet, takes none.
type Space struct {
	Capacity int64 `json:"capacity"` // bytes
	Used     int64 `json:"used"`     // bytes
	Files    int64 `json:"files"`    // and symlinks
	Dirs     int64 `json:"directories"`
	Counted  bool  `json:"counted"` // nothing is left out: every directory has been listed
}

// capacityOf returns the size of the store: what was asked for, else its quota, else DefaultCapacity; in whole blocks.
func (t *Tree) capacityOf(ctx context.Context) int64 {
	capacity := t.o.Capacity
	if capacity <= 0 {
		capacity = DefaultCapacity
		ctx, cancel := context.WithTimeout(ctx, quotaPatience)
		defer cancel()
		u, err := t.store.Usage(ctx)
		if err != nil {
			t.o.Logger.Warn("the store does not tell its quota: no bound is known until the next mount", "err", err)
		} else if u.Quota >= 0 {
			capacity = u.Quota
		}
	}
	return capacity / spaceBlock * spaceBlock
}

// Space returns what is taken of the store. It never waits.
func (t *Tree) Space() Space {
	u := t.cat.Usage()
	return Space{Capacity: t.capacity, Used: u.Bytes, Files: u.Files, Dirs: u.Dirs, Counted: u.Unlisted == 0}
}

// Statfs is Space in blocks, rounded once. It never waits.
func (t *Tree) Statfs() Statfs {
	s := t.Space()
	total, used := uint64(s.Capacity/spaceBlock), uint64((s.Used+spaceBlock-1)/spaceBlock)
	return Statfs{BlockSize: spaceBlock, Blocks: total, BlocksFree: total - min(used, total),
		Files: spaceInodes, FilesFree: spaceInodes - uint64(s.Files+s.Dirs+1), MaxNameSize: maxName}
}

// overCapacity is the error of a change for which the store has no room: ENOSPC. It has changed nothing.
type overCapacity struct{ end int64 } // to which offset the file may grow

func (overCapacity) Error() string { return "beyond the capacity of the store" }

func (overCapacity) Unwrap() error { return syscall.ENOSPC }

// noSpace makes the errno of a change that there is no room for: it is the store that is full, as everybody can see.
func noSpace(err error) error {
	if over := (overCapacity{}); errors.As(err, &over) {
		return syscall.ENOSPC
	}
	return err
}

// grow calls f, which may make the file as long as end, in room of the store, and counts what came of it.
func (n *node) grow(file *stage.File, end int64, f func() error) error {
	size := file.Size()
	promised, ok := n.t.cat.Promise(n.ino, end-size, n.t.capacity)
	if !ok {
		return overCapacity{end: size + promised}
	}
	err := f()
	n.t.cat.Grown(n.ino, promised, file.Size)
	return err
}
