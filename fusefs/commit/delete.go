package commit

import (
	"slices"
	"strings"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/failpoint"
	"sharefs/provider"
)

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
	if c.o.Shared { // one at a time: see Capabilities.MaxDeleteBatch of the store that is given to New
		return c.deleteShared(keys[0], urgent)
	}
	if err := c.checkDoomed(keys); err != nil {
		return err
	}
	err = c.store.Delete(c.watched(c.sending(urgent), lateDelete, source{}, keys...), provider.DeleteOptions{}, keys...)
	if provider.Unanswered(err) {
		c.noteLate(lateDelete, source{}, keys...)
	}
	return err
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
