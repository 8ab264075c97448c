package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/transfer"
	"sharefs/test/soak"
)

func TestMain(m *testing.M) {
	soak.FixRapid()
	goleak.VerifyTestMain(m)
}

// s3like is what a bucket can do.
func s3like() provider.Capabilities {
	caps := mem.Full()
	caps.AtomicMove, caps.ListMetadata = false, false
	return caps
}

// disklike is what a directory on a disk can do, but for directories.
func disklike() provider.Capabilities {
	caps := mem.Full()
	caps.ReplaceIfVersion, caps.DeleteIfVersion = false, false
	caps.MaxDeleteBatch = 1
	return caps
}

// patching is a bucket for whose files, however small they are, a change is sent as a patch.
func patching(caps provider.Capabilities) provider.Capabilities {
	caps.MinPartSize = patchMark
	return caps
}

// patchMark tells a bed that patches are wanted. Parts of this size are no restriction.
const patchMark = 1

// planAll sends exactly what was changed.
func planAll(_ provider.Capabilities, size int64, changed []transfer.Range) []transfer.Piece {
	var pieces []transfer.Piece
	var at int64
	for _, r := range append(changed, transfer.Range{Off: size}) {
		if r.Off > at {
			pieces = append(pieces, transfer.Piece{Off: at, Len: r.Off - at, Copy: true})
		}
		if r.Len > 0 {
			pieces = append(pieces, transfer.Piece{Off: r.Off, Len: r.Len})
		}
		at = r.Off + r.Len
	}
	if transfer.Sent(pieces) == size {
		return nil
	}
	return pieces
}

// bed is a committer with all that it needs: a catalog, a store that is traced and can be made to fail, contents in memory, and
// a namespace that is changed as the tree changes it. Its clock is that of the test's bubble.
type bed struct {
	dir    string
	o      Options
	mem    *mem.Store
	faults *faulty.Provider
	store  *tracer
	cat    *catalog.Catalog
	k      *contents
	c      *Committer

	mu    sync.Mutex
	log   bytes.Buffer
	moved []string          // keys that Moved was told
	want  map[uint64]string // what files hold
}

// bubble runs f with a bed in a bubble: time passes when everybody waits.
func bubble(t *testing.T, caps provider.Capabilities, o Options, f func(t *testing.T, b *bed)) {
	t.Helper()
	bubbleIn(t, memoryDir(t), caps, o, f)
}

// bubbleIn is bubble with the catalog in a directory.
func bubbleIn(t *testing.T, dir string, caps provider.Capabilities, o Options, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, err := newBed(dir, caps, o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			b.close()
			if b.store.overlap != nil {
				t.Error(b.store.overlap)
			}
		}()
		f(t, b)
	})
}

func newBed(dir string, caps provider.Capabilities, o Options) (*bed, error) {
	b := &bed{dir: dir, o: o, want: map[uint64]string{}}
	b.mem = mem.New(mem.Options{Capabilities: caps})
	var inner provider.Provider = strict{b.mem}
	if caps.Directories {
		inner = directories{inner}
	}
	b.faults = faulty.New(inner, faulty.Options{})
	b.store = newTracer(b.faults)
	b.k = newContents(b)
	if b.o.DirMode == 0 {
		b.o.DirMode = 0o755
	}
	b.o.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if b.cat, err = catalog.Open(context.Background(), dir); err != nil {
		return nil, err
	}
	err = b.cat.Update(func(tx *catalog.Tx) error {
		now := time.Now()
		return tx.Put(&catalog.Inode{Ino: catalog.RootIno, Mode: provider.ModeDir | 0o755, Known: true, Complete: true,
			Atime: now, Mtime: now, Ctime: now})
	})
	if err != nil {
		return nil, err
	}
	return b, b.start()
}

func (b *bed) start() error {
	b.c = New(b.store, b.cat, b.k, b.o)
	if b.store.Capabilities().MinPartSize == patchMark {
		b.c.patchFrom, b.c.planPatch = 0, planAll
	}
	return b.c.Start()
}

func (b *bed) close() {
	b.c.Close()
	_ = b.cat.Close()
}

// crash ends the committer where it is and starts another one over the same catalog.
func (b *bed) crash() error {
	b.c.Close()
	return b.start()
}

