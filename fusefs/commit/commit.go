// Package commit brings a store up to date with the catalog.
//
// It keeps no log of what happened. For every inode that is marked dirty, and for every object that is doomed, it looks at
// what is desired and what is stored, and derives the one request that is missing (plan.go); when the request has
// succeeded, the catalog is told in one transaction (look.go, send.go, record.go), and the same look decides what, if anything, is missing then.
// A crash at any point therefore needs no recovery but to start again.
//
// Order: a key conflicts with itself, with the keys of the directories above it and with every key below it. Requests of
// conflicting keys do not run at the same time, and those that free a key (deletes, moves away) come before those that
// take it. Everything else goes in parallel.
//
// Power: no request that changes the store leaves before its intent (the key and the tag of a put, the row of what is to be
// deleted) is fsynced in the catalog, in batches (Catalog.Sync). So whatever a power loss finds in the store, the catalog
// knows of it or of the attempt; and what it takes of the catalog's last commits is at worst the success of a request,
// which settle finds out again.
//
// Coalescing: an item waits until its file has been quiet for Writeback (at most WritebackMax after the first change), and
// until nobody has it open for writing; Sync does not wait for either. Options.Rules keep files from the store for longer,
// by their paths (rules.go).
package commit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/commit/pathrule"
	"sharefs/fusefs/stage"
	"sharefs/provider"
	"sharefs/provider/retry"
	"sharefs/provider/transfer"
)

// ErrBusy is returned by Content.Snapshot for a file that is open for writing.
var ErrBusy = errors.New("the file is open for writing")

// ErrChanged says that what was planned is no longer what is missing. Content.Snapshot returns it for an inode that has
// no staged file any more.
var ErrChanged = errors.New("the plan is out of date")

// Content is where the bytes of staged files come from: the tree.
type Content interface {
	// Snapshot returns stable bytes of the inode's staged file, those that pick chooses. What is staged is durable on the local
	// disk then, too, unless it is open for writing. Unless sync, ErrBusy while it is. Until the snapshot is closed the file's
	// spills stay as they are.
	Snapshot(ctx context.Context, ino uint64, sync bool, pick Pick) (Snapshot, error)
	// Confirm calls record, with writers held off; unchanged says whether the staged file still is what the snapshot
	// holds. record returns the content id that the read cache is to keep the bytes under, 0 when they are not clean.
	Confirm(ino uint64, s Snapshot, record func(unchanged bool) (uint64, error)) error
	// Localise makes all bytes of a file local that are so far only in the store, because the object is about to go, and
	// marks the file as staged. A file without a name keeps them for its open handles only.
	Localise(ctx context.Context, ino uint64) error
	// Secure makes what is staged of a closed file, and that the catalog has it, durable against a power loss.
	Secure(ctx context.Context, ino uint64) error
	// Changed says, in the transaction that records it, that another program's content is that of the inode now.
	Changed(tx *catalog.Tx, ino uint64)
	// Lose gives up a change because another mount was first: what is staged is kept aside, and what the store has is the
	// inode's. Nothing of the inode is pending afterwards.
	Lose(l Lost) error
	// Moved says that the same bytes are stored under another key or version now.
	Moved(content uint64, key string, v provider.Version)
	// Held returns the unlinked inode with an open handle that still reads the object at key; 0 when there is none.
	Held(key string) uint64
}

// Snapshot is stable content.
type Snapshot interface {
	ReadAt(p []byte, off int64) (int, error)
	Size() int64
	Layout() stage.Layout    // what is not dirty is that of the stored object
	Spills() []catalog.Spill // where what is absent is, if not there
	Stale() bool             // the content has changed under an upload: what was read is of no use
	Close() error
}

// Options are the options of New.
type Options struct {
	Writeback    time.Duration // quiet time after the last change. 0: 1 s
	WritebackMax time.Duration // at most this after the first change. 0: 30 s
	Parallel     int           // requests at a time. 0: 16
	Shared       bool          // other mounts change the store too: see shared.go
	CheckForeign bool          // one HEAD before each request that carries no condition finds what another program has changed
	Attributes   bool          // files' attributes are stored in metadata, and directories have markers that carry them
	DirMode      uint32        // permission bits, owner and group of directories that need no marker
	UID, GID     uint32
	BackoffMin   time.Duration // pause after a failure, doubled up to BackoffMax. 0: 1 s
	BackoffMax   time.Duration // 0: 30 s
	Rules        pathrule.Rules
	Patience     time.Duration // a request that gets no answer fails after about twice this, for now. 0: as the store has it
	Logger       *slog.Logger
	Now          func() time.Time
}

