package test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sourceTree makes a directory with files of Go's src/cmd, and what a source tree seldom has: symlinks of all kinds, odd
// modes, empty directories, odd names.
func sourceTree(t *testing.T, files int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source tree")
	copySource(t, dir, files)
	addOdd(t, dir)
	return dir
}

func copySource(t *testing.T, dir string, files int) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src", "cmd")
	left := files
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if left--; left < 0 {
			return fs.SkipAll
		}
		return copyFile(path, to)
	})
	if err != nil {
		t.Fatalf("copying Go's source: %v", err)
	}
	if left > 0 {
		t.Fatalf("%s has %d files less than the %d that the test wants", root, left, files)
	}
}

func copyFile(from, to string) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, body, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// addOdd adds what has gone wrong in other filesystems.
func addOdd(t *testing.T, dir string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	odd := filepath.Join(dir, "odd")
	check(os.Mkdir(odd, 0o755))
	for name, mode := range map[string]fs.FileMode{
		"private": 0o600, "program": 0o755, "read-only": 0o444, "owner reads": 0o400, "no bits": 0, "all bits": 0o777,
		"setuid": 0o755 | fs.ModeSetuid, "setgid": 0o755 | fs.ModeSetgid,
		"percent%20name": 0o644, "plus+name": 0o644, "ünïcödé-名前-🙂": 0o644, "-dash": 0o644, "quote\"'`": 0o644,
		"tab\tname": 0o644, "newline\nname": 0o644, "back\\slash": 0o644, "question?hash#and&": 0o644, " spaces ": 0o644,
		"latin1-\xe9": 0o644, "a..b": 0o644, ".hidden": 0o644, "star*": 0o644, "trailing.": 0o644, "~": 0o644,
	} {
		path := filepath.Join(odd, name)
		check(os.WriteFile(path, []byte("content of "+name), 0o644))
		check(os.Chmod(path, mode))
	}
	check(os.WriteFile(filepath.Join(odd, "empty"), nil, 0o644))
	check(os.Truncate(createIn(t, odd, "sparse"), 1<<20))
	for name, target := range map[string]string{
		"relative": "private", "up": "../odd/program", "absolute": "/etc/hostname", "dangling": "no/such file",
		"to directory": "../odd", "ünïcödé link": "ünïcödé-名前-🙂", "long": strings.Repeat("long/", 200) + "end",
	} {
		check(os.Symlink(target, filepath.Join(odd, "link "+name)))
	}
	for name, mode := range map[string]fs.FileMode{
		"empty directory": 0o755, "private directory": 0o700, "sticky": 0o777 | fs.ModeSticky, "deep/er/est": 0o755, "no way in": 0o500,
	} {
		path := filepath.Join(odd, name)
		check(os.MkdirAll(path, 0o755))
		check(os.Chmod(path, mode))
	}
	check(os.WriteFile(filepath.Join(odd, "private directory", "file"), []byte("x"), 0o600))
	old := time.Date(1985, 10, 26, 1, 21, 0, 123456789, time.UTC)
	check(os.Chtimes(filepath.Join(odd, "private"), old, old))
	before1970 := time.Date(1969, 7, 20, 20, 17, 40, 500, time.UTC)
	check(os.Chtimes(filepath.Join(odd, "program"), before1970, before1970))
}

func createIn(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
