// Package tree is the namespace of a mount and its semantics: what a name is, what a read returns, when a change is safe.
// It drives the catalog (what is known and what is pending), the stage (changed contents), the cache (contents as they are
// in the store) and the committer (which brings the store up to date). It knows no FUSE types.
//
// There is no second tree in memory: an inode is a row of the catalog, and has a node in memory only while it is open or
// being stored.
//
// Lock order: node.gate, then the catalog (inside View and Update), then Tree.mu. Nothing waits for the network, or for
// another process, under any of them, except that a write which needs bytes of the store that are not local holds
// its node's gate shared.
package tree

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/cache"
	"sharefs/fusefs/catalog"
	"sharefs/fusefs/claim"
	"sharefs/fusefs/commit"
	"sharefs/fusefs/commit/pathrule"
	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// Attributes says how much of a file's attributes lives in the store.
type Attributes uint8

const (
	// AttributesFull keeps mode, owner, times and xattrs in objects' metadata, and reads them from there: a HEAD for
	// each object that a stat needs and that is not known, once.
	AttributesFull Attributes = iota
	// AttributesListed believes the listing: regular files with the default mode; nothing is written but the bytes.
	AttributesListed
)

// DefaultMemory is what contents take in memory at most, in bytes: half of it is the read cache's, half the stage's.
const DefaultMemory = 128 << 20

// Options are the options of Open. Store and CacheDir must be set.
type Options struct {
	Store     provider.Provider
	StoreName string // what identifies the store: a cache directory belongs to one
	CacheDir  string // catalog, staged files and read cache; made when it is missing

	UID, GID     uint32 // owner of what the store says nothing of
	FileMode     uint32 // permission bits of files that the store says nothing of. 0: 0644
	DirMode      uint32 // of directories. 0: 0755
	Attributes   Attributes
	ReadOnly     bool
	Writeback    time.Duration // quiet time before a change is stored. 0: 1 s
	WritebackMax time.Duration // at most this after the first change. 0: 30 s
	IOTimeout    time.Duration // a read, or an fsync, waits about so long for an answer of the store. 0: 60 s
	CacheSize    int64         // bytes on disk. 0: the cache's default
	StageSize    int64         // bytes on disk of changed files that are not stored. 0: DefaultStageSize
	KeepFree     int64         // bytes of the local disk that stay free. 0: 1 GiB, at most a twentieth of the disk; negative: none
	StallTimeout time.Duration // a write for which nothing gets free so long fails with ENOSPC. 0: DefaultStall
	MemorySize   int64         // bytes of contents in memory. 0: DefaultMemory
	Rules        pathrule.Rules
	Parallel     int           // requests at a time, of the committer and for attributes. 0: 16
	Capacity     int64         // bytes that files may have in all, and statfs shows. 0: the store's quota, else DefaultCapacity
	Shared       bool          // other mounts change the store too: no claim, CommitSync, see shared.go
	CommitSync   bool          // close, rename, unlink, mkdir, ... return when the store has it, as fsync does
	CheckForeign bool          // what another program has changed is noticed by a HEAD where the store does not check versions
	Revalidate   time.Duration // how old the listing of a directory may be in a read-only or shared mount. 0: any age
	BootID       string        // of the running kernel, as /proc/sys/kernel/random/boot_id has it. Empty: read there
	Claim        claim.Options // of a tree that is not ReadOnly: TakeOver, Force, Watch and times; the rest is set here
	Logger       *slog.Logger
	Now          func() time.Time

	secureAfter time.Duration // see there; tests make it short
}

