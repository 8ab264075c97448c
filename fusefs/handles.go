package fusefs

import (
	"sync"

	"sharefs/fusefs/tree"
)

// handles are the open files, by the number that the kernel was given for each.
type handles struct {
	mu   sync.RWMutex
	last uint64
	open map[uint64]tree.Handle // guarded by mu
}

func newHandles() handles { return handles{open: make(map[uint64]tree.Handle)} }

// add returns the number for a handle. Numbers are not used again.
func (h *handles) add(th tree.Handle) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	h.open[h.last] = th
	return h.last
}

// get returns the handle, or nil: the kernel named a file that is not open.
func (h *handles) get(fh uint64) tree.Handle {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.open[fh]
}

// take removes and returns the handle, or nil.
func (h *handles) take(fh uint64) tree.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	th := h.open[fh]
	delete(h.open, fh)
	return th
}

// takeAll removes and returns all handles.
func (h *handles) takeAll() []tree.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]tree.Handle, 0, len(h.open))
	for _, th := range h.open {
		all = append(all, th)
	}
	clear(h.open)
	return all
}

// lookups count how often the kernel was told of each inode. A FORGET says how many of these it takes back, and it may
// come after a newer LOOKUP was answered: only when the count is zero has the kernel forgotten the inode.
type lookups struct {
	mu    sync.Mutex
	count map[uint64]uint64 // guarded by mu
}

func newLookups() lookups { return lookups{count: make(map[uint64]uint64)} }

// add notes that an answer names the inode.
func (l *lookups) add(ino uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[ino]++
}

// forget takes n back and reports whether none are left.
func (l *lookups) forget(ino, n uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, known := l.count[ino]
	if !known {
		return false
	}
	if n < left {
		l.count[ino] = left - n
		return false
	}
	delete(l.count, ino)
	return true
}

// takeAll removes and returns all inodes.
func (l *lookups) takeAll() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]uint64, 0, len(l.count))
	for ino := range l.count {
		all = append(all, ino)
	}
	clear(l.count)
	return all
}
