package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/provider"
	"sharefs/provider/limit"
	"sharefs/provider/transfer"
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
			c.finish(it, false, c.save(p.save, p.frees))
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

// doom notes an object that is to be deleted because of a change that was made at since, and has it looked at.
func (c *Committer) doom(tx *catalog.Tx, key string, v provider.Version, since time.Time) error {
	now := c.o.Now()
	if since.IsZero() {
		since = now
	}
	tx.After(func() { c.q.touch(itemID{key: key}, since, now, c.o) })
	return tx.Doom(key, v, since)
}

// outdated returns the items of a circle that need not wait for the next one any more: an item that waits is not looked
// at when names change.
func (c *Committer) outdated(circle []itemID) (list []itemID, err error) {
	err = c.cat.View(func(tx *catalog.Tx) error {
		for i, id := range circle {
			var first itemID
			if id.ino == 0 {
				var err error
				if first, _, err = c.planDelete(tx, id.key); err != nil {
					return err
				}
			} else {
				p, err := c.planInode(tx, id.ino)
				if err != nil {
					return err
				}
				first = p.first
			}
			if first != circle[(i+1)%len(circle)] {
				list = append(list, id)
			}
		}
		return nil
	})
	return list, err
}

// giveWay breaks a circle of items that wait for each other: one of them gives up the object that it is to leave anyway.
func (c *Committer) giveWay(circle []itemID) error {
	if free, err := c.outdated(circle); err != nil {
		return err
	} else if len(free) > 0 {
		c.q.unblock(free, c.o.Now())
		return ErrChanged
	}
	for _, id := range circle {
		var leaves string
		err := c.cat.View(func(tx *catalog.Tx) error {
			n, err := tx.Get(id.ino)
			if err != nil {
				return err
			}
			if key, err := tx.Key(n); err == nil && n.Key != key {
				leaves = n.Key
			}
			return nil
		})
		if err != nil && !catalog.IsNotFound(err) {
			return err
		}
		if leaves != "" {
			return c.save(id.ino, leaves)
		}
	}
	names := make([]string, len(circle))
	for i, id := range circle {
		names[i] = c.describe(id)
	}
	return fmt.Errorf("these wait for each other: %q", names)
}

// save makes a file's content local and gives up its object at key, so that another one can take the key.
func (c *Committer) save(ino uint64, key string) error {
	failpoint.Hit("commit.save")
	if err := c.content.Localise(c.ctx, ino); err != nil {
		return fmt.Errorf("content that is needed before its object goes: %w", err)
	}
	if err := c.content.Secure(c.ctx, ino); err != nil { // what is staged is all there is of it from here on
		return fmt.Errorf("content that is needed before its object goes: %w", err)
	}
	if c.content.Held(key) == ino {
		return fmt.Errorf("%q is still read by who has the unlinked file open", key)
	}
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(ino)
		switch {
		case catalog.IsNotFound(err) || err == nil && (n.Key == "" || n.Parent == 0):
			return nil
		case err != nil:
			return err
		case n.Key != key:
			return nil // it has been stored elsewhere meanwhile
		case n.IsFile() && n.Stage == 0:
			return ErrChanged // likewise: its object is its only content
		}
		now := c.o.Now()
		if n.Dirty.IsZero() {
			n.Dirty = now
			tx.After(func() { c.q.touch(itemID{ino: ino}, now, now, c.o) })
		}
		if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
			return err
		}
		n.Key, n.Version, n.Revision = "", "", ""
		return tx.Put(n)
	})
}

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
	var obj provider.Object
	for try := 0; ; try++ {
		obj, err = c.request(p, snap, md, cond)
		if provider.Unanswered(err) {
			c.noteLate(p.lateAs(cond), p.from(), p.key)
		}
		failpoint.Hit("commit.sent")
		if cond.IsZero() || !provider.Is(err, provider.KindPrecondition) || errors.Is(err, transfer.ErrSource) || try == 3 {
			break
		}
		var mine bool
		if obj, cond, mine, err = c.found(p, tag); mine || err != nil {
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

// putOrVanish puts a row, or removes it when it is of a file of which nothing is left: a power loss took what was staged,
// and the store never got it.
func (c *Committer) putOrVanish(tx *catalog.Tx, n *catalog.Inode) error {
	if !n.IsFile() || n.Stage != 0 || n.Key != "" || n.Parent == 0 {
		return tx.Put(n)
	}
	if err := tx.Delete(n.Ino); err != nil {
		return err
	}
	dir, err := tx.Get(n.Parent)
	if err != nil || dir.Ino == catalog.RootIno {
		return err
	}
	now := c.o.Now()
	if dir.Dirty.IsZero() { // it may be empty now
		dir.Dirty = now
	}
	tx.After(func() { c.q.touch(itemID{ino: dir.Ino}, now, now, c.o) })
	return tx.Put(dir)
}

// settle finds out what became of a request whose answer never came, because this process died or the store was gone. An
// object of ours is adopted as what is stored for the inode; whether it still is what is desired is looked at next.
func (c *Committer) settle(p plan) error {
	if err := c.abortUploads(c.ctx, p.n.PutKey); err != nil { // what has not been completed never will be
		return err
	}
	have, ours, moved, err := c.ours(p.n)
	if err != nil {
		return err
	}
	failpoint.Hit("commit.settle")
	if !ours {
		return c.forgetUnlessLate(p)
	}
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(p.n.Ino)
		if catalog.IsNotFound(err) || err == nil && (n.Parent == 0 || n.PutKey != p.n.PutKey) {
			return nil // unlinked: then the key was doomed
		}
		if err != nil {
			return err
		}
		if n.Key != "" && n.Key != n.PutKey && !moved {
			if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
				return err
			}
		}
		if err := c.takeKey(tx, n.PutKey, n.Ino); err != nil {
			return err
		}
		if n.IsFile() && n.Stage == 0 { // a copy of what it had, or all that a power loss has left of a change
			if n.Content, err = tx.NewID(); err != nil {
				return err
			}
			n.Size = have.Size
		}
		n.Key, n.Version, n.Revision, n.StoredSz = n.PutKey, have.Version, have.Revision, have.Size
		n.PutKey, n.PutTag = "", ""
		if n.Dirty.IsZero() {
			n.Dirty = c.o.Now()
		}
		return tx.Put(n)
	})
}

