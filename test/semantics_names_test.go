package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
)

// fails checks that a call fails with an errno.
func fails(t *testing.T, what string, err error, want unix.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// oddNames are names that need care on their way to a key.
var oddNames = []string{"a", "A", "caf\u00e9", "cafe\u0301", "100%", "%41", "a+b", " ", "-", "...", "\xff\xfe", "new\nline", "\x01", "tab\t", "~", "*?[]", "back\\slash",
	strings.Repeat("n", 255)}

var namesSection = map[string]statement{
	"N1": {do: func(t *testing.T, p *place) {
		for i, name := range oddNames {
			p.write(t, name, fmt.Sprint(i))
		}
		if _, err := os.Stat(p.path("CAF\u00c9")); !os.IsNotExist(err) {
			t.Errorf("another case: %v", err)
		}
	}, later: func(t *testing.T, p *place) {
		for i, name := range oddNames {
			p.has(t, name, fmt.Sprint(i))
		}
		entries, err := os.ReadDir(p.path(""))
		if err != nil || len(entries) != len(oddNames) {
			t.Errorf("%d entries, %v; want %d", len(entries), err, len(oddNames))
		}
	}, see: []string{"fusefs/tree.TestNamesThatCannotBeKeys"}},
	"N2": {do: func(t *testing.T, p *place) {
		fails(t, "256 bytes", os.WriteFile(p.path(strings.Repeat("n", 256)), nil, 0o644), unix.ENAMETOOLONG)
		fails(t, "255 bytes that are escaped", os.WriteFile(p.path(strings.Repeat("\xff", 255)), nil, 0o644), unix.ENAMETOOLONG)
		if p.m.Store.Kind == harness.MinIO {
			fails(t, "a directory of 247 bytes", os.Mkdir(p.path(strings.Repeat("m", 247)), 0o755), unix.ENAMETOOLONG)
		}
		limit := 1024
		if p.m.Store.Kind == harness.File {
			limit = unix.PathMax - 1
		}
		key := p.dir
		for limit-len(key) > 201 {
			key += "/" + strings.Repeat("d", 200)
			if err := os.Mkdir(p.m.Path(key), 0o755); err != nil {
				t.Fatalf("mkdir, %d bytes: %v", len(key), err)
			}
		}
		// By the directory: the path with that of the mount may be too long for one call.
		// Closed on exec: a program that another test starts meanwhile would keep the mount in use.
		dir, err := unix.Open(p.m.Path(key), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(dir)
		for extra, want := range map[int]error{0: nil, 1: unix.ENAMETOOLONG} {
			fd, err := unix.Openat(dir, strings.Repeat("f", limit-len(key)-1+extra), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			if err != want {
				t.Errorf("a path of %d bytes: %v, want %v", limit+extra, err, want)
			}
			if err == nil {
				unix.Close(fd)
			}
		}
		for less, want := range map[int]error{0: unix.ENAMETOOLONG, 1: nil} {
			if err := unix.Mkdirat(dir, strings.Repeat("d", limit-len(key)-1-less), 0o755); err != want {
				t.Errorf("the path of a directory of %d bytes: %v, want %v", limit-less, err, want)
			}
		}
		harness.Script(t, p.path(""), "rm -r d*") // with some stores other tools cannot reach it
	}},
	"N3": {do: func(t *testing.T, p *place) {
		fails(t, "mkdir", os.Mkdir(p.m.Path(".sharefs"), 0o755), unix.EEXIST)
		fails(t, "create", os.WriteFile(p.m.Path(".sharefs"), nil, 0o644), unix.EISDIR)
		fails(t, "rename", unix.Rename(p.write(t, "f", ""), p.m.Path(".sharefs")), unix.EISDIR)
		fails(t, "rmdir", unix.Rmdir(p.m.Path(".sharefs")), unix.EPERM)
		fails(t, "rename of it", os.Rename(p.m.Path(".sharefs"), p.path("g")), unix.EPERM)
		list, err := os.ReadDir(p.m.Dir)
		if err != nil || slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == ".sharefs" }) {
			t.Errorf("the root has %v, %v", list, err)
		}
		if err := os.Mkdir(p.path(".sharefs"), 0o755); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
	}},
	"N10": {do: func(t *testing.T, p *place) {
		kept := filepath.Join(p.m.CacheDir, "conflicts")
		if err := os.MkdirAll(kept, 0o700); err != nil {
			t.Fatal(err)
		}
		own := p.m.Path(".sharefs/conflicts")
		for _, name := range []string{"one", "two"} {
			if err := os.WriteFile(filepath.Join(kept, name), []byte(name+" kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(own, name)); err != nil || string(got) != name+" kept" {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		}
		if out := harness.Script(t, own, "ls; cd ..; ls"); out != "one\ntwo\nconflicts\n" {
			t.Errorf("ls shows %q", out)
		}
		fails(t, "write", os.WriteFile(filepath.Join(own, "one"), nil, 0o600), unix.EPERM)
		fails(t, "create", os.WriteFile(filepath.Join(own, "new"), nil, 0o600), unix.EPERM)
		fails(t, "mkdir", os.Mkdir(filepath.Join(own, "new"), 0o700), unix.EPERM)
		fails(t, "rename", os.Rename(filepath.Join(own, "one"), p.path("one")), unix.EXDEV)
		harness.Script(t, p.path(""), "mv "+own+"/one . && rm "+own+"/two")
		p.has(t, "one", "one kept")
		if list, err := os.ReadDir(own); err != nil || len(list) > 0 {
			t.Errorf("left are %v, %v", list, err)
		}
	}},
	"N4": {see: []string{"test.TestSoakALargeDirectoryIsReadWhileItChanges", "fusefs.TestListingFollowsChanges"}},
	"N5": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir -p d/e d/f")
		for _, name := range []string{"", "d", "d/e"} {
			if n := lstat(t, p.path(name)).Nlink; n != 1 {
				t.Errorf("%q has %d links", name, n)
			}
		}
		if lstat(t, p.path("d/e/..")).Ino != lstat(t, p.path("d")).Ino || lstat(t, p.path("d/.")).Ino != lstat(t, p.path("d")).Ino {
			t.Error(". or .. is another inode")
		}
	}},
	"N6": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir -p d/e")
		fails(t, "with an entry", unix.Rmdir(p.path("d")), unix.ENOTEMPTY)
		fails(t, "the root", unix.Rmdir(p.m.Dir), unix.EBUSY)
		fails(t, "dot", unix.Rmdir(p.path("d/e")+"/."), unix.EINVAL)
		fd, err := unix.Open(p.path("d/e"), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Rmdir(p.path("d/e")); err != nil {
			t.Fatal(err)
		}
		fails(t, "in a removed directory", unix.Mkdirat(fd, "x", 0o755), unix.ENOENT)
	}},
	"N7": {do: func(t *testing.T, p *place) {
		fails(t, "link", os.Link(p.write(t, "f", ""), p.path("g")), unix.EPERM)
	}},
	"N8": {do: func(t *testing.T, p *place) {
		for name, mode := range map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "char": unix.S_IFCHR, "block": unix.S_IFBLK} {
			fails(t, name, unix.Mknod(p.path(name), mode|0o600, int(unix.Mkdev(1, 3))), unix.EPERM)
		}
		_, err := net.Listen("unix", p.path("s"))
		fails(t, "bind", err, unix.EPERM)
		if err := unix.Mknod(p.path("file"), unix.S_IFREG|0o600, 0); err != nil {
			t.Errorf("a regular file: %v", err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(p.m.Dir, &st); err != nil || st.Flags&unix.ST_NODEV == 0 || st.Flags&unix.ST_NOSUID == 0 {
			t.Errorf("mounted with the flags %x, %v", st.Flags, err)
		}
	}},
	"N9": {do: func(t *testing.T, p *place) {
		for name, target := range symlinks {
			if err := os.Symlink(target, p.path(name)); err != nil {
				t.Errorf("%.20s: %v", target, err)
			}
		}
		fails(t, "4096 bytes", os.Symlink(strings.Repeat("x", 4096), p.path("longer")), unix.ENAMETOOLONG)
		_, err := os.ReadFile(p.path("loop"))
		fails(t, "loop", err, unix.ELOOP)
		_, err = os.OpenFile(p.path("loop"), unix.O_NOFOLLOW, 0)
		fails(t, "not followed", err, unix.ELOOP)
	}, later: func(t *testing.T, p *place) {
		for name, target := range symlinks {
			if got, err := os.Readlink(p.path(name)); err != nil || got != target {
				t.Errorf("%s points to %.20q, %v", name, got, err)
			}
		}
	}},
}

var symlinks = map[string]string{"loop": "loop", "away": "/nowhere/../x//y", "bytes": "\xff\x01", "long": strings.Repeat("x", 4095)}

// lstat returns the attributes of a name.
func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st
}

// rename2 is renameat2(2).
func rename2(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}

var renameSection = map[string]statement{
	"R1": {do: func(t *testing.T, p *place) {
		p.write(t, "new", "new")
		p.write(t, "old", "old")
		harness.Script(t, p.path(""), "mkdir full empty; touch full/f; mv new old; mv -T full empty; test -f empty/f -a ! -e new -a ! -e full")
		p.has(t, "old", "new")
	}, see: []string{"fusefs/tree.TestAStatDuringARenameLosesNothing", "fusefs/tree.TestSoakTreeIsAFilesystem"}},
	"R2": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir -p d/e full; touch f full/f")
		for _, tc := range []struct {
			from, to string
			want     unix.Errno
		}{{"d", "d/e/d", unix.EINVAL}, {"d", "full", unix.ENOTEMPTY}, {"f", "d", unix.EISDIR}, {"d", "f", unix.ENOTDIR}} {
			fails(t, tc.from+" to "+tc.to, unix.Rename(p.path(tc.from), p.path(tc.to)), tc.want)
		}
	}},
	"R3": {do: func(t *testing.T, p *place) {
		a, b := p.write(t, "a", "a"), p.write(t, "b", "b")
		fails(t, "no replace", rename2(a, b, unix.RENAME_NOREPLACE), unix.EEXIST)
		fails(t, "whiteout", rename2(a, b, unix.RENAME_WHITEOUT), unix.EINVAL)
		fails(t, "exchange with nothing", rename2(a, p.path("c"), unix.RENAME_EXCHANGE), unix.ENOENT)
		p.m.Flush()
		harness.Script(t, p.path(""), "mkdir -p d/sub; echo deep >d/sub/f; mkdir e")
		for _, pair := range [][2]string{{"a", "b"}, {"a", "d"}, {"e", "a/sub"}} {
			if err := rename2(p.path(pair[0]), p.path(pair[1]), unix.RENAME_EXCHANGE); err != nil {
				t.Errorf("%v: %v", pair, err)
			}
		}
		fails(t, "with what is below", rename2(p.path("a"), p.path("a/sub"), unix.RENAME_EXCHANGE), unix.EINVAL)
	}, later: func(t *testing.T, p *place) {
		p.has(t, "b", "a")
		p.has(t, "d", "b")
		p.has(t, "e/f", "deep\n")
	}},
	"R4": {do: func(t *testing.T, p *place) {
		f, err := os.OpenFile(p.write(t, "f", "content"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ino := lstat(t, p.path("f")).Ino
		harness.Script(t, p.path(""), "mkdir d; mv f d/g")
		if _, err := f.WriteAt([]byte("C"), 0); err != nil {
			t.Error(err)
		}
		p.has(t, "d/g", "Content")
		if now := lstat(t, p.path("d/g")).Ino; now != ino {
			t.Errorf("the inode number is %d, was %d", now, ino)
		}
	}},
	"R5": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir d; echo 1 >d/1; echo 2 >d/2")
		p.m.Flush()
		if err := os.Rename(p.path("d"), p.path("e")); err != nil {
			t.Fatal(err)
		}
		found := keysBelow(t, p)
		if strings.Join(found, " ") != "d/1 d/2" {
			t.Errorf("before the change is stored the store has %q", found)
		}
		p.m.Flush()
		if found := keysBelow(t, p); strings.Join(found, " ") != "e/1 e/2" {
			t.Errorf("the store has %q", found)
		}
	}},
}

// keysBelow returns the objects of a place that are no markers.
func keysBelow(t *testing.T, p *place) (list []string) {
	t.Helper()
	for _, key := range p.m.Store.Keys(t) {
		if rel, err := filepath.Rel(p.dir, key); err == nil && !strings.HasPrefix(rel, "..") && !strings.HasSuffix(key, "/") {
			list = append(list, rel)
		}
	}
	return list
}
