package tree

import (
	"context"
	"strings"
	"sync"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// Reconciling compares the catalog with the store by one flat listing, a request for a thousand objects or so, while the mount
// serves. It changes nothing itself: a directory in which something differs is a suspect, and is listed once more as soon
// as nothing in it is pending. So a local change that came between a page of the listing and the look at it costs a request
// at most.

// Reconciled is what a comparison of the catalog with the store has found.
type Reconciled struct {
	Objects     int64         `json:"objects"`     // in the store, our own not counted
	Bytes       int64         `json:"bytes"`       // of them
	Hidden      int64         `json:"hidden_keys"` // of Objects: keys that are no path
	Directories int           `json:"directories"` // in which something differs: they are listed once more
	Duration    time.Duration `json:"duration"`    // nanoseconds
}

// Reconcile compares the catalog with the store, and has what differs listed anew. progress, if not nil, is called after each
// page with the number of objects so far.
func (t *Tree) Reconcile(ctx context.Context, progress func(objects int64)) (Reconciled, error) {
	t.reconciling.Lock()
	defer t.reconciling.Unlock()
	began := time.Now()
	c := &comparison{t: t, differ: map[uint64]bool{}}
	err := t.cat.View(func(tx *catalog.Tx) (err error) {
		c.doubted, err = tx.IncompleteBelow(Root)
		return err
	})
	if err != nil {
		return c.found, err
	}
	for token := ""; ; {
		page, err := t.store.List(ctx, provider.ListOptions{Flat: true, Token: token})
		if err != nil {
			return c.found, err
		}
		if err := t.cat.View(func(tx *catalog.Tx) error { return c.page(tx, page.Objects) }); err != nil {
			return c.found, err
		}
		if progress != nil {
			progress(c.found.Objects)
		}
		if token = page.Next; token == "" {
			break
		}
	}
	if err := c.missing(ctx); err != nil {
		return c.found, err
	}
	if err := c.believe(ctx); err != nil {
		return c.found, err
	}
	for ino := range c.differ {
		t.suspect(ino)
	}
	c.found.Directories, c.found.Duration = len(c.differ), time.Since(began)
	t.hidden.Store(c.found.Hidden)
	return c.found, t.awaitSuspects(ctx, c.differ)
}

// comparison is a Reconcile under way.
type comparison struct {
	t      *Tree
	found  Reconciled
	seen   inoSet          // whose stored object was listed
	alive  inoSet          // directories with such an inode below them
	differ map[uint64]bool // directories

	doubted []*catalog.Inode // directories that were not complete at the beginning: only these have been compared as a whole
}

// page compares a page of the listing with the rows of its objects.
func (c *comparison) page(tx *catalog.Tx, objects []provider.Object) error {
	for _, o := range objects {
		if strings.HasPrefix(o.Key, provider.Reserved) {
			continue
		}
		if !o.IsDir() || !c.t.caps.Directories {
			c.found.Objects++
			c.found.Bytes += o.Size
		}
		if !validPath(o.Key) {
			c.found.Hidden++
			continue
		}
		if err := c.object(tx, o); err != nil {
			return err
		}
	}
	return nil
}

// validPath reports whether every component of a key is that of a name.
func validPath(key string) bool {
	for part := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if !keycodec.Valid(part) {
			return false
		}
	}
	return true
}

// object compares one object with its row.
func (c *comparison) object(tx *catalog.Tx, o provider.Object) error {
	rows, err := tx.StoredAt(o.Key)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Parent == 0 && row.Ino != Root {
			continue
		}
		c.seen.add(row.Ino)
		if err := c.keepAlive(tx, row.Parent); err != nil {
			return err
		}
		same := row.Version == o.Version && (row.Revision == o.Revision || row.Revision == "" && row.Version != "") &&
			(row.IsDir() || row.StoredSz == o.Size)
		if row.IsDir() && c.t.caps.Directories {
			same = true // whose times change with what is in it
		}
		if !same && !pendingRow(row) {
			c.differ[row.Parent] = true
		}
	}
	if len(rows) > 0 {
		return nil
	}
	if o.IsDir() && c.t.caps.Directories { // it is there without anybody having stored it
		row, err := tx.Resolve(o.Key)
		if err == nil {
			return c.keepAlive(tx, row.Ino)
		}
		if !catalog.IsNotFound(err) {
			return err
		}
	}
	if ours, err := underWay(tx, o.Key); err != nil || ours {
		return err
	}
	return c.unknown(tx, o.Key)
}

