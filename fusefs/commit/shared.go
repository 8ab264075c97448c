package commit

import (
	"errors"
	"fmt"
	"syscall"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
)

// In a store that is shared (Options.Shared) every request that changes an object says which version it replaces or deletes, or
// that there must be none. When that does not hold another mount was first: its version stands, and the change is given
// up here and handed to Content.Lose. A store that does not check a DELETE is asked with a HEAD before it. Copies are not
// sent, since no condition of theirs is for what they replace: the bytes travel (the store that is given to New says so).

// LostError says that another mount was first. It is ESTALE.
type LostError struct {
	Key  string
	have *provider.Object // what is there now; nil: nothing
}

// Error names the object.
func (e *LostError) Error() string {
	return fmt.Sprintf("another mount has changed %q first: its version stands", e.Key)
}

// Unwrap returns ESTALE.
func (e *LostError) Unwrap() error { return syscall.ESTALE }

// Lost is what a mount is told of a change that it has to give up.
type Lost struct {
	Ino    uint64 // whose change it was; 0: of an object that was to be deleted
	Key    string // where the other version is
	OldKey string // what is stored for the inode; empty: nothing
	Have   *provider.Object
}

// refused reports whether a request was refused because its condition did not hold.
func refused(err error, cond provider.Condition) bool {
	return provider.Is(err, provider.KindPrecondition) || cond.Version != "" && provider.Is(err, provider.KindNotFound)
}

// sharedCondition is the condition of a request that must have one, when the catalog does not know the version of what it replaces.
func (c *Committer) sharedCondition(p plan, tag string) (provider.Condition, error) {
	_, cond, _, err := c.contend(p, tag, provider.Condition{Absent: true})
	return cond, err
}

// contend looks at what is really at a key after cond did not hold. An object of this catalog is one that was known here when
// the change was made. mine: it is what the request has made. *LostError: it is another mount's, or that has deleted it.
func (c *Committer) contend(p plan, tag string, cond provider.Condition) (have provider.Object, next provider.Condition, mine bool, err error) {
	have, err = c.store.Stat(c.ctx, p.key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		if cond.Version != "" {
			return have, cond, false, &LostError{Key: p.key}
		}
		return have, provider.Condition{Absent: true}, false, nil
	case err != nil:
		return have, cond, false, err
	case have.Metadata[provider.MetaPut] == tag:
		return have, cond, true, nil
	case c.isOwn(have):
		return have, provider.Condition{Version: have.Version}, false, nil
	}
	return have, cond, false, &LostError{Key: p.key, have: &have}
}

// deleteShared deletes an object in the version that was doomed.
func (c *Committer) deleteShared(key string, urgent bool) error {
	var d catalog.Doomed
	err := c.cat.View(func(tx *catalog.Tx) (err error) {
		d, _, err = tx.DoomedAt(key)
		return err
	})
	if err != nil {
		return err
	}
	have, err := c.store.Stat(c.ctx, key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		return nil
	case err != nil:
		return err
	case (d.Version == "" || d.Version != have.Version) && !c.isOwn(have):
		return c.loseDelete(key, &have)
	}
	o := provider.DeleteOptions{}
	if c.caps.DeleteIfVersion {
		o.IfVersion = have.Version
	}
	err = c.store.Delete(c.watched(c.sending(urgent), lateDelete, source{}, key), o, key)
	if provider.Is(err, provider.KindPrecondition) {
		return c.loseDelete(key, nil)
	}
	return err
}

// loseDelete gives up deleting an object.
func (c *Committer) loseDelete(key string, have *provider.Object) error {
	if err := c.cat.Update(func(tx *catalog.Tx) error { return c.takeKey(tx, key, 0) }); err != nil {
		return err
	}
	if err := c.content.Lose(Lost{Key: key, Have: have}); err != nil {
		return err
	}
	return &LostError{Key: key, have: have}
}

// lose gives up a change of an inode that failed with err because another mount was first; other errors come back as they are.
// What a staged file needs of an object that is not there any more is as lost.
func (c *Committer) lose(p plan, err error) error {
	if !c.o.Shared || !errors.Is(err, syscall.ESTALE) {
		return err
	}
	lost := &LostError{Key: p.key}
	if !errors.As(err, &lost) {
		have, serr := c.store.Stat(c.ctx, p.key)
		switch {
		case serr == nil:
			lost.have = &have
		case !provider.Is(serr, provider.KindNotFound):
			return serr
		}
	}
	c.o.Logger.Warn("another mount was first: its version stands, and the change that was made here is given up", "key", p.key)
	if gaveUp := c.content.Lose(Lost{Ino: p.n.Ino, Key: p.key, OldKey: p.n.Key, Have: lost.have}); gaveUp != nil {
		return gaveUp
	}
	return lost
}
