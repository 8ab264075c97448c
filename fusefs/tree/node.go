package tree

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sharefs/cache"
	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/fusefs/stage"
)

// node is a file in memory, while it is open or being stored.
//
// Its bytes come from one of two places: the staged file, when there is one, else the read cache. Changing that place
// (promotion on the first write, demotion after the last close) takes the gate exclusively; reads and writes hold it
// shared while they use the staged file.
type node struct {
	t   *Tree
	ino uint64

	refs    int // handles and passing users; guarded by Tree.mu
	handles int // guarded by Tree.mu
	writers int // handles that can write; guarded by Tree.mu

	gate sync.RWMutex
	// Guarded by gate.
	loaded  bool         // file says whether there is a staged file
	stageID uint64       // of file
	staged  bool         // the catalog knows file as the inode's content; else it is what the store has
	synced  bool         // the durable catalog may call file synced: see durable.go
	src     *cacheSource // open for reading; made on demand

	era atomic.Uint64 // see changed.go; grows under Tree.mu
	at  atomic.Uint64 // the era of file and src; written under gate

	losses atomic.Uint64 // how often what was staged was given up because another mount was first

	file      atomic.Pointer[stage.File] // written under gate
	exclusive atomic.Pointer[snapshot]   // an upload that reads file itself: a write breaks it

	spilling sync.RWMutex // see spill.go. Held shared while a range is spilled, else while the file is stored. Taken before gate.

	unfollowed, followed atomic.Uint64 // changes of attributes that a close has to store, and those that one has stored

	attrMu  sync.Mutex
	changed bool      // file was changed since the row was written
	mtime   time.Time // of the last change
}

// acquire returns the node of an inode, in use until release.
func (t *Tree) acquire(ino uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[ino]
	if n == nil {
		n = &node{t: t, ino: ino}
		t.nodes[ino] = n
	}
	n.refs++
	return n
}

// acquireOpen returns the node of an inode that is open or being stored, in use; else nil.
func (t *Tree) acquireOpen(ino uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[ino]
	if n != nil {
		n.refs++
	}
	return n
}

// openNodes returns every node, in use.
func (t *Tree) openNodes() []*node {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		n.refs++
		list = append(list, n)
	}
	return list
}

// release ends a use. With the last one the node leaves memory, and a file that is stored goes from the stage to the
// read cache.
func (t *Tree) release(n *node) {
	t.mu.Lock()
	n.refs--
	last := n.refs == 0
	t.mu.Unlock()
	if !last {
		return
	}
	n.gate.Lock()
	defer n.gate.Unlock()
	t.mu.Lock()
	last = n.refs == 0
	t.mu.Unlock()
	if !last {
		return
	}
	n.closeLocked()
	t.mu.Lock()
	if n.refs == 0 && t.nodes[n.ino] == n {
		delete(t.nodes, n.ino)
	}
	var freed []string
	for key, ino := range t.held {
		if ino == n.ino {
			delete(t.held, key)
			freed = append(freed, key)
		}
	}
	forgotten := t.unlinked[n.ino]
	t.mu.Unlock()
	for _, key := range freed {
		t.commit.TouchDoomed(key)
	}
	if t.o.CommitSync {
		t.commit.HurryDoomed(freed...) // the unlink has returned, and the others still see the file
	}
	if forgotten {
		t.dropRow(n.ino)
	}
}

// close closes a node at the end of the tree, whoever still has it.
func (n *node) close() error {
	n.gate.Lock()
	defer n.gate.Unlock()
	n.closeLocked()
	return nil
}

// closeLocked gives up the node's place of bytes. It is called with the gate locked.
func (n *node) closeLocked() {
	n.closeSource()
	f := n.file.Swap(nil)
	staged, synced, outdated := n.staged, n.synced, n.outdated()
	n.loaded, n.staged, n.synced = false, false, false
	if f == nil {
		return
	}
	row, err := n.settled()
	switch {
	case err != nil:
		_ = f.Close()
		n.t.removeStaged(n.stageID) // of a create that failed: there is no row
	case row.Parent == 0 && !staged:
		_ = f.Close()
		n.t.discard(n.stageID, synced) // stored and unlinked: the row does not name it
	case !staged && outdated:
		_ = f.Close()
		n.t.discard(n.stageID, synced) // what was stored, before another program changed it
	case row.Parent == 0:
		_ = f.Close() // it goes with the row, when the kernel has forgotten the inode
	case staged:
		_ = f.Close()
	default:
		if synced { // before the file can be written to again, under another id
			if err := n.t.cat.Sync(); err != nil {
				_ = f.Close() // it stays where it is
				return
			}
		}
		n.demote(f, row)
	}
}