// Write takes the log.
func (b *bed) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bed) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bed) noteMoved(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved = append(b.moved, key)
}

func (b *bed) dirty(tx *catalog.Tx, n *catalog.Inode) {
	if n.Dirty.IsZero() {
		n.Dirty = time.Now()
	}
	tx.After(func() { b.c.Touch(n.Ino) })
}

// walk returns the inode at a path, nil when there is none, and the directory it is in.
func (b *bed) walk(tx *catalog.Tx, path string) (dir, n *catalog.Inode, name string, err error) {
	if n, err = tx.Get(catalog.RootIno); err != nil {
		return nil, nil, "", err
	}
	for part := range strings.SplitSeq(path, "/") {
		if n == nil {
			return nil, nil, "", os.ErrNotExist
		}
		if !n.IsDir() {
			return nil, nil, "", os.ErrInvalid
		}
		dir, name = n, part
		if n, err = tx.Child(dir.Ino, part); catalog.IsNotFound(err) {
			n, err = nil, nil
		}
		if err != nil {
			return nil, nil, "", err
		}
	}
	return dir, n, name, nil
}

func (b *bed) add(tx *catalog.Tx, dir *catalog.Inode, name string, mode uint32) (*catalog.Inode, error) {
	now := time.Now()
	ino, err := tx.NewIno()
	return &catalog.Inode{Ino: ino, Parent: dir.Ino, Name: name, Mode: mode, Known: true, Complete: mode&provider.ModeType == provider.ModeDir,
		Atime: now, Mtime: now, Ctime: now}, err
}

// write gives a file a content, making it when it is missing.
func (b *bed) write(path, data string) (ino uint64, err error) {
	return b.change(path, data, func(f *staged) { f.data, f.absent, f.dirty = data, false, len(data) })
}

// patch writes to the beginning of a file; the rest stays as it is stored.
func (b *bed) patch(path, data string) (ino uint64, err error) {
	return b.change(path, data, func(f *staged) {
		if len(f.data) < len(data) {
			f.data = data
		} else {
			f.data = data + f.data[len(data):]
		}
		f.dirty = max(f.dirty, len(data))
	})
}

func (b *bed) change(path, data string, change func(*staged)) (ino uint64, err error) {
	err = b.cat.Update(func(tx *catalog.Tx) error {
		dir, n, name, err := b.walk(tx, path)
		if err != nil {
			return err
		}
		fresh := n == nil
		if fresh {
			if n, err = b.add(tx, dir, name, provider.ModeFile|0o644); err != nil {
				return err
			}
		} else if !n.IsFile() {
			return os.ErrInvalid
		}
		ino = n.Ino
		b.k.mu.Lock()
		defer b.k.mu.Unlock()
		if n.Stage == 0 {
			if n.Stage, err = tx.NewID(); err != nil {
				return err
			}
			b.k.staged[n.Stage] = &staged{absent: !fresh}
		}
		f := b.k.staged[n.Stage]
		change(f)
		b.mu.Lock()
		defer b.mu.Unlock()
		if old := b.want[ino]; f.absent && len(old) > len(data) {
			data += old[len(data):]
		} else if !f.absent {
			data = f.data
		}
		b.want[ino] = data
		f.gen++
		n.Size, n.Mtime = int64(len(f.data)), time.Now()
		b.dirty(tx, n)
		return tx.Put(n)
	})
	return ino, err
}

func (b *bed) mkdir(path string, mode uint32) (ino uint64, err error) {
	return b.make(path, provider.ModeDir|mode, "")
}

func (b *bed) symlink(path, target string) (ino uint64, err error) {
	return b.make(path, provider.ModeSymlink|0o777, target)
}

func (b *bed) make(path string, mode uint32, target string) (ino uint64, err error) {
	err = b.cat.Update(func(tx *catalog.Tx) error {
		dir, n, name, err := b.walk(tx, path)
		if err != nil {
			return err
		}
		if n != nil {
			return os.ErrExist
		}
		if n, err = b.add(tx, dir, name, mode); err != nil {
			return err
		}
		n.Target, n.Size, ino = target, int64(len(target)), n.Ino
		b.dirty(tx, n)
		return tx.Put(n)
	})
	return ino, err
}