func (o Options) withDefaults() Options {
	if o.FileMode == 0 {
		o.FileMode = 0o644
	}
	if o.DirMode == 0 {
		o.DirMode = 0o755
	}
	if o.IOTimeout <= 0 {
		o.IOTimeout = time.Minute
	}
	if o.Parallel <= 0 {
		o.Parallel = 16
	}
	if o.MemorySize <= 0 {
		o.MemorySize = DefaultMemory
	}
	if o.StageSize <= 0 {
		o.StageSize = DefaultStageSize
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = DefaultStall
	}
	if o.Shared {
		o.CommitSync = true
		o.Writeback = max(o.Writeback, sharedWriteback) // each call stores its own change, and gets the error
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.secureAfter <= 0 {
		o.secureAfter = secureAfter
	}
	return o
}

// Tree is an open namespace. It implements Namespace and is safe for concurrent use.
type Tree struct {
	o      Options
	store  provider.Provider
	caps   provider.Capabilities
	cat    *catalog.Catalog
	stage  *stage.Store
	cache  *cache.Cache
	commit *commit.Committer
	lock   *os.File

	capacity int64 // bytes: see capacityOf

	claim      *claim.Claim  // nil: ReadOnly
	before     *claim.Record // the claim that was there before; nil: none
	superseded bool          // the store was another catalog's since this one's last claim, or a later state of this one's
	older      bool          // the latter
	last       catalog.Claim // this catalog's last claim

	ctx    context.Context // ends with the tree
	cancel context.CancelFunc
	wg     sync.WaitGroup

	spill spiller

	checkpointing    sync.Mutex
	sentAtCheckpoint int64        // guarded by checkpointing
	sent             atomic.Int64 // bytes of contents that the store has taken

	reconciling sync.Mutex
	suspects    suspects
	uncompared  atomic.Bool                                                  // the comparison that this mount began with has not ended
	kernel      atomic.Pointer[func(parent uint64, name string, ino uint64)] // see OnNews

	own     *ownChanges          // of a shared tree
	learned map[uint64]time.Time // guarded by mu: see noteLearned
	refused map[string]time.Time // guarded by mu: calls that have lost, see repeated
	unseen  map[uint64]bool      // guarded by mu: see noteUnseen

	hidden atomic.Int64 // keys of the store that are no path

	secureWake chan struct{} // capacity 1: there is something in closed or trash

	mu       sync.Mutex
	nodes    map[uint64]*node
	held     map[string]uint64 // keys of objects that an open handle of an unlinked file still reads
	unlinked map[uint64]bool   // unlinked inodes whose rows are kept until the kernel has forgotten them: true when it has
	loads    map[uint64]*load  // directories that are being listed
	attrs    map[uint64]*load  // inodes whose attributes are being fetched
	ahead    map[uint64]int    // for each directory how many attributes were fetched ahead at the last time
	attrSem  chan struct{}
	closed   map[uint64]bool // inodes that were closed since the last batch: see keepSecuring
	trash    []uint64        // staged files to be removed: see discard

	closedSince time.Time // of the first in closed
}

var _ Namespace = (*Tree)(nil)

// Open opens the namespace of a store over a cache directory, takes up what an earlier process left to be stored, and
// starts storing it.
func Open(ctx context.Context, o Options) (_ *Tree, err error) {
	o = o.withDefaults()
	t := &Tree{o: o, store: o.Store, caps: o.Store.Capabilities(),
		nodes: map[uint64]*node{}, held: map[string]uint64{}, unlinked: map[uint64]bool{},
		loads: map[uint64]*load{}, attrs: map[uint64]*load{}, ahead: map[uint64]int{}, attrSem: make(chan struct{}, o.Parallel),
		closed: map[uint64]bool{}, learned: map[uint64]time.Time{}, refused: map[string]time.Time{}, unseen: map[uint64]bool{}, secureWake: make(chan struct{}, 1),
		suspects: suspects{dirs: map[uint64]bool{}, changed: make(chan struct{}), wake: make(chan struct{}, 1), told: map[uint64]bool{}}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			t.closeAll()
		}
	}()
	if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	if t.o.BootID, err = bootID(o.BootID); err != nil {
		return nil, err
	}
	if t.lock, err = lockDir(o.CacheDir); err != nil {
		return nil, err
	}
	if t.cat, err = catalog.Open(ctx, o.CacheDir); err != nil {
		return nil, err
	}
	if err := t.bind(); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := t.takeClaim(ctx); err != nil {
			return nil, err
		}
	}
	if t.stage, err = stage.Open(filepath.Join(o.CacheDir, "stage"), stage.Options{Logger: o.Logger, BootID: t.o.BootID, Room: t.stageRoom(), Memory: o.MemorySize / 2}); err != nil {
		return nil, err
	}
	t.store = taken{t.store, t.stage, &t.sent}
	t.capacity = t.capacityOf(ctx)
	t.cache, err = cache.Open(filepath.Join(o.CacheDir, "cache"),
		cache.Options{Owner: t.cat.ID(), Size: o.CacheSize, KeepFree: t.cacheFloor(), Memory: o.MemorySize / 2, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	if err := t.recover(); err != nil {
		return nil, err
	}
	how := t.judge()
	if err := t.doubt(how); err != nil {
		return nil, err
	}
	if err := t.restore(ctx, how); err != nil {
		if ctx.Err() != nil || t.cat.Broken() != nil {
			return nil, err
		}
		o.Logger.Warn("modes, owners and times are asked of each object, for want of a checkpoint", "err", err)
	}
	t.commit = commit.New(t.store, t.cat, t, commit.Options{Writeback: o.Writeback, WritebackMax: o.WritebackMax,
		Parallel: o.Parallel, Attributes: o.Attributes == AttributesFull, Shared: o.Shared, CheckForeign: o.CheckForeign, DirMode: o.DirMode, UID: o.UID, GID: o.GID,
		Rules: o.Rules, Patience: o.IOTimeout / 3, Logger: o.Logger, Now: o.Now})
	t.wg.Go(t.keepChecking)
	if o.ReadOnly {
		return t, nil
	}
	t.wg.Go(t.keepSecuring)
	t.wg.Go(t.keepCheckpoints)
	t.compareInBackground(how)
	return t, t.commit.Start()
}

// ErrLocked says that another process uses the cache directory.
var ErrLocked = errors.New("in use by another sharefs")

// lockDir takes the cache directory's lock, which goes with the process.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			holder := make([]byte, 64)
			n, _ := f.ReadAt(holder, 0)
			return nil, fmt.Errorf("cache directory %s: %w (process %s): unmount that one, or choose another --cache-dir", dir, ErrLocked, holder[:n])
		}
		return nil, fmt.Errorf("cache directory %s: lock: %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d", os.Getpid()) // for people only
	}
	return f, nil
}

