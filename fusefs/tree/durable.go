package tree

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/fusefs/stage"
)

// What a power loss may take, and what not.
//
// A killed process loses nothing: rows and staged files are in the kernel. A kernel that goes down loses what was not
// fsynced, of each file another part, so that a row may name a staged file that is short, torn or full of zeros. A
// row is therefore *synced* when what its staged file holds is durable, and after a reboot only those are uploaded; of
// the others the store's version stands (power.go).
//
// synced becomes true in this order: fsync of data and sidecar, fsync of the directory that they are in (stage.File.Sync),
// the row in a transaction, fsync of the catalog. Each is durable before the next says so, and the row brings its name and
// the directories above it along, for the catalog's durable state is a prefix of its history. It happens to closed files
// only: what a file holds between two writes is no version of it.
//
// synced must be false, durably, before the first byte changes: else a power loss would leave a mixture that the row
// calls good. So node.synced says "the durable catalog may call this file synced"; a change that finds it set takes the
// slow way (stageNow), which writes the row and waits for the catalog's fsync before it lets anything touch the
// file. Every change goes through node.change: write(2), what mmap has written (the kernel sends it as writes), truncate by
// handle and by name, O_TRUNC, fallocate. A change that comes while a file is being made durable moves File.Gen, and
// then the row is not marked; marking holds the gate, so that a change comes before it or sees node.synced.
//
// The interleavings that remain are those where the file itself moves:
//   - fsync(2) of a file that is open for writing uploads it, but does not mark it: the next write would have to wait. Once
//     it is stored the row names no staged file; a write to it stages it again, unsynced, in one transaction.
//   - A file that was stored goes to the read cache (demote), from where it can be promoted and written to under another
//     id. If the durable catalog still called the old id synced, that would be a torn file called good: so demote waits for
//     the catalog's fsync first.
//   - A cached file that is promoted is renamed and written to before anything of that is durable. The power loss may undo
//     the rename and keep the bytes: the cache's checksums find that out. Its row is not synced, or not even staged.
//   - What fetches absent pages of a file (reads, Fill) changes no byte of it, and leaves synced alone: after a reboot
//     pages that were only fetched are fetched again (stage/sidecar.go).
//   - A staged file is removed when its row is gone. If the row was synced its going must be durable before the file's,
//     or a row without a file would come back: see discard.
//   - A row is created or changed with its file in the same moment, and node.load takes over what the row says. That the
//     row in the catalog may be ahead of the durable one is mended at Open, which syncs the catalog before anything can be
//     written to.

// secureAfter is how long after its last close a file becomes durable, less what the fsyncs take.
const secureAfter = 4 * time.Second

// secureParallel is how many staged files are fsynced at a time.
const secureParallel = 4

// secure makes what a staged file holds durable, and marks its row synced; the catalog's own fsync is the caller's. A file
// that is stored already, or changes meanwhile, or is open for writing, is left as it is: its next close brings it here
// again. With open the version that it holds now counts, and is durable whoever writes to it.
func (n *node) secure(open bool) error {
	for try := 0; ; try++ {
		if err := n.persist(); err != nil {
			return err
		}
		f, id, err := n.insecure()
		if f == nil || err != nil {
			return err
		}
		done, err := n.trySecure(f, id, open, open && try >= 2)
		if errors.Is(err, os.ErrClosed) {
			continue // stored meanwhile, and on its way to the read cache
		}
		if err != nil {
			n.t.o.Logger.Error("a staged file cannot be made durable", "inode", n.ino, "err", err)
		}
		if done || !open || err != nil {
			return err
		}
	}
}

// insecure returns the staged file, if the node has one that is not known to be durable.
func (n *node) insecure() (*stage.File, uint64, error) {
	n.gate.Lock()
	defer n.gate.Unlock()
	err := n.load()
	if errors.Is(err, syscall.ESTALE) {
		return nil, 0, nil // the row is gone
	}
	if err != nil || !n.staged || n.synced {
		return nil, 0, err
	}
	return n.file.Load(), n.stageID, nil
}

// trySecure is one attempt. alone: changes wait for it, else it may be in vain.
func (n *node) trySecure(f *stage.File, id uint64, open, alone bool) (done bool, err error) {
	var gen uint64
	if !alone {
		if gen, err = f.Sync(); err != nil {
			return false, err
		}
	}
	failpoint.Hit("tree.secure")
	n.gate.Lock()
	defer n.gate.Unlock()
	if n.file.Load() != f || !n.staged {
		return true, nil
	}
	if alone {
		if gen, err = f.Sync(); err != nil {
			return false, err
		}
	}
	if f.Gen() != gen || !open && n.writable() {
		return false, nil
	}
	return n.markSynced(id, alone)
}

