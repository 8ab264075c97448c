package listahead_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/listahead"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
)

// store counts listings, and may hold them up.
type store struct {
	provider.Provider
	mu    sync.Mutex
	lists int
	hold  chan struct{} // not nil: a flat listing waits, when it has its answer, until it is closed
}

func newStore(page int) *store {
	caps := mem.Full()
	caps.ListMetadata, caps.MaxListPage = false, page
	return &store{Provider: mem.New(mem.Options{Capabilities: caps})}
}

func (s *store) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	s.mu.Lock()
	s.lists++
	hold := s.hold
	s.mu.Unlock()
	page, err := s.Provider.List(ctx, opts)
	if hold != nil && opts.Flat {
		<-hold
	}
	return page, err
}

// count returns the listings so far, and forgets them.
func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lists
	s.lists = 0
	return n
}

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		return listahead.New(newStore(1000))
	}})
}

func put(t *testing.T, p provider.Provider, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := p.Put(t.Context(), key, strings.NewReader(""), 0, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// list returns the keys of a directory, of all pages.
func list(t *testing.T, p provider.Provider, dir string) []string {
	t.Helper()
	var keys []string
	for token := ""; ; {
		page, err := p.List(t.Context(), provider.ListOptions{Prefix: dir, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			keys = append(keys, fmt.Sprint(o.Key, " ", o.Size, " ", o.IsDir() || o.Version != ""))
		}
		if token = page.Next; token == "" {
			return keys
		}
	}
}

// crawl lists everything below a directory, in order, and compares it with what the store itself tells.
func crawl(t *testing.T, p provider.Provider, s *store, dir string) {
	t.Helper()
	got := list(t, p, dir)
	if want := list(t, s.Provider, dir); !slices.Equal(got, want) {
		t.Fatalf("the listing of %q is %q, want %q", dir, got, want)
	}
	for _, entry := range got {
		if key, _, _ := strings.Cut(entry, " "); strings.HasSuffix(key, "/") && key != dir {
			crawl(t, p, s, key)
		}
	}
}

func TestACrawlCostsARequestForEachPage(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		prefixes, each, shares int
		page, most             int
	}{
		{"few shares", 3, 4, 2, 1000, 6},
		{"a thousand", 50, 20, 1, 1000, 7},
		{"five thousand", 50, 50, 2, 1000, 12},
		{"more in a prefix than in a page", 4, 50, 1, 30, 2 + 4*(2+2+2)},
		{"directories larger than a page", 5, 1, 50, 20, 3 + 5*(1+3+1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(tc.page)
			for i := range tc.prefixes {
				for j := range tc.each {
					for k := range tc.shares {
						put(t, s, fmt.Sprintf("shares/%02d/si%02d/%02d", i, j, k))
					}
				}
			}
			p := listahead.New(s)
			crawl(t, p, s, "")
			if n := s.count(); n > tc.most {
				t.Errorf("%d listings of %d keys, want at most %d", n, tc.prefixes*tc.each*tc.shares, tc.most)
			}
		})
	}
}

func TestOneDirectoryIsListedByItself(t *testing.T) {
	s := newStore(1000)
	put(t, s, "a/1", "b/1", "c/1")
	p := listahead.New(s)
	for _, dir := range []string{"c/", "b/", "a/", "a/"} { // no order of a crawler
		list(t, p, dir)
	}
	if n := s.count(); n != 4 {
		t.Errorf("%d listings, want 4", n)
	}
}

// TestWhatIsToldIsWhatIsThere changes and lists a small store at random.
func TestWhatIsToldIsWhatIsThere(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStore(1 + r.IntN(12))
		p := listahead.New(s)
		names := []string{"a", "a.b", "a!", "b", "c"}
		dir := func() string {
			d := ""
			for range r.IntN(3) {
				d += names[r.IntN(len(names))] + "/"
			}
			return d
		}
		for range 300 {
			key := dir() + names[r.IntN(len(names))] + []string{"", "/"}[r.IntN(2)]
			switch r.IntN(6) {
			case 0:
				put(t, p, key)
			case 1:
				if err := p.Delete(t.Context(), provider.DeleteOptions{}, key, dir()+"a"); err != nil {
					t.Fatal(err)
				}
			case 2:
				upload(t, p, strings.TrimSuffix(key, "/"))
			default:
				d := dir()
				if got, want := list(t, p, d), list(t, s.Provider, d); !slices.Equal(got, want) {
					t.Fatalf("seed %d: the listing of %q is %q, want %q", seed, d, got, want)
				}
			}
		}
	}
}

func upload(t *testing.T, p provider.Provider, key string) {
	t.Helper()
	u, err := p.NewUpload(t.Context(), key, provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := u.PutPart(t.Context(), 1, strings.NewReader("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Complete(t.Context(), []provider.Part{part}, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestAChangeDuringTheListingIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1000)
		put(t, s, "a/1", "b/1", "c/1", "d/1")
		p := listahead.New(s)
		list(t, p, "a/")
		s.hold = make(chan struct{})
		var wg sync.WaitGroup
		for _, dir := range []string{"b/", "c/"} {
			wg.Go(func() { list(t, p, dir) })
			synctest.Wait()
		}
		put(t, p, "d/2") // when the answer has left
		close(s.hold)
		wg.Wait()
		if n := s.count(); n != 2 {
			t.Errorf("%d listings, want one of a/ and one for b/ and c/", n)
		}
		if got := list(t, p, "d/"); len(got) != 2 {
			t.Errorf("d/ has %q", got)
		}
	})
}

func TestWhatOthersChangeIsSeenWithinTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1000)
		put(t, s, "a/1", "b/1", "c/1", "d/1", "e/1")
		p := listahead.New(s)
		list(t, p, "a/")
		list(t, p, "b/")
		put(t, s.Provider, "c/2", "d/2", "e/2")
		if got := list(t, p, "c/"); len(got) != 1 {
			t.Errorf("c/ has %q, want what the page had", got)
		}
		if got := list(t, p, "c/"); len(got) != 2 {
			t.Errorf("c/, listed once more, has %q", got)
		}
		if _, err := p.List(t.Context(), provider.ListOptions{Flat: true}); err != nil {
			t.Fatal(err)
		}
		if got := list(t, p, "d/"); len(got) != 2 {
			t.Errorf("after a flat listing d/ has %q", got)
		}
		put(t, s.Provider, "e/3")
		time.Sleep(10 * time.Second)
		if got := list(t, p, "e/"); len(got) != 3 {
			t.Errorf("ten seconds later e/ has %q", got)
		}
	})
}

func TestAListingThatFailsTellsNothing(t *testing.T) {
	s := newStore(1000)
	put(t, s, "a/1", "b/1", "c/1")
	p := listahead.New(s)
	list(t, p, "a/")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.List(ctx, provider.ListOptions{Prefix: "b/"}); err == nil {
		t.Error("no error")
	}
	if got := list(t, p, "b/"); len(got) != 1 {
		t.Errorf("b/ has %q", got)
	}
}
