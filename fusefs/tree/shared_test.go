package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// sharedPair opens two trees that share a store, and believe a listing for so long.
func sharedPair(t *testing.T, caps provider.Capabilities, revalidate time.Duration) (a, b *mount, store provider.Provider) {
	t.Helper()
	store = mem.New(mem.Options{Capabilities: caps})
	open := func() *mount {
		m := openTree(t, store, Options{Shared: true, Revalidate: revalidate})
		t.Cleanup(m.close)
		return m
	}
	return open(), open(), store
}

// again does what the kernel does with ESTALE: it looks the name up once more.
func again[T any](do func() (T, error)) (T, error) {
	v, err := do()
	if errors.Is(err, syscall.ESTALE) {
		v, err = do()
	}
	return v, err
}

func (m *mount) reopen(path string, flags uint32) (Handle, error) {
	return again(func() (Handle, error) { return m.open(path, flags) })
}

func (m *mount) reread(path string) (string, error) {
	return again(func() (string, error) { return m.read(path) })
}

func wantShared(t *testing.T, m *mount, path, content string) {
	t.Helper()
	if got, err := m.reread(path); err != nil || got != content {
		t.Errorf("%s holds %q, %v, want %q", path, got, err, content)
	}
}

func wantKept(t *testing.T, m *mount, path string) {
	t.Helper()
	list := m.conflicts()
	if len(list) != 1 || list[0].Path != path || list[0].Why != whyShared.short {
		t.Errorf("kept are %+v, want one of %s", list, path)
	}
}

func TestWhoIsSecondInASharedStoreGetsESTALEAndKeepsHisData(t *testing.T) {
	for name, checked := range map[string]bool{"deletes are checked": true, "deletes are not checked": false} {
		caps := s3like()
		caps.DeleteIfVersion = checked
		t.Run(name, func(t *testing.T) { losers(t, caps) })
	}
}

// losers are the ways to be second.
func losers(t *testing.T, caps provider.Capabilities) {
	write := func(t *testing.T, m *mount, path, content string) error {
		t.Helper()
		h, err := m.reopen(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_TRUNC)
		must(t, err)
		defer h.Release()
		_, err = h.WriteAt(ctx, []byte(content), 0)
		must(t, err)
		return h.Flush(ctx)
	}
	t.Run("close", func(t *testing.T) {
		a, b, store := sharedPair(t, caps, time.Hour)
		must(t, write(t, a, "f", "first"))
		h, err := b.reopen("f", syscall.O_RDWR)
		must(t, err)
		defer h.Release()
		must(t, write(t, a, "f", "other"))
		_, err = h.WriteAt(ctx, []byte("MINE!"), 0)
		must(t, err)
		if err := h.Flush(ctx); !errors.Is(err, syscall.ESTALE) {
			t.Fatalf("close: %v", err)
		}
		if err := h.Flush(ctx); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("another close of the handle: %v", err)
		}
		if _, err := h.WriteAt(ctx, []byte("x"), 0); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("a write through it: %v", err)
		}
		wantKept(t, b, "/f")
		wantShared(t, b, "f", "other")
		wantObjects(t, store, map[string]string{"f": "other"})
	})
	t.Run("closes at once", func(t *testing.T) { // as by processes that have forked
		a, b, _ := sharedPair(t, caps, time.Hour)
		for range 20 {
			must(t, write(t, a, "f", "first"))
			h, err := b.reopen("f", syscall.O_RDWR)
			must(t, err)
			must(t, write(t, a, "f", "other"))
			_, err = h.WriteAt(ctx, []byte("MINE!"), 0)
			must(t, err)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := h.Flush(ctx); !errors.Is(err, syscall.ESTALE) {
						t.Errorf("close: %v", err)
					}
				})
			}
			wg.Wait()
			h.Release()
		}
	})
	t.Run("a new file", func(t *testing.T) {
		a, b, store := sharedPair(t, caps, time.Hour)
		a.show()
		b.show()
		must(t, write(t, a, "f", "first"))
		if err := write(t, b, "f", "second"); !errors.Is(err, syscall.ESTALE) {
			t.Fatalf("close: %v", err)
		}
		wantKept(t, b, "/f")
		wantShared(t, b, "f", "first")
		wantObjects(t, store, map[string]string{"f": "first"})
	})
	t.Run("a file that was removed", func(t *testing.T) {
		a, b, store := sharedPair(t, caps, time.Hour)
		must(t, write(t, a, "f", "first"))
		h, err := b.reopen("f", syscall.O_RDWR)
		must(t, err)
		defer h.Release()
		wantRead(t, h, []byte("first"))
		must(t, a.rm("f"))
		_, err = h.WriteAt(ctx, []byte("mine"), 0)
		must(t, err)
		if err := h.Fsync(ctx); !errors.Is(err, syscall.ESTALE) {
			t.Fatalf("fsync: %v", err)
		}
		wantKept(t, b, "/f")
		if _, err := b.reread("f"); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("afterwards: %v", err)
		}
		wantObjects(t, store, map[string]string{})
	})
	t.Run("unlink", func(t *testing.T) {
		a, b, store := sharedPair(t, caps, time.Hour)
		must(t, write(t, a, "f", "first"))
		wantShared(t, b, "f", "first")
		must(t, write(t, a, "f", "other"))
		if err := b.rm("f"); err != nil && !errors.Is(err, syscall.ESTALE) {
			t.Fatalf("unlink: %v", err)
		} else if err == nil {
			t.Fatal("what was not seen was removed")
		}
		wantShared(t, b, "f", "other")
		wantObjects(t, store, map[string]string{"f": "other"})
	})
	t.Run("rename", func(t *testing.T) {
		a, b, store := sharedPair(t, caps, time.Hour)
		must(t, write(t, a, "f", "first"), write(t, b, "new", "second"))
		wantShared(t, b, "f", "first")
		must(t, write(t, a, "f", "other"))
		if err := b.mv("new", "f"); !errors.Is(err, syscall.ESTALE) {
			t.Fatalf("rename: %v", err)
		}
		wantShared(t, b, "f", "other")
		wantShared(t, b, "new", "second")
		wantObjects(t, store, map[string]string{"f": "other", "new": "second"})
	})
	t.Run("mkdir", func(t *testing.T) {
		a, b, _ := sharedPair(t, caps, time.Hour)
		a.show()
		b.show()
		must(t, a.mkdir("d"))
		if err := b.mkdir("d"); !errors.Is(err, syscall.ESTALE) && !errors.Is(err, syscall.EEXIST) {
			t.Fatalf("mkdir: %v", err)
		}
		must(t, write(t, b, "d/f", "1"))
	})
}

