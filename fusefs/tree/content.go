package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"sharefs/cache"
	"sharefs/fusefs/catalog"
	"sharefs/fusefs/commit"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

var _ commit.Content = (*Tree)(nil)

// snapshot is a staged file's stable content, and keeps its node in memory.
type snapshot struct {
	stage.Snapshot
	n       *node
	stageID uint64
	spills  []catalog.Spill
	unlock  sync.Once   // of node.spilling
	broken  atomic.Bool // a large file was written to while the upload read it
}

// ReadAt reads what the file held when the snapshot was taken. The write that breaks a snapshot says so before it
// touches the file, so that bytes read before broken was set are the old ones.
func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	k, err := s.Snapshot.ReadAt(p, off)
	if s.broken.Load() {
		return 0, commit.ErrBusy
	}
	return k, err
}

// Stale reports whether the content has changed under the snapshot.
func (s *snapshot) Stale() bool { return s.broken.Load() }

// Spills returns where the absent bytes are that are not in the stored object.
func (s *snapshot) Spills() []catalog.Spill { return s.spills }

// Close ends the snapshot.
func (s *snapshot) Close() error {
	s.n.exclusive.CompareAndSwap(s, nil)
	s.unlock.Do(s.n.spilling.Unlock)
	err := s.Snapshot.Close()
	s.n.t.release(s.n)
	return err
}

// Snapshot returns stable bytes of an inode's staged file.
func (t *Tree) Snapshot(ctx context.Context, ino uint64, sync bool, pick commit.Pick) (commit.Snapshot, error) {
	n := t.acquire(ino)
	s, err := n.snapshot(ctx, sync, pick)
	if err != nil {
		t.release(n)
		return nil, err
	}
	return s, nil
}

func (n *node) snapshot(ctx context.Context, sync bool, pick commit.Pick) (_ *snapshot, err error) {
	n.t.mu.Lock()
	writers := n.writers
	n.t.mu.Unlock()
	if writers > 0 && !sync {
		return nil, commit.ErrBusy
	}
	n.gate.Lock()
	err = n.load()
	f, id := n.file.Load(), n.stageID
	n.gate.Unlock()
	if errors.Is(err, syscall.ESTALE) || err == nil && f == nil {
		return nil, commit.ErrChanged
	}
	if err != nil {
		return nil, err
	}
	if err := n.secure(false); err != nil { // always before the upload
		return nil, err
	}
	s := &snapshot{n: n, stageID: id}
	n.spilling.Lock()
	defer func() {
		if err != nil {
			n.spilling.Unlock()
		}
	}()
	if s.spills, err = n.t.spills(id); err != nil {
		return nil, err
	}
	// Announced before the file is read: a write from here on breaks it, also while absent bytes are fetched.
	if writers == 0 {
		n.exclusive.Store(s)
		n.t.mu.Lock()
		now := n.writers
		n.t.mu.Unlock()
		if now > 0 { // somebody has come meanwhile
			n.exclusive.CompareAndSwap(s, nil)
			return nil, commit.ErrBusy
		}
	}
	o := stage.SnapshotOptions{Exclusive: writers == 0, Fill: true,
		Pick: func(l stage.Layout) []stage.Range { return pick(l, s.spills) }}
	s.Snapshot, err = f.Snapshot(ctx, o)
	if errors.Is(err, syscall.ENOSPC) { // no room for a copy: a write that comes breaks the upload
		n.exclusive.Store(s)
		o.Exclusive = true
		s.Snapshot, err = f.Snapshot(ctx, o)
	}
	if err != nil {
		n.exclusive.CompareAndSwap(s, nil)
		if errors.Is(err, syscall.ESTALE) {
			err = fmt.Errorf("what was not changed of it is in the object only, and another program has changed or deleted that: %w", err)
		}
		return nil, err
	}
	return s, nil
}

// Confirm calls record, with writers held off.
func (t *Tree) Confirm(ino uint64, s commit.Snapshot, record func(unchanged bool) (uint64, error)) error {
	snap := s.(*snapshot)
	n := snap.n
	n.gate.Lock()
	defer n.gate.Unlock()
	f := n.file.Load()
	unchanged := f != nil && n.stageID == snap.stageID && f.Gen() == snap.Gen()
	content, err := record(unchanged)
	if err == nil && content != 0 {
		n.staged = false
	}
	if err == nil && f != nil && n.stageID == snap.stageID {
		f.Stored(snap.Snapshot)
	}
	return err
}

// Localise makes all bytes of a file local.
func (t *Tree) Localise(ctx context.Context, ino uint64) error {
	row, err := t.knownAttrs(ctx, ino)
	if err != nil {
		if catalog.IsNotFound(err) {
			return nil
		}
		return err
	}
	if row.IsSymlink() {
		if _, err := t.Readlink(ctx, ino); err != nil {
			return err
		}
		return nil
	}
	if !row.IsFile() {
		return nil
	}
	n := t.acquire(ino)
	defer t.release(n)
	if err := n.stageNow(nil, false, false); errors.Is(err, syscall.ESTALE) {
		return nil // the row is gone: nobody needs the bytes
	} else if err != nil {
		return err
	}
	err = n.file.Load().Fill(ctx)
	if errors.Is(err, syscall.ESTALE) && row.Parent == 0 {
		t.o.Logger.Warn("the object of an unlinked file that is still open has gone; its readers get ESTALE", "key", row.Key)
	} else if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[row.Key] == ino {
		delete(t.held, row.Key)
	}
	return nil
}

// Moved keeps what the read cache has of a content whose object has another key or version now.
func (t *Tree) Moved(content uint64, key string, v provider.Version) {
	if err := t.cache.Retarget(cache.ID(content), key, v); err != nil {
		t.o.Logger.Debug("the read cache forgets a file that was renamed", "key", key, "err", err)
		t.cache.Drop(cache.ID(content))
	}
}

// Held returns the unlinked inode with an open handle that still reads the object at key; 0 when there is none.
func (t *Tree) Held(key string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held[key]
}

// FsyncDir returns when a directory's entries are in the store.
func (t *Tree) FsyncDir(ctx context.Context, ino uint64) error {
	if t.o.ReadOnly {
		return nil
	}
	if ino == Root {
		return t.Flush(ctx, nil)
	}
	var inos []uint64
	var keys []string
	err := t.cat.View(func(tx *catalog.Tx) error {
		dir, err := getDir(tx, ino)
		if err != nil || dir.Parent == 0 {
			return err
		}
		prefix, err := tx.Key(dir)
		if err != nil {
			return errGone(err)
		}
		dirty, err := tx.DirtyIn(ino)
		if err != nil {
			return err
		}
		for _, n := range dirty {
			inos = append(inos, n.Ino)
		}
		doomed, err := tx.DoomedBelow(prefix, 1<<20)
		for _, d := range doomed {
			if t.Held(d.Key) == 0 {
				keys = append(keys, d.Key)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, child := range inos {
		n := t.acquire(child)
		err := n.persist()
		t.release(n)
		if err != nil {
			return err
		}
	}
	if err := t.commit.Sync(ctx, inos...); err != nil {
		return err
	}
	if err := t.commit.SyncDoomed(ctx, keys...); err != nil {
		return err
	}
	return t.cat.Sync()
}
