package commit

import (
	"sync"
	"time"

	"sharefs/fusefs/catalog"
)

// Kept is what path rules keep from the store at the moment, and have kept since the start.
type Kept struct {
	Scratch      int   `json:"scratch"`       // files on scratch paths
	ScratchBytes int64 `json:"scratch_bytes"` // of their contents
	ScratchSeen  int64 `json:"scratch_seen"`  // files that were found on scratch paths since the start
	Lazy         int   `json:"lazy"`          // changes of lazy paths that wait for their time; they are in Pending too
	LazySeen     int64 `json:"lazy_seen"`     // such changes since the start
}

// scratchSet remembers which files were found on scratch paths. A row that has left since is dropped when it is counted.
type scratchSet struct {
	mu   sync.Mutex
	inos map[uint64]struct{}
	seen int64
}

func (s *scratchSet) add(ino uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, have := s.inos[ino]; have {
		return
	}
	if s.inos == nil {
		s.inos = map[uint64]struct{}{}
	}
	s.inos[ino] = struct{}{}
	s.seen++
}

func (s *scratchSet) list() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]uint64, 0, len(s.inos))
	for ino := range s.inos {
		list = append(list, ino)
	}
	return list
}

func (s *scratchSet) drop(inos []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ino := range inos {
		delete(s.inos, ino)
	}
}

// isScratch reports whether an inode is kept from the store by its path. What is stored already stays stored, and follows
// its name as any file does.
func (c *Committer) isScratch(tx *catalog.Tx, n *catalog.Inode) bool {
	if n.Key != "" || n.PutKey != "" || !c.o.Rules.HasScratch() {
		return false
	}
	path := tx.Path(n)
	if n.IsDir() { // one that what is in it does not share the fate of is needed in the store
		return c.o.Rules.Scratch(path) && c.o.Rules.Scratch(path+"/x")
	}
	return c.o.Rules.Scratch(path)
}

// Created says that a file has been made: it is counted if its path is scratch, however short it stays there.
func (c *Committer) Created(tx *catalog.Tx, n *catalog.Inode) {
	if n.IsFile() && c.isScratch(tx, n) {
		tx.After(func() { c.scratch.add(n.Ino) })
	}
}

// Scratch reports whether an inode is kept from the store by its path.
func (c *Committer) Scratch(ino uint64) bool {
	if !c.o.Rules.HasScratch() {
		return false
	}
	scratch := false
	_ = c.cat.View(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		scratch = err == nil && n.Parent != 0 && c.isScratch(tx, n)
		return err
	})
	return scratch
}

// lazyUntil returns when a change that was made to an inode is to be stored, by the rules of lazy paths; the zero time
// when none matches.
func (c *Committer) lazyUntil(tx *catalog.Tx, n *catalog.Inode, now time.Time) time.Time {
	if !c.o.Rules.HasLazy() || n.IsDir() || n.Dirty.IsZero() {
		return time.Time{}
	}
	delay := c.o.Rules.Delay(tx.Path(n))
	if delay == 0 {
		return time.Time{}
	}
	if limit := now.Add(delay); n.Dirty.Add(delay).After(limit) { // the clock was set back
		return limit
	}
	return n.Dirty.Add(delay)
}

// Kept returns what path rules keep from the store.
func (c *Committer) Kept() Kept {
	k := Kept{}
	k.Lazy, k.LazySeen = c.q.lazies()
	var gone []uint64
	_ = c.cat.View(func(tx *catalog.Tx) error {
		for _, ino := range c.scratch.list() {
			n, err := tx.Get(ino)
			if err != nil || n.Parent == 0 || !c.isScratch(tx, n) {
				gone = append(gone, ino)
				continue
			}
			k.Scratch++
			k.ScratchBytes += n.Size
		}
		return nil
	})
	c.scratch.drop(gone)
	c.scratch.mu.Lock()
	defer c.scratch.mu.Unlock()
	k.ScratchSeen = c.scratch.seen
	return k
}
