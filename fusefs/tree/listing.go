package tree

import (
	"context"
	"strings"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/commit"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// listing is one directory's listing while it is taken into the catalog.
//
// Nothing in a directory is changed through the mount before it is complete. So a row that is there already and has nothing
// pending is what an earlier listing told, or what this mount stored; where it is not what the store has now, another
// program has been there, and the store is right. Rows with something pending stay as they are, and objects that this mount
// is about to delete or to move are no news; then the directory is listed once more when that is done. What is stored
// while the listing is under way, below the directory or in an open file, is newer than what it tells.
type listing struct {
	t      *Tree
	ino    uint64
	prefix string
	began  time.Time
	watch  *commit.Watch              // of what this mount stores while the listing is under way
	seen   map[string]bool            // names that the listing told
	files  map[string]provider.Object // files that have the name of a known directory, which may come later
	marker bool
	key    string // of the marker that was known before
	again  bool   // something of ours is under way
	doubt  bool   // it tells of what this mount has deleted since, and another one may have made anew: the next one counts
	news   []news // what the kernel may believe to be otherwise
}

// news is a name whose inode has come, gone or changed.
type news struct {
	name string
	ino  uint64
}

func (l *listing) tell(name string, ino uint64) { l.news = append(l.news, news{name, ino}) }

// list lists a directory and makes rows of what is there.
func (t *Tree) list(ctx context.Context, ino uint64) error {
	l := &listing{t: t, ino: ino, began: time.Now(), seen: map[string]bool{}, files: map[string]provider.Object{}}
	if t.commit != nil {
		l.watch = t.commit.Watch()
		defer l.watch.End()
	}
	known, inspected := false, false
	err := t.cat.View(func(tx *catalog.Tx) error {
		row, err := tx.Get(ino)
		if err != nil {
			return err
		}
		known, l.key = row.Complete, row.Key
		if l.prefix, err = tx.Key(row); err != nil {
			return err
		}
		inspected, err = t.inspected(tx, ino)
		return err
	})
	if err != nil || known { // known: another listing has just ended, and the directory may be changed from here on
		return err
	}
	for token := ""; ; {
		page, err := t.store.List(ctx, provider.ListOptions{Prefix: l.prefix, Token: token})
		if err != nil {
			return err
		}
		if inspected {
			if err := l.inspect(ctx, &page); err != nil {
				return err
			}
		}
		if err := t.cat.Update(func(tx *catalog.Tx) error { return l.page(tx, page) }); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		token = page.Next
	}
	if l.again {
		t.suspect(ino)
	}
	t.listed(l)
	t.expire(ino)
	return nil
}

// page takes one page into the catalog; with the last one the directory is complete.
func (l *listing) page(tx *catalog.Tx, page provider.Page) error {
	for _, o := range page.Objects {
		var err error
		if o.Key == l.prefix {
			l.marker, err = true, l.learnMarker(tx, o)
		} else {
			err = l.learn(tx, o)
		}
		if err != nil {
			return err
		}
	}
	if page.Next != "" {
		return nil
	}
	for name, o := range l.files {
		if err := l.replaceDir(tx, name, o); err != nil {
			return err
		}
	}
	if err := l.forgetRest(tx); err != nil {
		return err
	}
	row, err := tx.Get(l.ino)
	if err != nil {
		return err
	}
	row.Complete = !l.doubt
	if !l.marker && !l.beingStored(row) {
		row.Known = true // without a marker there is nothing to know
		row.Key, row.Version, row.Revision = "", "", ""
	}
	return tx.Put(row)
}

// learnMarker notes that the directory has a marker.
func (l *listing) learnMarker(tx *catalog.Tx, o provider.Object) error {
	row, err := tx.Get(l.ino)
	if err != nil || row.Ino == Root || l.beingStored(row) {
		return err
	}
	if row.Revision != "" && row.Revision != o.Revision {
		row.Known = false
	}
	row.Key, row.Version, row.Revision = o.Key, o.Version, o.Revision
	l.attrs(row, o)
	return tx.Put(row)
}

// beingStored reports whether the directory's own marker is being stored, or was since the listing began: then the
// listing does not tell of it.
func (l *listing) beingStored(row *catalog.Inode) bool {
	return row.Key != l.key || row.PutKey != "" || !row.Dirty.IsZero() || l.watch.Recorded(row.Ino)
}

// attrs takes a row's attributes from a listing, if it tells them or is all that is asked.
func (l *listing) attrs(row *catalog.Inode, o provider.Object) {
	if !row.Known && (o.Metadata != nil || l.t.o.Attributes == AttributesListed) {
		l.t.applyAttrs(row, o)
	}
}

// learn makes a row of one object, or brings the one that is there up to date.
func (l *listing) learn(tx *catalog.Tx, o provider.Object) error {
	component := strings.TrimSuffix(o.Key[len(l.prefix):], "/")
	if l.ino == Root && component == reservedName {
		return nil
	}
	if !keycodec.Valid(component) {
		l.t.hidden.Add(1)
		l.t.o.Logger.Debug("a key that is no path is not shown", "key", o.Key)
		return nil
	}
	name := keycodec.Decode(component)
	changed := l.t.own.since(o.Key, l.began)
	have, err := tx.Child(l.ino, name)
	switch {
	case catalog.IsNotFound(err):
		ours, err := underWay(tx, o.Key)
		if err != nil || ours {
			l.again = l.again || ours
			return err
		}
		l.seen[name] = true
		if changed {
			l.doubt = true
			return nil
		}
		return l.add(tx, name, o)
	case err != nil:
		return err
	case changed || l.watch.Recorded(have.Ino):
		l.seen[name] = true
		return nil
	case have.IsDir() && !o.IsDir():
		l.files[name] = o
		return nil
	case !have.IsDir() && o.IsDir() && pendingRow(have):
		l.seen[name], l.again = true, true
		return nil
	case !have.IsDir() && o.IsDir():
		if l.seen[name] { // both "a" and "a/..." exist: the directory shows, the object stays as it is
			l.t.hidden.Add(1)
		}
		l.seen[name] = true
		l.tell(name, have.Ino)
		if err := tx.Delete(have.Ino); err != nil {
			return err
		}
		return l.add(tx, name, o)
	}
	l.seen[name] = true
	if have.IsDir() {
		return l.known(tx, have, o)
	}
	return l.update(tx, have, o)
}

// add makes a row of an object.
func (l *listing) add(tx *catalog.Tx, name string, o provider.Object) error {
	row, err := l.t.newRow(tx, l.ino, name)
	if err != nil {
		return err
	}
	row.Mode = provider.ModeFile
	if o.IsDir() {
		row.Mode = provider.ModeDir
	} else if row.Content, err = tx.NewID(); err != nil {
		return err
	}
	l.t.setStored(row, o)
	if o.IsDir() && o.Revision == "" {
		row.Key, row.Version = "", "" // only a common prefix: whether it has a marker is not known
	}
	l.attrs(row, o)
	l.tell(name, 0)
	return tx.Put(row)
}

// known brings a directory's row up to date, as far as the listing above it tells.
func (l *listing) known(tx *catalog.Tx, row *catalog.Inode, o provider.Object) error {
	if o.Revision == "" || o.Metadata == nil {
		return nil
	}
	row.Key, row.Version, row.Revision, row.Known = o.Key, o.Version, o.Revision, false
	l.attrs(row, o)
	return tx.Put(row)
}

// update brings the row of a file or symlink up to date.
func (l *listing) update(tx *catalog.Tx, row *catalog.Inode, o provider.Object) error {
	switch {
	case pendingRow(row):
		return nil
	case row.Key == o.Key && row.Version == o.Version && row.StoredSz == o.Size && row.Revision == o.Revision:
		return nil
	case row.Key == o.Key && row.Version == o.Version && row.Version != "" && row.Revision == "":
		row.Revision = o.Revision // the answer to our own request did not tell it
		return tx.Put(row)
	}
	if row.Version != o.Version || row.Version == "" || row.StoredSz != o.Size {
		id, err := tx.NewID()
		if err != nil {
			return err
		}
		row.Content = id
		if row.Version != o.Version || row.StoredSz != o.Size || row.Revision != "" {
			l.t.Changed(tx, row.Ino)
		}
	}
	l.t.setStored(row, o)
	row.Known = false
	l.attrs(row, o)
	l.tell(row.Name, row.Ino)
	return tx.Put(row)
}

// replaceDir shows a file in the place of a directory that was known, unless the directory was listed too.
func (l *listing) replaceDir(tx *catalog.Tx, name string, o provider.Object) error {
	if l.seen[name] {
		l.t.hidden.Add(1)
		return nil
	}
	row, err := tx.Child(l.ino, name)
	if err != nil {
		return err
	}
	l.seen[name] = true
	gone, err := l.forget(tx, row)
	if err != nil || !gone {
		return err
	}
	return l.add(tx, name, o)
}

// forgetRest deletes the rows of what was not listed: another program has deleted it.
func (l *listing) forgetRest(tx *catalog.Tx) error {
	return eachChild(tx, l.ino, func(row *catalog.Inode) error {
		if l.seen[row.Name] {
			return nil
		}
		_, err := l.forget(tx, row)
		return err
	})
}

// eachChild calls f for every known child of a directory, which it may delete.
func eachChild(tx *catalog.Tx, ino uint64, f func(*catalog.Inode) error) error {
	const batch = 1000
	for after := uint64(0); ; {
		rows, err := tx.Children(ino, after, batch)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.Ino
			if err := f(row); err != nil {
				return err
			}
		}
		if len(rows) < batch {
			return nil
		}
	}
}