// ours looks at what is at an inode's PutKey, and whether our request has put it there. moved: by a move, so that there is
// nothing at the old key any more.
func (c *Committer) ours(n *catalog.Inode) (have provider.Object, ours, moved bool, err error) {
	have, err = c.store.Stat(c.ctx, n.PutKey)
	if provider.Is(err, provider.KindNotFound) {
		return have, false, false, nil
	}
	if err != nil {
		return have, false, false, err
	}
	if tag := have.Metadata[provider.MetaPut]; tag != "" && tag == n.PutTag {
		return have, true, false, nil
	}
	if n.Key == "" || n.Key == n.PutKey {
		return have, false, false, nil
	}
	_, err = c.store.Stat(c.ctx, n.Key)
	if !provider.Is(err, provider.KindNotFound) {
		return have, false, false, err // still there: what was to copy or move it can be sent again
	}
	copied := have.Version != "" && have.Version == n.Version // without metadata of its own it has no tag
	return have, c.caps.AtomicMove || copied, true, nil
}

// metadata is what is stored with an inode's object.
func (c *Committer) metadata(n *catalog.Inode, tag string) provider.Metadata {
	md := provider.Metadata{}
	maps.Copy(md, n.Foreign)
	switch {
	case c.o.Attributes:
		maps.Copy(md, Attrs(n).Metadata())
	case n.IsSymlink():
		md[provider.MetaMode] = provider.Attrs{Mode: n.Mode, Has: provider.HasMode}.Metadata()[provider.MetaMode]
	}
	md[provider.MetaPut] = tag
	return md
}

// Attrs returns an inode's attributes as they are stored.
func Attrs(n *catalog.Inode) provider.Attrs {
	return provider.Attrs{Mode: n.Mode, UID: n.UID, GID: n.GID, Mtime: n.Mtime, Ctime: n.Ctime, Atime: n.Atime, Xattrs: n.Xattrs,
		Has: provider.HasMode | provider.HasUID | provider.HasGID | provider.HasMtime | provider.HasCtime | provider.HasAtime | provider.HasXattrs}
}

// condition is what the catalog believes of the key that is about to be replaced, where the store can check it. Copies
// have none: stores that check it for a Put may not for a Copy.
func (c *Committer) condition(p plan) provider.Condition {
	if p.kind != putFile && p.kind != putSymlink {
		return provider.Condition{}
	}
	version, known := p.over, p.held
	if !known && p.n.Key == p.key {
		version, known = p.n.Version, true
	}
	switch {
	case !known && c.caps.CreateIfAbsent:
		return provider.Condition{Absent: true}
	case known && version != "" && c.caps.ReplaceIfVersion:
		return provider.Condition{Version: version}
	}
	return provider.Condition{}
}

