package commit

import (
	"context"
	"sync"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/provider/transfer"
)

// uploads are the uploads in parts of this process. The catalog has a row of every upload from before it begins until it
// surely is no more; a row that no request of this process uses is of an upload that somebody has left behind, and that costs
// money until it is aborted.
type uploads struct {
	mu    sync.Mutex
	in    map[string]int // requests under way that may have uploads, by key
	left  chan struct{}  // capacity 1: there may be something to abort
	abort sync.Mutex     // held while uploads are aborted
}

func (u *uploads) init() {
	u.in, u.left = map[string]int{}, make(chan struct{}, 1)
}

// use says that a request uses uploads of a key, until end.
func (u *uploads) use(key string) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.in[key]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.in[key]--; u.in[key] == 0 {
			delete(u.in, key)
		}
	}
}

func (u *uploads) used(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.in[key] > 0
}

func (u *uploads) wake() {
	select {
	case u.left <- struct{}{}:
	default:
	}
}

// inParts reports whether the request of a plan is an upload in parts.
func (c *Committer) inParts(p plan, snap Snapshot) bool {
	switch p.kind {
	case putFile:
		return p.pieces != nil || transfer.PutInParts(c.caps, snap.Size())
	case copyFile, copyMeta:
		return transfer.CopyInParts(c.caps, p.n.StoredSz)
	}
	return false
}

// noted returns the options of a transfer that keep the catalog's account of its upload.
func (c *Committer) noted(key string, o transfer.Options) transfer.Options {
	o.OnUpload = func(id string) error {
		err := c.cat.Update(func(tx *catalog.Tx) error { return tx.NoteUpload(catalog.Upload{Key: key, ID: id}) })
		if err != nil {
			return err
		}
		failpoint.Hit("commit.uploading")
		return c.cat.Sync()
	}
	o.OnGone = func(id string) {
		if err := c.forgetUpload(catalog.Upload{Key: key, ID: id}); err != nil {
			c.o.Logger.Warn("an upload that is over is aborted later, to be sure", "key", key, "err", err)
		}
	}
	return o
}

func (c *Committer) forgetUpload(u catalog.Upload) error {
	return c.cat.Update(func(tx *catalog.Tx) error { return tx.ForgetUpload(u) })
}

// abortLeft aborts, in the background, the uploads that were left behind: by an earlier process, or by a request of this one
// when the store did not answer any more.
func (c *Committer) abortLeft() {
	pause := c.o.BackoffMin
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		err := c.abortUploads(c.ctx, "")
		switch {
		case err == nil:
			pause = c.o.BackoffMin
			timer.Stop()
		case c.ctx.Err() != nil:
			return
		default:
			if pause == c.o.BackoffMin {
				c.o.Logger.Warn("an upload that was left behind cannot be aborted; trying again", "err", err)
			}
			timer.Reset(pause)
			pause = min(2*pause, c.o.BackoffMax)
		}
		select {
		case <-c.up.left:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// abortUploads aborts the uploads that were left behind, of one key or, with an empty one, all.
func (c *Committer) abortUploads(ctx context.Context, key string) error {
	c.up.abort.Lock()
	defer c.up.abort.Unlock()
	var list []catalog.Upload
	err := c.cat.View(func(tx *catalog.Tx) (err error) {
		if key != "" {
			list, err = tx.UploadsAt(key)
		} else {
			list, err = tx.Uploads()
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, u := range list {
		if c.up.used(u.Key) {
			continue // its end wakes abortLeft, if anything is left
		}
		if err := c.abortUpload(ctx, u); err != nil {
			return err
		}
		if err := c.forgetUpload(u); err != nil {
			return err
		}
	}
	return nil
}

// abortUpload aborts one upload, or, when its id is not known, all that there are for its key: they are ours, for a store has
// one writer.
func (c *Committer) abortUpload(ctx context.Context, u catalog.Upload) error {
	if u.ID != "" {
		return c.store.AbortUpload(ctx, u.Key, u.ID)
	}
	list, err := c.store.ListUploads(ctx, u.Key)
	if err != nil {
		return err
	}
	for _, have := range list {
		if have.Key == u.Key {
			if err := c.store.AbortUpload(ctx, have.Key, have.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
