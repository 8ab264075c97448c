package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/observe"
)

// s3like is what a bucket can do.
func s3like() provider.Capabilities {
	caps := mem.Full()
	caps.AtomicMove, caps.ListMetadata = false, false
	return caps
}

// counted is a store that counts and can be made to fail.
type counted struct {
	*observe.Provider
	faults *faulty.Provider
	mem    provider.Provider
}

func newCounted() counted {
	inner := mem.New(mem.Options{Capabilities: s3like()})
	f := faulty.New(strict{inner}, faulty.Options{})
	return counted{observe.New(f, observe.Options{}), f, inner}
}

func (c counted) requests(ops ...string) (n int64) {
	s := c.Snapshot()
	for _, op := range ops {
		n += s.Of(op).Requests
	}
	return n
}

func (c counted) changes() int64 { return c.requests("put", "copy", "move", "delete") }

func (c counted) put(t *testing.T, key, content string, md provider.Metadata) {
	t.Helper()
	_, err := c.mem.Put(ctx, key, strings.NewReader(content), int64(len(content)), provider.PutOptions{Metadata: md})
	must(t, err)
}

func wantFile(t *testing.T, m *mount, path, content string) {
	t.Helper()
	got, err := m.read(path)
	if err != nil || got != content {
		t.Fatalf("%s: %.80q, %v; want %.80q", path, got, err, content)
	}
}

func wantObjects(t *testing.T, store provider.Provider, want map[string]string) {
	t.Helper()
	if err := same(objects(t, store), want); err != nil {
		t.Fatal("store:", err)
	}
}

func TestOneFileIsOnePut(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	must(t, m.mkdir("incoming"), m.mkdir("shares"), m.write("incoming/f", ""))
	for i := range 10 {
		h, err := m.open("incoming/f", syscall.O_RDWR)
		must(t, err)
		_, err = h.WriteAt(ctx, []byte(strings.Repeat("x", 100)), int64(i*100))
		must(t, err, h.Flush(ctx))
		h.Release()
	}
	must(t, m.mv("incoming/f", "shares/f"), m.rmdir("incoming"))
	m.flush()
	wantObjects(t, s, map[string]string{"shares/f": strings.Repeat("x", 1000)})
	if n := s.changes(); n != 1 {
		t.Fatalf("%d requests changed the store, want 1: %+v", n, s.Snapshot().Ops)
	}
}

func TestWhatIsMadeAndRemovedCostsNothing(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	must(t, m.mkdir("d"), m.write("d/f", "x"), m.mv("d/f", "d/g"), m.rm("d/g"), m.rmdir("d"))
	m.flush()
	if n := s.changes(); n != 0 {
		t.Fatalf("%d requests changed the store: %+v", n, s.Snapshot().Ops)
	}
}

func TestAnOpenForWriteWithoutAWriteIsNoChange(t *testing.T) {
	s := newCounted()
	s.put(t, "f", "hello", nil)
	m := openTree(t, s, Options{})
	defer m.close()
	for range 3 {
		h, err := m.open("f", syscall.O_RDWR)
		must(t, err)
		got, err := readHandle(h)
		must(t, err, h.Flush(ctx))
		if got != "hello" {
			t.Fatalf("read %q", got)
		}
		h.Release()
	}
	m.flush()
	if n := s.changes(); n != 0 {
		t.Fatalf("%d requests changed the store", n)
	}
}

func TestADirectoryIsListedOnce(t *testing.T) {
	s := newCounted()
	for i := range 50 {
		s.put(t, fmt.Sprintf("d/%02d", i), "x", nil)
	}
	m := openTree(t, s, Options{Attributes: AttributesListed})
	defer m.close()
	m.show()
	m.show()
	if _, err := m.walk("d/none"); !errors.Is(err, syscall.ENOENT) {
		t.Fatal(err)
	}
	if lists, heads := s.requests("list"), s.requests("stat"); lists != 2 || heads != 0 {
		t.Fatalf("%d LIST and %d HEAD, want 2 and 0", lists, heads)
	}
}

