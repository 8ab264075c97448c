package tree

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/observe"
)

// observed is a tree over a store whose requests are counted.
func observed(t *testing.T, store provider.Provider, o Options) (*mount, *observe.Provider) {
	t.Helper()
	p := observe.New(store, observe.Options{})
	return openTree(t, p, o), p
}

// ended flushes and closes a tree as an unmount does.
func (m *mount) unmount() {
	m.t.Helper()
	m.flush()
	must(m.tb, m.Checkpoint(ctx, true))
	m.close()
}

// furnish makes files with modes, symlinks, empty directories and attributes.
func furnish(t *testing.T, m *mount, links bool) {
	t.Helper()
	for d := range 5 {
		dir := fmt.Sprintf("d%d", d)
		must(t, m.mkdir(dir), m.mkdir(dir+"/empty"))
		for f := range 8 {
			name := fmt.Sprintf("%s/f%d", dir, f)
			must(t, m.write(name, strings.Repeat(name, f)))
			ino, err := m.walk(name)
			must(t, err)
			mode, uid := uint32(0o600+f), uint32(1000+f)
			_, err = m.SetAttr(ctx, ino, SetAttr{Mode: &mode, UID: &uid})
			must(t, err)
		}
		ino, err := m.walk(dir)
		must(t, err)
		if links {
			_, err = m.Symlink(ctx, Caller{}, ino, "link", "f1\xff")
			must(t, err)
		}
		at := time.Unix(1_600_000_000+int64(d), 0)
		_, err = m.SetAttr(ctx, ino, SetAttr{Mtime: &at})
		must(t, err)
	}
}

// attrs lists everything with its attributes.
func (m *mount) attrs() string {
	m.t.Helper()
	var b strings.Builder
	var list func(ino uint64, path string)
	list = func(ino uint64, path string) {
		must(m.tb, m.ReadDir(ctx, ino, 0, func(e DirEntry) bool {
			a, err := m.GetAttr(ctx, e.Ino)
			must(m.tb, err)
			target, _ := m.Readlink(ctx, e.Ino)
			fmt.Fprintf(&b, "%s/%s %o %d %d %d %d %q\n", path, e.Name, a.Mode, a.UID, a.GID, a.Size, a.Mtime.UnixNano(), target)
			return true
		}))
		must(m.tb, m.ReadDir(ctx, ino, 0, func(e DirEntry) bool {
			if a, err := m.GetAttr(ctx, e.Ino); err == nil && a.Mode&provider.ModeType == provider.ModeDir {
				list(e.Ino, path+"/"+e.Name)
			}
			return true
		}))
	}
	list(Root, "")
	return b.String()
}

func lines(s string) map[string]bool {
	set := map[string]bool{}
	for l := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		set[l] = true
	}
	return set
}

func sameLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := lines(got), lines(want)
	for l := range w {
		if !g[l] {
			t.Errorf("missing: %s", l)
		}
	}
	for l := range g {
		if !w[l] {
			t.Errorf("too much: %s", l)
		}
	}
}

func TestANewMachineKnowsAttributesFromTheCheckpoint(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	m := openTree(t, store, Options{})
	furnish(t, m, true)
	want := m.attrs()
	m.unmount()
	m, p := observed(t, store, Options{})
	sameLines(t, m.attrs(), want)
	if n := p.Snapshot().Of("stat").Requests; n > 0 {
		t.Errorf("%d objects were asked for", n)
	}
	if u := m.cat.Usage(); u.Files != 45 {
		t.Errorf("%+v", u)
	}
	m.close()

	// What was changed since is asked for, and nothing else.
	must(t, func() error {
		_, err := store.Put(ctx, "d1/f3", strings.NewReader("new"), 3, provider.PutOptions{Metadata: provider.Metadata{"mode": "33188"}})
		return err
	}(), store.Delete(ctx, provider.DeleteOptions{}, "d2/f4"))
	m, p = observed(t, store, Options{})
	got := m.attrs()
	if !strings.Contains(got, "/d1/f3 100644 ") || strings.Contains(got, "/d2/f4") {
		t.Error("the checkpoint is believed where the store has changed")
	}
	if n := p.Snapshot().Of("stat").Requests; n != 1 {
		t.Errorf("%d objects were asked for, want 1", n)
	}
	m.close()
}

