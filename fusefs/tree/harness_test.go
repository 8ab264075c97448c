package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/test/soak"
)

func TestMain(m *testing.M) {
	soak.FixRapid()
	m.Run()
}

// strict is a store that takes no object above or below another one, as stores do that keep objects as files.
type strict struct{ provider.Provider }

func (s strict) check(ctx context.Context, op, key string) error {
	path := strings.TrimSuffix(key, "/")
	conflict := func(why string) error {
		return &provider.Error{Op: op, Key: key, Kind: provider.KindConflict, Err: errors.New(why)}
	}
	for i := range path {
		if path[i] == '/' {
			if _, err := s.Provider.Stat(ctx, path[:i]); err == nil {
				return conflict("there is an object at " + path[:i])
			}
		}
	}
	if strings.HasSuffix(key, "/") {
		if _, err := s.Provider.Stat(ctx, path); err == nil {
			return conflict("there is an object in the place of the directory")
		}
		return nil
	}
	page, err := s.Provider.List(ctx, provider.ListOptions{Prefix: path + "/", Flat: true, Limit: 1})
	if err == nil && len(page.Objects) > 0 {
		return conflict("there is an object below it: " + page.Objects[0].Key)
	}
	return err
}

func (s strict) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	if err := s.check(ctx, "put", key); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Put(ctx, key, body, size, o)
}

func (s strict) Copy(ctx context.Context, src, dst string, o provider.CopyOptions) (provider.Object, error) {
	if err := s.check(ctx, "copy", dst); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Copy(ctx, src, dst, o)
}

func (s strict) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	if err := s.check(ctx, "move", dst); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Move(ctx, src, dst)
}

// mount is a tree in a test, addressed by paths.
type mount struct {
	*Tree
	tb   testing.TB
	t    failer // tb, or the rapid check that runs
	opts Options
}

type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func openTree(t testing.TB, store provider.Provider, o Options) *mount {
	t.Helper()
	o.Store = store
	if o.StoreName == "" {
		o.StoreName = store.String()
	}
	if o.CacheDir == "" {
		o.CacheDir = memoryDir(t)
	}
	if o.Writeback == 0 {
		o.Writeback = time.Millisecond
	}
	if o.Claim.Settle == 0 {
		o.Claim.Settle, o.Claim.Gap = time.Millisecond, time.Hour // for stores that check no conditions
	}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	aside := o
	aside.Store = claimsAside(store)
	tr, err := Open(t.Context(), aside)
	if err != nil {
		t.Fatal(err)
	}
	return &mount{tr, t, t, o}
}

// claimed is a store whose claims are in a store of their own: what a test counts, or makes fail, are the requests for files.
type claimed struct {
	provider.Provider
	claims provider.Provider
}

var claimStores sync.Map // by the store of a test: where its claims are

func claimsAside(p provider.Provider) provider.Provider {
	claims, _ := claimStores.LoadOrStore(p, mem.New(mem.Options{Capabilities: p.Capabilities()}))
	return claimed{p, claims.(provider.Provider)}
}

func (c claimed) of(key string) provider.Provider {
	if strings.HasPrefix(key, claim.Prefix) {
		return c.claims
	}
	return c.Provider
}

func (c claimed) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	return c.of(key).Put(ctx, key, body, size, o)
}

func (c claimed) Open(ctx context.Context, key string, o provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	return c.of(key).Open(ctx, key, o)
}

func (c claimed) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	return c.of(o.Prefix).List(ctx, o)
}

func (c claimed) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return c.of(keys[0]).Delete(ctx, o, keys...)
}

func (m *mount) close() {
	m.t.Helper()
	if err := m.Tree.Close(); err != nil {
		m.t.Fatal("close:", err)
	}
}

// end closes the tree and takes its cache directory away: one test may open many.
func (m *mount) end() {
	_ = m.Tree.Close()
	_ = os.RemoveAll(m.opts.CacheDir)
}

// crash opens a copy of the cache directory as it is now, and gives up the old one.
func (m *mount) crash() *mount {
	m.t.Helper()
	dir := memoryDir(m.tb)
	// A killed process stops between two system calls; a copy of a directory that is being written would not. So the
	// background is stopped first; what is only in memory is not written.
	m.Tree.cancel()
	m.Tree.commit.Close()
	m.Tree.wg.Wait()
	if out, err := exec.Command("cp", "-a", m.opts.CacheDir+"/.", dir).CombinedOutput(); err != nil {
		m.t.Fatalf("cp: %v: %s", err, out)
	}
	if m.Tree.claim != nil { // who is killed does not release it
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := m.Tree.claim.Release(gone); err == nil {
			m.t.Fatal("a claim was released in no time")
		}
	}
	o := m.opts
	m.end()
	o.CacheDir = dir
	return m.again(o)
}

// again opens the same store with other options.
func (m *mount) again(o Options) *mount {
	next := openTree(m.tb, o.Store, o)
	next.t = m.t
	return next
}

var ctx = context.Background()

func (m *mount) walk(path string) (uint64, error) {
	ino := Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		a, err := m.Lookup(ctx, ino, name)
		if err != nil {
			return 0, err
		}
		ino = a.Ino
	}
	return ino, nil
}

