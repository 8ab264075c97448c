package commit

import (
	"strings"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/transfer"
)

// kind is the one request that is missing for an item.
type kind uint8

const (
	nothing    kind = iota
	putFile         // content from the stage
	putSymlink      // the target
	putMarker       // a directory's marker
	copyFile        // the stored object to the desired key; the old key is doomed
	copyMeta        // the stored object onto itself with the desired metadata
	moveFile        // like copyFile, in one step
	dropMarker      // nothing to send: the marker at the old key is doomed, none is wanted
	settle          // find out what became of a request whose answer never came
)

// plan is what is missing for an inode, or what must come first.
type plan struct {
	kind    kind
	n       *catalog.Inode
	key     string // where it is to be
	first   itemID // not zero: this item must come first
	save    uint64 // not zero: this inode's content must be made local first, and its object at frees given up
	frees   string
	over    provider.Version
	scratch bool             // the path keeps it from the store
	held    bool             // an object is known to be at key, with version over (empty: not known which)
	patch   bool             // of putFile: what is stored may be copied from
	pieces  []transfer.Piece // of putFile: what is sent and what is copied; nil: the whole is sent
	urgent  bool             // somebody waits for it
}

func (p plan) keys() keySet {
	switch p.kind {
	case nothing, dropMarker:
		return keySet{}
	case settle:
		return keySet{writes: []string{p.n.PutKey}, reads: []string{p.n.Key}}
	case copyFile:
		return keySet{writes: []string{p.key}, reads: []string{p.n.Key}}
	case moveFile:
		return keySet{writes: []string{p.key, p.n.Key}}
	case putFile:
		if p.patch && p.n.Key != p.key {
			return keySet{writes: []string{p.key}, reads: []string{p.n.Key}}
		}
	}
	return keySet{writes: []string{p.key}}
}

// planInode derives what is missing for an inode.
func (c *Committer) planInode(tx *catalog.Tx, ino uint64) (plan, error) {
	n, err := tx.Get(ino)
	if catalog.IsNotFound(err) {
		return plan{}, nil
	}
	if err != nil {
		return plan{}, err
	}
	p := plan{n: n}
	if p.key, err = tx.Key(n); catalog.IsNotFound(err) || err == nil && p.key == "" {
		return p, nil // unlinked: what was stored is doomed already; or the root, which is not stored
	}
	if err != nil {
		return plan{}, err
	}
	if n.PutKey != "" {
		p.kind = settle
		return p, nil
	}
	if c.isScratch(tx, n) {
		p.scratch = true
		return p, nil
	}
	if p.kind, err = c.missing(tx, n, p.key); err != nil || p.kind == nothing || p.kind == dropMarker {
		return p, err
	}
	p.patch = p.kind == putFile && c.mayPatch(n)
	return p, c.before(tx, &p)
}

// missing compares desired and stored.
func (c *Committer) missing(tx *catalog.Tx, n *catalog.Inode, key string) (kind, error) {
	if n.IsDir() {
		return c.missingMarker(tx, n, key)
	}
	switch {
	case n.IsFile() && n.Stage != 0:
		return putFile, nil
	case n.IsSymlink() && (n.Key == "" || n.Target != "" && (n.Key != key && !c.caps.AtomicMove || n.MetaDirty && c.o.Attributes)):
		return putSymlink, nil // as cheap as a copy, and works where that does not
	case n.Key == "":
		return nothing, nil // an unfinished create: its file is not there yet
	case n.Key != key && c.caps.AtomicMove:
		return moveFile, nil
	case n.Key != key:
		return copyFile, nil
	case n.MetaDirty && c.o.Attributes:
		return copyMeta, nil
	}
	return nothing, nil
}