// demote gives a staged file that is stored to the read cache.
func (n *node) demote(f *stage.File, row *catalog.Inode) {
	size := f.Size()
	path, err := f.Detach()
	if err != nil || size != row.StoredSz || row.Key == "" {
		// Promoted, not wholly read and not changed; or changed in the store since. The cache starts anew.
		_ = f.Close()
		_ = n.t.stage.Remove(stage.ID(n.stageID))
		return
	}
	err = n.t.cache.Give(cacheObject(row), path)
	failpoint.Hit("tree.given")
	n.t.stage.Look() // the cache can give way to who waits for room
	if err != nil {
		n.t.o.Logger.Warn("a stored file is not kept in the read cache", "err", err)
		_ = n.t.stage.Remove(stage.ID(n.stageID))
	}
}

// row returns the inode's row.
func (n *node) row() (row *catalog.Inode, err error) {
	err = n.t.cat.View(func(tx *catalog.Tx) (err error) {
		row, err = tx.Get(n.ino)
		return err
	})
	if catalog.IsNotFound(err) {
		return nil, syscall.ESTALE
	}
	return row, err
}

// live says that the file's length is counted as it changes from now on, and settled that the row tells it again.
func (n *node) live() error {
	return n.t.cat.View(func(tx *catalog.Tx) error {
		row, err := tx.Get(n.ino)
		if err != nil {
			return errGone(err)
		}
		tx.Live(row)
		return nil
	})
}

func (n *node) settled() (row *catalog.Inode, err error) {
	err = n.t.cat.View(func(tx *catalog.Tx) error {
		found, err := tx.Get(n.ino)
		if catalog.IsNotFound(err) {
			tx.Settled(&catalog.Inode{Ino: n.ino})
			return nil
		}
		if err == nil {
			row = found
			tx.Settled(row)
		}
		return err
	})
	if err == nil && row == nil {
		err = syscall.ESTALE
	}
	return row, err
}

// load opens the staged file, if the catalog names one. It is called with the gate locked.
func (n *node) load() error {
	if n.loaded {
		return nil
	}
	row, err := n.row()
	if err != nil {
		return err
	}
	if row.Stage != 0 {
		f, err := n.t.stage.Load(stage.ID(row.Stage), n.t.base(n.ino))
		if err != nil {
			n.t.o.Logger.Error("a staged file cannot be opened", "inode", n.ino, "err", err)
			return syscall.EIO
		}
		if err := n.live(); err != nil {
			_ = f.Close()
			return err
		}
		n.file.Store(f)
		n.stageID, n.staged = row.Stage, true
		n.synced = row.Synced || n.t.cat.Broken() != nil
	}
	n.loaded = true
	return nil
}

// stageNow makes the staged file the inode's content. change: which is about to change, so that it must not be called
// synced any more, durably. by, if not nil, is the handle that wants it, which must not be stale.
func (n *node) stageNow(by *File, truncate, change bool) error {
	n.gate.Lock()
	defer n.gate.Unlock()
	if err := n.load(); err != nil {
		return err
	}
	n.refresh()
	if n.file.Load() != nil && n.staged && !(change && n.synced) {
		return nil
	}
	n.closeSource()
	err := errMoved
	for err == errMoved {
		n.refresh()
		err = n.stageOnce(by, truncate)
	}
	if err == nil && n.synced {
		failpoint.Hit("tree.unsync")
		if err = n.t.cat.Sync(); err == nil {
			n.synced = false
		}
	}
	return err
}

// errMoved says that what is stored for an inode became another while it was promoted.
var errMoved = errors.New("the content is another one now")

