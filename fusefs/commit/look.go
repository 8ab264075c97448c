package commit

import (
	"errors"
	"time"

	"sharefs/fusefs/catalog"
)

// schedule takes due items until the committer is closed. Some slots are kept for what somebody waits for: it does not wait
// for an upload that nobody waits for.
func (c *Committer) schedule() {
	kept := min(max(c.o.Parallel/4, 1), c.o.Parallel-1)
	usual, reserve := make(chan struct{}, c.o.Parallel-kept), make(chan struct{}, kept)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		slots := c.slot(usual, reserve)
		if slots == nil {
			return
		}
		it, urgent, wait := c.q.next(c.o.Now(), slots == reserve)
		if it == nil {
			<-slots
			timer.Reset(wait)
			select {
			case <-c.q.wake:
			case <-timer.C:
			case <-c.ctx.Done():
				return
			}
			continue
		}
		c.wg.Add(1)
		end := func() { <-slots; c.q.notify(); c.wg.Done() }
		if it.id.ino != 0 {
			c.lookInode(it, urgent, end)
		} else {
			c.lookDoomed(it, end)
		}
	}
}

// slot waits for a slot, of the usual ones if there is any, and returns whose it has taken; nil when the committer is closed.
func (c *Committer) slot(usual, reserve chan struct{}) chan struct{} {
	select {
	case usual <- struct{}{}:
		return usual
	default:
	}
	select {
	case usual <- struct{}{}:
		return usual
	case reserve <- struct{}{}:
		return reserve
	case <-c.ctx.Done():
		return nil
	}
}

// finish ends a look.
func (c *Committer) finish(it *item, clean bool, err error) {
	c.end(it, outcome{clean: clean, err: err})
}

func (c *Committer) end(it *item, out outcome) {
	if errors.Is(out.err, ErrChanged) {
		out = outcome{idle: true}
	}
	if out.err != nil && c.ctx.Err() == nil && it.tries == 0 {
		c.o.Logger.Warn("could not be stored; trying again", "item", c.describe(it.id), "err", out.err)
	}
	c.q.done(it, out, c.o.Now(), c.o)
}

func (c *Committer) describe(id itemID) string {
	path := "/" + id.key
	if id.ino != 0 {
		_ = c.cat.View(func(tx *catalog.Tx) error {
			n, err := tx.Get(id.ino)
			if err == nil {
				path = tx.Path(n)
			}
			return err
		})
	}
	return path
}

// lookInode derives what is missing for an inode and does it, in a goroutine of its own when it takes time. end is called
// when the look has ended.
func (c *Committer) lookInode(it *item, urgent bool, end func()) {
	var p plan
	var until time.Time
	now := c.o.Now()
	err := c.cat.View(func(tx *catalog.Tx) (err error) {
		p, err = c.planInode(tx, it.id.ino)
		if err == nil && p.kind != nothing && p.kind != settle && !urgent {
			until = c.lazyUntil(tx, p.n, now)
		}
		return err
	})
	if p.scratch && p.n.IsFile() {
		c.scratch.add(p.n.Ino)
	}
	switch {
	case err != nil:
		c.finish(it, false, err)
	case until.After(now) && c.q.postpone(it, until, now):
	case p.save != 0:
		go func() {
			defer end()
			c.finish(it, false, c.lose(p, c.save(p.save, p.frees)))
		}()
		return
	case p.first != (itemID{}):
		circle := c.q.block(it, p.first, c.o.Now())
		if circle == nil {
			break
		}
		go func() {
			defer end()
			c.finish(it, false, c.giveWay(circle))
		}()
		return
	case p.kind == nothing || p.kind == dropMarker:
		clean, err := c.settleRow(it.id.ino)
		c.finish(it, clean, err)
	default:
		if until := c.late.until(p.key, p.spoiledBy(), p.from(), c.o.Now()); !until.IsZero() {
			c.q.delay(it, until)
			break
		}
		if other, ok := c.q.claim(it.id, p.keys()); !ok {
			c.q.follow(it, other, c.o.Now())
			break
		}
		go func() {
			defer end()
			clean, err := c.run(p, urgent)
			if errors.Is(err, ErrBusy) {
				c.q.park(it, c.o.Now(), c.o)
				return
			}
			err = c.lose(p, err)
			c.end(it, outcome{clean: clean, stored: err == nil && p.kind == putFile, err: err})
		}()
		return
	}
	end()
}

// settleRow marks an inode clean for which no request is missing.
func (c *Committer) settleRow(ino uint64) (clean bool, err error) {
	err = c.cat.Update(func(tx *catalog.Tx) error {
		p, err := c.planInode(tx, ino)
		if err != nil || p.n == nil {
			clean = true
			return err
		}
		switch p.kind {
		case dropMarker:
			if err := c.doom(tx, p.n.Key, p.n.Version, p.n.Dirty); err != nil {
				return err
			}
			p.n.Key, p.n.Version, p.n.Revision = "", "", ""
		case nothing:
		default:
			return nil // something is missing after all
		}
		clean = true
		if p.n.Dirty.IsZero() && !p.n.MetaDirty {
			return nil
		}
		p.n.Dirty, p.n.MetaDirty = time.Time{}, false
		return tx.Put(p.n)
	})
	return clean, err
}
