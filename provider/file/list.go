package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// List returns a page. A token is the last key of the page before: a page reads only the directories that its keys are
// in, each one whole.
func (s *Store) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	if err := ctx.Err(); err != nil {
		return provider.Page{}, err
	}
	if !opts.Flat && opts.Prefix != "" && !strings.HasSuffix(opts.Prefix, "/") {
		return provider.Page{}, refuse("list", opts.Prefix, provider.KindInvalid, "the prefix is no directory")
	}
	l := &lister{store: s, ctx: ctx, prefix: opts.Prefix, flat: opts.Flat, after: opts.After, limit: s.caps.MaxListPage}
	if opts.Token != "" {
		l.after = opts.Token
	}
	if opts.Limit > 0 {
		l.limit = min(l.limit, opts.Limit)
	}
	err := l.run()
	switch {
	case errors.Is(err, errPageFull):
		return provider.Page{Objects: l.objects, Next: l.objects[len(l.objects)-1].Key}, nil
	case err != nil:
		return provider.Page{}, s.fail(ctx, "list", opts.Prefix, err)
	}
	return provider.Page{Objects: l.objects}, nil
}

// errPageFull ends a walk that found more than the page takes.
var errPageFull = errors.New("the page is full")

// lister collects one page.
type lister struct {
	store   *Store
	ctx     context.Context
	prefix  string
	flat    bool
	after   string
	limit   int
	objects []provider.Object
}

// run walks the directory that the prefix begins with. Neither one that is missing nor the root has a marker.
func (l *lister) run() error {
	dir := l.prefix[:strings.LastIndexByte(l.prefix, '/')+1]
	if dir == "" {
		return l.walk("")
	}
	in, err := l.store.lookup(dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	in.close()
	if dir == l.prefix {
		if err := l.add(dir); err != nil {
			return err
		}
	}
	return l.walk(dir)
}

// walk adds what is in the directory, which is a key that ends in "/", or "" for the root.
func (l *lister) walk(dir string) error {
	keys, err := l.keysIn(dir)
	if err != nil {
		return fmt.Errorf("the directory %q cannot be read: %w", dir, err)
	}
	for _, key := range keys {
		isDir := strings.HasSuffix(key, "/")
		if l.passed(key, isDir) || !strings.HasPrefix(key, l.prefix) {
			continue
		}
		if err := l.add(key); err != nil {
			return err
		}
		if isDir && l.flat {
			if err := l.walk(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// passed reports whether everything that the key stands for was on an earlier page.
func (l *lister) passed(key string, isDir bool) bool {
	if key > l.after {
		return false
	}
	return !isDir || !l.flat || !strings.HasPrefix(l.after, key)
}

// add adds the object, unless it was on an earlier page or is gone since its directory was read.
func (l *lister) add(key string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if key <= l.after {
		return nil
	}
	if len(l.objects) == l.limit {
		return errPageFull
	}
	in, err := l.store.lookup(key)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	defer in.close()
	o, err := l.store.describe(key, in)
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	l.objects = append(l.objects, o)
	return nil
}

// keysIn returns the keys directly in a directory, sorted, directories as markers. One that is gone has none.
func (l *lister) keysIn(dir string) ([]string, error) {
	f, err := l.store.openDir(strings.TrimSuffix(dir, "/"))
	if missing(err) && dir != "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.close()
	entries, err := readDir(f)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		switch key := dir + e.Name(); {
		case reserved(key):
		case e.IsDir():
			keys = append(keys, key+"/")
		case e.Type().IsRegular(), e.Type() == fs.ModeSymlink:
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, cmp.Compare)
	return keys, nil
}

// readDir returns the entries of a directory, in no order.
func readDir(f fd) ([]os.DirEntry, error) {
	n, err := unix.Openat(int(f), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// With this name, entries whose type the file system does not tell are looked up in the directory that is open.
	file := os.NewFile(uintptr(n), fd(n).path())
	defer func() { _ = file.Close() }()
	return file.ReadDir(-1)
}
