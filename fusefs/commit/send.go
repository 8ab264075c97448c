package commit

import (
	"errors"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/provider"
	"sharefs/provider/transfer"
)

// run sends the request that a plan says is missing and records it.
func (c *Committer) run(p plan, urgent bool) (clean bool, err error) {
	p.urgent = urgent
	switch p.kind {
	case settle:
		if err := c.settle(p); err != nil {
			return false, err
		}
		return false, ErrChanged
	case putFile:
		return c.putFile(p, urgent)
	default:
		return c.send(p, nil)
	}
}

// send notes the intent, sends the request, and records what came of it.
func (c *Committer) send(p plan, snap Snapshot) (clean bool, err error) {
	parts := c.inParts(p, snap)
	if parts {
		defer c.up.wake() // for what is left behind
		defer c.up.use(p.key)()
	}
	tag, err := c.intend(&p, parts)
	if err != nil {
		return false, err
	}
	md := c.metadata(p.n, tag)
	cond := c.condition(p)
	failpoint.Hit("commit.intended")
	if c.o.Shared && cond.IsZero() && p.kind != copyFile && p.kind != copyMeta {
		if cond, err = c.sharedCondition(p, tag); err != nil {
			return false, errors.Join(err, c.forgetIntent(p.n.Ino))
		}
	} else if cond.IsZero() && p.kind != copyMeta { // which names the version that it changes
		if err := c.checkForeign(p); err != nil {
			return false, errors.Join(err, c.forgetIntent(p.n.Ino))
		}
	}
	var obj provider.Object
	for try := 0; ; try++ {
		obj, err = c.request(p, snap, md, cond)
		if provider.Unanswered(err) {
			c.noteLate(p.lateAs(cond), p.from(), p.key)
		}
		failpoint.Hit("commit.sent")
		if cond.IsZero() || !refused(err, cond) || errors.Is(err, transfer.ErrSource) || try == 3 {
			break
		}
		look := c.found
		if c.o.Shared {
			look = c.contend
		}
		var mine bool
		if obj, cond, mine, err = look(p, tag, cond); mine || err != nil {
			break
		}
	}
	if err != nil && !ambiguous(err) {
		if forgot := c.forgetIntent(p.n.Ino); forgot != nil {
			return false, forgot
		}
	}
	if err != nil && (p.kind == copyFile || p.kind == copyMeta || p.kind == moveFile) {
		return false, c.instead(p, err)
	}
	if err != nil {
		if snap != nil && snap.Stale() {
			err = ErrBusy
		}
		return false, err
	}
	if snap == nil {
		return c.record(p, obj, md, 0, nil)
	}
	err = c.content.Confirm(p.n.Ino, snap, func(unchanged bool) (content uint64, err error) {
		clean, err = c.record(p, obj, md, snap.Size(), func(tx *catalog.Tx, n *catalog.Inode) error {
			if n.Stage != p.n.Stage {
				return nil
			}
			if err := c.dropSpills(tx, n.Stage, p.n.Dirty); err != nil || !unchanged {
				return err
			}
			if content, err = tx.NewID(); err != nil {
				return err
			}
			n.Stage, n.StageMtime, n.Synced, n.Content, n.Size = 0, time.Time{}, false, content, snap.Size()
			return nil
		})
		return content, err
	})
	return clean, err
}

// intend writes down, durably, the key and the tag of the request that is about to leave, and that it begins an upload in
// parts. It refreshes p.n, and fails with ErrChanged when the plan no longer holds.
func (c *Committer) intend(p *plan, parts bool) (tag string, err error) {
	err = c.cat.Update(func(tx *catalog.Tx) error {
		now, err := c.planInode(tx, p.n.Ino)
		if err != nil {
			return err
		}
		if now.n == nil || now.kind != p.kind || now.key != p.key || now.n.Key != p.n.Key || now.n.Stage != p.n.Stage ||
			p.pieces != nil && now.n.Version != p.n.Version || now.first != (itemID{}) || now.save != 0 {
			return ErrChanged
		}
		now.pieces = p.pieces
		now.urgent = p.urgent
		*p = now
		if parts {
			if err := tx.NoteUpload(catalog.Upload{Key: p.key}); err != nil {
				return err
			}
		}
		if tag, err = tx.PutTag(); err != nil {
			return err
		}
		p.n.PutKey, p.n.PutTag = p.key, tag
		return tx.Put(p.n)
	})
	if err == nil {
		err = c.cat.Sync()
	}
	return tag, err
}

// ambiguous reports whether a request that failed may have taken effect, or may yet.
func ambiguous(err error) bool {
	if lost := (&LostError{}); errors.As(err, &lost) {
		return false
	}
	return provider.IsContext(err) || provider.Is(err, provider.KindUnavailable) || provider.KindOf(err) == provider.KindOther
}

// forgetIntent notes that nothing came of the request that was sent for an inode.
func (c *Committer) forgetIntent(ino uint64) error {
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		if catalog.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		n.PutKey, n.PutTag = "", ""
		return c.putOrVanish(tx, n)
	})
}