// panics is a failer for what may fail while another mount's change comes to be known.
type panics struct{}

func (panics) Helper()                           {}
func (panics) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// shows reports whether the mount shows what is wanted, now.
func (m *mount) shows(want map[string]string) (ok bool) {
	was := m.t
	m.t = panics{}
	defer func() {
		m.t = was
		if _, failed := recover().(string); failed {
			ok = false
		}
	}()
	return same(m.show(), want) == nil
}

func TestASharedStoreShowsWhatOthersDo(t *testing.T) {
	a, b, store := sharedPair(t, s3like(), 20*time.Millisecond)
	must(t, a.mkdir("d"), a.write("d/f", "1"), a.write("d/g", "2"), a.mkdir("e"))
	want := map[string]string{"d/": "", "d/f": "1", "d/g": "2", "e/": ""}
	waitFor(t, func() bool { return b.shows(want) })
	must(t, b.mv("d/f", "e/f"), b.rm("d/g"), b.rmdir("d"), b.write("e/h", "3"))
	want = map[string]string{"e/": "", "e/f": "1", "e/h": "3"}
	waitFor(t, func() bool { return a.shows(want) })
	must(t, model(want).checkStore(t, store))
}

// TestADirectoryOfASharedStoreThatIsEmptiedStays empties one without a marker, whose listing becomes too old before the marker
// is stored.
func TestADirectoryOfASharedStoreThatIsEmptiedStays(t *testing.T) {
	for name, empty := range map[string]func(m *mount) error{
		"rm": func(m *mount) error { return m.rm("d/f") },
		"mv": func(m *mount) error { return m.mv("d/f", "f") },
	} {
		t.Run(name, func(t *testing.T) {
			store := newCounted()
			store.put(t, "d/f", "1", nil)
			m := openTree(t, store, Options{Shared: true, Revalidate: 5 * time.Millisecond})
			defer m.close()
			m.show()
			heal := store.faults.Add(faulty.Rule{Ops: []string{"put"}, Key: func(key string) bool { return key == "d/" }, Kind: provider.KindDenied})
			if err := empty(m); err == nil {
				t.Fatal("it is stored without the marker")
			}
			waitFor(t, func() bool {
				ino, err := m.walk("d")
				must(t, err)
				dir, err := m.dir(ino)
				must(t, err)
				return !dir.Complete
			})
			heal()
			m.flush()
			if _, err := m.walk("d"); err != nil {
				t.Errorf("the directory: %v", err)
			}
			if _, ok := objects(t, store)["d/"]; !ok {
				t.Errorf("the store has %v, without the directory", objects(t, store))
			}
		})
	}
}