func (c *Committer) missingMarker(tx *catalog.Tx, n *catalog.Inode, key string) (kind, error) {
	if n.Key != "" && n.Key != key && !n.Known && c.o.Attributes {
		return copyFile, nil // with whatever attributes it has
	}
	wanted := c.caps.Directories || c.o.Attributes && !c.plainDir(n)
	if !wanted && (n.Complete || c.o.Shared) { // in a shared store a listing is too old at any time, also while the last entry goes
		children, err := tx.HasChildren(n.Ino)
		if err != nil {
			return nothing, err
		}
		wanted = !children
	}
	switch {
	case wanted && n.Key != key, n.Key == key && n.MetaDirty && c.o.Attributes:
		return putMarker, nil
	case n.Key != "" && n.Key != key:
		return dropMarker, nil
	}
	return nothing, nil
}

// plainDir reports whether a directory's attributes are those that one without a marker has.
func (c *Committer) plainDir(n *catalog.Inode) bool {
	return !n.Known || n.Mode&0o7777 == c.o.DirMode && n.UID == c.o.UID && n.GID == c.o.GID && len(n.Xattrs) == 0
}

// before looks for what must come before an inode's key is taken.
func (c *Committer) before(tx *catalog.Tx, p *plan) error {
	if old := p.n.Key; !p.n.IsDir() && old != "" && old != p.key && related(old, p.key) {
		p.save, p.frees = p.n.Ino, old // into or out of its own place: the object must go before the new one can come
		return nil
	}
	path := strings.TrimSuffix(p.key, "/")
	if done, err := c.inDirectory(tx, p); done || err != nil {
		return err
	}
	// A doomed object at the same key is replaced, which is its delete.
	if d, ok, err := tx.DoomedAt(p.key); err != nil {
		return err
	} else if ok {
		p.held, p.over = true, d.Version
	}
	// An object in the place of a directory above.
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if done, err := c.mustGo(tx, p, path[:i]); done || err != nil {
			return err
		}
	}
	// An object in the place of this directory.
	if p.n.IsDir() {
		if done, err := c.mustGo(tx, p, path); done || err != nil {
			return err
		}
	} else if done, err := c.mustEmpty(tx, p, path); done || err != nil {
		return err
	}
	return c.replaced(tx, p)
}

// inDirectory makes p wait, where directories exist by themselves, until the one that it goes into is stored: made by the
// store on the way, it would be one that the catalog knows nothing of.
func (c *Committer) inDirectory(tx *catalog.Tx, p *plan) (bool, error) {
	if !c.caps.Directories || p.n.Parent == catalog.RootIno {
		return false, nil
	}
	dir, err := tx.Get(p.n.Parent)
	if err != nil {
		return false, err
	}
	key, err := tx.Key(dir)
	if err != nil || dir.Key == key || c.isScratch(tx, dir) {
		return false, err
	}
	p.first = itemID{ino: dir.Ino}
	return true, nil
}

// mustGo makes p wait when an object that does not belong at key is, or may be, still there.
func (c *Committer) mustGo(tx *catalog.Tx, p *plan, key string) (bool, error) {
	if _, ok, err := tx.DoomedAt(key); ok || err != nil {
		c.afterDelete(p, key)
		return ok, err
	}
	stored, err := tx.StoredAt(key)
	if err != nil {
		return false, err
	}
	sent, err := tx.SentAt(key)
	for _, x := range append(stored, sent...) {
		if x.Ino != p.n.Ino && x.Parent != 0 {
			p.first = itemID{ino: x.Ino}
			return true, nil
		}
	}
	return false, err
}

// below returns what is, or may be, stored below a key: a few of them.
func below(tx *catalog.Tx, key string) ([]*catalog.Inode, error) {
	stored, err := tx.StoredBelow(key, 16)
	if err != nil {
		return nil, err
	}
	sent, err := tx.SentBelow(key, 16)
	return append(stored, sent...), err
}

// afterDelete makes p wait until a doomed object is gone. One that is still read is made local for its readers first.
func (c *Committer) afterDelete(p *plan, key string) {
	p.first = itemID{key: key}
	if reader := c.content.Held(key); reader != 0 {
		p.first, p.save, p.frees = itemID{}, reader, key
	}
}