func TestTheFlatListingOfANewMachineSparesTheOthers(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	m := openTree(t, store, Options{})
	furnish(t, m, true)
	want := m.attrs()
	m.unmount()
	m, p := observed(t, store, Options{})
	lists := func() int64 { return p.Snapshot().Of("list").Requests }
	for deadline := time.Now().Add(time.Minute); lists() < 2 && time.Now().Before(deadline); { // of checkpoints, and of all
		time.Sleep(time.Millisecond)
	}
	_, err := m.Reconcile(ctx, nil) // when the other has ended
	must(t, err)
	before := lists()
	sameLines(t, m.attrs(), want)
	if n := lists() - before; n > 0 {
		t.Errorf("%d listings after the comparison", n)
	}
	m.close()
}

func TestACheckpointThatCannotBeReadIsNotBelieved(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"no gzip": func([]byte) []byte { return []byte("{}") },
		"newer": func([]byte) []byte {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			fmt.Fprintln(z, `{"sharefs_checkpoint":99}`)
			z.Close()
			return b.Bytes()
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := mem.New(mem.Options{Capabilities: s3like()})
			m := openTree(t, store, Options{})
			furnish(t, m, true)
			want := m.attrs()
			m.unmount()
			keys, err := m.checkpointsOf(store)
			must(t, err)
			if len(keys) != 1 {
				t.Fatalf("checkpoints: %q", keys)
			}
			r, _, err := store.Open(ctx, keys[0], provider.OpenOptions{})
			must(t, err)
			body, err := io.ReadAll(r)
			must(t, err)
			body = spoil(body)
			_, err = store.Put(ctx, keys[0], bytes.NewReader(body), int64(len(body)), provider.PutOptions{})
			must(t, err)
			m = openTree(t, store, Options{})
			defer m.close()
			// Times of directories are in the checkpoint only.
			strip := func(s string) string {
				var keep []string
				for l := range lines(s) {
					if f := strings.Fields(l); !strings.HasPrefix(f[1], "40") {
						keep = append(keep, l)
					}
				}
				return strings.Join(keep, "\n")
			}
			sameLines(t, strip(m.attrs()), strip(want))
		})
	}
}

func (m *mount) checkpointsOf(store provider.Provider) ([]string, error) {
	page, err := store.List(context.Background(), provider.ListOptions{Prefix: provider.Checkpoints, Flat: true})
	var keys []string
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys, err
}

// foreign changes a furnished store as another program.
func foreign(t *testing.T, store provider.Provider) {
	t.Helper()
	put := func(key string) {
		_, err := store.Put(ctx, key, strings.NewReader("theirs"), 6, provider.PutOptions{})
		must(t, err)
	}
	put("d0/f3")
	put("d1/new/x")
	put("top")
	must(t, store.Delete(ctx, provider.DeleteOptions{}, "d2/f1", "d2/f2"))
	for n := range 8 {
		must(t, store.Delete(ctx, provider.DeleteOptions{}, fmt.Sprintf("d3/f%d", n)))
	}
	must(t, store.Delete(ctx, provider.DeleteOptions{}, "d3/empty/", "d3/"))
}

func TestReconcileFindsWhatOthersChangedAndNothingElse(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	m, p := observed(t, store, Options{})
	defer m.close()
	furnish(t, m, false)
	m.flush()
	want := m.show()
	before := p.Snapshot().Of("list").Requests
	found, err := m.Reconcile(ctx, nil)
	must(t, err)
	if n := p.Snapshot().Of("list").Requests - before; found.Directories != 0 || n != 1 || found.Objects == 0 {
		t.Errorf("nothing has changed: %+v after %d listings", found, n)
	}
	must(t, same(m.show(), want))

	var told []string
	m.OnNews(func(parent uint64, name string, ino uint64) { told = append(told, name) })
	foreign(t, store)
	h, err := m.open("d4/f7", syscall.O_RDWR) // pending meanwhile
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("ours"), 0)
	must(t, err)
	found, err = m.Reconcile(ctx, nil)
	must(t, err, h.Flush(ctx))
	h.Release()
	if found.Directories == 0 {
		t.Error("nothing was found")
	}
	m.flush()
	got := m.show()
	if got["d0/f3"] != "theirs" || got["d1/new/x"] != "theirs" || got["top"] != "theirs" || !strings.HasPrefix(got["d4/f7"], "ours") {
		t.Errorf("%q", got)
	}
	for _, gone := range []string{"d2/f1", "d2/f2", "d3/f1", "d3"} {
		if _, err := m.walk(gone); err == nil {
			t.Errorf("%s is still shown", gone)
		}
	}
	if !strings.Contains(strings.Join(told, " "), "f3") || !strings.Contains(strings.Join(told, " "), "top") {
		t.Errorf("the kernel was told of %q", told)
	}
}

