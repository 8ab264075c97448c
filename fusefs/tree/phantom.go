package tree

import (
	"context"
	"strings"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

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

// withoutPhantoms takes out of a page the directories that are news and below which the store has no key. MinIO lists such, after
// a delete in them met another request. Each directory that is news costs a request; a first listing, in which all are, is
// believed.
func (l *listing) withoutPhantoms(ctx context.Context, page *provider.Page) error {
	var news []string
	err := l.t.cat.View(func(tx *catalog.Tx) error {
		for _, o := range page.Objects {
			if o.Key == l.prefix || !o.IsDir() || o.Revision != "" || strings.HasPrefix(o.Key, provider.Reserved) {
				continue
			}
			component := strings.TrimSuffix(o.Key[len(l.prefix):], "/")
			if !keycodec.Valid(component) {
				continue
			}
			if _, err := tx.Child(l.ino, keycodec.Decode(component)); catalog.IsNotFound(err) {
				news = append(news, o.Key)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	phantoms := map[string]bool{}
	for _, key := range news {
		if err != nil {
			break
		}
		var below provider.Page
		below, err = l.t.store.List(ctx, provider.ListOptions{Prefix: key, Flat: true, Limit: 1})
		phantoms[key] = err == nil && len(below.Objects) == 0
	}
	if err != nil {
		return err
	}
	real := page.Objects[:0]
	for _, o := range page.Objects {
		if !phantoms[o.Key] {
			real = append(real, o)
		}
	}
	page.Objects = real
	return nil
}