func TestAttributesAreFetchedOnce(t *testing.T) {
	s := newCounted()
	for i := range 50 {
		s.put(t, fmt.Sprintf("%02d", i), "x", provider.Attrs{Mode: 0o100600 | uint32(i)&7, Has: provider.HasMode}.Metadata())
	}
	m := openTree(t, s, Options{})
	for range 2 {
		for i := range 50 {
			a, err := m.Lookup(ctx, Root, fmt.Sprintf("%02d", i))
			must(t, err)
			if a.Mode != 0o100600|uint32(i)&7 {
				t.Fatalf("%02d has mode %o", i, a.Mode)
			}
		}
	}
	m.close()
	m = openTree(t, s, m.opts)
	m.show()
	m.close()
	if heads := s.requests("stat"); heads != 50 {
		t.Fatalf("%d HEAD, want 50", heads)
	}
}

func TestAttributesComeBackOnANewMachine(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	must(t, m.write("f", "x"), m.mkdir("d"))
	_, err := m.Symlink(ctx, Caller{}, Root, "l", "../to here")
	must(t, err)
	ino, err := m.walk("f")
	must(t, err)
	mode, uid, gid := uint32(0o4751), uint32(7), uint32(8)
	mtime := time.Unix(1234567890, 123456789)
	_, err = m.SetAttr(ctx, ino, SetAttr{Mode: &mode, UID: &uid, GID: &gid, Mtime: &mtime})
	must(t, err, m.SetXattr(ctx, ino, "user.note", []byte("hi\x00there"), 0))
	dino, err := m.walk("d")
	must(t, err)
	dmode := uint32(0o1700)
	_, err = m.SetAttr(ctx, dino, SetAttr{Mode: &dmode})
	must(t, err)
	m.flush()
	m.close()

	m = openTree(t, s, Options{})
	defer m.close()
	a, err := m.Lookup(ctx, Root, "f")
	must(t, err)
	if a.Mode != 0o104751 || a.UID != 7 || a.GID != 8 || !a.Mtime.Equal(mtime) {
		t.Fatalf("%+v", a)
	}
	if v, err := m.GetXattr(ctx, a.Ino, "user.note"); err != nil || string(v) != "hi\x00there" {
		t.Fatalf("%q, %v", v, err)
	}
	l, err := m.Lookup(ctx, Root, "l")
	must(t, err)
	if target, err := m.Readlink(ctx, l.Ino); err != nil || target != "../to here" || l.Mode&provider.ModeType != provider.ModeSymlink {
		t.Fatalf("%q %o %v", target, l.Mode, err)
	}
	d, err := m.Lookup(ctx, Root, "d")
	must(t, err)
	if d.Mode != provider.ModeDir|0o1700 {
		t.Fatalf("mode %o", d.Mode)
	}
}

func TestAnUnlinkedFileIsReadToItsEnd(t *testing.T) {
	for name, remove := range map[string]func(*mount) error{
		"unlink":      func(m *mount) error { return m.rm("f") },
		"rename over": func(m *mount) error { return errors.Join(m.write("g", "new"), m.mv("g", "f")) },
		"new file":    func(m *mount) error { return errors.Join(m.rm("f"), m.write("f", "new")) },
		"directory":   func(m *mount) error { return errors.Join(m.rm("f"), m.mkdir("f"), m.write("f/x", "new")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newCounted()
			s.put(t, "f", "old content", nil)
			m := openTree(t, s, Options{})
			defer m.close()
			h, err := m.open("f", syscall.O_RDONLY)
			must(t, err, remove(m))
			if name != "directory" { // there the old object is in the way, and is read
				must(t, m.Flush(ctx, nil))
			}
			got, err := readHandle(h)
			if err != nil || got != "old content" {
				t.Fatalf("%q, %v", got, err)
			}
			h.Release()
			m.flush()
			for key, content := range objects(t, s) {
				if content == "old content" {
					t.Fatalf("%q is still in the store", key)
				}
			}
		})
	}
}