func (m *mount) parent(path string) (uint64, string, error) {
	path = strings.Trim(path, "/")
	i := strings.LastIndexByte(path, '/')
	ino, err := m.walk(path[:max(i, 0)])
	if err == nil {
		_, err = m.dir(ino)
	}
	return ino, path[i+1:], err
}

func (m *mount) open(path string, flags uint32) (Handle, error) {
	dir, name, err := m.parent(path)
	if err != nil {
		return nil, err
	}
	if flags&syscall.O_CREAT != 0 {
		_, h, err := m.Create(ctx, Caller{}, dir, name, 0o644, flags)
		return h, err
	}
	a, err := m.Lookup(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	return m.Open(ctx, a.Ino, flags)
}

func (m *mount) write(path, content string) error {
	h, err := m.open(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_TRUNC)
	if err != nil {
		return err
	}
	defer h.Release()
	if _, err := h.WriteAt(ctx, []byte(content), 0); err != nil {
		return err
	}
	return h.Flush(ctx)
}

func (m *mount) read(path string) (string, error) {
	h, err := m.open(path, syscall.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer h.Release()
	return readHandle(h)
}

func readHandle(h Handle) (string, error) {
	p := make([]byte, 1<<20)
	n, err := h.ReadAt(ctx, p, 0)
	if err == io.EOF {
		err = nil
	}
	return string(p[:n]), err
}

func (m *mount) mkdir(path string) error {
	dir, name, err := m.parent(path)
	if err != nil {
		return err
	}
	_, err = m.Mkdir(ctx, Caller{}, dir, name, 0o755)
	return err
}

func (m *mount) rm(path string) error {
	dir, name, err := m.parent(path)
	if err != nil {
		return err
	}
	return m.Unlink(ctx, dir, name)
}

func (m *mount) rmdir(path string) error {
	dir, name, err := m.parent(path)
	if err != nil {
		return err
	}
	return m.Rmdir(ctx, dir, name)
}

func (m *mount) mv(from, to string) error {
	d1, n1, err := m.parent(from)
	if err != nil {
		return err
	}
	d2, n2, err := m.parent(to)
	if err != nil {
		return err
	}
	return m.Rename(ctx, d1, n1, d2, n2, 0)
}

// tree returns what the mount shows: "path/" for directories, "path=content" for files.
func (m *mount) show() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	var visit func(ino uint64, prefix string)
	visit = func(ino uint64, prefix string) {
		var entries []DirEntry
		if err := m.ReadDir(ctx, ino, 0, func(e DirEntry) bool { entries = append(entries, e); return true }); err != nil {
			m.t.Fatalf("readdir %q: %v", prefix, err)
		}
		for _, e := range entries {
			a, err := m.Lookup(ctx, ino, e.Name)
			if err != nil {
				m.t.Fatalf("lookup %q: %v", prefix+e.Name, err)
			}
			if a.Mode&provider.ModeType == provider.ModeDir {
				all[prefix+e.Name+"/"] = ""
				visit(a.Ino, prefix+e.Name+"/")
				continue
			}
			content, err := m.read(prefix + e.Name)
			if err != nil {
				m.t.Fatalf("read %q: %v", prefix+e.Name, err)
			}
			if int64(len(content)) != a.Size {
				m.t.Fatalf("%q has %d bytes, stat says %d", prefix+e.Name, len(content), a.Size)
			}
			all[prefix+e.Name] = content
		}
	}
	visit(Root, "")
	return all
}

func (m *mount) flush() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := m.Flush(ctx, nil); err != nil {
		st, _ := m.Status()
		m.t.Fatalf("flush: %v; status %+v", err, st)
	}
	m.t.Helper()
	if st, err := m.Status(); err != nil || st.Pending.Files != 0 {
		m.t.Fatalf("pending after a flush: %+v, %v", st.Pending, err)
	}
}

// objects returns what is in the store: keys and contents, without our own.
func objects(t testing.TB, p provider.Provider) map[string]string {
	t.Helper()
	all := map[string]string{}
	for token := ""; ; {
		page, err := p.List(ctx, provider.ListOptions{Flat: true, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			if strings.HasPrefix(o.Key, provider.Reserved) {
				continue
			}
			content := ""
			if !o.IsDir() {
				r, _, err := p.Open(ctx, o.Key, provider.OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(r)
				r.Close()
				if err != nil {
					t.Fatal(err)
				}
				content = string(b)
			}
			all[o.Key] = content
		}
		if page.Next == "" {
			return all
		}
		token = page.Next
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}

func same(got, want map[string]string) error {
	for k, v := range want {
		g, ok := got[k]
		if !ok {
			return fmt.Errorf("%q is missing", k)
		}
		if g != v {
			return fmt.Errorf("%q holds %.60q, want %.60q", k, g, v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("%q should not be there", k)
		}
	}
	return nil
}

// memoryDir returns a directory of the test's own in memory, where the many fsyncs cost nothing, or on disk where there is
// no such place.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sharefs-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
