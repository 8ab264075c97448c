package commit

import "sync"

// Watch knows the inodes for which a request was recorded since it began: what the store said meanwhile may be older. A nil Watch
// knows of none.
type Watch struct {
	watches *watches
	inodes  map[uint64]bool // guarded by watches.mu
}

// watches are those that have not ended.
type watches struct {
	mu  sync.Mutex
	all map[*Watch]bool
}

// Watch begins to watch, until End.
func (c *Committer) Watch() *Watch {
	w := &Watch{watches: &c.watches, inodes: map[uint64]bool{}}
	w.watches.mu.Lock()
	defer w.watches.mu.Unlock()
	if w.watches.all == nil {
		w.watches.all = map[*Watch]bool{}
	}
	w.watches.all[w] = true
	return w
}

// Recorded reports whether a request for an inode was recorded since the watch began.
func (w *Watch) Recorded(ino uint64) bool {
	if w == nil {
		return false
	}
	w.watches.mu.Lock()
	defer w.watches.mu.Unlock()
	return w.inodes[ino]
}

// End ends the watch.
func (w *Watch) End() {
	if w == nil {
		return
	}
	w.watches.mu.Lock()
	defer w.watches.mu.Unlock()
	delete(w.watches.all, w)
}

// note tells the watches of an inode. It comes before anybody can see what is recorded.
func (s *watches) note(ino uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		w.inodes[ino] = true
	}
}
