package tree

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

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
