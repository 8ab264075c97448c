package tree

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// A file that is being written and finds no room on the local disk is spilled: ranges of it, all of the same size, go to
// the store as objects of their own below .sharefs/open/, and give up their disk. When the file is stored the store
// makes its object of them, and they go. Until then nothing is seen under the file's own name.
//
// What a range is, step by step, each of which a killed process may end with:
//
//	local    no spill; its bytes are in the staged file
//	sent     its object is doomed in the catalog, in case that nothing comes of it, and on its way
//	spilled  the catalog has the spill, and its object is wanted; the bytes are in the staged file, too
//	absent   as spilled, and the pages are absent in the staged file, which reads them from the object
//	mixed    written to again: the pages that were written are in the staged file, the others absent. The range is sent
//	         once more, as a whole, when there is no room again or when the file is stored
//
// Only the last step frees disk. A range that is changed while it is sent keeps the pages that were changed.

const (
	spillPrefix = provider.Reserved + "open/"
	// A range is this part of what the stage may take, within bounds.
	spillPart     = 16
	minSpill      = 1 << 20
	maxSpill      = 64 << 20
	spillGrain    = 4 << 10 // a page of a staged file
	spillParallel = 4
	// A file up to this size is not spilled: what was changed of it while it was read is not known.
	leastSpilled = 8 << 20
)

// spiller spills files while somebody waits for room.
type spiller struct {
	mu      sync.Mutex
	running bool
	unable  error  // spilling cannot work here
	told    string // the last error that was logged
}

// spills returns the spills of a staged file.
func (t *Tree) spills(stageID uint64) (list []catalog.Spill, err error) {
	err = t.cat.View(func(tx *catalog.Tx) (err error) {
		list, err = tx.Spills(stageID)
		return err
	})
	return list, err
}

// releasing reports whether room of a staged file that grows is being, or can be, released before it is closed; and has it
// done.
func (t *Tree) releasing(id stage.ID, _ int64) bool {
	if !t.caps.Copy || t.o.ReadOnly {
		return false
	}
	t.spill.mu.Lock()
	defer t.spill.mu.Unlock()
	if t.spill.unable != nil {
		return false
	}
	if !t.spill.running {
		t.spill.running = true
		t.wg.Go(t.spillAll)
	}
	return t.spillable(id)
}

// spillable reports whether an open file is large enough to be spilled.
func (t *Tree) spillable(id stage.ID) (found bool) {
	for _, n := range t.openNodes() {
		if f := n.file.Load(); f != nil && f.ID() == id && f.Size() > leastSpilled {
			found = true
		}
		t.release(n)
	}
	return found
}

// spillSize is the size of a range, in bytes.
func (t *Tree) spillSize() int64 {
	room := t.o.StageSize
	var st unix.Statfs_t
	if unix.Statfs(t.o.CacheDir, &st) == nil {
		room = min(room, int64(st.Blocks)*st.Bsize)
	}
	size := max(min(room/spillPart, maxSpill), minSpill, t.caps.MinPartSize)
	size = (size + 1<<20 - 1) &^ (1<<20 - 1)
	for _, most := range []int64{t.caps.MaxPutSize, t.caps.MaxPartSize} { // it is put, and then is a part
		if most > 0 {
			size = min(size, most)
		}
	}
	return size &^ (spillGrain - 1)
}

