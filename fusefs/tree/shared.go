package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/claim"
	"sharefs/fusefs/commit"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// A shared tree (Options.Shared) is one of several that change a store, with no claim of its own. It believes a listing
// as long as a read-only one does, asks for the version of a file whenever it is opened, and stores as CommitSync does, each
// request on condition that the store still has the version that is known here (commit/shared.go). Who is second gets
// ESTALE, the file is the other one's, and what was staged goes to the conflicts.

// sharedWriteback is how long a change of a shared tree waits that no call stores, such as one by mmap(2) after the last close.
const sharedWriteback = 20 * time.Second

// othersChange reports whether others may change the store while the tree is open, and it is to be asked again.
func (t *Tree) othersChange() bool { return t.o.ReadOnly || t.o.Shared }

// shareClaim joins those who share the store, instead of takeClaim. The catalog forgets the claim that it held last: what it
// knows is not the whole truth any more.
func (t *Tree) shareClaim(ctx context.Context, o claim.Options) (err error) {
	o.Keep = func(string, *claim.Record, bool) error {
		if err := t.cat.Update(func(tx *catalog.Tx) error { return tx.SetClaim(catalog.Claim{}) }); err != nil {
			return err
		}
		return t.cat.Sync()
	}
	if t.claim, err = claim.Share(ctx, t.o.Store, o); err != nil {
		return err
	}
	t.own = &ownChanges{ended: map[string]time.Time{}, active: map[string]int{}}
	t.store = sharedStore{t.claim.Fence(t.o.Store), t.own}
	t.caps = t.store.Capabilities()
	return nil
}

// sharedStore is a store that others change too. It copies nothing, because no store checks a condition of what a copy
// replaces, and deletes one object at a time, because there is one condition for each. It notes what it changes.
type sharedStore struct {
	provider.Provider
	own *ownChanges
}

func (s sharedStore) Capabilities() provider.Capabilities {
	caps := s.Provider.Capabilities()
	caps.Copy, caps.AtomicMove, caps.MaxDeleteBatch = false, false, 1
	return caps
}

func (s sharedStore) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	defer s.own.begin(key)()
	return s.Provider.Put(ctx, key, body, size, o)
}

func (s sharedStore) Copy(_ context.Context, _, dst string, _ provider.CopyOptions) (provider.Object, error) {
	return provider.Object{}, &provider.Error{Op: "copy", Key: dst, Kind: provider.KindUnsupported}
}

func (s sharedStore) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	for _, key := range keys {
		defer s.own.begin(key)()
	}
	return s.Provider.Delete(ctx, o, keys...)
}

func (s sharedStore) NewUpload(ctx context.Context, key string, o provider.UploadOptions) (provider.Upload, error) {
	u, err := s.Provider.NewUpload(ctx, key, o)
	return sharedUpload{u, s, key}, err
}

type sharedUpload struct {
	provider.Upload
	s   sharedStore
	key string
}

func (u sharedUpload) Complete(ctx context.Context, parts []provider.Part, o provider.CompleteOptions) (provider.Object, error) {
	defer u.s.own.begin(u.key)()
	obj, err := u.Upload.Complete(ctx, parts, o)
	if provider.Is(err, provider.KindUnsupported) && !o.If.IsZero() { // else it would be asked without the condition
		err = &provider.Error{Op: "complete", Key: u.key, Kind: provider.KindInvalid,
			Err: fmt.Errorf("the store does not complete an upload on condition, so a shared mount cannot store a file of this size: mount without --shared (%v)", err)}
	}
	return obj, err
}

// ownChanges are the keys that this mount has changed, or has learned of by a HEAD, lately: a listing that began before may
// tell of the time before. A nil one knows of none.
type ownChanges struct {
	mu     sync.Mutex
	active map[string]int
	ended  map[string]time.Time
}

// ownKept is how long an end is remembered: longer than a listing may take. ownMany is when old ones are looked for.
const (
	ownKept = 10 * time.Minute
	ownMany = 1000
)

// begin notes a change that begins, and returns what notes its end.
func (o *ownChanges) begin(key string) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active[key]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.active[key]--; o.active[key] == 0 {
			delete(o.active, key)
		}
		now := time.Now()
		o.ended[key] = now
		if len(o.ended)%ownMany == 0 {
			for key, at := range o.ended {
				if now.Sub(at) > ownKept {
					delete(o.ended, key)
				}
			}
		}
	}
}