// unknown notes an object without a row: the nearest directory above it that is known lacks it.
func (c *comparison) unknown(tx *catalog.Tx, key string) error {
	for {
		dir, err := tx.ParentOf(key)
		if err == nil {
			c.differ[dir.Ino] = true
			return c.keepAlive(tx, dir.Ino)
		}
		if !catalog.IsNotFound(err) {
			return err
		}
		key = key[:strings.LastIndexByte(strings.TrimSuffix(key, "/"), '/')+1]
	}
}

func (c *comparison) keepAlive(tx *catalog.Tx, ino uint64) error {
	for ino != 0 && c.alive.add(ino) {
		row, err := tx.Get(ino)
		if err != nil {
			return err
		}
		ino = row.Parent
	}
	return nil
}

const reconcileBatch = 1000

// missing notes the rows whose objects were not listed: their directories differ, and so do those above that have nothing
// left in the store.
func (c *comparison) missing(ctx context.Context) error {
	for after := uint64(0); ; {
		n := 0
		err := c.t.cat.View(func(tx *catalog.Tx) error {
			rows, err := tx.Clean(after, reconcileBatch)
			n = len(rows)
			for _, row := range rows {
				after = row.Ino
				if c.seen.has(row.Ino) {
					continue
				}
				for at := row; ; {
					c.differ[at.Parent] = true
					if c.alive.has(at.Parent) || at.Parent == Root {
						break
					}
					if at, err = tx.Get(at.Parent); err != nil {
						return err
					}
				}
			}
			return err
		})
		if err != nil || n < reconcileBatch {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// believe makes complete what was not and has been found to be as the store has it.
func (c *comparison) believe(ctx context.Context) error {
	for _, d := range c.doubted {
		if c.differ[d.Ino] {
			continue
		}
		// As a listing, so that none is under way: one that has begun may know less than the catalog will then.
		err := c.t.once(ctx, c.t.loads, d.Ino, func(context.Context) error {
			return c.t.cat.Update(func(tx *catalog.Tx) error { return c.believeDir(tx, d.Ino) })
		})
		if err != nil && !catalog.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (c *comparison) believeDir(tx *catalog.Tx, ino uint64) error {
	row, err := tx.Get(ino)
	if err != nil || row.Complete {
		return err
	}
	if quiet, err := isQuiet(tx, row); err != nil || !quiet {
		return err
	}
	row.Complete = true
	if row.Key == "" {
		row.Known = true // it has no marker, or that would have been an unknown object
	}
	return tx.Put(row)
}

// isQuiet reports whether nothing is pending that could make a listing of the directory tell of what is not there any more: no
// entry of it, and nothing below that belongs to a directory which it does not have.
func isQuiet(tx *catalog.Tx, dir *catalog.Inode) (bool, error) {
	prefix, err := tx.Key(dir)
	if err != nil {
		return false, err
	}
	own, err := tx.DirtyIn(dir.Ino)
	if err != nil || len(own) > 0 {
		return false, err
	}
	has := map[string]bool{} // first components below the directory: whether it has such a directory
	quiet := func(key string) (bool, error) {
		rest, ok := strings.CutPrefix(key, prefix)
		if key == "" || !ok {
			return true, nil
		}
		component, _, deeper := strings.Cut(rest, "/")
		if !deeper {
			return false, nil
		}
		known, looked := has[component]
		if !looked {
			row, err := tx.Child(dir.Ino, keycodec.Decode(component))
			if err != nil && !catalog.IsNotFound(err) {
				return false, err
			}
			known = err == nil && row.IsDir()
			has[component] = known
		}
		return known, nil
	}
	doomed, err := tx.AllDoomed()
	if err != nil {
		return false, err
	}
	for _, d := range doomed {
		if ok, err := quiet(d.Key); err != nil || !ok {
			return false, err
		}
	}
	dirty, err := tx.Dirty()
	if err != nil {
		return false, err
	}
	for _, n := range dirty {
		for _, key := range []string{n.Key, n.PutKey} {
			if ok, err := quiet(key); err != nil || !ok {
				return false, err
			}
		}
	}
	return true, nil
}

// suspects are directories that are to be listed once more.
type suspects struct {
	mu      sync.Mutex
	dirs    map[uint64]bool // false: being listed
	changed chan struct{}   // closed when one has been dealt with; guarded by mu
	wake    chan struct{}   // capacity 1
	told    map[uint64]bool // complete once in this mount: the kernel may believe what was there
}

// suspect has a directory listed once more when nothing in it is pending.
func (t *Tree) suspect(ino uint64) {
	s := &t.suspects
	s.mu.Lock()
	s.dirs[ino] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Suspects returns how many directories are still to be listed once more.
func (t *Tree) Suspects() int {
	t.suspects.mu.Lock()
	defer t.suspects.mu.Unlock()
	return len(t.suspects.dirs)
}

// awaitSuspects returns when none of the directories is a suspect any more.
func (t *Tree) awaitSuspects(ctx context.Context, dirs map[uint64]bool) error {
	s := &t.suspects
	for {
		s.mu.Lock()
		left := 0
		for ino := range dirs {
			if _, suspect := s.dirs[ino]; suspect {
				left++
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
}

// suspectLook is how often suspects in which something is pending are looked at.
const suspectLook = time.Second

// keepChecking lists the suspects, until the tree is closed.
func (t *Tree) keepChecking() {
	tick := time.NewTicker(suspectLook)
	defer tick.Stop()
	for {
		select {
		case <-t.suspects.wake:
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		t.suspects.mu.Lock()
		var dirs []uint64
		for ino := range t.suspects.dirs {
			dirs = append(dirs, ino)
		}
		t.suspects.mu.Unlock()
		for _, ino := range dirs {
			if t.ctx.Err() != nil {
				return
			}
			t.check(ino)
		}
	}
}

// check lists a suspect if nothing in it is pending.
func (t *Tree) check(ino uint64) {
	s := &t.suspects
	listed := false
	err := t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		if catalog.IsNotFound(err) || err == nil && row.Parent == 0 && ino != Root {
			listed = true // it is gone
			return nil
		}
		if err != nil {
			return err
		}
		if listed, err = isQuiet(tx, row); err != nil || !listed || !row.Complete {
			return err
		}
		s.mu.Lock()
		s.told[ino] = true
		s.mu.Unlock()
		row.Complete = false
		return tx.Put(row)
	})
	if err != nil {
		t.o.Logger.Error("catalog", "err", err)
		return
	}
	if !listed {
		return
	}
	s.mu.Lock()
	s.dirs[ino] = false // the listing may find that it is to be listed once more
	s.mu.Unlock()
	if err := t.complete(t.ctx, ino); err != nil && !catalog.IsNotFound(err) && t.ctx.Err() == nil {
		t.o.Logger.Debug("a directory is listed when it is used", "inode", ino, "err", err)
	}
	s.mu.Lock()
	if !s.dirs[ino] {
		delete(s.dirs, ino)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// listed tells the kernel what a listing has found, if it may believe otherwise.
func (t *Tree) listed(l *listing) {
	t.suspects.mu.Lock()
	told := t.suspects.told[l.ino]
	delete(t.suspects.told, l.ino)
	t.suspects.mu.Unlock()
	if !told || len(l.news) == 0 {
		return
	}
	t.o.Logger.Warn("another program has changed the store", "directory", "/"+l.prefix, "names", len(l.news))
	notify := t.kernel.Load()
	if notify == nil {
		return
	}
	for _, n := range l.news {
		(*notify)(l.ino, n.name, n.ino)
	}
	(*notify)(0, "", l.ino)
}

// OnNews has f called for what was changed in the store by others and the kernel may believe to be otherwise: a name in a
// directory, and the inode that it had, or 0; or, without a name, an inode. f must not block.
func (t *Tree) OnNews(f func(parent uint64, name string, ino uint64)) { t.kernel.Store(&f) }

// inoSet is a set of inode numbers, which are dense.
type inoSet []uint64

// add adds a number and reports whether it is new.
func (s *inoSet) add(ino uint64) bool {
	word, bit := ino/64, uint64(1)<<(ino%64)
	for uint64(len(*s)) <= word {
		*s = append(*s, 0)
	}
	was := (*s)[word]&bit != 0
	(*s)[word] |= bit
	return !was
}

func (s inoSet) has(ino uint64) bool {
	return ino/64 < uint64(len(s)) && s[ino/64]&(1<<(ino%64)) != 0
}