// spillAll spills what takes most, until nobody waits or nothing is left.
func (t *Tree) spillAll() {
	more, err := true, error(nil)
	for more && err == nil && t.ctx.Err() == nil && t.stage.Room().Waiting > 0 {
		more, err = t.spillSome()
	}
	t.spill.mu.Lock()
	defer t.spill.mu.Unlock()
	t.spill.running = false // who still waits asks again, every second
	if err == nil || t.ctx.Err() != nil {
		t.spill.told = ""
		return
	}
	if text := err.Error(); text != t.spill.told {
		t.spill.told = text
		t.o.Logger.Warn("a large file cannot give up local disk", "err", err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.spill.unable = err
	}
}

// spillSome spills a few ranges at a time. It is false when there are none.
func (t *Tree) spillSome() (bool, error) {
	list := t.toSpill()
	g, ctx := errgroup.WithContext(t.ctx)
	for _, p := range list {
		g.Go(func() error { return t.spillRange(ctx, p) })
	}
	err := g.Wait()
	for _, p := range list {
		t.release(p.n)
	}
	return len(list) > 0, err
}

// part is a range of an open file.
type part struct {
	n     *node
	f     *stage.File
	stage uint64
	r     stage.Range
	local int64
}

// toSpill returns the ranges of open files that take most of the disk, with their nodes in use: a few.
func (t *Tree) toSpill() []part {
	var all []part
	nodes := t.openNodes()
	for _, n := range nodes {
		all = append(all, t.partsOf(n)...)
	}
	slices.SortStableFunc(all, func(a, b part) int { return cmp.Compare(b.local, a.local) })
	all = all[:min(len(all), spillParallel)]
	for _, p := range all {
		t.acquire(p.n.ino) // as often as it is in the list
	}
	for _, n := range nodes {
		t.release(n)
	}
	return all
}

// partsOf returns the ranges of a file that take local disk.
func (t *Tree) partsOf(n *node) []part {
	n.gate.RLock()
	f, id, staged := n.file.Load(), n.stageID, n.staged
	n.gate.RUnlock()
	if f == nil || !staged || f.Size() <= leastSpilled || !n.spilling.TryRLock() {
		return nil
	}
	defer n.spilling.RUnlock() // it is not being stored: that may take long
	size := t.spillSize()
	have, err := t.spills(id)
	if err != nil {
		return nil
	}
	if len(have) > 0 {
		size = have[0].Len // the bounds may be others since an earlier mount
	}
	var parts []part
	for off := int64(0); off+size <= f.Size(); off += size {
		if t.caps.MaxParts > 0 && off/size+2 > int64(t.caps.MaxParts) {
			break // the file's object could not be made of more
		}
		r := stage.Range{Off: off, Len: size}
		if local := f.Local(r); local > 0 {
			parts = append(parts, part{n, f, id, r, local})
		}
	}
	return parts
}

// spillRange sends a range of a file to the store and releases it.
func (t *Tree) spillRange(ctx context.Context, p part) error {
	p.n.spilling.RLock()
	defer p.n.spilling.RUnlock()
	snap, err := p.f.Snapshot(ctx, stage.SnapshotOptions{Exclusive: true, Fill: true,
		Pick: func(l stage.Layout) []stage.Range {
			if p.r.Off+p.r.Len > l.Size {
				return nil
			}
			return []stage.Range{p.r}
		}})
	if err != nil {
		return err
	}
	defer snap.Close()
	if p.r.Off+p.r.Len > snap.Size() {
		return nil // cut off meanwhile
	}
	s := catalog.Spill{Stage: p.stage, Off: p.r.Off, Len: p.r.Len}
	if s.Key, err = t.doomSpill(); err != nil {
		return err
	}
	obj, err := t.store.Put(ctx, s.Key, io.NewSectionReader(snap, p.r.Off, p.r.Len), p.r.Len, provider.PutOptions{})
	if err != nil {
		t.commit.TouchDoomed(s.Key)
		return err
	}
	s.Version = obj.Version
	failpoint.Hit("tree.spilled")
	wanted, err := t.keepSpill(p.n.ino, s)
	if err != nil || !wanted {
		t.commit.TouchDoomed(s.Key)
		return err
	}
	if err := t.cat.Sync(); err != nil { // before the bytes go, also when the power does
		return err
	}
	failpoint.Hit("tree.kept")
	return p.f.Release(ctx, snap, p.r, t.base(p.n.ino)(0))
}

// doomSpill returns the key of a new spill, which is doomed until keepSpill.
func (t *Tree) doomSpill() (key string, err error) {
	err = t.cat.Update(func(tx *catalog.Tx) error {
		tag, err := tx.PutTag()
		if err != nil {
			return err
		}
		key = spillPrefix + tag
		return tx.Doom(key, "", t.o.Now())
	})
	if err == nil {
		err = t.cat.Sync()
	}
	return key, err
}

// keepSpill notes a spill whose object is there; the one that it replaces goes. Not wanted: the file is not staged any more.
func (t *Tree) keepSpill(ino uint64, s catalog.Spill) (wanted bool, err error) {
	err = t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		if wanted = err == nil && row.Stage == s.Stage; !wanted {
			if catalog.IsNotFound(err) {
				err = nil
			}
			return err
		}
		old, err := tx.Spills(s.Stage)
		if err != nil {
			return err
		}
		for _, o := range old {
			if o.Off == s.Off {
				if err := t.doomNow(tx, o); err != nil {
					return err
				}
			}
		}
		if err := tx.Spare(s.Key); err != nil {
			return err
		}
		return tx.PutSpill(s)
	})
	return wanted, err
}