// withBelow returns a row and those of everything below it.
func withBelow(tx *catalog.Tx, row *catalog.Inode) ([]*catalog.Inode, error) {
	if !row.IsDir() {
		return []*catalog.Inode{row}, nil
	}
	below, err := tx.Below(row.Ino)
	return append([]*catalog.Inode{row}, below...), err
}

// forget deletes a row, and everything below it, unless something of it is pending or only here.
func (l *listing) forget(tx *catalog.Tx, row *catalog.Inode) (gone bool, err error) {
	rows, err := withBelow(tx, row)
	if err != nil {
		return false, err
	}
	for _, n := range rows {
		if l.t.own.since(n.Key, l.began) || l.watch.Recorded(n.Ino) {
			return false, nil
		}
		if pendingRow(n) {
			l.again = l.again || !n.Dirty.IsZero() || n.PutKey != ""
			return false, nil
		}
	}
	for _, n := range rows {
		if err := tx.Delete(n.Ino); err != nil {
			return false, err
		}
	}
	l.tell(row.Name, row.Ino)
	return true, nil
}

// pendingRow reports whether a row is not, or not only, what the store told.
func pendingRow(row *catalog.Inode) bool {
	return row.Stage != 0 || !row.Dirty.IsZero() || row.PutKey != ""
}

// underWay reports whether an object for which the catalog has no name is one that this mount is deleting or moving away; for
// a directory, whether one below it is.
func underWay(tx *catalog.Tx, key string) (bool, error) {
	if _, doomed, err := tx.DoomedAt(key); err != nil || doomed {
		return doomed, err
	}
	queries := []func() (int, error){
		func() (int, error) { rows, err := tx.StoredAt(key); return len(rows), err },
		func() (int, error) { rows, err := tx.SentAt(key); return len(rows), err },
	}
	if dir, ok := strings.CutSuffix(key, "/"); ok {
		queries = append(queries,
			func() (int, error) { rows, err := tx.DoomedBelow(key, 1); return len(rows), err },
			func() (int, error) { rows, err := tx.StoredBelow(dir, 1); return len(rows), err },
			func() (int, error) { rows, err := tx.SentBelow(dir, 1); return len(rows), err })
	}
	for _, query := range queries {
		if n, err := query(); err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}
