package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListings(t *testing.T) {
	m := mountModel(t, serveSpec{})
	dir := filepath.Join(m.dir, "dir")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	const files = 2000 // more than fit in an answer
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprintf("file-with-a-rather-long-name-%04d", i)), "")
	}
	write(t, filepath.Join(dir, "unknown"), "")
	if err := os.Symlink("x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	entries := rawEntries(t, dir)
	if len(entries) != files+5 {
		t.Errorf("%d entries, want %d", len(entries), files+5)
	}
	for name, kind := range map[string]uint8{
		".": unix.DT_DIR, "..": unix.DT_DIR, "sub": unix.DT_DIR, "file-with-a-rather-long-name-0000": unix.DT_REG,
		"file-with-a-rather-long-name-1999": unix.DT_REG, "link": unix.DT_LNK, "unknown": unix.DT_UNKNOWN,
	} {
		e, found := entries[name]
		if !found || e.kind != kind || e.ino != stat(t, filepath.Join(dir, name)).Ino {
			t.Errorf("%s: listed %v as %+v, want type %d and inode %d", name, found, e, kind, stat(t, filepath.Join(dir, name)).Ino)
		}
	}
}

type rawEntry struct {
	ino  uint64
	kind uint8
}

// rawEntries returns what getdents(2) says of a directory.
func rawEntries(t *testing.T, dir string) map[string]rawEntry {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	entries := make(map[string]rawEntry)
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return entries
		}
		const header = 19 // d_ino, d_off, d_reclen, d_type
		for b := buf[:n]; len(b) > 0; {
			length := int(b[16]) | int(b[17])<<8
			name, _, _ := bytes.Cut(b[header:length], []byte{0})
			var ino uint64
			for i := range 8 {
				ino |= uint64(b[i]) << (8 * i)
			}
			entries[string(name)] = rawEntry{ino, b[18]}
			b = b[length:]
		}
	}
}

func TestListedAttributesNeedNoLookups(t *testing.T) {
	m := mountModel(t, serveSpec{})
	const files = 100
	for i := range files {
		write(t, filepath.Join(m.dir, fmt.Sprintf("file%d", i)), "")
		write(t, filepath.Join(m.dir, fmt.Sprintf("unknown%d", i)), "")
	}
	dropKernelCaches(t)
	before := m.calls(t)
	names := rawEntries(t, m.dir)
	delete(names, ".")
	delete(names, "..")
	if got := m.calls(t)["lookup"] - before["lookup"]; got != 0 {
		t.Errorf("listing cost %d lookups", got)
	}
	m.costs(t, map[string]int{"lookup": files}, func() {
		for name := range names {
			stat(t, filepath.Join(m.dir, name))
		}
	})
}

// dropKernelCaches makes the kernel forget the names and attributes that nobody uses.
func dropKernelCaches(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
}

func TestListingFollowsChanges(t *testing.T) {
	m := mountModel(t, serveSpec{})
	names := func() []string {
		entries, err := os.ReadDir(m.dir)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	path := func(name string) string { return filepath.Join(m.dir, name) }
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"create", func() error { return os.WriteFile(path("a"), nil, 0o644) }, []string{"a"}},
		{"mkdir", func() error { return os.Mkdir(path("d"), 0o755) }, []string{"a", "d"}},
		{"symlink", func() error { return os.Symlink("a", path("l")) }, []string{"a", "d", "l"}},
		{"rename", func() error { return os.Rename(path("a"), path("b")) }, []string{"b", "d", "l"}},
		{"rename out", func() error { return os.Rename(path("b"), path("d/b")) }, []string{"d", "l"}},
		{"rename in", func() error { return os.Rename(path("d/b"), path("c")) }, []string{"c", "d", "l"}},
		{"unlink", func() error { return os.Remove(path("l")) }, []string{"c", "d"}},
		{"rmdir", func() error { return os.Remove(path("d")) }, []string{"c"}},
	} {
		for range 2 { // the second time from what the kernel keeps
			names()
		}
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := names(); !slices.Equal(got, step.want) {
			t.Errorf("after %s: %v, want %v", step.name, got, step.want)
		}
	}
}