func (t *Tree) doomNow(tx *catalog.Tx, s catalog.Spill) error {
	tx.After(func() {
		if t.commit != nil { // else it is taken up at its start
			t.commit.TouchDoomed(s.Key)
		}
	})
	return tx.Doom(s.Key, s.Version, t.o.Now())
}

// dropSpills forgets the spills of a staged file that nobody wants.
func (t *Tree) dropSpills(tx *catalog.Tx, stageID uint64) error {
	spills, err := tx.Spills(stageID)
	if err != nil || len(spills) == 0 {
		return err
	}
	for _, s := range spills {
		if err := t.doomNow(tx, s); err != nil {
			return err
		}
	}
	return tx.DeleteSpills(stageID)
}

// dropLostSpills drops the spills of files that are not staged any more.
func (t *Tree) dropLostSpills(tx *catalog.Tx, staged map[stage.ID]bool) error {
	all, err := tx.AllSpills()
	if err != nil {
		return err
	}
	for _, s := range all {
		if !staged[stage.ID(s.Stage)] {
			if err := t.dropSpills(tx, s.Stage); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadAt reads what the store has of an inode's bytes: of what was spilled from there, else from the inode's object.
func (b storedBytes) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := b.readPart(ctx, p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readPart reads from one object.
func (b storedBytes) readPart(ctx context.Context, p []byte, off int64) (int, error) {
	var last catalog.Spill
	for {
		s, end, err := b.spillAt(off, off+int64(len(p)))
		if err != nil {
			return 0, err
		}
		p := p[:end-off]
		var r io.ReadCloser
		if s.Key == "" {
			r, err = b.t.openStored(ctx, b.ino, 0, off, int64(len(p)))
		} else {
			r, _, err = b.t.store.Open(ctx, s.Key, provider.OpenOptions{Offset: off - s.Off, Length: int64(len(p)), IfVersion: s.Version})
		}
		if s.Key != "" && (provider.Is(err, provider.KindNotFound) || provider.Is(err, provider.KindPrecondition)) {
			if s == last {
				b.t.o.Logger.Error("another program has deleted or changed what is kept of a file that is being written", "key", s.Key)
				return 0, syscall.ESTALE
			}
			last = s // it may have been replaced just now
			continue
		}
		if err != nil {
			return 0, err
		}
		defer r.Close()
		return io.ReadFull(r, p)
	}
}

// spillAt returns the spill that has the byte at off, or none, and how far that holds.
func (b storedBytes) spillAt(off, end int64) (catalog.Spill, int64, error) {
	var found catalog.Spill
	err := b.t.cat.View(func(tx *catalog.Tx) error {
		row, err := tx.Get(b.ino)
		if err != nil {
			return err
		}
		list, err := tx.Spills(row.Stage)
		if err != nil || row.Stage == 0 {
			return err
		}
		for _, s := range list {
			switch {
			case s.Off <= off && off < s.Off+s.Len:
				found, end = s, min(end, s.Off+s.Len)
				return nil
			case s.Off > off:
				end = min(end, s.Off)
				return nil
			}
		}
		return nil
	})
	return found, end, err
}