func (b *bed) chmod(path string, mode uint32) error {
	return b.cat.Update(func(tx *catalog.Tx) error {
		_, n, _, err := b.walk(tx, path)
		if err != nil {
			return err
		}
		if n == nil {
			return os.ErrNotExist
		}
		n.Mode, n.MetaDirty = n.Mode&provider.ModeType|mode, true
		b.dirty(tx, n)
		return tx.Put(n)
	})
}

// rm removes a file, symlink or empty directory.
func (b *bed) rm(path string) error {
	return b.cat.Update(func(tx *catalog.Tx) error {
		dir, n, _, err := b.walk(tx, path)
		if err != nil {
			return err
		}
		if n == nil {
			return os.ErrNotExist
		}
		if err := b.detach(tx, n); err != nil {
			return err
		}
		return b.leave(tx, dir)
	})
}

func (b *bed) detach(tx *catalog.Tx, n *catalog.Inode) error {
	if children, err := tx.HasChildren(n.Ino); err != nil || children {
		return errors.Join(err, os.ErrExist)
	}
	if n.Key != "" {
		if err := tx.Doom(n.Key, n.Version, time.Now()); err != nil {
			return err
		}
		tx.After(func() { b.c.TouchDoomed(n.Key) })
	}
	if key := n.PutKey; key != "" && key != n.Key {
		if err := tx.Doom(key, "", time.Now()); err != nil {
			return err
		}
		tx.After(func() { b.c.TouchDoomed(key) })
		n.PutKey, n.PutTag = "", ""
	}
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	if f := b.k.staged[n.Stage]; n.Key != "" && b.k.readers[n.Ino] && (f == nil || f.absent) {
		b.k.held[n.Key] = n.Ino
	}
	n.Parent, n.Name, n.Dirty, n.MetaDirty = 0, "", time.Time{}, false
	return tx.Put(n)
}

func (b *bed) leave(tx *catalog.Tx, dir *catalog.Inode) error {
	children, err := tx.HasChildren(dir.Ino)
	if err != nil || children || dir.Ino == catalog.RootIno {
		return err
	}
	b.dirty(tx, dir)
	return tx.Put(dir)
}

// mv renames, replacing what is at to.
func (b *bed) mv(from, to string) error {
	return b.cat.Update(func(tx *catalog.Tx) error {
		if to == from || strings.HasPrefix(to, from+"/") {
			return os.ErrInvalid
		}
		fromDir, n, _, err := b.walk(tx, from)
		if err == nil && n == nil {
			err = os.ErrNotExist
		}
		if err != nil {
			return err
		}
		toDir, over, name, err := b.walk(tx, to)
		if err != nil {
			return err
		}
		if over != nil {
			if over.IsDir() != n.IsDir() {
				return os.ErrInvalid
			}
			if !over.Dirty.IsZero() && (n.Dirty.IsZero() || over.Dirty.Before(n.Dirty)) {
				n.Dirty = over.Dirty
			}
			if err := b.detach(tx, over); err != nil {
				return err
			}
		}
		n.Parent, n.Name = toDir.Ino, name
		b.dirty(tx, n)
		if err := tx.Put(n); err != nil {
			return err
		}
		if n.IsDir() {
			moved, err := tx.MarkBelow(n.Ino, b.c.o.Rules.HasScratch(), time.Now())
			if err != nil {
				return err
			}
			tx.After(func() {
				for _, ino := range moved {
					b.c.Touch(ino)
				}
			})
		}
		if fromDir, err = tx.Get(fromDir.Ino); err != nil {
			return err
		}
		return b.leave(tx, fromDir)
	})
}

// openForWrite opens a file for writing; closed closes it.
func (b *bed) openForWrite(ino uint64) (closed func()) {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	b.k.writers[ino]++
	return func() {
		b.k.mu.Lock()
		b.k.writers[ino]--
		b.k.mu.Unlock()
		b.c.Closed(ino)
	}
}

// openForRead opens a file for reading; closed closes it.
func (b *bed) openForRead(ino uint64) (closed func()) {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	b.k.readers[ino] = true
	return func() {
		b.k.mu.Lock()
		delete(b.k.readers, ino)
		var freed []string
		for key, holder := range b.k.held {
			if holder == ino {
				delete(b.k.held, key)
				freed = append(freed, key)
			}
		}
		b.k.mu.Unlock()
		for _, key := range freed {
			b.c.TouchDoomed(key)
		}
	}
}

