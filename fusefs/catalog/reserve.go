package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The reserve is a file beside the catalog that takes room on the disk for nothing, so that there is room for the catalog
// when others have filled the disk. A slice of it is given up before a transaction that meets too little free disk, and
// it is made again when there is enough. Slices, because who is just filling the disk takes what is given up, too: then
// the next one waits until that may be over. It is for storing and deleting; whoever adds names looks at ReserveLacks before.
//
// The write-ahead log grows to 4 MiB before SQLite moves it into the database, which may then grow by as much.
const (
	reserveMost  = 8 << 20
	reserveLeast = 1 << 20
	reserveOf    = 16 // on a small disk it is this part of it

	reserveSlices = 8

	reserveLook  = time.Second           // how often it is tried to make it again
	reservePause = 20 * time.Millisecond // between slices
)

type roomReserve struct {
	path string
	size int64
	left atomic.Int64 // bytes of it that are not given up

	tried time.Time            // to make it; guarded by Catalog.mu
	disk  func() (int64, bool) // what the disk has free, if it can tell
}

// init takes up the reserve that an earlier process left, or makes it.
func (r *roomReserve) init(dir string) {
	r.path, r.size = filepath.Join(dir, "reserve"), reserveMost
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		r.size = max(reserveLeast, min(reserveMost, int64(st.Blocks)*st.Bsize/reserveOf))
	}
	r.disk = func() (int64, bool) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		return int64(st.Bavail) * st.Bsize, err == nil
	}
	if fi, err := os.Stat(r.path); err == nil {
		r.left.Store(min(fi.Size(), r.size))
	}
	r.look()
}

// look gives up of the reserve what a nearly full disk needs, and makes it again when the disk is not.
func (r *roomReserve) look() {
	free, ok := r.disk()
	for first := true; ok && r.left.Load() > 0 && free < r.slice(); first = false {
		if !first {
			time.Sleep(reservePause)
		}
		r.giveUp()
		free, ok = r.disk()
	}
	if ok && r.left.Load() < r.size && free >= 2*r.size && time.Since(r.tried) >= reserveLook {
		r.tried = time.Now()
		if r.make() == nil {
			r.left.Store(r.size)
		}
	}
}

func (r *roomReserve) slice() int64 { return (r.size/reserveSlices + 4095) &^ 4095 }

// giveUp leaves the room of a slice to the catalog.
func (r *roomReserve) giveUp() {
	left := max(0, r.left.Load()-r.slice())
	err := os.Truncate(r.path, left)
	if errors.Is(err, os.ErrNotExist) {
		left, err = 0, nil
	}
	if err == nil {
		r.left.Store(left)
		r.tried = time.Now()
	}
}

func (r *roomReserve) make() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(allocate(f, r.size), f.Close())
	if err != nil {
		_ = os.Remove(r.path) // it is not needed, and so no harm either
		r.left.Store(0)
	}
	return err
}

// allocate gives a file of size bytes its room on disk.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, 1<<16)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// ReserveSize returns how many bytes of the disk are kept for the catalog.
func (c *Catalog) ReserveSize() int64 { return c.reserve.size }

// ReserveLacks returns how many bytes of them have been given up: others must leave so much more free.
func (c *Catalog) ReserveLacks() int64 { return c.reserve.size - c.reserve.left.Load() }