func TestFsyncStoresAFileThatIsOpen(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	for i := range 3 {
		_, err = h.WriteAt(ctx, []byte{byte('0' + i)}, int64(i))
		must(t, err, h.Fsync(ctx))
		wantObjects(t, s, map[string]string{"f": "012"[:i+1]})
	}
}

func TestFsyncReturnsTheErrorOfTheStore(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	heal := s.faults.Add(faulty.Rule{Ops: []string{"put"}, Kind: provider.KindDenied})
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte("precious"), 0)
	must(t, err)
	if err := h.Fsync(ctx); !provider.Is(err, provider.KindDenied) {
		t.Fatalf("fsync: %v", err)
	}
	st, err := m.Status()
	must(t, err)
	if len(st.Stuck) != 1 || st.Stuck[0].Path != "/f" || st.Pending.Files == 0 {
		t.Fatalf("%+v", st)
	}
	wantFile(t, m, "f", "precious")
	heal()
	must(t, h.Fsync(ctx))
	wantObjects(t, s, map[string]string{"f": "precious"})
	if st, _ := m.Status(); len(st.Stuck) != 0 {
		t.Fatalf("still stuck: %+v", st.Stuck)
	}
}

func TestAFileHeldOpenForWritingIsNotStored(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("half"), 0)
	must(t, err, h.Flush(ctx))
	must(t, m.write("other", "x"))
	waitFor(t, func() bool { return len(objects(t, s)) == 1 })
	wantObjects(t, s, map[string]string{"other": "x"})
	h.Release()
	waitFor(t, func() bool { return len(objects(t, s)) == 2 })
}

// waitFor waits for something that the background does.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAWriteDuringAnUploadNeverTearsTheObject(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	defer m.close()
	const size = 12 << 20 // above what a snapshot keeps in memory
	fill := func(c byte) []byte { return []byte(strings.Repeat(string(c), size)) }
	write := func(c byte) {
		h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
		must(t, err)
		p := fill(c)
		for off := 0; off < size; off += 1 << 20 {
			_, err := h.WriteAt(ctx, p[off:off+1<<20], int64(off))
			must(t, err)
		}
		must(t, h.Flush(ctx))
		h.Release()
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, o, err := s.mem.Open(ctx, "f", provider.OpenOptions{})
			if err != nil {
				continue
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil || len(b) == 0 || int64(len(b)) != o.Size || strings.Trim(string(b), string(b[0])) != "" {
				t.Errorf("a torn object of %d bytes, %v", len(b), err)
				return
			}
		}
	})
	for i := range 20 {
		write(byte('a' + i))
		time.Sleep(time.Duration(i) * time.Millisecond) // so that writes meet uploads at different points
	}
	m.flush()
	close(stop)
	wg.Wait()
	wantFile(t, m, "f", string(fill('t'))[:1<<20])
}

func TestWritersReadersAndTheCommitterAtOnce(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	defer m.close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 60 {
				p := fmt.Sprintf("f%d", (w+i)%3)
				content := strings.Repeat(string(rune('a'+w)), 100)
				switch i % 4 {
				case 0, 1:
					h, err := m.open(p, syscall.O_CREAT|syscall.O_RDWR)
					if err != nil {
						continue // removed between lookup and open
					}
					if _, err := h.WriteAt(ctx, []byte(content), 0); err != nil {
						t.Error("write:", err)
					}
					if err := h.Flush(ctx); err != nil {
						t.Error("flush:", err)
					}
					h.Release()
				case 2:
					if got, err := m.read(p); err == nil && got != "" && len(got) != 100 {
						t.Errorf("read %d bytes", len(got))
					}
				case 3:
					if err := m.mv(p, fmt.Sprintf("f%d", i%3)); err != nil && !errors.Is(err, syscall.ENOENT) {
						t.Error("mv:", err)
					}
				}
			}
		})
	}
	wg.Wait()
	m.flush()
	want := m.show()
	wantObjects(t, s, want)
}