// bind makes sure that the catalog belongs to this store, and makes the root.
func (t *Tree) bind() error {
	return t.cat.Update(func(tx *catalog.Tx) error {
		have, err := tx.Bind(t.o.StoreName)
		if err != nil {
			return err
		}
		if have != t.o.StoreName {
			return fmt.Errorf("cache directory %s belongs to the store %s: choose another --cache-dir for %s", t.o.CacheDir, have, t.o.StoreName)
		}
		_, err = tx.Get(Root)
		if !catalog.IsNotFound(err) {
			return err
		}
		now := t.o.Now()
		return tx.Put(&catalog.Inode{Ino: Root, Mode: provider.ModeDir | t.o.DirMode, UID: t.o.UID, GID: t.o.GID,
			Atime: now, Mtime: now, Ctime: now, Known: true})
	})
}

// recover takes up what an earlier process left: files that were written and not closed, files that were unlinked and
// still open, staged files that nothing refers to. When the system was restarted meanwhile, what is not synced is given up
// (power.go); when the store was another mount's since, everything is (claim.go). All that it decided is durable when it returns.
func (t *Tree) recover() error {
	wanted := map[stage.ID]bool{}
	err := t.cat.Update(func(tx *catalog.Tx) error {
		if err := t.settleClaim(tx); err != nil {
			return err
		}
		restarted, err := t.restarted(tx)
		if err != nil {
			return err
		}
		gone, err := tx.Unlinked()
		if err != nil {
			return err
		}
		for _, n := range gone {
			if err := t.dropSpills(tx, n.Stage); err != nil {
				return err
			}
			if err := tx.Delete(n.Ino); err != nil {
				return err
			}
		}
		if err := tx.MarkUnstored(t.o.Now()); err != nil {
			return err
		}
		staged, err := tx.Staged()
		if err != nil {
			return err
		}
		for _, n := range staged {
			if restarted && !n.Synced {
				if err := t.giveUp(tx, n); err != nil {
					return err
				}
				continue
			}
			if err := t.recoverStaged(tx, n); err != nil {
				return err
			}
			wanted[stage.ID(n.Stage)] = true
			if !n.Synced {
				t.closed[n.Ino] = true
			}
		}
		return t.dropLostSpills(tx, wanted)
	})
	if err == nil {
		err = t.cat.Sync() // before a file goes whose row could come back, or one is written to whose row is called synced
	}
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if len(t.closed) > 0 {
		t.wakeSecurer()
	}
	t.tellConflicts()
	ids, err := t.stage.IDs()
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	for _, id := range ids {
		if !wanted[id] {
			if err := t.stage.Remove(id); err != nil {
				return fmt.Errorf("recovery: %w", err)
			}
		}
	}
	return nil
}

