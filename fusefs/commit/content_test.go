package commit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// contents is a Content in memory: staged files by their ids, and a read cache that keeps all it is given.
type contents struct {
	b *bed

	mu      sync.Mutex
	staged  map[uint64]*staged
	cache   map[uint64]string
	writers map[uint64]int    // handles that can write, by inode
	readers map[uint64]bool   // inodes that are open for reading
	held    map[string]uint64 // as in Content.Held

	snapshots int
	secured   []uint64         // inodes that Secure was called for
	onRead    func(ino uint64) // is called when an upload reads a file
	broken    bool             // a write has broken the snapshot that is being read
}

// staged is a staged file. While absent, only its beginning is here, and the rest is that of the stored object.
type staged struct {
	data   string
	absent bool
	dirty  int // so many bytes at the beginning were changed
	gen    int
}

func newContents(b *bed) *contents {
	return &contents{b: b, staged: map[uint64]*staged{}, cache: map[uint64]string{}, writers: map[uint64]int{},
		readers: map[uint64]bool{}, held: map[string]uint64{}}
}

type snapshot struct {
	*strings.Reader
	size  int64 // with what is absent
	dirty []stage.Range
	k     *contents
	ino   uint64
	stage uint64
	gen   int
	stale bool // guarded by k.mu
}

func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	s.k.mu.Lock()
	f := s.k.onRead
	s.k.mu.Unlock()
	if f != nil {
		f(s.ino)
	}
	if s.Stale() {
		return 0, ErrBusy
	}
	return s.Reader.ReadAt(p, off)
}

func (s *snapshot) Size() int64             { return s.size }
func (s *snapshot) Layout() stage.Layout    { return stage.Layout{Size: s.size, Dirty: s.dirty} }
func (s *snapshot) Spills() []catalog.Spill { return nil }
func (s *snapshot) Stale() bool {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.stale = s.stale || s.k.broken
	s.k.broken = false
	return s.stale
}
func (s *snapshot) Close() error { return nil }

func (k *contents) row(ino uint64) (n *catalog.Inode, err error) {
	err = k.b.cat.View(func(tx *catalog.Tx) (err error) {
		n, err = tx.Get(ino)
		return err
	})
	return n, err
}

func (k *contents) Snapshot(ctx context.Context, ino uint64, sync bool, pick Pick) (Snapshot, error) {
	n, err := k.row(ino)
	if catalog.IsNotFound(err) || err == nil && n.Stage == 0 {
		return nil, ErrChanged
	}
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.snapshots++
	busy := k.writers[ino] > 0 && !sync
	k.mu.Unlock()
	if busy {
		return nil, ErrBusy
	}
	for {
		k.mu.Lock()
		f := k.staged[n.Stage]
		if f != nil {
			s := k.snapshot(n, f)
			need := s.size
			if pick != nil {
				need = 0
				for _, r := range pick(s.Layout(), nil) {
					need = max(need, r.Off+r.Len)
				}
			}
			if need <= int64(len(f.data)) {
				k.mu.Unlock()
				return s, nil
			}
		}
		k.mu.Unlock()
		if err := k.fill(ctx, n); err != nil {
			return nil, err
		}
		if f == nil {
			return nil, ErrChanged
		}
	}
}

// snapshot returns what is staged. k.mu is held.
func (k *contents) snapshot(n *catalog.Inode, f *staged) *snapshot {
	s := &snapshot{Reader: strings.NewReader(f.data), size: int64(len(f.data)), k: k, ino: n.Ino, stage: n.Stage, gen: f.gen}
	if f.absent {
		s.size = max(s.size, n.StoredSz)
	}
	if f.dirty > 0 {
		s.dirty = []stage.Range{{Len: int64(f.dirty)}}
	}
	return s
}

// fill fetches what is absent of a staged file.
func (k *contents) fill(ctx context.Context, n *catalog.Inode) error {
	k.mu.Lock()
	f := k.staged[n.Stage]
	absent := f != nil && f.absent
	k.mu.Unlock()
	if f == nil {
		if now, err := k.row(n.Ino); err != nil || now.Stage == 0 {
			return err // it was stored at this moment
		}
		return fmt.Errorf("inode %d: there is no staged file %d", n.Ino, n.Stage)
	}
	if !absent {
		return nil
	}
	all, err := k.fetch(ctx, n.Ino)
	k.mu.Lock()
	absent = f.absent
	k.mu.Unlock()
	if !absent {
		return nil // filled by somebody else, after whom the object may have gone
	}
	if err != nil {
		return fmt.Errorf("the bytes of %s are lost: %w", n.Key, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.data, f.absent = f.data+all[len(f.data):], false
	return nil
}

// fetch reads what the store has for an inode. A request that is being recorded may have moved it: then once more.
func (k *contents) fetch(ctx context.Context, ino uint64) (string, error) {
	for try := 0; ; try++ {
		n, err := k.row(ino)
		if err != nil {
			return "", err
		}
		if n.Key == "" {
			return "", errors.New("nothing is stored")
		}
		r, _, err := k.b.store.Open(ctx, n.Key, provider.OpenOptions{IfVersion: n.Version})
		if err != nil {
			if now, rerr := k.row(ino); rerr == nil && now.Key != n.Key && try < 3 {
				continue
			}
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
}

func (k *contents) Confirm(ino uint64, s Snapshot, record func(bool) (uint64, error)) error {
	snap := s.(*snapshot)
	k.mu.Lock()
	f := k.staged[snap.stage]
	unchanged := f != nil && f.gen == snap.gen
	k.mu.Unlock()
	content, err := record(unchanged)
	if err == nil && content != 0 {
		k.mu.Lock()
		defer k.mu.Unlock()
		if f := k.staged[snap.stage]; !f.absent {
			k.cache[content] = f.data
		}
		delete(k.staged, snap.stage)
	}
	return err
}

func (k *contents) Secure(_ context.Context, ino uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secured = append(k.secured, ino)
	return nil
}

func (k *contents) Localise(ctx context.Context, ino uint64) (err error) {
	n, err := k.row(ino)
	if catalog.IsNotFound(err) {
		return nil
	}
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil && k.held[n.Key] == ino {
			delete(k.held, n.Key)
		}
	}()
	switch {
	case err != nil || n.IsDir():
		return err
	case n.IsSymlink() && n.Target != "":
		return nil
	case n.Stage != 0:
		err = k.fill(ctx, n)
		return err
	}
	k.mu.Lock()
	data, cached := k.cache[n.Content]
	k.mu.Unlock()
	if !cached || n.IsSymlink() {
		if data, err = k.fetch(ctx, ino); err != nil {
			return err
		}
	}
	err = k.b.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		if err != nil || n.Stage != 0 {
			return err
		}
		if n.IsSymlink() {
			n.Target = data
			return tx.Put(n)
		}
		if n.Stage, err = tx.NewID(); err != nil {
			return err
		}
		k.mu.Lock()
		k.staged[n.Stage] = &staged{data: data}
		k.mu.Unlock()
		if n.Parent != 0 {
			k.b.dirty(tx, n)
		}
		return tx.Put(n)
	})
	return err
}

func (k *contents) Changed(*catalog.Tx, uint64) {}

func (k *contents) Lose(Lost) error { return errors.New("nothing is shared here") }

func (k *contents) Moved(content uint64, key string, v provider.Version) {
	k.b.noteMoved(key)
}

func (k *contents) Held(key string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[key]
}
