package tree

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider/keycodec"
)

// errUnknown says that something has to be listed before a rename can be decided.
type errUnknown struct{ ino uint64 }

func (errUnknown) Error() string { return "a directory is not wholly known" }

// Rename gives an inode another name. What was there is replaced, as rename(2) has it. In the catalog it is one
// transaction, whatever it moves; the store follows.
func (t *Tree) Rename(ctx context.Context, oldParent uint64, oldName string, newParent uint64, newName string, flags uint32) error {
	if t.readOnly() {
		return syscall.EROFS
	}
	if flags != 0 && flags != RenameNoReplace && flags != RenameExchange {
		return syscall.EINVAL
	}
	call := fmt.Sprintf("rename %d/%s to %d/%s", oldParent, oldName, newParent, newName)
	if t.repeated(call) {
		return syscall.ESTALE
	}
	for {
		for _, dir := range []uint64{oldParent, newParent} {
			if err := t.complete(ctx, dir); err != nil {
				return err
			}
		}
		var done renamed
		err := t.cat.Update(func(tx *catalog.Tx) (err error) {
			if flags == RenameExchange {
				done, err = t.exchange(tx, oldParent, oldName, newParent, newName)
				return err
			}
			done, err = t.rename(tx, oldParent, oldName, newParent, newName, flags)
			return err
		})
		if err == nil {
			err = t.follow(ctx, done.inos, done.keys...)
			t.lost(call, err)
			return err
		}
		var unknown errUnknown
		if !errors.As(err, &unknown) {
			return err
		}
		if err := t.completeBelow(ctx, unknown.ino); err != nil {
			return err
		}
	}
}

// renamed is what a rename concerns in the store.
type renamed struct {
	inos []uint64 // whose keys have changed
	keys []string // that are free when it is done: of an object, or with "/" at the end of all below
}

func (t *Tree) rename(tx *catalog.Tx, oldParent uint64, oldName string, newParent uint64, newName string, flags uint32) (renamed, error) {
	row, err := tx.Child(oldParent, oldName)
	if err != nil {
		return renamed{}, errNoName(err)
	}
	if err := t.mayGo(tx, row, newParent, newName); err != nil {
		return renamed{}, err
	}
	done := renamed{inos: []uint64{row.Ino}, keys: []string{row.Key}}
	if row.IsDir() {
		if done.keys[0], err = tx.Key(row); err != nil {
			return renamed{}, err
		}
	}
	var replaces time.Time // since when what is replaced waits to be stored
	over, err := tx.Child(newParent, newName)
	switch {
	case catalog.IsNotFound(err):
	case err != nil:
		return renamed{}, err
	case flags&RenameNoReplace != 0:
		return renamed{}, syscall.EEXIST
	case over.Ino == row.Ino:
		return renamed{}, nil
	default:
		if err := mayReplace(tx, row, over); err != nil {
			return renamed{}, err
		}
		replaces = over.Dirty
		done.keys = append(done.keys, over.Key)
		if err := t.detach(tx, over); err != nil {
			return renamed{}, err
		}
	}
	row.Parent, row.Name, row.Ctime = newParent, newName, t.o.Now()
	if !replaces.IsZero() && (row.Dirty.IsZero() || replaces.Before(row.Dirty)) {
		row.Dirty = replaces // so that a file that is always replaced before it is stored gets its turn
	}
	below, err := t.putMoved(tx, row)
	if err != nil {
		return renamed{}, err
	}
	emptied, err := t.touchParents(tx, oldParent, newParent)
	done.inos = append(append(done.inos, below...), emptied...)
	return done, err
}

// touchParents notes a rename in the directories, and returns the one that it has emptied.
func (t *Tree) touchParents(tx *catalog.Tx, oldParent, newParent uint64) (emptied []uint64, err error) {
	from, err := tx.Get(oldParent)
	if err != nil {
		return nil, err
	}
	if emptied, err = t.leave(tx, from); err != nil || oldParent == newParent {
		return emptied, err
	}
	to, err := tx.Get(newParent)
	if err != nil {
		return nil, err
	}
	to.Mtime = t.o.Now()
	to.Ctime = to.Mtime
	return emptied, tx.Put(to)
}

// mayMoveDir checks that a directory does not go below itself, that all of it is known, and that the keys below it stay
// within the store's limit.
func (t *Tree) mayMoveDir(tx *catalog.Tx, row, to *catalog.Inode, name string) error {
	for at := to; at.Ino != Root; {
		if at.Ino == row.Ino {
			return syscall.EINVAL
		}
		up, err := tx.Get(at.Parent)
		if err != nil {
			return errGone(err)
		}
		at = up
	}
	todo, err := tx.IncompleteBelow(row.Ino)
	if err != nil {
		return err
	}
	if len(todo) > 0 {
		return errUnknown{row.Ino}
	}
	if t.caps.MaxKey == 0 {
		return nil
	}
	from, err := tx.Key(row)
	if err != nil {
		return err
	}
	prefix, err := tx.Key(to)
	if err != nil {
		return err
	}
	longest, err := tx.LongestKeyBelow(row.Ino)
	if err != nil {
		return err
	}
	if longest > 0 && longest-len(from)+len(prefix)+len(keycodec.Encode(name))+1 > t.caps.MaxKey {
		return syscall.ENAMETOOLONG
	}
	return nil
}

// mayReplace checks that over may be replaced by row.
func mayReplace(tx *catalog.Tx, row, over *catalog.Inode) error {
	switch {
	case row.IsDir() && !over.IsDir():
		return syscall.ENOTDIR
	case !row.IsDir() && over.IsDir():
		return syscall.EISDIR
	case !over.IsDir():
		return nil
	case !over.Complete:
		return errUnknown{over.Ino}
	}
	return mustBeEmpty(tx, over)
}
