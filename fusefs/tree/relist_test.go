package tree

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

// haunted is a store that lists a directory in which it has nothing.
type haunted struct {
	provider.Provider
	in, ghost string
	haunts    atomic.Bool
}

func (h *haunted) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	page, err := h.Provider.List(ctx, o)
	if err == nil && h.haunts.Load() && !o.Flat && o.Prefix == h.in && page.Next == "" {
		page.Objects = append(page.Objects, provider.Object{Key: h.in + h.ghost + "/"})
		slices.SortFunc(page.Objects, func(a, b provider.Object) int { return strings.Compare(a.Key, b.Key) })
	}
	return page, err
}

// TestADirectoryThatOnlyTheStoreListsDoesNotComeBack: it was removed, and something else in the same place makes it be looked at again.
func TestADirectoryThatOnlyTheStoreListsDoesNotComeBack(t *testing.T) {
	for _, in := range []string{"", "d/"} {
		store := mem.New(mem.Options{Capabilities: s3like()})
		behind := &haunted{Provider: store, in: in, ghost: "ghost"}
		m, p := observed(t, behind, Options{})
		must(t, m.mkdir("d"), m.write(in+"file", "1"), m.mkdir(in+"ghost"), m.write(in+"ghost/file", "2"))
		m.flush()
		must(t, m.rm(in+"ghost/file"), m.rmdir(in+"ghost"))
		m.flush()
		behind.haunts.Store(true)
		want := m.show()
		m = m.crash()
		must(t, same(m.show(), want))
		for _, key := range []string{in + "file", in + "new/file"} {
			_, err := store.Put(ctx, key, strings.NewReader("theirs"), 6, provider.PutOptions{})
			must(t, err)
		}
		before := p.Snapshot().Of("list").Requests
		_, err := m.Reconcile(ctx, nil)
		must(t, err)
		want[in+"file"], want[in+"new/file"] = "theirs", "theirs"
		got := m.show()
		for name := range got {
			if strings.Contains(name, "ghost") {
				t.Errorf("in %q: it is back: %q", in, got)
			}
		}
		if got[in+"file"] != "theirs" || got[in+"new/file"] != "theirs" {
			t.Errorf("in %q: what is there is not seen: %q", in, got)
		}
		if n := p.Snapshot().Of("list").Requests - before; n > 6 {
			t.Errorf("in %q: %d listings", in, n)
		}
		m.close()
	}
}

// TestAListingThatLagsTakesNothingBack: it tells of what was deleted, of older versions, and not of what is new.
func TestAListingThatLagsTakesNothingBack(t *testing.T) {
	var hours atomic.Int64
	store := mem.New(mem.Options{Capabilities: mem.Weak(), ListingLag: time.Hour,
		Now: func() time.Time { return time.Unix(1e9, 0).Add(time.Duration(hours.Load()) * time.Hour) }})
	m := openTree(t, store, Options{})
	defer func() { m.close() }()
	must(t, m.mkdir("d"), m.mkdir("gone"), m.write("d/kept", "1"), m.write("d/changed", "1"), m.write("d/gone", "1"), m.write("gone/f", "1"), m.write("top", "1"))
	m.flush()
	hours.Add(2) // what was stored until here is listed
	must(t, m.rm("d/gone"), m.rm("gone/f"), m.rmdir("gone"), m.write("d/changed", "later"), m.mkdir("d/new"), m.write("d/new/f", "2"), m.write("d/f", "2"), m.rm("top"))
	m.flush()
	want := m.show()
	_, err := m.Reconcile(ctx, nil)
	must(t, err, same(m.show(), want), same(want, m.show()))
	m = m.crash()
	_, err = m.Reconcile(ctx, nil)
	must(t, err, same(m.show(), want), same(want, m.show()))

	// What another program does is seen when the listing tells of it.
	put(t, store, "d/theirs", "3", nil)
	put(t, store, "d/kept", "theirs", nil)
	must(t, store.Delete(ctx, provider.DeleteOptions{}, "d/f", "d/new/f"))
	hours.Add(2)
	_, err = m.Reconcile(ctx, nil)
	must(t, err)
	delete(want, "d/f")
	delete(want, "d/new/f")
	want["d/theirs"], want["d/kept"] = "3", "theirs"
	got := m.show()
	delete(got, "d/new/") // which may have had a marker
	delete(want, "d/new/")
	must(t, same(got, want), same(want, got))
}

// TestADirectoryWhoseContentComesWhileItsParentIsListedStays: when the store answered there was nothing in the directory, what is to
// be there was under way, and it is stored before the answer is looked at.
func TestADirectoryWhoseContentComesWhileItsParentIsListedStays(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once, listed sync.Once
	var armed atomic.Bool
	var m *mount
	inner := mem.New(mem.Options{})
	put(t, inner, "p/q/old", "1", nil)
	m = openTree(t, &hook{Provider: inner, caps: s3ish,
		put: func(key string) {
			if key == "p/q/new" {
				once.Do(func() { close(held) })
				<-hold
			}
		},
		list: func(prefix string) { // the store has answered
			if prefix == "p/" && armed.Load() {
				listed.Do(func() {
					close(hold)
					must(t, m.Flush(ctx, nil))
				})
			}
		}}, Options{})
	defer m.close()
	m.show()
	must(t, m.write("p/q/new", "2"), m.rm("p/q/old"))
	<-held
	for there := true; there; time.Sleep(time.Millisecond) {
		_, there = objects(t, inner)["p/q/old"]
	}
	put(t, inner, "p/other", "theirs", nil) // so that p is looked at again
	armed.Store(true)
	_, err := m.Reconcile(ctx, nil)
	must(t, err)
	want := map[string]string{"p/": "", "p/q/": "", "p/q/new": "2", "p/other": "theirs"}
	must(t, same(m.show(), want))
}
