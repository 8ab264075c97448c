package listahead

import (
	"slices"
	"strings"
	"time"

	"sharefs/provider"
)

// window is a page of a flat listing, of the keys that begin with prefix and are greater than after.
type window struct {
	prefix, after string
	at            time.Time     // when it was asked for
	done          chan struct{} // closed when it is fetched, or cannot be

	// Guarded by Provider.mu.
	fetched bool
	dead    bool // it tells nothing any more
	objects []provider.Object
	whole   bool            // no page follows
	spent   map[string]bool // directories that it told already, or that have changed since
}

func newWindow(prefix, after string, at time.Time) *window {
	return &window{prefix: prefix, after: after, at: at, done: make(chan struct{}), spent: map[string]bool{}}
}

// mayTell reports whether a window can tell of a directory, if its page goes so far.
func (w *window) mayTell(dir string, now time.Time) bool {
	return !w.dead && now.Sub(w.at) < maxAge && strings.HasPrefix(dir, w.prefix) && dir > w.after && !w.spent[dir]
}

// tells reports whether the page has all keys of a directory that it may tell of.
func (w *window) tells(dir string) bool {
	if w.whole || len(w.objects) == 0 {
		return w.whole
	}
	end := w.objects[len(w.objects)-1].Key
	return dir < end && !strings.HasPrefix(end, dir)
}

// spend notes that a key changes: nothing is told of the directories that it is in.
func (w *window) spend(key string) {
	for i := range len(key) {
		if key[i] == '/' {
			w.spent[key[:i+1]] = true
		}
	}
}

// page is the listing of one level of a directory that the window tells of.
func (w *window) page(dir string) *provider.Page {
	page := &provider.Page{}
	first, _ := slices.BinarySearchFunc(w.objects, dir, func(o provider.Object, key string) int { return strings.Compare(o.Key, key) })
	for _, o := range w.objects[first:] {
		rest, below := strings.CutPrefix(o.Key, dir)
		if !below {
			break
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			o = provider.Object{Key: dir + rest[:i+1]}
		}
		if n := len(page.Objects); n == 0 || page.Objects[n-1].Key != o.Key {
			page.Objects = append(page.Objects, o)
		}
	}
	return page
}
