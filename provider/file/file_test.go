package file_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sharefs/provider"
	"sharefs/provider/file"
	"sharefs/provider/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for name, opts := range map[string]file.Options{"synced": {}, "not synced": {NoSync: true}} {
		t.Run(name, func(t *testing.T) { conform(t, opts) })
	}
}

func TestConformanceAsOrdinaryUser(t *testing.T) {
	asOrdinaryUser(t, func(t *testing.T) { conform(t, file.Options{NoSync: true}) })
}

// conform runs the suite; afterwards nothing is left, in the directory or in the process.
func conform(t *testing.T, opts file.Options) {
	root := t.TempDir()
	reopen := func(t *testing.T) provider.Provider {
		s, err := file.Open(root, opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	providertest.Run(t, providertest.Config{New: reopen, Reopen: reopen, ManyKeys: 300})
	if left := tree(t, root); len(left) != 0 {
		t.Errorf("left in the directory: %q", left)
	}
	if open := openBelow(t, root); len(open) != 0 {
		t.Errorf("descriptors are left open: %q", open)
	}
}

// openBelow returns what this process has open below a directory.
func openBelow(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, root) {
			open = append(open, target)
		}
	}
	return open
}

// tree returns the paths of all that is below a directory.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != root {
			paths = append(paths, strings.TrimPrefix(path, root+"/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// fixture is a store in a directory of its own.
type fixture struct {
	*testing.T
	root  string
	store *file.Store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, root: t.TempDir()}
	f.open(file.Options{NoSync: true, Logger: slog.New(slog.DiscardHandler)})
	return f
}

func (f *fixture) open(opts file.Options) {
	f.Helper()
	s, err := file.Open(f.root, opts)
	if err != nil {
		f.Fatal(err)
	}
	f.store = s
	f.Cleanup(func() { _ = s.Close() })
}

func (f *fixture) path(key string) string { return filepath.Join(f.root, key) }

func (f *fixture) put(key, data string, md provider.Metadata) provider.Object {
	f.Helper()
	o, err := f.tryPut(key, data, md)
	if err != nil {
		f.Fatal(err)
	}
	return o
}

func (f *fixture) tryPut(key, data string, md provider.Metadata) (provider.Object, error) {
	return f.store.Put(f.Context(), key, strings.NewReader(data), int64(len(data)), provider.PutOptions{Metadata: md})
}

func (f *fixture) stat(key string) provider.Object {
	f.Helper()
	o, err := f.store.Stat(f.Context(), key)
	if err != nil {
		f.Fatal(err)
	}
	return o
}

func (f *fixture) get(key string) string {
	f.Helper()
	r, _, err := f.store.Open(f.Context(), key, provider.OpenOptions{})
	if err != nil {
		f.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Close(); err != nil {
		f.Fatal(err)
	}
	return string(data)
}

func (f *fixture) listed(prefix string) []string {
	f.Helper()
	page, err := f.store.List(f.Context(), provider.ListOptions{Prefix: prefix, Flat: true})
	if err != nil {
		f.Fatal(err)
	}
	keys := []string{}
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func (f *fixture) wantListed(prefix string, want ...string) {
	f.Helper()
	if got := f.listed(prefix); !slices.Equal(got, want) && len(got)+len(want) > 0 {
		f.Errorf("below %q: %q, want %q", prefix, got, want)
	}
}

func (f *fixture) wantKind(err error, kind provider.Kind) {
	f.Helper()
	if err == nil || provider.KindOf(err) != kind {
		f.Errorf("%v, want an error of kind %q", err, kind)
	}
}

func (f *fixture) write(name, data string) {
	f.Helper()
	if err := os.MkdirAll(filepath.Dir(f.path(name)), 0o755); err != nil {
		f.Fatal(err)
	}
	f.do(os.WriteFile(f.path(name), []byte(data), 0o644))
}

func (f *fixture) do(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// allStores calls every method that stores something under the key.
func (f *fixture) allStores(src, key string) map[string]error {
	ctx := f.Context()
	errs := map[string]error{}
	_, errs["put"] = f.tryPut(key, "new", nil)
	_, errs["put absent"] = f.store.Put(ctx, key, strings.NewReader("new"), 3, provider.PutOptions{If: provider.Condition{Absent: true}})
	_, errs["put symlink"] = f.tryPut(key, "target", provider.Metadata{provider.MetaMode: "41471"})
	_, errs["copy"] = f.store.Copy(ctx, src, key, provider.CopyOptions{})
	_, errs["move"] = f.store.Move(ctx, src, key)
	errs["upload"] = f.tryUpload(ctx, key)
	return errs
}

func (f *fixture) tryUpload(ctx context.Context, key string) error {
	up, err := f.store.NewUpload(ctx, key, provider.UploadOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = up.Abort(ctx) }()
	part, err := up.PutPart(ctx, 1, bytes.NewReader([]byte("new")), 3)
	if err != nil {
		return err
	}
	_, err = up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
	return err
}
