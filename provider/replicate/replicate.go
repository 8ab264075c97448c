// Package replicate makes one store hold what another one holds: how an operator leaves a disk for S3, or S3 for Swift.
//
// Both stores are listed side by side, in the order of keys, and what differs is copied, several objects at a time, each with
// its bytes, its metadata (mode, owner, times, symlink, xattrs) and its content type. A key stays as it is. Memory is bounded,
// however many objects there are. What sharefs keeps for itself below .sharefs/ belongs to the store that it is in and is not
// copied; the destination's old checkpoints, which know nothing of the new objects, are deleted before the first change.
//
// A copy carries in its metadata, as provider.MetaPut, which revision of the source it is of, and a hash of the metadata it was
// given (mark). A copy that still carries both is the same and is not made again. So a run that was killed is resumed by
// running again: from another machine too, and after changes to either side. An object in parts is sent anew as a whole.
//
// Verified means: the store checks a checksum of each request's body; all pieces of an object are of one version of the
// source, which is looked at again afterwards where other programs may change a file in place; what changed meanwhile is
// copied again; and at the end both stores are listed once more and must have the same keys and sizes. With VerifyRead
// each object is read back too.
//
// Not promised: that the source stood still. What is added behind the walk is found by the look at the end, and copied by the
// next run. Who writes to the destination at the same time is kept out by the caller, with a claim (fusefs/claim).
// What changes only a source's metadata, twice within its TimeGrain, may be missed.
package replicate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"sharefs/provider"
)

// The defaults of Options.
const (
	DefaultParallel = 16
	DefaultPartSize = 8 << 20
	DefaultMemory   = 128 << 20
)

// Options are the options of New. The zero value works.
type Options struct {
	Parallel int   // objects at a time; 0: DefaultParallel
	PartSize int64 // bytes; objects of more than two go in parts. 0: DefaultPartSize
	Memory   int64 // bytes of contents in memory, unless one part is larger. 0: DefaultMemory

	Delete     bool // what only the destination has is deleted there
	DryRun     bool // nothing is changed; what would be counts as if it was
	VerifyRead bool // each copy is read back and compared

	// Changed is told of each object that is copied or deleted, or would be, one at a time. It may be nil.
	Changed func(c Change, o provider.Object)
	// OnUpload is called before an upload in parts of a key is asked of the destination; an error ends it. OnGone is called when
	// that one is surely completed or aborted: while there were fewer of these, the key may have uploads. They may be nil.
	OnUpload func(key string) error
	OnGone   func(key string)
}

// Change is what becomes of an object of the destination.
type Change string

// The changes.
const (
	Copied  Change = "copy"
	Deleted Change = "delete"
)

// Count is a number of objects, and the bytes that are in them.
type Count struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *Count) add(size int64) { c.Objects++; c.Bytes += size }

// Failure is an object that was not copied or deleted.
type Failure struct {
	Key string
	Err error
}

// Progress is how far a copy has come; after Run it is what was done.
type Progress struct {
	Source  Count // all that the source has
	Counted bool  // Source is all of it
	Copied  Count
	Same    Count // were there already
	Deleted Count
	Extra   Count // only the destination has them, and they stay
	Moving  int64 // bytes of objects that are on their way

	Failed   int64
	Failures []Failure // the first of those that failed
}

// maxFailures bounds how many failures are kept for the end.
const maxFailures = 1000

// Copier copies one store to another. Make it with New; it is for one Run.
type Copier struct {
	src, dst provider.Provider
	o        Options
	memory   *semaphore.Weighted
	remover  *remover
	last     bool // nothing is deleted any more: what is in the way now stays

	stale    sync.Once // drops the checkpoints
	staleErr error     // what came of it; guarded by stale

	telling sync.Mutex // held while Changed is called

	mu       sync.Mutex
	progress Progress // guarded by mu
	inARow   int      // failures of a store since the last success; guarded by mu
	blocked  []pair   // what another object of the destination was in the way of; guarded by mu
}

// New returns a Copier from src to dst, which must be different stores and not lie in each other.
func New(src, dst provider.Provider, o Options) *Copier {
	for _, d := range []struct {
		to *int64
		is int64
	}{{&o.PartSize, DefaultPartSize}, {&o.Memory, DefaultMemory}} {
		if *d.to <= 0 {
			*d.to = d.is
		}
	}
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	if o.OnUpload == nil {
		o.OnUpload = func(string) error { return nil }
	}
	if o.OnGone == nil {
		o.OnGone = func(string) {}
	}
	c := &Copier{src: src, dst: dst, o: o, memory: semaphore.NewWeighted(o.Memory)}
	c.remover = &remover{c: c}
	return c
}

// Progress returns how far it is. It may be called at any time.
func (c *Copier) Progress() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.progress
	p.Failures = append([]Failure(nil), p.Failures...)
	return p
}

