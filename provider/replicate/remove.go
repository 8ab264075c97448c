package replicate

import (
	"context"
	"fmt"
	"strings"

	"sharefs/provider"
)

// remover deletes what only the destination has, in batches: in the order of the walk, but a real directory after what is in it.
type remover struct {
	c     *Copier
	batch []provider.Object
	dirs  []provider.Object // those that the walk is in, each in the one before
}

// add takes the next object that only the destination has.
func (r *remover) add(ctx context.Context, o provider.Object) error {
	if !r.c.o.Delete {
		r.c.succeeded(&r.c.progress.Extra, o.Size)
		return nil
	}
	if err := provider.CheckKey(o.Key, r.c.dst.Capabilities()); err != nil {
		return r.c.failed(o.Key, err)
	}
	if err := r.leave(ctx, o.Key); err != nil {
		return err
	}
	if o.IsDir() && r.c.dst.Capabilities().Directories {
		r.dirs = append(r.dirs, o)
		return nil
	}
	r.batch = append(r.batch, o)
	if len(r.batch) < r.c.dst.Capabilities().MaxDeleteBatch {
		return nil
	}
	return r.flush(ctx)
}

// finish deletes the rest.
func (r *remover) finish(ctx context.Context) error {
	if err := r.leave(ctx, ""); err != nil {
		return err
	}
	return r.flush(ctx)
}

// leave deletes the directories that do not have the key below them.
func (r *remover) leave(ctx context.Context, key string) error {
	for n := len(r.dirs); n > 0 && !strings.HasPrefix(key, r.dirs[n-1].Key); n = len(r.dirs) {
		if err := r.flush(ctx); err != nil {
			return err
		}
		r.batch, r.dirs = append(r.batch, r.dirs[n-1]), r.dirs[:n-1]
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// flush deletes the batch.
func (r *remover) flush(ctx context.Context) error {
	batch := r.batch
	r.batch = nil
	if len(batch) == 0 {
		return nil
	}
	failed, err := r.delete(ctx, batch)
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	for _, o := range batch {
		if why := failed[o.Key]; why != nil {
			if err := r.c.failed(o.Key, why); err != nil {
				return err
			}
			continue
		}
		r.c.succeeded(&r.c.progress.Deleted, o.Size)
		r.c.changed(Deleted, o)
	}
	return nil
}

// delete deletes objects, and returns those that failed.
func (r *remover) delete(ctx context.Context, batch []provider.Object) (map[string]error, error) {
	if r.c.o.DryRun {
		return nil, nil
	}
	if err := r.c.dropStale(ctx); err != nil {
		return nil, err
	}
	keys := make([]string, len(batch))
	for i, o := range batch {
		keys[i] = o.Key
	}
	err := r.c.dst.Delete(ctx, provider.DeleteOptions{}, keys...)
	each := provider.Failed(err)
	if err != nil && each == nil {
		return nil, err
	}
	failed := map[string]error{}
	for _, e := range each {
		failed[e.Key] = e
	}
	return failed, nil
}

// dropStale deletes the destination's checkpoints, once.
func (c *Copier) dropStale(ctx context.Context) error {
	c.stale.Do(func() { c.staleErr = deleteCheckpoints(ctx, c.dst) })
	return c.staleErr
}

func deleteCheckpoints(ctx context.Context, p provider.Provider) error {
	for token := ""; ; {
		page, err := p.List(ctx, provider.ListOptions{Prefix: provider.Checkpoints, Flat: true, Token: token})
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			if err := p.Delete(ctx, provider.DeleteOptions{}, o.Key); err != nil {
				return fmt.Errorf("deleting an old checkpoint: %w", err)
			}
		}
		if token = page.Next; token == "" {
			return nil
		}
	}
}
