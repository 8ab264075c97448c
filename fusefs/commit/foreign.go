package commit

import (
	"strings"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
)

// Another program that changes an object behind the mount is noticed when a request for that key goes out. A Put says which
// version it replaces, where the store checks that. Everywhere else, deletes, copies, and stores that check nothing, it is
// noticed with Options.CheckForeign only, by a HEAD before the request. It is reported and counted; the mount's own change then
// stands, as the last write to a file on a shared disk does.

// Foreign returns how many objects that another program had changed, made or deleted were found in the place of what was
// stored or deleted, since the start.
func (c *Committer) Foreign() int64 { return c.foreign.Load() }

func (c *Committer) foundForeign(what, key string, have provider.Object) {
	c.foreign.Add(1)
	if what == "deleted" {
		c.o.Logger.Warn("another program has deleted the object; making it anew", "key", key)
		return
	}
	c.o.Logger.Warn("another program has changed the object; "+what+" it", "key", key, "version", have.Version, "modified", have.ModTime)
}

// isOwn reports whether an object was put by this catalog, with whatever request.
func (c *Committer) isOwn(o provider.Object) bool {
	return strings.HasPrefix(o.Metadata[provider.MetaPut], c.cat.ID()+"-")
}

// checkForeign looks at what is at the key of a request that carries no condition, if that is asked for.
func (c *Committer) checkForeign(p plan) error {
	if !c.o.CheckForeign {
		return nil
	}
	version, known := p.over, p.held
	if !known && p.n.Key == p.key {
		version, known = p.n.Version, true
	}
	return c.compareForeign("replacing", p.key, version, known)
}

// checkDoomed looks at objects that are about to be deleted.
func (c *Committer) checkDoomed(keys []string) error {
	if !c.o.CheckForeign {
		return nil
	}
	for _, key := range keys {
		var d catalog.Doomed
		err := c.cat.View(func(tx *catalog.Tx) (err error) {
			d, _, err = tx.DoomedAt(key)
			return err
		})
		if err == nil && d.Version != "" {
			err = c.compareForeign("deleting", key, d.Version, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareForeign compares what is at a key with what the catalog knows of it: nothing, or a version; an empty one can be any.
func (c *Committer) compareForeign(what, key string, version provider.Version, known bool) error {
	if strings.HasPrefix(key, provider.Reserved) {
		return nil
	}
	have, err := c.store.Stat(c.ctx, key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		if known && version != "" && what != "deleting" {
			c.foundForeign("deleted", key, have)
		}
		return nil
	case err != nil:
		return err
	case c.isOwn(have) || known && (version == "" || version == have.Version):
		return nil
	}
	c.foundForeign(what, key, have)
	return nil
}