// The errors of Run that are of this package.
var (
	// ErrIncomplete: it went to the end and could not copy or delete everything. Progress has the failures.
	ErrIncomplete = errors.New("not everything was copied")
	// ErrEmpty: everything at the destination would be deleted. Nothing was done.
	ErrEmpty = errors.New("the source has no objects, and all that the destination has would be deleted: nothing was done")
)

// Run copies. It returns ErrIncomplete when single objects failed, and what ended it otherwise: the context, a store that
// cannot be used any more. To run again goes on from there.
func (c *Copier) Run(ctx context.Context) error {
	if err := c.refuseEmpty(ctx); err != nil {
		return err
	}
	err := c.pass(ctx)
	if err == nil {
		err = c.retryBlocked(ctx)
	}
	if p := c.Progress(); err == nil && p.Failed == 0 && p.Copied.Objects > 0 && !c.o.DryRun {
		err = c.check(ctx)
	}
	if err == nil && c.Progress().Failed > 0 {
		err = ErrIncomplete
	}
	return err
}

// refuseEmpty keeps a source that was mistyped from emptying the destination.
func (c *Copier) refuseEmpty(ctx context.Context) error {
	if !c.o.Delete {
		return nil
	}
	first, err := newCursor(c.src).peek(ctx)
	if err == nil && first == nil {
		err = fmt.Errorf("%s: %w", c.src, ErrEmpty)
	}
	return err
}

// pass goes through both stores once.
func (c *Copier) pass(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan pair)
	g.Go(func() error { return c.count(ctx) })
	g.Go(func() error {
		defer close(work)
		return c.distribute(ctx, work)
	})
	for range c.o.Parallel {
		g.Go(func() error {
			for p := range work {
				if err := c.object(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// distribute walks through both stores: what the source has becomes work, what only the destination has is for the remover.
func (c *Copier) distribute(ctx context.Context, work chan<- pair) error {
	err := walk(ctx, c.src, c.dst, func(p pair) error {
		if p.src == nil {
			return c.remover.add(ctx, *p.dst)
		}
		select {
		case work <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return err
	}
	return c.remover.finish(ctx)
}

// count finds out how much the source has, for who looks at the progress.
func (c *Copier) count(ctx context.Context) error {
	for all := newCursor(c.src); ; all.pop() {
		o, err := all.peek(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if o == nil {
			c.progress.Counted = true
		} else {
			c.progress.Source.add(o.Size)
		}
		c.mu.Unlock()
		if o == nil {
			return nil
		}
	}
}

// retryBlocked copies what something was in the way of that is deleted now.
func (c *Copier) retryBlocked(ctx context.Context) error {
	c.last = true
	for _, p := range c.blocked {
		if err := c.object(ctx, pair{src: p.src}); err != nil {
			return err
		}
	}
	return nil
}

// check looks at both stores once more. Listings may be late, or not know the size of an object that is made of others: then the
// objects themselves are asked.
func (c *Copier) check(ctx context.Context) error {
	return walk(ctx, c.src, c.dst, func(p pair) error {
		if p.src == nil || p.dst != nil && p.dst.Size == p.src.Size {
			return nil
		}
		here, err := c.src.Stat(ctx, p.src.Key)
		if provider.Is(err, provider.KindNotFound) {
			return nil
		}
		if err != nil {
			return asSource(err)
		}
		there, err := c.dst.Stat(ctx, p.src.Key)
		switch {
		case err == nil && there.Size == here.Size:
			return nil
		case err != nil && !provider.Is(err, provider.KindNotFound):
			return err
		}
		return c.failed(p.src.Key, errors.New("the destination does not have it as the source has it now: it was changed meanwhile, or the destination has lost it; copy again"))
	})
}

// failed notes that an object failed, and returns the error if it is not worth to go on.
func (c *Copier) failed(key string, err error) error {
	if provider.IsContext(err) {
		return err
	}
	kind := provider.KindOf(err)
	switch kind {
	case provider.KindAuth, provider.KindNoStore, provider.KindQuota, provider.KindReadOnly:
		return fmt.Errorf("%q: %w", key, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Failed++
	if len(c.progress.Failures) < maxFailures {
		c.progress.Failures = append(c.progress.Failures, Failure{key, err})
	}
	if !kind.Transient() {
		return nil
	}
	if c.inARow++; c.inARow >= c.o.Parallel {
		return fmt.Errorf("%d objects in a row failed, the last: %q: %w", c.inARow, key, err)
	}
	return nil
}

// changed tells that an object is copied or deleted, or would be.
func (c *Copier) changed(to Change, o provider.Object) {
	if c.o.Changed == nil {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.o.Changed(to, o)
}

// succeeded notes what an object has come to.
func (c *Copier) succeeded(as *Count, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	as.add(size)
	c.inARow = 0
}