// recoverStaged brings a row up to date with its staged file, which may have been written after the last close.
func (t *Tree) recoverStaged(tx *catalog.Tx, n *catalog.Inode) error {
	f, err := t.stage.Load(stage.ID(n.Stage), t.base(n.Ino))
	if err != nil {
		// The row stays and is shown as a problem by the committer, for as long as the file is missing.
		t.o.Logger.Error("a staged file cannot be read: its changes cannot be stored", "path", tx.Path(n), "err", err)
		return nil
	}
	defer f.Close()
	if f.ModTime().Equal(n.StageMtime) && f.Size() == n.Size {
		return nil
	}
	if !f.ModTime().Equal(n.StageMtime) && f.ModTime().After(n.Mtime) {
		n.Mtime, n.Ctime = f.ModTime(), f.ModTime()
	}
	n.Size, n.StageMtime = f.Size(), f.ModTime()
	if n.Dirty.IsZero() {
		n.Dirty = t.o.Now()
	}
	return tx.Put(n)
}

// Status is what a mount can say of itself.
type Status struct {
	Store    string           `json:"store"`
	ReadOnly bool             `json:"read_only"`
	Pending  commit.Pending   `json:"pending"`
	Stuck    []commit.Problem `json:"stuck"`
	Kept     commit.Kept      `json:"kept"`
	Cache    cache.Stats      `json:"cache"`
	Stage    stage.RoomStats  `json:"stage"`
	Space    Space            `json:"space"`
	Hidden   int64            `json:"hidden_keys"` // keys of the store that are no path, seen since the mount
	Foreign  int64            `json:"foreign"`     // objects that another program had changed, found when they were replaced or deleted
	Unsure   int              `json:"unsure"`      // directories that are not as the store has them and are to be listed once more
	Open     int              `json:"open"`        // files that are open or being stored

	Conflicts []Conflict `json:"conflicts"` // what could not be kept as the content of a file, and is kept aside

	Claim *claim.State `json:"claim"` // nil: there is none, of a tree that is opened ReadOnly
}

// Pending is what is still to be stored.
type Pending = commit.Pending

// Problem is something that could not be stored.
type Problem = commit.Problem

// Status returns how things are. It never waits for the store.
func (t *Tree) Status() (Status, error) {
	p, err := t.commit.Pending()
	t.mu.Lock()
	open := len(t.nodes)
	t.mu.Unlock()
	var held *claim.State
	if t.claim != nil {
		state := t.claim.State()
		held = &state
	}
	return Status{Store: t.o.StoreName, ReadOnly: t.readOnly(), Claim: held, Pending: p, Stuck: t.commit.Problems(), Kept: t.commit.Kept(), Cache: t.cache.Stats(), Stage: t.stage.Room(),
		Space: t.Space(), Hidden: t.hidden.Load(), Foreign: t.commit.Foreign(), Unsure: t.Suspects(), Open: open, Conflicts: t.conflicts()}, err
}

// Flush stores everything that is pending and returns when that is done, or with the first error. progress may be nil.
func (t *Tree) Flush(ctx context.Context, progress func(Pending)) error {
	if t.o.ReadOnly {
		return nil
	}
	for _, n := range t.openNodes() {
		err := n.persist()
		t.release(n)
		if err != nil {
			return err
		}
	}
	if err := t.commit.Flush(ctx, progress); err != nil {
		return err
	}
	return t.cat.Sync()
}

// Close ends the tree. What is pending stays in the cache directory, for the next Open; Flush before stores it.
func (t *Tree) Close() error {
	t.cancel()
	t.commit.Close()
	t.wg.Wait()
	var errs []error
	open := t.openNodes()
	for _, n := range open {
		errs = append(errs, n.persist())
	}
	if !t.o.ReadOnly {
		errs = append(errs, t.secureRest())
	}
	for _, n := range open {
		errs = append(errs, n.close())
	}
	if !t.o.ReadOnly {
		errs = append(errs, t.secureBatch(), t.noteUnsure())
	}
	return errors.Join(append(errs, t.closeAll())...)
}

func (t *Tree) closeAll() error {
	t.cancel()
	t.leaveClaim()
	var errs []error
	if t.cache != nil {
		errs = append(errs, t.cache.Close())
	}
	if t.cat != nil {
		errs = append(errs, t.cat.Close())
	}
	if t.lock != nil {
		errs = append(errs, t.lock.Close())
	}
	return errors.Join(errs...)
}