func TestSwappedNamesAreStored(t *testing.T) {
	s := newCounted()
	s.put(t, "a", "A", nil)
	s.put(t, "b", "B", nil)
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	must(t, m.mv("a", "tmp"), m.mv("b", "a"), m.mv("tmp", "b"))
	m.flush()
	wantObjects(t, s, map[string]string{"a": "B", "b": "A"})
}

func TestAFileMovesBelowItsOwnName(t *testing.T) {
	s := newCounted()
	s.put(t, "a", "A", nil)
	m := openTree(t, s, Options{Writeback: time.Hour})
	defer m.close()
	must(t, m.mv("a", "t"), m.mkdir("a"), m.mv("t", "a/x"))
	m.flush()
	wantObjects(t, s, map[string]string{"a/x": "A"})
	must(t, m.mv("a/x", "t"), m.rmdir("a"), m.mv("t", "a"))
	m.flush()
	wantObjects(t, s, map[string]string{"a": "A"})
}

func TestAStoreThatIsAwayStopsNobodyButColdReads(t *testing.T) {
	s := newCounted()
	s.put(t, "cold", "far", nil)
	m := openTree(t, s, Options{})
	defer m.close()
	must(t, m.write("warm", "near"))
	m.flush()
	heal := s.faults.Add(faulty.Rule{Kind: provider.KindUnavailable})
	must(t, m.write("new", "written"))
	wantFile(t, m, "warm", "near")
	wantFile(t, m, "new", "written")
	if _, err := m.read("cold"); !provider.Is(err, provider.KindUnavailable) {
		t.Fatalf("cold read: %v", err)
	}
	heal()
	wantFile(t, m, "cold", "far")
	m.flush()
	wantObjects(t, s, map[string]string{"cold": "far", "warm": "near", "new": "written"})
}

func TestNamesThatCannotBeKeys(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	names := []string{"\xff\xfe", "tab\there", "a%01", "100%", strings.Repeat("n", 255), " ", "é", "-", "..."}
	for _, n := range names {
		must(t, m.write(n, n))
	}
	for _, n := range []string{strings.Repeat("n", 256), strings.Repeat("\xff", 200)} {
		if err := m.write(n, "x"); !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Fatalf("%.20q: %v", n, err)
		}
	}
	m.flush()
	m.close()
	m = openTree(t, s, Options{})
	defer m.close()
	for _, n := range names {
		wantFile(t, m, n, n)
	}
}

func TestForeignKeysThatAreNoPathsAreHidden(t *testing.T) {
	s := newCounted()
	for _, key := range []string{"a//b", "a/../c", "a/ok", "/x", "both", "both/x", "tab\there"} {
		s.put(t, key, key, nil)
	}
	m := openTree(t, s, Options{})
	defer m.close()
	if err := same(m.show(), map[string]string{"a/": "", "a/ok": "a/ok", "both/": "", "both/x": "both/x"}); err != nil {
		t.Fatal(err)
	}
	if st, _ := m.Status(); st.Hidden == 0 {
		t.Fatal("hidden keys are not counted")
	}
}

