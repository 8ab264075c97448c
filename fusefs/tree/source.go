package tree

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sharefs/cache"
	"sharefs/fusefs/catalog"
	"sharefs/fusefs/commit"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// cacheSource is the read cache as a node's place of bytes. Its context ends when the node moves to a staged file.
type cacheSource struct {
	file   *cache.File
	ctx    context.Context
	cancel context.CancelFunc
	users  sync.WaitGroup
	size   int64       // of the content, in bytes
	filled atomic.Bool // all of it was fetched
}

// source returns the read cache's file for reading, in use until users.Done; or nil when there is a staged file.
func (n *node) source() (*cacheSource, error) {
	n.gate.Lock()
	defer n.gate.Unlock()
	if err := n.load(); err != nil {
		return nil, err
	}
	n.refresh()
	if n.file.Load() != nil {
		return nil, nil
	}
	if n.src == nil {
		row, err := n.row()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(n.t.ctx)
		n.src = &cacheSource{ctx: ctx, cancel: cancel, size: row.StoredSz, file: n.t.cache.File(cacheObject(row), n.t.fetch(n.ino, row.Content))}
	}
	n.src.users.Add(1)
	return n.src, nil
}

// sharedSource is source without the exclusive lock, for when everything is open already.
func (n *node) sharedSource() *cacheSource {
	if n.src == nil || n.outdated() {
		return nil
	}
	n.src.users.Add(1)
	return n.src
}

// readAt reads; io.EOF with fewer bytes than asked. For who may change the file afterwards, which then is sent as a whole,
// all of it is fetched in one request, and not what is read now and the rest later.
func (n *node) readAt(ctx context.Context, p []byte, off int64, mayChange bool) (int, error) {
	for {
		n.gate.RLock()
		if f := n.current(); f != nil {
			k, err := f.ReadAt(ctx, p, off)
			n.gate.RUnlock()
			return k, err
		}
		src := n.sharedSource()
		n.gate.RUnlock()
		if src == nil {
			var err error
			if src, err = n.source(); err != nil {
				return 0, err
			}
			if src == nil {
				continue
			}
		}
		k, err := src.readAt(ctx, p, off, mayChange && src.size <= commit.PatchFrom)
		if err != nil && !errors.Is(err, io.EOF) && src.ctx.Err() != nil && ctx.Err() == nil && n.t.ctx.Err() == nil {
			continue // the bytes are somewhere else now
		}
		if errors.Is(err, errOther) {
			n.giveUp(src)
			continue
		}
		return k, err
	}
}

// giveUp closes a source whose content is not the inode's any more.
func (n *node) giveUp(src *cacheSource) {
	n.gate.Lock()
	defer n.gate.Unlock()
	if n.src == src {
		n.closeSource()
	}
}

func (s *cacheSource) readAt(ctx context.Context, p []byte, off int64, whole bool) (int, error) {
	defer s.users.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	if whole && !s.filled.Load() {
		if err := s.file.Fill(ctx); err != nil {
			return 0, err
		}
		s.filled.Store(true)
	}
	return s.file.ReadAt(ctx, p, off)
}

// cacheObject is what the read cache is told of a stored content.
func cacheObject(row *catalog.Inode) cache.Object {
	return cache.Object{ID: cache.ID(row.Content), Key: row.Key, Version: row.Version, Size: row.StoredSz}
}

// closeSource ends reading from the cache: reads under way are taken up elsewhere. The gate is locked.
func (n *node) closeSource() {
	if n.src == nil {
		return
	}
	n.src.cancel()
	n.src.users.Wait()
	_ = n.src.file.Close()
	n.src = nil
}

// base returns how a staged file reads the object that it started from.
func (t *Tree) base(ino uint64) func(int64) stage.Base {
	return func(int64) stage.Base { return storedBytes{t, ino} }
}

// storedBytes reads what the store has for an inode.
type storedBytes struct {
	t   *Tree
	ino uint64
}

// fetch returns how the read cache gets the bytes of an inode's content.
func (t *Tree) fetch(ino, content uint64) cache.Fetch {
	return func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
		return t.openStored(ctx, ino, content, off, length)
	}
}

// movePause is how long a read waits before it looks again for an object that is being moved.
const movePause = 50 * time.Millisecond

// openSent opens what an upload of a staged file has just made, before the row tells of it: the recording waits for a write that
// waits for these bytes. What is absent of the staged file was not changed, so it is the same in the new object. nil: it
// is not there, or cannot be had now.
func (t *Tree) openSent(ctx context.Context, row *catalog.Inode, off, length int64) io.ReadCloser {
	if row.Stage == 0 || row.PutTag == "" {
		return nil
	}
	o, err := t.store.Stat(ctx, row.PutKey)
	if err != nil || o.Metadata[provider.MetaPut] != row.PutTag || off+length > o.Size {
		return nil
	}
	r, _, err := t.store.Open(ctx, row.PutKey, provider.OpenOptions{Offset: off, Length: length, IfVersion: o.Version})
	if err != nil {
		return nil
	}
	return r
}

// openStored opens the object that the catalog names for an inode; if it still has the content, unless that is 0. A rename that
// is being stored may move it away at any moment: then it is looked for once more.
func (t *Tree) openStored(ctx context.Context, ino, content uint64, off, length int64) (io.ReadCloser, error) {
	var last *catalog.Inode
	for {
		var row *catalog.Inode
		err := t.cat.View(func(tx *catalog.Tx) (err error) {
			row, err = tx.Get(ino)
			return err
		})
		if err != nil {
			return nil, err
		}
		if content != 0 && row.Content != content {
			return nil, errOther
		}
		if row.Key == "" {
			return nil, syscall.ESTALE
		}
		if last != nil && row.PutKey != "" {
			if r := t.openSent(ctx, row, off, length); r != nil {
				return r, nil
			}
			// The object is being moved, or was when the answer got lost: soon the row says where it is.
			select {
			case <-time.After(movePause):
				last = nil
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if last != nil && row.Key == last.Key && row.Version == last.Version {
			t.changedBehind(ctx, row)
			return nil, syscall.ESTALE
		}
		r, _, err := t.store.Open(ctx, row.Key, provider.OpenOptions{Offset: off, Length: length, IfVersion: row.Version})
		if err == nil || !provider.Is(err, provider.KindNotFound) && !provider.Is(err, provider.KindPrecondition) {
			return r, err
		}
		last = row
	}
}