// since reports whether a key may have been changed since began.
func (o *ownChanges) since(key string, began time.Time) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.active[key] > 0 || o.ended[key].After(began)
}

// fresh makes sure that the catalog has the version of a file that the store has, before it is opened. When that is another
// one the error is ESTALE: the kernel then looks the name up once more, so that it knows the new length before anybody
// appends, and opens again.
func (t *Tree) fresh(ctx context.Context, ino uint64) error {
	if !t.o.Shared || t.justLearned(ino) {
		return nil
	}
	var seen *catalog.Inode
	err := t.cat.View(func(tx *catalog.Tx) (err error) {
		seen, err = tx.Get(ino)
		return err
	})
	if err != nil || !seen.IsFile() || seen.Parent == 0 || seen.Key == "" || pendingRow(seen) {
		return errGone(err)
	}
	defer t.own.begin(seen.Key)()
	o, err := t.store.Stat(ctx, seen.Key)
	gone := provider.Is(err, provider.KindNotFound)
	if err != nil && !gone {
		return err
	}
	if !gone && o.Version == seen.Version {
		return t.lookAgain(seen)
	}
	err = t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		switch {
		case err != nil || row.Key != seen.Key || row.Version != seen.Version || pendingRow(row):
			return errGone(err)
		case gone:
			return t.dropName(tx, row)
		}
		return t.learnObject(tx, row, o)
	})
	if err != nil {
		return err
	}
	t.noteUnseen(ino)
	return t.lookAgain(seen)
}

// noteUnseen notes that a file has another mount's content, whose length the kernel may not know: it is told, but not waited for.
// The next open has it look. Until then it may take another place for the end of the file.
func (t *Tree) noteUnseen(ino uint64) {
	if !t.o.Shared {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unseen[ino] = true
}

// lookAgain returns ESTALE, once, when the kernel may not know a file's length.
func (t *Tree) lookAgain(seen *catalog.Inode) error {
	t.mu.Lock()
	unseen := t.unseen[seen.Ino]
	delete(t.unseen, seen.Ino)
	t.mu.Unlock()
	if !unseen {
		return nil
	}
	t.noteLearned(seen.Ino)
	t.tellKernel(seen.Parent, seen.Name, seen.Ino)
	return syscall.ESTALE
}

// Append writes at the end of a file that was opened with O_APPEND, which for the kernel is at off. Where others change the file
// that may be wrong: then nothing is written, the error is ESTALE, and the next open finds the end.
func (f *File) Append(ctx context.Context, p []byte, off int64) (int, error) {
	if f.n.t.o.Shared {
		size, err := f.n.size()
		if err != nil {
			return 0, err
		}
		if size != off {
			f.n.t.noteUnseen(f.n.ino)
			return 0, syscall.ESTALE
		}
	}
	return f.WriteAt(ctx, p, off)
}

// size is the length of the file as it is here.
func (n *node) size() (int64, error) {
	n.gate.RLock()
	if s := n.current(); s != nil {
		defer n.gate.RUnlock()
		return s.Size(), nil
	}
	n.gate.RUnlock()
	row, err := n.row()
	if err != nil {
		return 0, err
	}
	return row.Size, nil
}

// learnedFor is how long a version that an open has found counts for the one that the kernel tries next.
const learnedFor = time.Second

func (t *Tree) noteLearned(ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.learned) > ownMany {
		clear(t.learned)
	}
	t.learned[ino] = time.Now()
}

func (t *Tree) justLearned(ino uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.learned[ino]
	delete(t.learned, ino)
	return ok && time.Since(at) < learnedFor
}

// A system call that fails with ESTALE is repeated by the kernel, once. A rename or an unlink that has lost would then be made
// anew, of what its caller has not seen. So the repeat of one that has lost fails, too.

// lost notes that a call has lost, if err says so.
func (t *Tree) lost(call string, err error) {
	if lost := (&commit.LostError{}); !errors.As(err, &lost) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.refused) > ownMany {
		clear(t.refused)
	}
	t.refused[call] = time.Now()
}

