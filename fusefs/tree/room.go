package tree

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/fusefs/stage"
)

// Bounds of what a mount takes of the local disk, where the options say nothing.
const (
	DefaultStageSize = 10 << 30
	// DefaultStall is longer than a server takes to start anew, and shorter than the two minutes after which the kernel
	// reports a task as hung.
	DefaultStall = time.Minute

	defaultKeepFree = 1 << 30
	keepFreeOf      = 20 // on a small disk the floor is this part of it

	// entryRoom is what a new name is taken to need: its row, what the log of the catalog grows by, an empty file.
	entryRoom = 64 << 10
)

// keepFree returns how many bytes of the disk stay free.
func (o Options) keepFree() int64 {
	if o.KeepFree != 0 {
		return max(o.KeepFree, 0)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(o.CacheDir, &st); err != nil {
		return defaultKeepFree
	}
	return min(defaultKeepFree, int64(st.Blocks)*st.Bsize/keepFreeOf)
}

// cacheFloor is the floor of free disk for the read cache, which also leaves the catalog's reserve alone. Negative: none.
func (t *Tree) cacheFloor() int64 {
	return t.o.keepFree() + t.cat.ReserveSize()
}

// stageRoom are the bounds of the stage.
func (t *Tree) stageRoom() stage.RoomOptions {
	return stage.RoomOptions{
		Size:     t.o.StageSize,
		KeepFree: t.o.keepFree(),
		Stall:    t.o.StallTimeout,
		Lacking:  t.cat.ReserveLacks,
		GiveWay:  func(n int64) int64 { return t.cache.GiveWay(n) },
		Short: func(id stage.ID, n int64) bool {
			t.commit.Hurry()
			return t.releasing(id, n)
		},
	}
}

// Room returns how things are with the room of staged files.
func (t *Tree) Room() stage.RoomStats { return t.stage.Room() }

// entryRoom waits for the room of a new name: it must not be taken from what the catalog keeps for storing and deleting.
func (t *Tree) entryRoom(ctx context.Context) (*stage.Reservation, error) {
	return t.stage.Await(ctx, 0, entryRoom, stage.ForEntry)
}

// lacking is the room that a change did not find.
type lacking struct {
	id stage.ID
	n  int64 // bytes; 0: it found room
	d  stage.Demand
}

// edit is what a change of a file needs.
type edit struct {
	by       *File       // whose handle must not be stale; nil: by name
	truncate bool        // the old bytes are not needed
	span     stage.Range // bytes that need room on the disk
	end      int64       // how long the file may become
}

// change calls f with the staged file, which the catalog knows, in room for the edit, and notes that it has changed.
// f returns ENOSPC only when it has changed nothing. The gate is held shared while f runs, and not while room is waited for.
func (n *node) change(ctx context.Context, e edit, f func(*stage.File) error) error {
	var room *stage.Reservation
	for {
		lacks, err := n.tryChange(e, room, f)
		if lacks.n == 0 {
			return err
		}
		if room, err = n.t.stage.Await(ctx, lacks.id, lacks.n, lacks.d); err != nil {
			return err
		}
		if lacks.d != stage.ForContent {
			room.Release()
			room = nil
		}
	}
}

func (n *node) tryChange(e edit, room *stage.Reservation, f func(*stage.File) error) (lacking, error) {
	for {
		if e.by.stale() {
			room.Release()
			return lacking{}, syscall.ESTALE
		}
		n.gate.RLock()
		if file := n.file.Load(); file != nil && n.staged && !n.synced {
			defer n.gate.RUnlock()
			return n.changeFile(file, e, room, f)
		}
		n.gate.RUnlock()
		err := n.stageNow(e.by, e.truncate, true)
		if errors.Is(err, syscall.ENOSPC) {
			room.Release()
			n.t.stage.Refused()
			return lacking{0, entryRoom, stage.ForEntry}, nil
		}
		if err != nil {
			room.Release()
			return lacking{}, err
		}
	}
}

// changeFile is change with a staged file at hand. The gate is held shared.
func (n *node) changeFile(file *stage.File, e edit, room *stage.Reservation, f func(*stage.File) error) (lacking, error) {
	want := lacking{stage.ID(n.stageID), 0, stage.ForContent}
	if room == nil {
		if room, want.n = file.Reserve(e.span.Off, e.span.Len); room == nil {
			return want, nil
		}
	}
	defer room.Release()
	err := n.grow(file, e.end, func() error { return n.apply(file, f) })
	if over := (overCapacity{}); errors.As(err, &over) {
		return lacking{}, err
	}
	if errors.Is(err, syscall.ENOSPC) { // the disk did not keep what it promised
		n.t.stage.Refused()
		want.n = max(e.span.Len, entryRoom)
		return want, nil
	}
	return lacking{}, err
}

// apply makes a change, which breaks an upload that reads the file itself.
func (n *node) apply(file *stage.File, f func(*stage.File) error) error {
	if snap := n.exclusive.Swap(nil); snap != nil {
		snap.broken.Store(true)
	}
	gen := file.Gen()
	err := f(file)
	if file.Gen() != gen || err == nil {
		n.attrMu.Lock()
		n.changed, n.mtime = true, n.t.o.Now()
		n.attrMu.Unlock()
	}
	return err
}