// writable reports whether somebody has the file open for writing.
func (n *node) writable() bool {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	return n.writers > 0
}

// markSynced is called with the gate locked. What was written since persist is in the row then, if all: else the file is not
// marked.
func (n *node) markSynced(id uint64, all bool) (done bool, err error) {
	n.attrMu.Lock()
	defer n.attrMu.Unlock()
	if n.changed && !all {
		return false, nil
	}
	f := n.file.Load()
	err = n.t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(n.ino)
		if err != nil || row.Stage != id || row.Parent == 0 {
			return err
		}
		n.overlay(row, f)
		n.synced = true // before the commit, which may come to be although it fails
		row.Synced, row.StageMtime = true, f.ModTime()
		return tx.Put(row)
	})
	if catalog.IsNotFound(err) {
		err = nil
	}
	return err == nil, err
}

// Secure makes what is staged of a closed file durable on the local disk, with its row.
func (t *Tree) Secure(_ context.Context, ino uint64) error { return t.secure(ino, false) }

// secure does it, for a file that is open for writing too if open says that what it holds now is a version of it: then the
// next write waits for an fsync of the catalog.
func (t *Tree) secure(ino uint64, open bool) error {
	n := t.acquire(ino)
	err := n.secure(open)
	t.release(n)
	if err != nil {
		return err
	}
	return t.cat.Sync()
}

// secureAll does it for many files, with one fsync of the catalog. It goes on after an error, and returns the first.
func (t *Tree) secureAll(inos []uint64, open bool) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, secureParallel)
	errs := make([]error, len(inos))
	for i, ino := range inos {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			n := t.acquire(ino)
			errs[i] = n.secure(open)
			t.release(n)
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), t.cat.Sync())
}

// secureLater notes a file that has been closed.
func (t *Tree) secureLater(ino uint64) {
	t.mu.Lock()
	if len(t.closed) == 0 {
		t.closedSince = time.Now()
	}
	t.closed[ino] = true
	t.mu.Unlock()
	t.wakeSecurer()
}

func (t *Tree) wakeSecurer() {
	select {
	case t.secureWake <- struct{}{}:
	default:
	}
}

// keepSecuring makes closed files durable, in batches, until the tree ends.
func (t *Tree) keepSecuring() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-t.secureWake:
		case <-t.ctx.Done():
			return
		}
		t.mu.Lock()
		passed := time.Duration(0)
		if len(t.closed) > 0 { // also while the last batch was at work
			passed = time.Since(t.closedSince)
		}
		t.mu.Unlock()
		timer.Reset(t.o.secureAfter - passed)
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			return
		}
		if err := t.secureBatch(); err != nil {
			t.o.Logger.Error("files that were closed are not safe from a power loss", "err", err)
		}
	}
}

// secureBatch makes durable what was closed so far, and removes what was discarded.
func (t *Tree) secureBatch() error {
	t.mu.Lock()
	inos := make([]uint64, 0, len(t.closed))
	for ino := range t.closed {
		inos = append(inos, ino)
	}
	trash := t.trash
	clear(t.closed)
	t.trash = nil
	t.mu.Unlock()
	err := t.secureAll(inos, false) // syncs the catalog, which the trash needs
	if err != nil && len(trash) > 0 {
		err = errors.Join(err, t.cat.Sync())
	}
	for _, id := range trash {
		t.removeStaged(id)
	}
	return err
}

// secureRest makes everything durable that is staged, before the tree ends: a reboot after that takes nothing.
func (t *Tree) secureRest() error {
	var inos []uint64
	err := t.cat.View(func(tx *catalog.Tx) error {
		staged, err := tx.Staged()
		for _, n := range staged {
			if !n.Synced && n.Parent != 0 {
				inos = append(inos, n.Ino)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	err = t.secureAll(inos, true) // what is open is so for the last time
	return errors.Join(err, t.secureBatch())
}

// discard removes a staged file whose row is gone. Where a power loss could bring the row back, and with it the belief that
// the file is good, the catalog is made durable first; nobody waits for that.
func (t *Tree) discard(id uint64, synced bool) {
	if !synced {
		t.removeStaged(id)
		return
	}
	t.mu.Lock()
	t.trash = append(t.trash, id)
	t.mu.Unlock()
	t.wakeSecurer()
}

// removeStaged removes a staged file that nothing refers to.
func (t *Tree) removeStaged(id uint64) {
	if err := t.stage.Remove(stage.ID(id)); err != nil {
		t.o.Logger.Warn("a staged file that is not needed any more stays until the next mount", "err", err)
	}
}
