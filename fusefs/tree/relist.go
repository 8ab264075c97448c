package tree

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// A listing of a directory that was listed before is inspected: what it tells that was not known, or does not tell any more, is
// asked for by itself where the store's listings are not to be believed.
//
//   - MinIO lists directories below which there is no key, after a delete in them met another request.
//   - A listing that is not Consistent may tell of what this mount has deleted, not of what it has stored, and of what it has
//     replaced.
//
// A first listing, in which all is news, is believed.

// inspected reports whether a listing is not the directory's first: it has entries already, or something in it differs from what
// was known.
func (t *Tree) inspected(tx *catalog.Tx, ino uint64) (bool, error) {
	t.suspects.mu.Lock()
	_, suspect := t.suspects.dirs[ino]
	t.suspects.mu.Unlock()
	if suspect {
		return true, nil
	}
	return tx.HasChildren(ino)
}

// inspect takes out of a page what is not there, and corrects what is otherwise; with the last page it notes as seen what was
// not listed and is there.
func (l *listing) inspect(ctx context.Context, page *provider.Page) error {
	var dirs, files []string
	err := l.t.cat.View(func(tx *catalog.Tx) error {
		for _, o := range page.Objects {
			news, err := l.isNews(tx, o)
			switch {
			case err != nil:
				return err
			case news && o.IsDir():
				dirs = append(dirs, o.Key)
			case news:
				files = append(files, o.Key)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	found, err := l.ask(ctx, dirs, files)
	if err != nil {
		return err
	}
	kept := page.Objects[:0]
	for _, o := range page.Objects {
		now, asked := found[o.Key]
		switch {
		case asked && now == nil:
			continue
		case asked && !o.IsDir():
			o = *now
		}
		kept = append(kept, o)
	}
	page.Objects = kept
	if page.Next != "" || l.t.caps.Consistent {
		return nil
	}
	return l.inspectMissing(ctx, page.Objects)
}

// isNews reports whether an object is to be asked for by itself.
func (l *listing) isNews(tx *catalog.Tx, o provider.Object) (bool, error) {
	if o.Key == l.prefix || strings.HasPrefix(o.Key, provider.Reserved) {
		return false, nil
	}
	component := strings.TrimSuffix(o.Key[len(l.prefix):], "/")
	if !keycodec.Valid(component) {
		return false, nil
	}
	have, err := tx.Child(l.ino, keycodec.Decode(component))
	if err != nil && !catalog.IsNotFound(err) {
		return false, err
	}
	known := err == nil
	if o.IsDir() {
		return !known && !l.t.caps.Directories, nil
	}
	return !l.t.caps.Consistent && (!known || have.IsDir() || have.Key != o.Key || have.Version != o.Version || have.StoredSz != o.Size), nil
}

// inspectParallel is how many requests inspect has under way.
const inspectParallel = 8

// ask asks for files, and for something below directories: by key, what is there; nil: nothing.
func (l *listing) ask(ctx context.Context, dirs, files []string) (map[string]*provider.Object, error) {
	found := map[string]*provider.Object{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inspectParallel)
	each := func(keys []string, look func(context.Context, string) (*provider.Object, error)) {
		for _, key := range keys {
			g.Go(func() error {
				o, err := look(ctx, key)
				mu.Lock()
				defer mu.Unlock()
				found[key] = o
				return err
			})
		}
	}
	each(dirs, l.t.lookBelow)
	each(files, l.t.look)
	return found, g.Wait()
}

// look returns the object at a key; nil if there is none.
func (t *Tree) look(ctx context.Context, key string) (*provider.Object, error) {
	o, err := t.store.Stat(ctx, key)
	if provider.Is(err, provider.KindNotFound) {
		return nil, nil
	}
	return &o, err
}

// lookBelow returns the first object below a directory; nil if there is none.
func (t *Tree) lookBelow(ctx context.Context, dir string) (*provider.Object, error) {
	page, err := t.store.List(ctx, provider.ListOptions{Prefix: dir, Flat: true, Limit: 1})
	if err != nil || len(page.Objects) == 0 {
		return nil, err
	}
	if t.caps.Consistent {
		return &page.Objects[0], nil
	}
	return t.look(ctx, page.Objects[0].Key)
}

// missedBelow is how many objects below a directory that was not listed are asked for, until one is found.
const missedBelow = 8

// inspectMissing notes as seen the rows that the last page, with these objects, and those before it do not tell of, and that are
// in the store.
func (l *listing) inspectMissing(ctx context.Context, objects []provider.Object) error {
	last := map[string]bool{}
	for _, o := range objects {
		if component := strings.TrimSuffix(o.Key[len(l.prefix):], "/"); keycodec.Valid(component) {
			last[keycodec.Decode(component)] = true
		}
	}
	names := map[string]string{} // by key: which name is there if that is
	var keys []string
	err := l.t.cat.View(func(tx *catalog.Tx) error {
		return eachChild(tx, l.ino, func(row *catalog.Inode) error {
			if l.seen[row.Name] || last[row.Name] || pendingRow(row) {
				return nil
			}
			some, err := storedKeys(tx, row)
			for _, key := range some {
				names[key] = row.Name
			}
			keys = append(keys, some...)
			return err
		})
	})
	if err != nil {
		return err
	}
	found, err := l.ask(ctx, nil, keys)
	for key, o := range found {
		if o != nil {
			l.seen[names[key]] = true
		}
	}
	return err
}

// storedKeys returns the key of a file's object, or of some objects in a directory and below.
func storedKeys(tx *catalog.Tx, row *catalog.Inode) (keys []string, err error) {
	rows, err := withBelow(tx, row)
	for _, n := range rows {
		if n.Key != "" && len(keys) < missedBelow {
			keys = append(keys, n.Key)
		}
	}
	return keys, err
}
