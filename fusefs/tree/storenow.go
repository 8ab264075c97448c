package tree

import (
	"context"

	"sharefs/fusefs/catalog"
)

// storeNow returns when the inodes are in the store and that is durable here, or with the first error of storing one.
func (t *Tree) storeNow(ctx context.Context, inos ...uint64) error {
	if err := t.commit.Sync(ctx, inos...); err != nil {
		return err
	}
	return t.cat.Sync()
}

// NotStored is the error of a call that was done but, with CommitSync, could not be stored: the change stays, and pending.
type NotStored struct{ Err error }

// Error is that of storing it.
func (e *NotStored) Error() string { return "not stored yet: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NotStored) Unwrap() error { return e.Err }

// With CommitSync a call that changes the namespace returns when the store has the change. An error of storing it is
// the call's, but the change stays, here and pending: as with a network disk, what failed may have been done. A
// file that is open for writing goes to the store with its close, so that nothing torn does: until then its attributes wait.

// follow stores what a call has changed, and deletes the objects at the keys, if asked to.
func (t *Tree) follow(ctx context.Context, inos []uint64, keys ...string) error {
	if !t.o.CommitSync {
		return nil
	}
	err := t.storeNow(ctx, inos...)
	if err == nil {
		err = t.deleteNow(ctx, keys...)
	}
	if err != nil {
		return &NotStored{err}
	}
	return nil
}

// followAttrs is follow for a change of an inode's attributes or size by name.
func (t *Tree) followAttrs(ctx context.Context, n *node) error {
	if n.writable() {
		n.unfollowed.Add(1)
		if n.writable() {
			return nil
		}
	}
	return t.follow(ctx, []uint64{n.ino})
}

// deleteNow returns when the objects at the keys that are doomed are gone, those below keys that end in "/" among them.
func (t *Tree) deleteNow(ctx context.Context, keys ...string) error {
	var doomed []string
	err := t.cat.View(func(tx *catalog.Tx) error {
		for _, key := range keys {
			if key == "" {
				continue
			}
			list, err := tx.DoomedBelow(key, 1<<20)
			if err != nil {
				return err
			}
			for _, d := range list {
				if (d.Key == key || key[len(key)-1] == '/') && t.Held(d.Key) == 0 {
					doomed = append(doomed, d.Key)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.commit.SyncDoomed(ctx, doomed...); err != nil {
		return err
	}
	return t.cat.Sync()
}