// TestWhatEmptiesADirectoryOfASharedStoreReturnsWithItsMarkerStored moves away, or removes, a directory that has no marker itself.
func TestWhatEmptiesADirectoryOfASharedStoreReturnsWithItsMarkerStored(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	putForeign(t, store, "d/x/f", "1")
	m := openTree(t, store, Options{Shared: true})
	defer m.close()
	m.show()
	must(t, m.mv("d/x", "e"))
	wantObjects(t, store, map[string]string{"d/": "", "e/f": "1"})
	must(t, m.mkdir("e/y"), m.rm("e/f"), m.rmdir("e/y"))
	wantObjects(t, store, map[string]string{"d/": "", "e/": ""})
	if st, err := m.Status(); err != nil || st.Pending.Files != 0 {
		t.Errorf("pending is %+v, %v", st.Pending, err)
	}
}

// held is a store whose listings and deletes wait when they are told to: a listing with what it has found, a delete before it begins.
type held struct {
	provider.Provider
	list, delete atomic.Pointer[gate]
}

type gate struct{ in, out chan struct{} }

func closedGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

// pass waits at a gate, if there is one, and takes it away.
func pass(p *atomic.Pointer[gate]) {
	if g := p.Swap(nil); g != nil {
		close(g.in)
		<-g.out
	}
}

func (h *held) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	page, err := h.Provider.List(ctx, o)
	pass(&h.list)
	return page, err
}

func (h *held) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	pass(&h.delete)
	return h.Provider.Delete(ctx, o, keys...)
}

// TestAFileThatWasRemovedHereAndMadeElsewhereDuringAListingShows does both between the store's answer and its arrival.
func TestAFileThatWasRemovedHereAndMadeElsewhereDuringAListingShows(t *testing.T) {
	store := &held{Provider: mem.New(mem.Options{Capabilities: s3like()})}
	putForeign(t, store, "f", "1")
	m := openTree(t, store, Options{Shared: true})
	defer m.close()
	m.show()
	deleting, listing := closedGate(), closedGate()
	store.delete.Store(deleting)
	removed := make(chan error, 1)
	go func() { removed <- m.rm("f") }()
	<-deleting.in
	must(t, m.cat.Update(func(tx *catalog.Tx) error { // as when the listing is too old
		root, err := tx.Get(Root)
		root.Complete = false
		return errors.Join(err, tx.Put(root))
	}))
	store.list.Store(listing)
	found := make(chan error, 1)
	go func() {
		_, err := m.Lookup(ctx, Root, "f")
		found <- err
	}()
	<-listing.in
	close(deleting.out)
	must(t, <-removed)
	putForeign(t, store, "f", "2")
	close(listing.out)
	must(t, <-found)
	wantShared(t, m, "f", "2")
}

// TestAFileOfASharedStoreThatWasRemovedWhileItWasOpenGoesWithItsClose has a write-back delay that the test does not see the end of.
func TestAFileOfASharedStoreThatWasRemovedWhileItWasOpenGoesWithItsClose(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	putForeign(t, store, "f", "content")
	m := openTree(t, store, Options{Shared: true, Writeback: time.Hour, WritebackMax: time.Hour})
	defer m.close()
	h, err := m.open("f", syscall.O_RDONLY)
	must(t, err, m.rm("f"))
	wantRead(t, h, []byte("content"))
	h.Release()
	waitFor(t, func() bool { return len(objects(t, store)) == 0 })
}

// TestADirectoryThatAnotherMountRemovedKeepsWhatIsWrittenInIt changes the mode of one while a file in it is open.
func TestADirectoryThatAnotherMountRemovedKeepsWhatIsWrittenInIt(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	m := openTree(t, store, Options{Shared: true})
	defer m.close()
	must(t, m.mkdir("d"))
	h, err := m.open("d/f", syscall.O_CREAT|syscall.O_WRONLY)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte("content"), 0)
	must(t, err, store.Delete(ctx, provider.DeleteOptions{}, "d/"))
	ino, err := m.walk("d")
	must(t, err)
	mode := uint32(0o700)
	if _, err := m.SetAttr(ctx, ino, SetAttr{Mode: &mode}); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("chmod: %v", err)
	}
	must(t, h.Flush(ctx))
	if got := objects(t, store)["d/f"]; got != "content" {
		t.Errorf("the store has %v", objects(t, store))
	}
	wantShared(t, m, "d/f", "content")
}

// TestASharedStoreCopiesNothing renames and changes modes: each request has its condition.
func TestASharedStoreCopiesNothing(t *testing.T) {
	store := newCounted()
	m := openTree(t, store, Options{Shared: true})
	defer m.close()
	must(t, m.write("f", "content"), m.mv("f", "g"))
	ino, err := m.walk("g")
	must(t, err)
	mode := uint32(0o600)
	_, err = m.SetAttr(ctx, ino, SetAttr{Mode: &mode})
	must(t, err)
	wantObjects(t, store, map[string]string{"g": "content"})
	if n := store.requests("copy", "move"); n != 0 {
		t.Errorf("%d copies", n)
	}
	if n := store.requests("put"); n != 3 {
		t.Errorf("%d puts, want 3", n)
	}
}