func (o Options) withDefaults() Options {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	orDuration(&o.Writeback, time.Second)
	orDuration(&o.WritebackMax, 30*time.Second)
	orDuration(&o.BackoffMin, time.Second)
	orDuration(&o.BackoffMax, 30*time.Second)
	if o.Parallel <= 0 {
		o.Parallel = 16
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Problem is something that could not be stored, and why. It is tried again all the same.
type Problem struct {
	Path  string    `json:"path"`
	Error string    `json:"error"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
}

// Pending is what is still to be stored.
type Pending struct {
	Files   int       `json:"files"`   // changed files, directories and symlinks, and objects to be deleted
	Bytes   int64     `json:"bytes"`   // of changed contents
	Oldest  time.Time `json:"oldest"`  // when the oldest was changed; zero: nothing is pending
	Running int       `json:"running"` // requests under way
}

// Committer brings a store up to date. It is safe for concurrent use.
type Committer struct {
	store   provider.Provider
	caps    provider.Capabilities
	cat     *catalog.Catalog
	content Content
	o       Options

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	q       queue
	scratch scratchSet
	late    late
	up      uploads
	watches watches
	foreign atomic.Int64

	patchFrom int64 // tests make it small, and plan for small stores
	planPatch func(provider.Capabilities, int64, []transfer.Range) []transfer.Piece
}

// New makes a committer; Start starts it.
func New(store provider.Provider, cat *catalog.Catalog, content Content, o Options) *Committer {
	c := &Committer{store: store, caps: store.Capabilities(), cat: cat, content: content, o: o.withDefaults(),
		patchFrom: PatchFrom, planPatch: transfer.PlanPatch}
	c.ctx, c.cancel = context.WithCancel(retry.WithPatience(context.Background(), c.o.Patience))
	c.q.init()
	c.up.init()
	return c
}

// Start takes up everything that the catalog says is pending, and begins.
func (c *Committer) Start() error {
	err := c.cat.View(func(tx *catalog.Tx) error {
		dirty, err := tx.Dirty()
		if err != nil {
			return err
		}
		doomed, err := tx.AllDoomed()
		if err != nil {
			return err
		}
		c.noteSent(dirty, doomed)
		for _, n := range dirty {
			c.Touch(n.Ino)
		}
		for _, d := range doomed {
			c.TouchDoomed(d.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.wg.Go(c.schedule)
	c.wg.Go(c.abortLeft)
	return nil
}

// Close stops: requests under way are cancelled, what is pending stays so in the catalog.
func (c *Committer) Close() {
	c.cancel()
	c.wg.Wait()
}

var errClosed = errors.New("the mount is being closed")

// Touch says that an inode has changed: it is looked at after the write-back delay. It never blocks.
func (c *Committer) Touch(ino uint64) {
	now := c.o.Now()
	c.q.touch(itemID{ino: ino}, now, now, c.o)
}

// TouchDoomed does the same for an object that is to be deleted.
func (c *Committer) TouchDoomed(key string) {
	now := c.o.Now()
	c.q.touch(itemID{key: key}, now, now, c.o)
}

// Closed says that nobody has the inode open for writing any more: an upload that waited for that goes on.
func (c *Committer) Closed(ino uint64) { c.q.closed(itemID{ino: ino}, c.o.Now(), c.o) }

// SyncDoomed deletes the objects now, and returns when each is gone, or with the first error.
func (c *Committer) SyncDoomed(ctx context.Context, keys ...string) error {
	return c.sync(ctx, doomedItems(keys))
}

func doomedItems(keys []string) []itemID {
	ids := make([]itemID, len(keys))
	for i, key := range keys {
		ids[i] = itemID{key: key}
	}
	return ids
}

// Sync stores the inodes now, and returns when each is stored, or with the first error of storing one.
func (c *Committer) Sync(ctx context.Context, inos ...uint64) error {
	ids := make([]itemID, len(inos))
	for i, ino := range inos {
		ids[i] = itemID{ino: ino}
	}
	return c.sync(ctx, ids)
}

func (c *Committer) sync(ctx context.Context, ids []itemID) error {
	waits := c.q.urge(ids, c.o.Now())
	giveUp := func(i int, err error) error {
		for ; i < len(waits); i++ {
			c.q.leave(ids[i], waits[i])
		}
		return err
	}
	var first error
	for i, w := range waits {
		select {
		case err := <-w:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return giveUp(i, ctx.Err())
		case <-c.ctx.Done():
			return giveUp(i, errClosed)
		}
	}
	return first
}

// Flush stores everything that was pending when it was called, and returns when that is done or with the first error. It
// aborts the uploads that were left behind, too.
// progress, if not nil, is called now and then.
func (c *Committer) Flush(ctx context.Context, progress func(Pending)) error {
	if progress != nil {
		stop := make(chan struct{})
		done := make(chan struct{})
		defer func() { close(stop); <-done }()
		go func() {
			defer close(done)
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if p, err := c.Pending(); err == nil {
						progress(p)
					}
				case <-stop:
					return
				}
			}
		}()
	}
	start := c.o.Now()
	for {
		ids := c.q.since(start, c.content.Held)
		if len(ids) == 0 {
			return c.abortUploads(ctx, "")
		}
		if err := c.sync(ctx, ids); err != nil {
			return err
		}
	}
}

// Pending returns what is still to be stored.
func (c *Committer) Pending() (Pending, error) {
	p := Pending{Running: c.q.running()}
	err := c.cat.View(func(tx *catalog.Tx) error {
		s, err := tx.PendingSummary()
		p.Files, p.Bytes, p.Oldest = s.Items, s.Bytes, s.Oldest
		return err
	})
	return p, err
}

// Problems returns what could not be stored at the last try.
func (c *Committer) Problems() []Problem {
	var list []Problem
	for _, f := range c.q.failed() {
		p := Problem{Path: "/" + f.id.key, Error: f.err.Error(), Since: f.since, Tries: f.tries}
		if f.id.ino != 0 {
			_ = c.cat.View(func(tx *catalog.Tx) error {
				n, err := tx.Get(f.id.ino)
				if err == nil {
					p.Path = tx.Path(n)
				}
				return err
			})
		}
		list = append(list, p)
	}
	return list
}
