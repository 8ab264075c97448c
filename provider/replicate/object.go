package replicate

import (
	"context"
	"errors"
	"fmt"

	"sharefs/provider"
	"sharefs/provider/transfer"
)

var (
	// errChanged says that the source has another version than the one that is being copied.
	errChanged = errors.New("the source was changed while it was copied")
	// errGone says that the source was deleted meanwhile.
	errGone = errors.New("the source does not have it any more")
)

// tries is how often an object that changes meanwhile is copied.
const tries = 5

// object makes one object of the destination as it is at the source. An error ends the run.
func (c *Copier) object(ctx context.Context, p pair) error {
	same, err := c.same(ctx, p)
	if err == nil && same {
		c.succeeded(&c.progress.Same, p.src.Size)
		return nil
	}
	o := *p.src
	if err == nil {
		o, err = c.copy(ctx, o)
	}
	switch {
	case err == nil:
		c.changed(Copied, o)
		c.succeeded(&c.progress.Copied, o.Size)
		return nil
	case errors.Is(err, errGone):
		return nil
	case c.o.Delete && !c.last && provider.Is(err, provider.KindConflict):
		c.mu.Lock()
		defer c.mu.Unlock()
		c.blocked = append(c.blocked, p)
		return nil
	}
	return c.failed(o.Key, err)
}

// copy copies an object until it has stood still meanwhile, and returns what it was then.
func (c *Copier) copy(ctx context.Context, o provider.Object) (provider.Object, error) {
	for range tries {
		copied, err := c.copyOnce(ctx, o)
		if !errors.Is(err, errChanged) {
			return copied, err
		}
		o, err = c.src.Stat(ctx, copied.Key)
		if provider.Is(err, provider.KindNotFound) {
			err = errGone
		}
		if err != nil {
			return copied, err
		}
	}
	return o, fmt.Errorf("%w, %d times: copy again when nobody writes to it", errChanged, tries)
}

// same reports whether the destination has the object already.
func (c *Copier) same(ctx context.Context, p pair) (bool, error) {
	if p.dst == nil || p.dst.Size != p.src.Size {
		return false, nil
	}
	if p.dst.Metadata != nil {
		return c.marked(*p.dst, *p.src), nil
	}
	there, err := c.dst.Stat(ctx, p.dst.Key)
	if provider.Is(err, provider.KindNotFound) {
		return false, nil // the listing was late
	}
	return err == nil && there.Size == p.src.Size && c.marked(there, *p.src), err
}

// copyOnce copies an object as it is now; errChanged when it is not any more what o says of it.
func (c *Copier) copyOnce(ctx context.Context, o provider.Object) (provider.Object, error) {
	err := provider.CheckKey(o.Key, c.src.Capabilities())
	if err == nil {
		err = provider.CheckKey(o.Key, c.dst.Capabilities())
	}
	if err == nil && !c.o.DryRun {
		err = c.dropStale(ctx)
	}
	if err != nil || c.o.DryRun {
		return o, err
	}
	r := &reading{c: c, o: o}
	defer r.end()
	if err := r.begin(ctx); err != nil {
		return o, err
	}
	md := given(r.o)
	md[provider.MetaPut] = c.mark(r.o, md)
	if err := provider.CheckMetadata(md, c.dst.Capabilities()); err != nil {
		return o, err
	}
	stored, err := transfer.PutFetched(ctx, c.dst, o.Key, r.o.Size, r.fetch, transfer.Options{
		Metadata: md, ContentType: r.o.ContentType, PartSize: c.o.PartSize,
		BeforeUpload: func() error { return c.o.OnUpload(o.Key) }, OnGone: func(string) { c.o.OnGone(o.Key) }})
	if err == nil && c.o.VerifyRead {
		err = r.compare(ctx, stored)
	}
	return r.o, err
}