// flush stores everything, or says why it could not.
func (b *bed) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := b.c.Flush(ctx, nil); err != nil {
		return fmt.Errorf("flush: %w; requests: %q; log: %s", err, b.store.did(), b.logged())
	}
	return nil
}

// sync is fsync of an inode, and gives up after an hour.
func (b *bed) sync(inos ...uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	return b.c.Sync(ctx, inos...)
}

// inStep checks that the store holds what the namespace says and nothing else, and that nothing is pending. A directory that
// needs no marker may have one.
func (b *bed) inStep() error {
	if b.store.overlap != nil {
		return b.store.overlap
	}
	ctx := context.Background()
	have, err := objects(ctx, b.mem)
	if err != nil {
		return err
	}
	type wanted struct {
		key      string
		n        *catalog.Inode
		optional bool
	}
	var want []wanted
	err = b.cat.View(func(tx *catalog.Tx) error {
		all, err := tx.Below(catalog.RootIno)
		if err != nil {
			return err
		}
		for _, n := range all {
			key, err := tx.Key(n)
			if err != nil {
				return err
			}
			children, err := tx.HasChildren(n.Ino)
			if err != nil {
				return err
			}
			want = append(want, wanted{key, n, n.IsDir() && children && (!b.o.Attributes || n.Mode&0o7777 == b.o.DirMode)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range want {
		got, ok := have[w.key]
		if !ok {
			if !w.optional {
				return fmt.Errorf("%q is missing", w.key)
			}
			continue
		}
		delete(have, w.key)
		if w.n.IsFile() {
			if w.n.Stage != 0 {
				return fmt.Errorf("%q is still staged", w.key)
			}
			if b.want[w.n.Ino] != got {
				return fmt.Errorf("%q holds %q, want %q", w.key, got, b.want[w.n.Ino])
			}
		}
		if w.n.IsSymlink() && got != w.n.Target {
			return fmt.Errorf("%q holds %q, want %q", w.key, got, w.n.Target)
		}
		o, err := b.mem.Stat(ctx, w.key)
		if err != nil {
			return err
		}
		if b.o.Attributes && !w.optional {
			if mode := provider.ParseAttrs(o.Metadata).Mode; mode != w.n.Mode {
				return fmt.Errorf("%q is stored with mode %o, want %o", w.key, mode, w.n.Mode)
			}
		}
		if o.Version != w.n.Version || w.n.Key != w.key {
			return fmt.Errorf("%q has version %q in the store; the catalog says %q at %q", w.key, o.Version, w.n.Version, w.n.Key)
		}
	}
	for key := range have {
		return fmt.Errorf("%q should not be there", key)
	}
	if left, err := b.mem.ListUploads(ctx, ""); err != nil || len(left) > 0 {
		return fmt.Errorf("uploads are left: %v, %v", left, err)
	}
	p, err := b.c.Pending()
	if err != nil || p.Files != 0 || p.Running != 0 {
		return fmt.Errorf("pending: %+v, %v", p, err)
	}
	return nil
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}

func done[T any](_ T, err error) error { return err }

func wantDid(t testing.TB, b *bed, want ...string) {
	t.Helper()
	if got := b.store.did(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

func wantInStep(t testing.TB, b *bed) {
	t.Helper()
	if err := b.inStep(); err != nil {
		t.Errorf("%v; requests: %q; log: %s", err, b.store.did(), b.logged())
	}
}

func wantStore(t testing.TB, b *bed, want map[string]string) {
	t.Helper()
	got, err := objects(context.Background(), b.mem)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the store holds %q, want %q", got, want)
	}
}

// contextAfter returns a context that ends after a while.
func contextAfter(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

type (
	inode = catalog.Inode
	tx    = catalog.Tx
)

var ctxBackground = context.Background()

// edit changes a row.
func (b *bed) edit(ino uint64, change func(*inode)) error {
	return b.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		if err != nil {
			return err
		}
		change(n)
		return tx.Put(n)
	})
}

// forgetTarget makes a symlink as a listing brings it: nobody has read it yet.
func (b *bed) forgetTarget(ino uint64) error {
	return b.edit(ino, func(n *inode) { n.Target = "" })
}

// memoryDir returns a directory of the test's own in memory, where the many fsyncs cost nothing, or on disk where there is
// no such place.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sharefs-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