// TestAnOlderCatalogIsRecognised: a killed mount, whose cache directory is then replaced by an older copy.
func TestAnOlderCatalogIsRecognised(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	m := openTree(t, store, Options{})
	furnish(t, m, false)
	m.flush()
	m = m.crash()
	old := memoryDir(t)
	if out, err := exec.Command("cp", "-a", m.opts.CacheDir+"/.", old).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	must(t, m.write("d1/f1", "later"), m.rm("d1/f2"), m.mv("d2", "renamed"), m.write("top", "new"))
	m.flush()
	want, stored := m.show(), objects(t, store)
	m = m.crash()
	o := m.opts
	m.end()
	must(t, os.Rename(old, o.CacheDir))
	m = m.again(o)
	defer m.close()
	deadline := time.Now().Add(time.Minute)
	for same(m.show(), want) != nil && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	must(t, same(m.show(), want), same(objects(t, store), stored))
}

func TestForeignChangesAreReportedWhereTheStoreChecksNothing(t *testing.T) {
	caps := s3like()
	caps.CreateIfAbsent, caps.ReplaceIfVersion, caps.DeleteIfVersion = false, false, false
	store := mem.New(mem.Options{Capabilities: caps})
	m, p := observed(t, store, Options{CheckForeign: true})
	defer m.close()
	for _, name := range []string{"changed", "deleted", "unlinked", "renamed", "quiet"} {
		must(t, m.write(name, name))
	}
	m.flush()
	if n := m.commit.Foreign(); n != 0 {
		t.Fatalf("%d foreign objects in a store of our own", n)
	}
	for _, key := range []string{"changed", "unlinked", "taken", "new"} {
		_, err := store.Put(ctx, key, strings.NewReader("theirs"), 6, provider.PutOptions{})
		must(t, err)
	}
	must(t, store.Delete(ctx, provider.DeleteOptions{}, "deleted"))
	for i, change := range []func() error{
		func() error { return m.write("changed", "again") },
		func() error { return m.write("deleted", "again") },
		func() error { return m.rm("unlinked") },
		func() error { return m.mv("renamed", "taken") },
		func() error { return m.write("new", "new") },
	} {
		must(t, change())
		m.flush()
		if n := m.commit.Foreign(); n != int64(i+1) {
			t.Errorf("after change %d: %d were found", i, n)
		}
	}
	before := p.Snapshot().Of("stat").Requests
	must(t, m.write("quiet", "again"))
	m.flush()
	if n := m.commit.Foreign(); n != 5 {
		t.Errorf("%d were found", n)
	}
	if n := p.Snapshot().Of("stat").Requests - before; n != 1 {
		t.Errorf("%d HEADs for one change", n)
	}
}

// TestAnEmptyStoreStaysEmpty: a checkpoint of what there was before is not believed by a catalog that knows better.
func TestAnEmptyStoreStaysEmpty(t *testing.T) {
	for name, leave := range map[string]func(*mount) *mount{
		"killed":    (*mount).crash,
		"remounted": func(m *mount) *mount { m.close(); return m.again(m.opts) },
	} {
		t.Run(name, func(t *testing.T) {
			m := openTree(t, mem.New(mem.Options{Capabilities: s3like()}), Options{})
			must(t, m.write("f", "1"))
			m.flush()
			must(t, m.Checkpoint(ctx, true), m.rm("f"))
			m.flush()
			m = leave(m)
			defer m.close()
			if got := m.show(); len(got) > 0 {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestADoubtOutlivesAMount: a mount after a kill that ends before it could compare leaves that to the next one.
func TestADoubtOutlivesAMount(t *testing.T) {
	store := mem.New(mem.Options{Capabilities: s3like()})
	faults := faulty.New(store, faulty.Options{})
	m := openTree(t, faults, Options{})
	must(t, m.mkdir("d"), m.write("d/f", "1"))
	m.flush()
	heal := faults.Add(faulty.Rule{Ops: []string{"list"}, Kind: provider.KindUnavailable})
	m = m.crash()
	m.close()
	m = m.again(m.opts) // released in good order
	_, err := store.Put(ctx, "d/theirs", strings.NewReader("2"), 1, provider.PutOptions{})
	must(t, err)
	m.close()
	heal()
	m = m.again(m.opts)
	defer func() { m.close() }()
	want := map[string]string{"d/": "", "d/f": "1", "d/theirs": "2"}
	for deadline := time.Now().Add(time.Minute); same(m.show(), want) != nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	must(t, same(m.show(), want))
	m.close()
	m = m.again(m.opts)
	if how := m.judge(); how != trustAll {
		t.Errorf("after the comparison the trust is %d", how)
	}
}
