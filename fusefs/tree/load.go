package tree

import (
	"context"
	"errors"
	"sync"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
)

// maxSymlink is the longest target of a symlink: a larger object cannot be one.
const maxSymlink = 4095

// load is something that is being fetched, for all who wait for it.
type load struct {
	done chan struct{}
	err  error
}

// once runs f for a key of loads unless it runs already, and waits for it. f runs with the tree's context: a waiter that
// gives up does not stop it for the others.
func (t *Tree) once(ctx context.Context, loads map[uint64]*load, key uint64, f func(context.Context) error) error {
	t.mu.Lock()
	l := loads[key]
	if l == nil {
		l = &load{done: make(chan struct{})}
		loads[key] = l
		t.wg.Add(1)
		go func() {
			defer t.wg.Done()
			ctx, cancel := context.WithTimeout(t.ctx, t.o.IOTimeout)
			defer cancel()
			l.err = f(ctx)
			t.mu.Lock()
			delete(loads, key)
			t.mu.Unlock()
			close(l.done)
		}()
	}
	t.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// complete makes all children of a directory known: one listing, if they are not.
func (t *Tree) complete(ctx context.Context, ino uint64) error {
	for {
		row, err := t.dir(ino)
		if err != nil || row.Complete {
			return err
		}
		if err := t.once(ctx, t.loads, ino, func(ctx context.Context) error { return t.list(ctx, ino) }); err != nil {
			return err
		}
	}
}

// newRow returns a row with the defaults, not yet put.
func (t *Tree) newRow(tx *catalog.Tx, parent uint64, name string) (*catalog.Inode, error) {
	ino, err := tx.NewIno()
	now := t.o.Now()
	return &catalog.Inode{Ino: ino, Parent: parent, Name: name, UID: t.o.UID, GID: t.o.GID,
		Atime: now, Mtime: now, Ctime: now}, err
}

// applyAttrs puts onto a row what an object's metadata says, and the defaults for what it does not.
func (t *Tree) applyAttrs(row *catalog.Inode, o provider.Object) {
	a := provider.ParseAttrs(o.Metadata)
	if a.Has&provider.HasMode != 0 {
		kind := row.Mode & provider.ModeType
		if kind == provider.ModeFile && a.Mode&provider.ModeType == provider.ModeSymlink && o.Size <= maxSymlink {
			kind = provider.ModeSymlink
		}
		row.Mode = kind | a.Mode&0o7777
	}
	if a.Has&provider.HasUID != 0 {
		row.UID = a.UID
	}
	if a.Has&provider.HasGID != 0 {
		row.GID = a.GID
	}
	if a.Has&provider.HasMtime != 0 {
		row.Mtime, row.Atime, row.Ctime = a.Mtime, a.Mtime, a.Mtime
	}
	if a.Has&provider.HasCtime != 0 {
		row.Ctime = a.Ctime
	}
	if a.Has&provider.HasAtime != 0 {
		row.Atime = a.Atime
	}
	row.Xattrs = a.Xattrs
	row.Foreign, row.ContentType = nil, o.ContentType
	for name, value := range o.Metadata {
		switch name {
		case provider.MetaMode, provider.MetaUID, provider.MetaGID, provider.MetaMtime, provider.MetaCtime,
			provider.MetaAtime, provider.MetaXattr, provider.MetaPut:
		default:
			if provider.CheckMetadata(provider.Metadata{name: value}, provider.Capabilities{}) != nil {
				continue // it could not be sent back
			}
			if row.Foreign == nil {
				row.Foreign = provider.Metadata{}
			}
			row.Foreign[name] = value
		}
	}
	row.Known = true
}

// knownAttrs returns the row of an inode with its attributes: they are fetched, with those of the next siblings, when they
// are not known yet.
func (t *Tree) knownAttrs(ctx context.Context, ino uint64) (*catalog.Inode, error) {
	for {
		var row *catalog.Inode
		err := t.cat.View(func(tx *catalog.Tx) (err error) {
			row, err = tx.Get(ino)
			return err
		})
		if err != nil || row.Known {
			return row, err
		}
		t.fetchAhead(row)
		if err := t.once(ctx, t.attrs, ino, func(ctx context.Context) error { return t.fetchAttrs(ctx, ino) }); err != nil {
			return nil, err
		}
	}
}

// maxAhead bounds how many attributes are fetched ahead.
const maxAhead = 256

// fetchAhead fetches the attributes of the siblings that follow, more of them each time: who asks for one after the other
// gets them all in parallel, who asks for one pays for one.
func (t *Tree) fetchAhead(row *catalog.Inode) {
	t.mu.Lock()
	ahead := t.ahead[row.Parent]
	if len(t.ahead) > 1024 {
		clear(t.ahead)
	}
	t.ahead[row.Parent] = min(max(2*ahead, 1), maxAhead)
	t.mu.Unlock()
	if ahead == 0 {
		return
	}
	var next []*catalog.Inode
	err := t.cat.View(func(tx *catalog.Tx) (err error) {
		next, err = tx.AttrsUnknown(row.Parent, row.Ino+1, ahead)
		return err
	})
	if err != nil {
		return // whoever needs them will be told
	}
	for _, n := range next {
		t.wg.Go(func() {
			_ = t.once(t.ctx, t.attrs, n.Ino, func(ctx context.Context) error { return t.fetchAttrs(ctx, n.Ino) })
		})
	}
}

// fetchAttrs fetches an inode's attributes: one HEAD.
func (t *Tree) fetchAttrs(ctx context.Context, ino uint64) error {
	select {
	case t.attrSem <- struct{}{}:
		defer func() { <-t.attrSem }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var key string
	var seen *catalog.Inode
	err := t.cat.View(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		if err != nil || row.Known {
			return err
		}
		seen = row
		if key = row.Key; key == "" {
			key, err = tx.Key(row)
		}
		return err
	})
	if err != nil || key == "" {
		return err
	}
	if seen.IsFile() && seen.Key == "" && seen.PutKey != "" {
		// A power loss left nothing of the file but a request whose fate is not known. What is at the key now may be
		// another file's that was to be replaced.
		return t.awaitSettled(ctx, ino, key)
	}
	o, err := t.store.Stat(ctx, key)
	gone := provider.Is(err, provider.KindNotFound)
	if err != nil && !gone {
		return err
	}
	unsettled := false
	err = t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		switch {
		case catalog.IsNotFound(err) || err == nil && row.Known:
			return nil
		case err != nil:
			return err
		case row.Key != seen.Key || row.Version != seen.Version || row.Parent != seen.Parent || row.Name != seen.Name:
			return nil // it was renamed or stored meanwhile: who needs the attributes asks again
		case gone && row.PutKey != "":
			unsettled = true
			return nil
		case !gone:
			return t.learnObject(tx, row, o)
		case row.IsDir():
			row.Known, row.Key, row.Version, row.Revision = true, "", "", "" // it has no marker
			return tx.Put(row)
		}
		// Listed, and gone: another program has deleted it.
		return tx.Delete(ino)
	})
	if err != nil || !unsettled {
		return err
	}
	return t.awaitSettled(ctx, ino, key) // it is being moved
}