// repeated reports whether a call is the repeat of one that has lost.
func (t *Tree) repeated(call string) bool {
	if !t.o.Shared {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.refused[call]
	delete(t.refused, call)
	return ok && time.Since(at) < repeatedWithin
}

// repeatedWithin is how long after a call that has lost the kernel's repeat may come.
const repeatedWithin = 10 * time.Second

// dropName takes the name away of a file that another mount has removed: who has it open keeps the inode.
func (t *Tree) dropName(tx *catalog.Tx, row *catalog.Inode) error {
	row.Key, row.Version, row.Revision, row.PutKey, row.PutTag = "", "", "", "", ""
	t.Changed(tx, row.Ino)
	return t.detach(tx, row)
}

func (t *Tree) tellKernel(parent uint64, name string, ino uint64) {
	if notify := t.kernel.Load(); notify != nil {
		(*notify)(parent, name, ino)
	}
}

// Lose gives up a change because another mount was first.
func (t *Tree) Lose(l commit.Lost) error {
	if l.Ino == 0 {
		t.own.begin(l.Key)() // what a listing told before does not count
		return t.cat.Update(func(tx *catalog.Tx) error { return t.forgetListing(tx, l.Key) })
	}
	n := t.acquire(l.Ino)
	defer t.release(n)
	n.gate.Lock()
	defer n.gate.Unlock()
	if err := n.load(); err != nil {
		return err
	}
	if err := n.putAside(); err != nil {
		return err
	}
	n.losses.Add(1) // before the row says that nothing is staged
	var was *catalog.Inode
	err := t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(l.Ino)
		if err != nil {
			return err
		}
		copied := *row
		was = &copied
		if err := tx.Spare(l.Key); err != nil { // it is the other one's
			return err
		}
		for _, key := range []string{l.Key, l.OldKey} {
			if err := t.forgetListing(tx, key); err != nil {
				return err
			}
		}
		row.Stage, row.StageMtime, row.Synced, row.Dirty, row.MetaDirty = 0, time.Time{}, false, time.Time{}, false
		row.PutKey, row.PutTag = "", ""
		tx.After(func() { n.staged, n.synced = false, false })
		if l.Have == nil || l.Have.IsDir() != row.IsDir() {
			return t.loseName(tx, row)
		}
		row.Key, row.Version = l.Have.Key, "" // so that it counts as another one, whatever it was before
		tx.After(func() { t.noteUnseen(row.Ino) })
		return t.learnObject(tx, row, *l.Have)
	})
	if err == nil {
		_, err = n.settled()
		t.tellKernel(was.Parent, was.Name, was.Ino)
	}
	if catalog.IsNotFound(err) {
		return nil
	}
	return err
}

// loseName takes away the name of what another mount has removed. A directory with something in it keeps it, without a marker:
// what is written there is still to be stored, and what is not in the store any more goes with the next listing.
func (t *Tree) loseName(tx *catalog.Tx, row *catalog.Inode) error {
	children, err := tx.HasChildren(row.Ino)
	if err != nil {
		return err
	}
	if !children {
		return t.dropName(tx, row)
	}
	row.Key, row.Version, row.Revision = "", "", ""
	return tx.Put(row)
}

// forgetListing has the directory that a key is in listed once more.
func (t *Tree) forgetListing(tx *catalog.Tx, key string) error {
	if key == "" {
		return nil
	}
	dir, err := tx.ParentOf(key)
	if catalog.IsNotFound(err) || err == nil && !dir.Complete {
		return nil
	}
	if err != nil {
		return err
	}
	dir.Complete = false
	return tx.Put(dir)
}

// putAside moves what is staged to the conflicts. The gate is locked.
func (n *node) putAside() error {
	f := n.file.Load()
	if f == nil || !n.staged {
		return nil
	}
	row, err := n.row()
	if err != nil {
		return err
	}
	path := ""
	err = n.t.cat.View(func(tx *catalog.Tx) error { path = tx.Path(row); return nil })
	if err != nil {
		return err
	}
	n.file.Store(nil)
	n.attrMu.Lock()
	n.changed = false
	n.attrMu.Unlock()
	_ = f.Close()
	kept, err := n.t.setAside(path, stage.ID(n.stageID), whyShared)
	if err != nil {
		return fmt.Errorf("%s, which another mount has changed first: %w", path, err)
	}
	n.t.o.Logger.Warn("another mount has changed a file first: its version stands, what was written here is kept aside", "path", path, "kept", kept)
	return n.t.stage.Remove(stage.ID(n.stageID))
}

var whyShared = reason{
	short: "another mount has changed the file first",
	text: `The store is shared by several mounts, and another one has changed the file before this content was stored, so it was not
stored. The file, if it is there, has the content that the store has.`,
}
