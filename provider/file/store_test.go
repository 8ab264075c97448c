package file_test

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/provider"
	"sharefs/provider/file"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]string{
		"file:///var/store":          "/var/store",
		"file:///var/store/":         "/var/store",
		"file://localhost/var/store": "/var/store",
		"file:/var/store":            "/var/store",
		"file:///a%20b%3Fc%23d%25":   "/a b?c#d%",
		"file:///":                   "/",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := file.ParseURL(u); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", raw, got, err, want)
		}
	}
	for raw, why := range map[string]string{
		"s3://bucket":                    "scheme",
		"file:relative/dir":              "not absolute",
		"file://":                        "not absolute",
		"file://server/var/store":        `host "server"`,
		"file://me@localhost/var":        "user",
		"file:///var/store?sync=no":      "unknown parameter sync",
		"file:///var/store?b=1&a=2":      "unknown parameter a, b",
		"file:///var/store?%zz":          "parameters",
		"file:///var/store#part":         "fragment",
		"file:///var/st%00ore":           "NUL",
		"file://me:secret@localhost/var": "user",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := file.ParseURL(u)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %q, %v; want an error with %q", raw, got, err, why)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the secret: %v", raw, err)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, root string
		opts       file.Options
		kind       provider.Kind
	}{
		{"missing", filepath.Join(dir, "missing"), file.Options{}, provider.KindNoStore},
		{"a file", plain, file.Options{}, provider.KindConflict},
		{"below a file", filepath.Join(plain, "x"), file.Options{Create: true}, provider.KindConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := file.Open(c.root, c.opts)
			if provider.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.root) {
				t.Errorf("%v, want kind %q and the directory", err, c.kind)
			}
		})
	}
	s, err := file.Open(filepath.Join(dir, "new/store"), file.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := "file://" + filepath.Join(dir, "new/store"); s.String() != want {
		t.Errorf("String is %q, want %q", s.String(), want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatIsRemovedIsNoStore(t *testing.T) {
	f := newFixture(t)
	f.do(os.RemoveAll(f.root))
	_, err := f.tryPut("d/k", "x", nil)
	f.wantKind(err, provider.KindNoStore)
	_, err = f.store.Stat(t.Context(), "k")
	f.wantKind(err, provider.KindNoStore)
	f.wantKind(f.store.Create(t.Context()), provider.KindNoStore)
}

func TestTheStoresOwnDirectoriesAreNoKeys(t *testing.T) {
	f := newFixture(t)
	f.put("src", "x", nil)
	f.put("link", "x", provider.Metadata{provider.MetaMode: "41471"})
	f.do(f.tryUpload(t.Context(), "uploaded"))
	for _, key := range []string{".sharefs/tmp/x", ".sharefs/uploads/x", ".sharefs/links/x", ".sharefs/tmp", ".sharefs/links"} {
		for method, err := range f.allStores("src", key) {
			if provider.KindOf(err) != provider.KindInvalid {
				t.Errorf("%s %s: %v", method, key, err)
			}
		}
		_, err := f.store.Stat(t.Context(), key)
		f.wantKind(err, provider.KindNotFound)
		f.do(f.store.Delete(t.Context(), provider.DeleteOptions{}, key, key+"/"))
	}
	_, err := f.store.Stat(t.Context(), ".sharefs/")
	f.wantKind(err, provider.KindNotFound)
	f.wantListed("", "link", "src", "uploaded")
	f.wantListed(".sharefs/")
	f.wantListed(".sharefs/links/")
	f.put(".sharefs/claim-1", "x", nil)
	f.put(".sharefs/tmpfile", "x", nil)
	f.wantListed(".sharefs/", ".sharefs/", ".sharefs/claim-1", ".sharefs/tmpfile")
	_, err = f.store.Move(t.Context(), ".sharefs/", "elsewhere/")
	f.wantKind(err, provider.KindInvalid)
	f.wantKind(f.store.Delete(t.Context(), provider.DeleteOptions{}, ".sharefs/"), provider.KindNotEmpty)
}

func TestTemporaryFilesOfDeadProcessesAreRemoved(t *testing.T) {
	f := newFixture(t)
	stale := f.path(".sharefs/tmp/LEFTBYADEADPROCESS")
	f.do(os.MkdirAll(stale+"/dir", 0o700))
	f.do(os.WriteFile(stale+"/1", []byte("half of it"), 0o600))
	own := tree(t, f.path(".sharefs/tmp"))
	f.open(file.Options{NoSync: true, Logger: slog.New(slog.DiscardHandler)}) // beside the first, which lives
	left := tree(t, f.path(".sharefs/tmp"))
	if slices.ContainsFunc(left, func(path string) bool { return strings.Contains(path, "DEAD") }) {
		t.Errorf("before %q, after %q", own, left)
	}
	if len(left) != 2 {
		t.Errorf("%d processes have a directory, want 2: %q", len(left), left)
	}
	f.put("k", "x", nil)
}

func TestUsageIsThatOfTheFileSystem(t *testing.T) {
	f := newFixture(t)
	u, err := f.store.Usage(t.Context())
	f.do(err)
	if u.Bytes <= 0 || u.Quota < u.Bytes || u.Objects != -1 {
		t.Errorf("%+v", u)
	}
}

func TestAFullDiskKeepsTheOldObject(t *testing.T) {
	inMountNamespace(t, func(t *testing.T) {
		f := &fixture{T: t, root: t.TempDir()}
		mountTmpfs(t, f.root, "1m")
		f.open(file.Options{Logger: slog.New(slog.DiscardHandler)})
		f.put("k", "old", given)
		before := f.stat("k")
		_, err := f.tryPut("k", strings.Repeat("x", 2<<20), nil)
		f.wantKind(err, provider.KindQuota)
		_, err = f.tryPut("new", strings.Repeat("x", 2<<20), nil)
		f.wantKind(err, provider.KindQuota)
		if after := f.stat("k"); after.Revision != before.Revision || f.get("k") != "old" {
			t.Errorf("it was %+v and is %+v", before, after)
		}
		f.wantListed("", "k")
		f.put("k", strings.Repeat("y", 600<<10), nil) // what was refused takes no room
	})
}

func TestAReadOnlyDiskIsReadable(t *testing.T) {
	inMountNamespace(t, func(t *testing.T) {
		f := &fixture{T: t, root: t.TempDir()}
		mountTmpfs(t, f.root, "1m")
		f.open(file.Options{Logger: slog.New(slog.DiscardHandler)})
		f.put("d/k", "x", given)
		f.do(f.store.Close())
		f.do(unix.Mount("", f.root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m"))
		f.open(file.Options{Logger: slog.New(slog.DiscardHandler)})
		if f.get("d/k") != "x" {
			t.Error("the object differs")
		}
		f.wantListed("", "d/", "d/k")
		for method, err := range f.allStores("d/k", "new") {
			if provider.KindOf(err) != provider.KindReadOnly {
				t.Errorf("%s: %v", method, err)
			}
		}
		f.wantKind(f.store.Delete(t.Context(), provider.DeleteOptions{}, "d/k"), provider.KindReadOnly)
		uploads, err := f.store.ListUploads(t.Context(), "")
		if err != nil || len(uploads) != 0 {
			t.Errorf("uploads %v, %v", uploads, err)
		}
	})
}

func TestAMountPointBelowTheRootIsRefusedForWriting(t *testing.T) {
	inMountNamespace(t, func(t *testing.T) {
		f := &fixture{T: t, root: t.TempDir()}
		f.do(os.Mkdir(f.path("mnt"), 0o755))
		mountTmpfs(t, f.path("mnt"), "1m")
		f.open(file.Options{NoSync: true, Logger: slog.New(slog.DiscardHandler)})
		f.write("mnt/foreign", "x")
		if f.get("mnt/foreign") != "x" {
			t.Error("the object differs")
		}
		_, err := f.tryPut("mnt/k", "x", nil)
		f.wantKind(err, provider.KindUnsupported)
		if err == nil || !strings.Contains(err.Error(), "mounted") {
			t.Errorf("%v does not say why", err)
		}
		f.wantKind(f.store.Delete(t.Context(), provider.DeleteOptions{}, "mnt/foreign", "mnt/"), provider.KindConflict)
	})
}

func TestConformanceOnTmpfs(t *testing.T) {
	inMountNamespace(t, func(t *testing.T) {
		root := t.TempDir()
		mountTmpfs(t, root, "64m")
		t.Setenv("TMPDIR", root)
		conform(t, file.Options{})
	})
}

func TestAFileSystemWithoutExtendedAttributesIsRefused(t *testing.T) {
	inMountNamespace(t, func(t *testing.T) {
		root := t.TempDir()
		if err := unix.Mount("ramfs", root, "ramfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
		_, err := file.Open(root, file.Options{})
		if provider.KindOf(err) != provider.KindUnsupported || !strings.Contains(err.Error(), "extended attributes") {
			t.Errorf("%v", err)
		}
		if left := tree(t, root); len(left) != 0 && !slices.Equal(left, []string{".sharefs", ".sharefs/tmp"}) {
			t.Errorf("left in the directory: %q", left)
		}
	})
}