// TestTwoSharedMountsLoseNoLine has both append lines to one file, each repeating until its close succeeds.
func TestTwoSharedMountsLoseNoLine(t *testing.T) {
	a, b, store := sharedPair(t, s3like(), 20*time.Millisecond)
	must(t, a.write("log", "begin\n"))
	const lines = 20
	var wg sync.WaitGroup
	for i, m := range []*mount{a, b} {
		wg.Go(func() {
			for n := range lines {
				for m.appendLine("log", fmt.Sprintf("mount %d line %d\n", i, n)) != nil {
				}
			}
		})
	}
	wg.Wait()
	got := objects(t, store)["log"]
	for i := range 2 {
		for n := range lines {
			if strings.Count(got, fmt.Sprintf("mount %d line %d\n", i, n)) != 1 {
				t.Errorf("line %d of mount %d is not there once", n, i)
			}
		}
	}
}

// The kernel learns of another mount's content after the row has it, and appends at the end that it knows.
func TestAnAppendAtAnEndThatIsNoneWritesNothing(t *testing.T) {
	a, b, _ := sharedPair(t, s3like(), time.Hour)
	must(t, a.write("log", "one\n"))
	wantShared(t, b, "log", "one\n")
	must(t, a.write("log", "one\ntwo\n"))
	h, err := b.reopen("log", syscall.O_WRONLY|syscall.O_APPEND)
	must(t, err)
	if k, err := h.Append(ctx, []byte("three\n"), 4); k != 0 || !errors.Is(err, syscall.ESTALE) {
		t.Errorf("an append at the end of before: %d, %v, want ESTALE", k, err)
	}
	h.Release()
	if _, err := b.open("log", syscall.O_RDONLY); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("the next open: %v, want ESTALE, so that the kernel looks", err)
	}
	h, err = b.open("log", syscall.O_WRONLY|syscall.O_APPEND)
	must(t, err)
	_, err = h.Append(ctx, []byte("three\n"), 8)
	must(t, err)
	must(t, h.Flush(ctx))
	h.Release()
	wantShared(t, a, "log", "one\ntwo\nthree\n")
}

// An open after a lost close has the kernel look, for it cannot know the winner's length yet.
func TestTheOpenAfterALostCloseHasTheKernelLook(t *testing.T) {
	a, b, _ := sharedPair(t, s3like(), time.Hour)
	must(t, a.write("log", "one\n"))
	wantShared(t, b, "log", "one\n")
	h, err := b.open("log", syscall.O_WRONLY)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("mine"), 4)
	must(t, err)
	must(t, a.write("log", "one\nand theirs\n"))
	if err := h.Flush(ctx); !errors.Is(err, syscall.ESTALE) {
		t.Fatalf("the close is %v, want ESTALE", err)
	}
	h.Release()
	if _, err := b.open("log", syscall.O_RDONLY); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("the next open: %v, want ESTALE", err)
	}
	wantShared(t, b, "log", "one\nand theirs\n")
}

func (m *mount) appendLine(path, line string) error {
	h, err := m.open(path, syscall.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Release()
	content, err := readHandle(h)
	if err != nil {
		return err
	}
	if _, err := h.WriteAt(ctx, []byte(line), int64(len(content))); err != nil {
		return err
	}
	return h.Flush(ctx)
}

func TestAStoreIsSharedOrClaimed(t *testing.T) {
	a, _, store := sharedPair(t, s3like(), 20*time.Millisecond)
	refused := func(o Options) error {
		o.Store, o.StoreName, o.CacheDir = claimsAside(store), store.String(), t.TempDir()
		m, err := Open(t.Context(), o)
		if err == nil {
			_ = m.Close()
		}
		return err
	}
	var held *claim.HeldError
	if err := refused(Options{}); !errors.As(err, &held) || !strings.Contains(err.Error(), "shared by") {
		t.Errorf("a claim in a shared store: %v", err)
	}
	_ = a
	claimed := mem.New(mem.Options{Capabilities: s3like()})
	m := openTree(t, claimed, Options{})
	defer m.close()
	store = claimed
	if err := refused(Options{Shared: true}); !errors.As(err, &held) {
		t.Errorf("sharing a claimed store: %v", err)
	}
	store = mem.New(mem.Options{Capabilities: mem.Weak()})
	if err := refused(Options{Shared: true}); !provider.Is(err, provider.KindUnsupported) {
		t.Errorf("sharing a store that checks nothing: %v", err)
	}
}