// found looks at what is really at a key after a condition did not hold. mine: it is what the request has made, whose
// answer was lost. Otherwise it is replaced, as a write to a file replaces it on any shared disk; cond is the condition
// for that. What another program has put there, and no earlier request of this catalog, is reported.
func (c *Committer) found(p plan, tag string) (have provider.Object, cond provider.Condition, mine bool, err error) {
	have, err = c.store.Stat(c.ctx, p.key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		return have, provider.Condition{Absent: c.caps.CreateIfAbsent}, false, nil
	case err != nil:
		return have, cond, false, err
	case have.Metadata[provider.MetaPut] == tag:
		return have, cond, true, nil
	}
	if !strings.HasPrefix(have.Metadata[provider.MetaPut], c.cat.ID()+"-") {
		c.o.Logger.Warn("another program has changed the object; replacing it", "key", p.key,
			"version", have.Version, "modified", have.ModTime)
	}
	if c.caps.ReplaceIfVersion {
		cond.Version = have.Version
	}
	return have, cond, false, nil
}

// request sends one request.
func (c *Committer) request(p plan, snap Snapshot, md provider.Metadata, cond provider.Condition) (provider.Object, error) {
	n, ctx := p.n, c.watched(c.sending(p.urgent), p.lateAs(cond), p.from(), p.key)
	switch p.kind {
	case putFile:
		o := c.noted(p.key, transfer.Options{If: cond, Metadata: md, ContentType: n.ContentType})
		if p.pieces != nil {
			return transfer.Patch(ctx, c.store, p.key, snap, p.pieces, n.Key, n.Version, o)
		}
		return transfer.Put(ctx, c.store, p.key, snap, snap.Size(), o)
	case putSymlink:
		return c.store.Put(ctx, p.key, strings.NewReader(n.Target), int64(len(n.Target)), provider.PutOptions{If: cond, Metadata: md})
	case putMarker:
		return c.store.Put(ctx, p.key, bytes.NewReader(nil), 0,
			provider.PutOptions{Metadata: md, ContentType: "application/x-directory"})
	case moveFile:
		return c.store.Move(ctx, n.Key, p.key)
	case copyFile:
		if !n.Known || !c.o.Attributes {
			md = nil // kept as it is
		}
		return transfer.Copy(ctx, c.store, n.Key, p.key, n.StoredSz, n.Version,
			c.noted(p.key, transfer.Options{Metadata: md, ContentType: n.ContentType}))
	case copyMeta:
		return transfer.Copy(ctx, c.store, n.Key, n.Key, n.StoredSz, n.Version,
			c.noted(p.key, transfer.Options{Metadata: md, ContentType: n.ContentType}))
	}
	return provider.Object{}, fmt.Errorf("no request for plan %d", p.kind)
}

// record tells the catalog that a request has succeeded. stored, if not nil, says what became of the content.
func (c *Committer) record(p plan, obj provider.Object, md provider.Metadata, size int64,
	stored func(*catalog.Tx, *catalog.Inode) error) (clean bool, err error) {
	var moved uint64
	err = c.cat.Update(func(tx *catalog.Tx) error {
		clean, moved = false, 0
		if err := c.takeKey(tx, p.key, p.n.Ino); err != nil {
			return err
		}
		n, err := tx.Get(p.n.Ino)
		if catalog.IsNotFound(err) || err == nil && n.Parent == 0 {
			// It was unlinked meanwhile: nobody wants the object.
			clean = true
			if n != nil {
				if p.kind != copyFile { // whoever still has it open reads the object at the old key
					n.Key, n.Version, n.Revision = p.key, obj.Version, obj.Revision
				}
				n.PutKey, n.PutTag = "", ""
				if err := tx.Put(n); err != nil {
					return err
				}
			}
			return c.doom(tx, p.key, obj.Version, p.n.Dirty)
		}
		if err != nil {
			return err
		}
		if n.Key != "" && n.Key != p.key && p.kind != moveFile {
			if err := c.doom(tx, n.Key, n.Version, n.Dirty); err != nil {
				return err
			}
		}
		n.Key, n.Version, n.Revision = p.key, obj.Version, obj.Revision
		n.PutKey, n.PutTag = "", ""
		if n.IsFile() && p.kind == putFile {
			n.StoredSz = size
		} else if n.IsFile() {
			moved = n.Content
		}
		if stored != nil {
			if err := stored(tx, n); err != nil {
				return err
			}
		}
		if p.kind != moveFile {
			n.MetaDirty = !maps.Equal(md, c.metadata(n, md[provider.MetaPut]))
		}
		if err := tx.Put(n); err != nil {
			return err
		}
		left, err := c.planInode(tx, n.Ino)
		if err != nil {
			return err
		}
		if left.kind == putFile && p.kind == putFile {
			n.Dirty = c.o.Now() // the content that is pending came after the snapshot
			return tx.Put(n)
		}
		if left.kind != nothing {
			return nil
		}
		clean = true
		n.Dirty, n.MetaDirty = time.Time{}, false
		return tx.Put(n)
	})
	if err == nil && moved != 0 {
		c.content.Moved(moved, p.key, obj.Version)
	}
	return clean, err
}