// awaitSettled returns when it is known what became of the request that was sent for an inode.
func (t *Tree) awaitSettled(ctx context.Context, ino uint64, key string) error {
	if t.o.ReadOnly {
		return &provider.Error{Op: "stat", Key: key, Kind: provider.KindUnavailable, Err: errors.New("the object is being stored or moved")}
	}
	return t.commit.Sync(ctx, ino)
}

// learnObject brings a row that has no local changes up to date with its object.
func (t *Tree) learnObject(tx *catalog.Tx, row *catalog.Inode, o provider.Object) error {
	if row.Stage != 0 {
		return nil
	}
	if row.IsFile() && (o.Version != row.Version || o.Size != row.StoredSz) {
		id, err := tx.NewID()
		if err != nil {
			return err
		}
		row.Content = id
		t.Changed(tx, row.Ino)
		if row.Version != "" {
			tx.After(func() { t.noteUnseen(row.Ino) })
		}
	}
	t.setStored(row, o)
	t.applyAttrs(row, o)
	return tx.Put(row)
}

// setStored puts onto a row what every answer of the store tells of its object, and the defaults for what an answer with
// metadata may tell.
func (t *Tree) setStored(row *catalog.Inode, o provider.Object) {
	if row.IsDir() {
		row.Mode = provider.ModeDir | t.o.DirMode
	} else {
		row.Mode = provider.ModeFile | t.o.FileMode
		row.Size, row.StoredSz, row.Target = o.Size, o.Size, ""
	}
	row.UID, row.GID = t.o.UID, t.o.GID
	row.Key, row.Version, row.Revision = o.Key, o.Version, o.Revision
	if !o.ModTime.IsZero() {
		row.Atime, row.Mtime, row.Ctime = o.ModTime, o.ModTime, o.ModTime
	}
}

// changedBehind deals with an object that is not what the catalog says: another program has changed or deleted it. Who
// has the file open gets ESTALE; who opens it anew sees what is there now.
func (t *Tree) changedBehind(ctx context.Context, seen *catalog.Inode) {
	t.o.Logger.Warn("another program has changed or deleted the object of a file", "key", seen.Key)
	o, err := t.store.Stat(ctx, seen.Key)
	if err != nil && !provider.Is(err, provider.KindNotFound) {
		return // the next read tries again
	}
	gone := err != nil
	err = t.cat.Update(func(tx *catalog.Tx) error {
		row, err := tx.Get(seen.Ino)
		if err != nil || row.Key != seen.Key || row.Version != seen.Version || row.Stage != 0 || row.PutKey != "" || !row.Dirty.IsZero() {
			return err
		}
		if !gone {
			return t.learnObject(tx, row, o)
		}
		row.Key, row.Version, row.Revision = "", "", ""
		if row.Parent != 0 {
			return tx.Delete(row.Ino)
		}
		return tx.Put(row)
	})
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		t.o.Logger.Error("catalog", "err", err)
	}
}

// completeBelow makes everything below a directory known.
func (t *Tree) completeBelow(ctx context.Context, ino uint64) error {
	for {
		var todo []*catalog.Inode
		err := t.cat.View(func(tx *catalog.Tx) (err error) {
			todo, err = tx.IncompleteBelow(ino)
			return err
		})
		if err != nil || len(todo) == 0 {
			return err
		}
		if err := t.completeAll(ctx, todo); err != nil {
			return err
		}
	}
}

// completeAll lists directories, several at a time.
func (t *Tree) completeAll(ctx context.Context, dirs []*catalog.Inode) error {
	errs := make([]error, len(dirs))
	slots := make(chan struct{}, t.o.Parallel)
	var wg sync.WaitGroup
	for i, d := range dirs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = t.complete(ctx, d.Ino)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
