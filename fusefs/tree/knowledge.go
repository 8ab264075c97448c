package tree

import (
	"time"

	"sharefs/fusefs/catalog"
)

// trust says how much of what the catalog knows of the store is believed at a mount.
type trust uint8

const (
	// trustNothing: another writer was there, this is an older copy of the catalog, or nobody knows. Every directory is listed
	// once more when it is used, and all are compared with the store in the background.
	trustNothing trust = iota
	// trustChecked: the last mount was this catalog's and was killed. What it knows is believed, and compared with the
	// store in the background: somebody may have put back an older copy of the catalog since.
	trustChecked
	// trustAll: nobody but the mounts of this catalog has written, and the last one ended in good order. Nothing is asked.
	trustAll
)

// doubt makes every directory incomplete if the catalog is not trusted.
func (t *Tree) doubt(how trust) error {
	if how != trustNothing {
		return nil
	}
	return t.cat.Update(func(tx *catalog.Tx) error { return tx.DoubtAll() })
}

// compareInBackground compares the catalog with the store, if there is need to, while the mount serves.
func (t *Tree) compareInBackground(how trust) {
	if how == trustAll || t.othersChange() {
		return
	}
	u := t.cat.Usage()
	if u.Files == 0 && u.Dirs == 0 { // nothing is known
		return
	}
	t.uncompared.Store(true)
	t.wg.Go(func() {
		for wait := time.Second; ; wait = min(2*wait, time.Minute) {
			found, err := t.Reconcile(t.ctx, nil)
			if t.ctx.Err() != nil {
				return
			}
			if err == nil {
				t.uncompared.Store(false)
				t.o.Logger.Info("the catalog has been compared with the store", "objects", found.Objects, "directories_that_differ", found.Directories,
					"took", found.Duration.Round(time.Millisecond))
				return
			}
			t.o.Logger.Warn("the catalog cannot be compared with the store yet", "err", err)
			select {
			case <-time.After(wait):
			case <-t.ctx.Done():
				return
			}
		}
	})
}

// expire makes a directory of a mount whose store others may change incomplete when its listing is too old.
func (t *Tree) expire(ino uint64) {
	if !t.othersChange() || t.o.Revalidate <= 0 {
		return
	}
	time.AfterFunc(t.o.Revalidate, func() {
		if t.ctx.Err() != nil {
			return
		}
		_ = t.cat.Update(func(tx *catalog.Tx) error { // an error shows at the next use of the catalog
			row, err := tx.Get(ino)
			if err != nil || !row.Complete {
				return err
			}
			row.Complete = false
			return tx.Put(row)
		})
	})
}

// judge says how much of the catalog is believed.
func (t *Tree) judge() trust {
	switch {
	case t.before == nil || t.superseded:
		return trustNothing
	case t.before.Released && t.before.Token == t.last.Token && !t.o.CheckForeign && !t.wasUnsure():
		return trustAll
	}
	return trustChecked
}

// unsureNumber is the name of the number that says that the last mount ended before all that it doubted was looked at.
const unsureNumber = "unsure"

func (t *Tree) wasUnsure() bool {
	var n uint64
	err := t.cat.View(func(tx *catalog.Tx) (err error) {
		n, err = tx.Number(unsureNumber)
		return err
	})
	return err != nil || n != 0
}

// noteUnsure keeps for the next mount whether something is doubted still. It comes last, when nothing changes any more.
func (t *Tree) noteUnsure() error {
	now := uint64(0)
	if t.uncompared.Load() || t.Suspects() > 0 {
		now = 1
	}
	if was := t.wasUnsure(); was == (now != 0) {
		return nil
	}
	return t.cat.Update(func(tx *catalog.Tx) error { return tx.SetNumber(unsureNumber, now) })
}