// takeKey takes a key from everybody who had an object there, but for the inode that has it now; 0: nobody has.
func (c *Committer) takeKey(tx *catalog.Tx, key string, ino uint64) error {
	if err := tx.Spare(key); err != nil {
		return err
	}
	others, err := tx.StoredAt(key)
	if err != nil {
		return err
	}
	for _, x := range others {
		if x.Ino == ino {
			continue
		}
		x.Key, x.Version, x.Revision = "", "", ""
		if err := tx.Put(x); err != nil {
			return err
		}
	}
	return nil
}

// lookDoomed deletes an object that nobody wants, and with the same request others that are due.
func (c *Committer) lookDoomed(it *item, end func()) {
	if !c.mayRun(it) {
		end()
		return
	}
	batch := []*item{it}
	for _, other := range c.q.takeDoomed(c.o.Now(), max(c.caps.MaxDeleteBatch, 1)-1) {
		if c.mayRun(other) {
			batch = append(batch, other)
		}
	}
	go func() {
		defer end()
		c.delete(batch)
	}()
}

// mayRun reports whether a doomed object may be deleted now, and has noted its key then. Otherwise it has put the item
// where it belongs.
func (c *Committer) mayRun(it *item) bool {
	first, gone, err := c.mayDelete(it.id.key)
	switch {
	case err != nil:
		c.finish(it, false, err)
	case gone:
		c.finish(it, true, nil)
	case first != (itemID{}):
		if circle := c.q.block(it, first, c.o.Now()); circle != nil {
			c.wg.Go(func() { c.finish(it, false, c.giveWay(circle)) })
		}
	case c.content.Held(it.id.key) != 0:
		c.q.hold(it, c.o.Now())
	default:
		if until := c.late.until(it.id.key, deleteSpoiledBy, source{}, c.o.Now()); !until.IsZero() {
			c.q.delay(it, until)
			break
		}
		other, ok := c.q.claim(it.id, keySet{writes: []string{it.id.key}})
		if ok {
			return true
		}
		c.q.follow(it, other, c.o.Now())
	}
	return false
}

func (c *Committer) mayDelete(key string) (first itemID, gone bool, err error) {
	err = c.cat.View(func(tx *catalog.Tx) (err error) {
		first, gone, err = c.planDelete(tx, key)
		return err
	})
	return first, gone, err
}

// sendDelete notes the intent and sends the request. urgent: somebody waits for it.
func (c *Committer) sendDelete(keys []string, urgent bool) error {
	err := c.cat.Update(func(tx *catalog.Tx) error {
		for _, key := range keys {
			if err := tx.MarkSent(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.cat.Sync() // that they are doomed, and whatever made them so
	}
	if err != nil {
		return err
	}
	err = c.store.Delete(c.watched(c.sending(urgent), lateDelete, source{}, keys...), provider.DeleteOptions{}, keys...)
	if provider.Unanswered(err) {
		c.noteLate(lateDelete, source{}, keys...)
	}
	return err
}

// sending returns the context of a request. What nobody waits for lets others go first.
func (c *Committer) sending(urgent bool) context.Context {
	if urgent {
		return c.ctx
	}
	return limit.Background(c.ctx)
}

// delete deletes a batch of objects in one request, directories after what is in them.
func (c *Committer) delete(batch []*item) {
	keys := make([]string, len(batch))
	for i, it := range batch {
		keys[i] = it.id.key
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(b, a) })
	err := c.sendDelete(keys, c.q.anyUrged(batch))
	failpoint.Hit("commit.deleted")
	failed := map[string]error{}
	named := provider.Failed(err)
	for _, f := range named {
		if f.Kind == provider.KindNotEmpty {
			c.o.Logger.Warn("another program has put something into the directory; it stays in the store", "key", f.Key)
			continue
		}
		failed[f.Key] = f
	}
	if err == nil || len(named) > 0 {
		err = nil
		if uerr := c.cat.Update(func(tx *catalog.Tx) error {
			for _, key := range keys {
				if failed[key] == nil {
					if err := c.takeKey(tx, key, 0); err != nil {
						return err
					}
				}
			}
			return nil
		}); uerr != nil {
			err = uerr
		}
	}
	for _, it := range batch {
		itemErr := err
		if itemErr == nil {
			itemErr = failed[it.id.key]
		}
		c.finish(it, itemErr == nil, itemErr)
	}
}