func TestAForeignChangeIsSeenByTheNextOpen(t *testing.T) {
	s := newCounted()
	s.put(t, "f", "one", nil)
	m := openTree(t, s, Options{})
	defer m.close()
	if _, err := m.walk("f"); err != nil {
		t.Fatal(err)
	}
	s.put(t, "f", "longer", nil)
	if _, err := m.read("f"); !errors.Is(err, syscall.ESTALE) {
		t.Fatalf("read of a file that was changed behind the mount: %v", err)
	}
	wantFile(t, m, "f", "longer")
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	s := newCounted()
	s.put(t, "f", "x", nil)
	m := openTree(t, s, Options{ReadOnly: true})
	defer m.close()
	wantFile(t, m, "f", "x")
	_, openErr := m.open("f", syscall.O_RDWR)
	for what, err := range map[string]error{"write": m.write("g", "x"), "mkdir": m.mkdir("d"), "rm": m.rm("f"), "mv": m.mv("f", "g"), "open": openErr} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestACacheDirectoryBelongsToOneStoreAndOneProcess(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{})
	o := m.opts
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	m.close()
	o.StoreName = "another"
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "belongs to the store") {
		t.Fatalf("another store: %v", err)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	s := newCounted()
	s.put(t, "f", "x", nil)
	m := openTree(t, s, Options{})
	defer m.close()
	heal := s.faults.Add(faulty.Rule{Effect: faulty.Stall})
	defer heal()
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := m.Lookup(short, Root, "f"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// TestARequestWhoseAnswerIsLostIsSettled has requests take effect and fail, as when this process or the network dies
// between the store's change and its answer.
func TestARequestWhoseAnswerIsLostIsSettled(t *testing.T) {
	for caps, change := range modelStores {
		for name, c := range map[string]struct {
			before, after func(*mount) error
			op            string
			want          map[string]string
		}{
			"put, unlink":     {func(m *mount) error { return m.write("x", "1") }, func(m *mount) error { return m.rm("x") }, "put", nil},
			"put, rename":     {func(m *mount) error { return m.write("x", "1") }, func(m *mount) error { return m.mv("x", "y") }, "put", map[string]string{"y": "1"}},
			"put, write":      {func(m *mount) error { return m.write("x", "1") }, func(m *mount) error { return m.write("x", "2") }, "put", map[string]string{"x": "2"}},
			"put, replace":    {func(m *mount) error { return m.write("x", "1") }, func(m *mount) error { return errors.Join(m.write("z", "2"), m.mv("z", "x")) }, "put", map[string]string{"x": "2"}},
			"put, nothing":    {func(m *mount) error { return m.write("x", "1") }, func(*mount) error { return nil }, "put", map[string]string{"x": "1"}},
			"put, directory":  {func(m *mount) error { return m.write("x", "1") }, func(m *mount) error { return errors.Join(m.rm("x"), m.mkdir("x"), m.write("x/y", "2")) }, "put", map[string]string{"x/y": "2"}},
			"marker, rmdir":   {func(m *mount) error { return m.mkdir("d") }, func(m *mount) error { return m.rmdir("d") }, "put", nil},
			"rename, nothing": {func(m *mount) error { return m.mv("old", "x") }, func(*mount) error { return nil }, "copy move", map[string]string{"x": "0"}},
			"rename, unlink":  {func(m *mount) error { return m.mv("old", "x") }, func(m *mount) error { return m.rm("x") }, "copy move", nil},
			"rename, rename":  {func(m *mount) error { return m.mv("old", "x") }, func(m *mount) error { return m.mv("x", "y") }, "copy move", map[string]string{"y": "0"}},
			"delete, again":   {func(m *mount) error { return m.rm("old") }, func(m *mount) error { return m.write("old", "3") }, "delete", map[string]string{"old": "3"}},
		} {
			t.Run(caps+"/"+name, func(t *testing.T) {
				all := mem.Full()
				change(&all)
				inner := mem.New(mem.Options{Capabilities: all})
				f := faulty.New(strict{inner}, faulty.Options{})
				m := openTree(t, f, Options{IOTimeout: 1500 * time.Millisecond}) // what is late is waited for a third of it
				defer func() { m.Tree.Close() }()
				renames := strings.HasPrefix(c.op, "copy") || c.op == "delete"
				if renames {
					must(t, m.write("old", "0"))
					m.flush()
				}
				hit := make(chan struct{}, 100)
				heal := f.Add(faulty.Rule{Ops: strings.Fields(c.op), Effect: faulty.ApplyFail, Times: 1, Notify: func(faulty.Call) { hit <- struct{}{} }})
				stop := f.Add(faulty.Rule{Skip: 1}) // and then the store is gone
				must(t, c.before(m))
				if all.Copy || c.op == "put" || c.op == "delete" {
					<-hit
				}
				m = m.crash()
				must(t, c.after(m))
				heal()
				stop()
				m.flush()
				got := objects(t, inner)
				if err := same(got, c.want); err != nil {
					t.Fatal("store:", err)
				}
			})
		}
	}
}

func TestAnUnlinkedFileLeavesNothingInTheStage(t *testing.T) {
	for name, use := range map[string]func(Handle) error{
		"not used": func(Handle) error { return nil },
		"read":     func(h Handle) error { _, err := readHandle(h); return err },
		"synced":   func(h Handle) error { _, err := h.WriteAt(ctx, []byte("y"), 0); return errors.Join(err, h.Fsync(ctx)) },
		"written":  func(h Handle) error { _, err := h.WriteAt(ctx, []byte("y"), 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			m := openTree(t, newCounted(), Options{Writeback: time.Hour})
			defer m.close()
			must(t, m.write("f", "x"))
			h, err := m.open("f", syscall.O_RDWR)
			if name == "synced" {
				must(t, use(h), m.rm("f"))
			} else {
				must(t, err, m.rm("f"), use(h))
			}
			h.Release()
			m.Forget(h.Ino())
			if ids, err := m.stage.IDs(); err != nil || len(ids) != 0 {
				t.Fatalf("%v, %v", ids, err)
			}
		})
	}
}

func TestReconcileSeesWhatChangedWhileNothingWasMounted(t *testing.T) {
	s := newCounted()
	s.put(t, "same", "1", nil)
	s.put(t, "changed", "1", nil)
	s.put(t, "gone", "1", nil)
	s.put(t, "gone-dir/x", "1", nil)
	s.put(t, "file-then-dir", "1", nil)
	s.put(t, "dir-then-file/x", "1", nil)
	s.put(t, "mode", "1", nil)
	m := openTree(t, s, Options{})
	m.show()
	must(t, m.write("mine", "1"))
	m.flush()
	m.close()

	must(t, s.mem.Delete(ctx, provider.DeleteOptions{}, "gone", "gone-dir/x", "file-then-dir", "dir-then-file/x"))
	s.put(t, "changed", "22", nil)
	s.put(t, "new", "1", nil)
	s.put(t, "dir-then-file", "file", nil)
	s.put(t, "file-then-dir/y", "1", nil)
	s.put(t, "mode", "1", provider.Attrs{Mode: 0o100600, Has: provider.HasMode}.Metadata())
	before := s.requests("stat", "open")
	m = openTree(t, s, m.opts)
	defer m.close()
	asked := s.requests("list", "stat")
	_, err := m.walk("gone-dir/x")
	must(t, err)
	if n := s.requests("list", "stat") - asked; n > 0 {
		t.Errorf("%d requests for what is known", n)
	}
	_, err = m.Reconcile(ctx, nil)
	must(t, err)
	want := map[string]string{"same": "1", "changed": "22", "new": "1", "dir-then-file": "file", "file-then-dir/": "",
		"file-then-dir/y": "1", "mode": "1", "mine": "1"}
	if err := same(m.show(), want); err != nil {
		t.Fatal(err)
	}
	a, err := m.Lookup(ctx, Root, "mode")
	must(t, err)
	if a.Mode != 0o100600 {
		t.Errorf("mode %o", a.Mode)
	}
	// Attributes of changed, new, dir-then-file, file-then-dir/, file-then-dir/y and mode; contents of the files among them.
	if n := s.requests("stat", "open") - before; n > 11 {
		t.Errorf("%d requests for what had changed", n)
	}
	if n := s.changes(); n != 1 {
		t.Errorf("%d requests changed the store, want the one of the first mount", n)
	}
}