// stageOnce makes the staged file the inode's content, unless that moves meanwhile. The gate is locked.
func (n *node) stageOnce(by *File, truncate bool) error {
	before := n.file.Load()
	var from *catalog.Inode
	if before == nil {
		var err error
		if from, err = n.promote(truncate); err != nil {
			return err
		}
	}
	err := n.t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(n.ino)
		if err != nil {
			return errGone(err)
		}
		if from != nil && (row.Stage != 0 || row.Content != from.Content || row.Size != from.Size) {
			return errMoved
		}
		if before != nil && !n.staged && n.outdated() {
			return errMoved
		}
		if by.stale() {
			return syscall.ESTALE
		}
		f := n.file.Load()
		row.Stage, row.StageMtime, row.Synced = n.stageID, f.ModTime(), false
		if row.Parent != 0 {
			n.t.markDirty(tx, row)
		}
		tx.After(func() { n.staged = true })
		tx.Live(row)
		return tx.Put(row)
	})
	if f := n.file.Load(); err != nil && f != before {
		// What was promoted is not the inode's content: the catalog does not know it.
		n.file.Store(nil)
		_ = f.Close()
		n.t.removeStaged(n.stageID)
	}
	return err
}

// promote makes a staged file of what the read cache has of the inode's content, and returns the row that it was made for; the
// rest comes from the store when it is needed. The cache verifies what it gives, which takes its time for a large file: so
// the catalog is not held meanwhile.
func (n *node) promote(truncate bool) (*catalog.Inode, error) {
	var id uint64
	var row *catalog.Inode
	err := n.t.cat.Update(func(tx *catalog.Tx) (err error) {
		if row, err = tx.Get(n.ino); err == nil {
			id, err = tx.NewID()
		}
		return errGone(err)
	})
	if err != nil {
		return nil, err
	}
	var f *stage.File
	if truncate || row.Size == 0 {
		f, err = n.t.stage.Create(stage.ID(id))
		n.t.cache.Drop(cache.ID(row.Content))
	} else {
		f, err = n.takeCached(row, id)
	}
	if err != nil {
		n.t.removeStaged(id)
		return nil, err
	}
	failpoint.Hit("tree.promoted")
	n.stageID = id
	n.file.Store(f)
	return row, nil
}

// takeCached makes the staged file of a stored content.
func (n *node) takeCached(row *catalog.Inode, id uint64) (*stage.File, error) {
	present, _, err := n.t.cache.Take(cacheObject(row), n.t.stage.Path(stage.ID(id)))
	failpoint.Hit("tree.taken")
	if errors.Is(err, cache.ErrOpen) {
		present, err = nil, nil // busy for a moment: the bytes come from the store again
	}
	if err != nil {
		return nil, err
	}
	ranges := make([]stage.Range, len(present))
	for i, r := range present {
		ranges[i] = stage.Range{Off: r.Off, Len: r.Len}
	}
	return n.t.stage.Adopt(stage.ID(id), row.Size, ranges, n.t.base(n.ino)(row.Size))
}

// markDirty notes that something is to be stored for a row, which the caller then puts.
func (t *Tree) markDirty(tx *catalog.Tx, row *catalog.Inode) {
	if row.Dirty.IsZero() {
		row.Dirty = t.o.Now()
	}
	tx.After(func() { t.commit.Touch(row.Ino) })
}

// persist writes what only memory knows of a changed file into its row.
func (n *node) persist() error {
	n.attrMu.Lock()
	defer n.attrMu.Unlock()
	f := n.file.Load()
	if !n.changed || f == nil {
		return nil
	}
	err := n.t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(n.ino)
		if err != nil {
			return err
		}
		n.overlay(row, f)
		row.StageMtime = f.ModTime()
		if row.Parent != 0 && row.Stage != 0 {
			n.t.markDirty(tx, row)
		} else {
			n.t.markMeta(tx, row) // stored already, with the times of before
		}
		return tx.Put(row)
	})
	if catalog.IsNotFound(err) {
		err = nil // unlinked, and forgotten
	}
	if err == nil {
		n.changed = false
	}
	return err
}

// overlay puts what only memory knows onto a row. It is called with attrMu locked.
func (n *node) overlay(row *catalog.Inode, f *stage.File) {
	row.Size = f.Size()
	if n.changed {
		row.Mtime, row.Ctime = n.mtime, n.mtime
	}
}