// mustEmpty makes p, a file, wait while there are objects below its key.
func (c *Committer) mustEmpty(tx *catalog.Tx, p *plan, path string) (bool, error) {
	doomed, err := tx.DoomedBelow(path+"/", 1)
	if err != nil {
		return false, err
	}
	if len(doomed) > 0 {
		c.afterDelete(p, doomed[0].Key)
		return true, nil
	}
	others, err := below(tx, path)
	if err != nil {
		return false, err
	}
	for _, x := range others {
		if x.Parent != 0 {
			p.first = itemID{ino: x.Ino}
			return true, nil
		}
	}
	return false, nil
}

// replaced deals with a file whose stored object is the one that p will replace: it moves away first. One that has been
// changed, or is unlinked and still read, has the rest of its content made local.
func (c *Committer) replaced(tx *catalog.Tx, p *plan) error {
	sent, err := tx.SentAt(p.key)
	if err != nil {
		return err
	}
	for _, x := range sent {
		if x.Ino != p.n.Ino && x.Parent != 0 { // what it sent may be its only content
			p.first = itemID{ino: x.Ino}
			return nil
		}
	}
	others, err := tx.StoredAt(p.key)
	for _, x := range others {
		if x.Ino == p.n.Ino {
			continue
		}
		p.held, p.over = true, x.Version
		switch {
		case x.Parent == 0:
			if c.content.Held(p.key) == x.Ino {
				p.save, p.frees = x.Ino, p.key
				return nil
			}
		case x.Stage != 0:
			p.save, p.frees = x.Ino, p.key
			return nil
		case !x.IsDir():
			p.first = itemID{ino: x.Ino}
			return nil
		}
	}
	return err
}

// planDelete says what must come before the object at key may be deleted. gone: it need not be deleted (any more).
func (c *Committer) planDelete(tx *catalog.Tx, key string) (first itemID, gone bool, err error) {
	if _, ok, err := tx.DoomedAt(key); !ok || err != nil {
		return itemID{}, true, err
	}
	// Somebody wants this key: the new object will replace the doomed one.
	n, err := tx.Resolve(key)
	switch {
	case err == nil && !n.Dirty.IsZero() && n.Key != key && (!n.IsDir() || c.caps.Directories):
		return itemID{ino: n.Ino}, false, nil
	case err != nil && !catalog.IsNotFound(err):
		return itemID{}, false, err
	}
	if strings.HasSuffix(key, "/") && c.caps.Directories {
		if first, err = c.emptyFirst(tx, key); first != (itemID{}) || err != nil {
			return first, false, err
		}
	}
	// The last object of a directory goes after the directory's marker has come.
	dir, err := tx.ParentOf(key)
	if catalog.IsNotFound(err) {
		return itemID{}, false, nil
	}
	if err != nil {
		return itemID{}, false, err
	}
	if dir.Ino == catalog.RootIno || dir.Dirty.IsZero() || dir.Key != "" {
		return itemID{}, false, nil
	}
	dirKey, err := tx.Key(dir)
	if err != nil {
		return itemID{}, false, err
	}
	if k, err := c.missingMarker(tx, dir, dirKey); err != nil || k == putMarker {
		return itemID{ino: dir.Ino}, false, err
	}
	return itemID{}, false, nil
}

// emptyFirst returns what is still stored below a directory that is to be removed.
func (c *Committer) emptyFirst(tx *catalog.Tx, key string) (itemID, error) {
	doomed, err := tx.DoomedBelow(key, 2)
	if err != nil {
		return itemID{}, err
	}
	for _, d := range doomed {
		if d.Key != key {
			return itemID{key: d.Key}, nil
		}
	}
	others, err := below(tx, strings.TrimSuffix(key, "/"))
	for _, x := range others {
		if x.Parent != 0 && x.Key != key {
			return itemID{ino: x.Ino}, nil
		}
	}
	return itemID{}, err
}
