package file_test

import (
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

var given = provider.Metadata{
	provider.MetaMode:  "33184", // 0640
	provider.MetaMtime: "1600000000.25",
	provider.MetaCtime: "1600000001",
	provider.MetaAtime: "1600000002",
	provider.MetaXattr: "%7B%22user.comment%22:%22aGVsbG8=%22%7D",
	provider.MetaPut:   "6f1d-42",
	"note":             "kept",
}

func TestObjectsAreFilesForOtherPrograms(t *testing.T) {
	f := newFixture(t)
	f.put("d/k", "hello", given)
	info, err := os.Lstat(f.path("d/k"))
	f.do(err)
	if info.Mode() != 0o640 || !info.ModTime().Equal(time.Unix(1600000000, 250000000)) || info.Size() != 5 {
		t.Errorf("mode %v, mtime %v, size %d", info.Mode(), info.ModTime(), info.Size())
	}
	if at := info.Sys().(*syscall.Stat_t).Atim.Sec; at != 1600000002 {
		t.Errorf("atime %d", at)
	}
	buf := make([]byte, 10)
	if n, err := unix.Getxattr(f.path("d/k"), "user.comment", buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("user.comment is %q, %v", buf[:max(n, 0)], err)
	}
	f.put("link", "../else where", provider.Metadata{provider.MetaMode: "41471", provider.MetaMtime: "1600000000.25"})
	if target, err := os.Readlink(f.path("link")); err != nil || target != "../else where" {
		t.Errorf("the symlink points to %q, %v", target, err)
	}
	if info, err = os.Lstat(f.path("link")); err != nil || !info.ModTime().Equal(time.Unix(1600000000, 250000000)) {
		t.Errorf("the symlink's mtime: %v, %v", info.ModTime(), err)
	}
	f.put("dir/", "", provider.Metadata{provider.MetaMode: "17392"}) // 01760
	if info, err = os.Stat(f.path("dir")); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o760 {
		t.Errorf("the directory's mode: %v, %v", info.Mode(), err)
	}
}

func TestFilesOfOtherProgramsAreObjects(t *testing.T) {
	f := newFixture(t)
	f.write("d/k", "hello")
	f.do(os.Chmod(f.path("d/k"), 0o711|os.ModeSetuid))
	f.do(os.Chtimes(f.path("d/k"), time.Time{}, time.Unix(1500000000, 5)))
	f.do(unix.Setxattr(f.path("d/k"), "user.comment", []byte("hello"), 0))
	f.do(os.Symlink("nowhere", f.path("link")))
	o := f.stat("d/k")
	st, err := os.Stat(f.path("d/k"))
	f.do(err)
	want := provider.Attrs{Mode: 0o104711, UID: st.Sys().(*syscall.Stat_t).Uid, GID: st.Sys().(*syscall.Stat_t).Gid,
		Mtime: time.Unix(1500000000, 5), Xattrs: map[string][]byte{"user.comment": []byte("hello")},
		Has: provider.HasMode | provider.HasUID | provider.HasGID | provider.HasMtime | provider.HasXattrs}.Metadata()
	if !maps.Equal(o.Metadata, want) {
		t.Errorf("metadata %v, want %v", o.Metadata, want)
	}
	if f.get("d/k") != "hello" || f.get("link") != "nowhere" {
		t.Error("the contents differ")
	}
	if a := provider.ParseAttrs(f.stat("link").Metadata); a.Mode&provider.ModeType != provider.ModeSymlink {
		t.Errorf("the symlink's mode is %o", a.Mode)
	}
	if a := provider.ParseAttrs(f.stat("d/").Metadata); a.Mode != provider.ModeDir|0o755 {
		t.Errorf("the directory's mode is %o", a.Mode)
	}
	f.wantListed("", "d/", "d/k", "link")
}

func TestChangesByOtherProgramsAreTold(t *testing.T) {
	with := func(changes provider.Metadata) provider.Metadata {
		md := maps.Clone(given)
		maps.Copy(md, changes)
		return md
	}
	for name, c := range map[string]struct {
		change func(path string) error
		want   func(md provider.Metadata) provider.Metadata // of what is told then; nil: nothing of what was given
	}{
		"nothing": {func(string) error { return nil },
			func(provider.Metadata) provider.Metadata { return given }},
		"read": {func(path string) error { _, err := os.ReadFile(path); return err },
			func(provider.Metadata) provider.Metadata { return given }},
		"chmod": {func(path string) error { return os.Chmod(path, 0o600) },
			func(provider.Metadata) provider.Metadata { return with(provider.Metadata{provider.MetaMode: "33152"}) }},
		"setxattr": {func(path string) error { return unix.Setxattr(path, "user.comment", []byte("x"), 0) },
			func(md provider.Metadata) provider.Metadata {
				return with(provider.Metadata{provider.MetaXattr: "%7B%22user.comment%22:%22eA==%22%7D"})
			}},
		"rename and back": {func(path string) error {
			if err := os.Rename(path, path+".bak"); err != nil {
				return err
			}
			return os.Rename(path+".bak", path)
		}, func(provider.Metadata) provider.Metadata { return given }},
		"append": {func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			if _, err := file.WriteString("!"); err != nil {
				return err
			}
			return file.Close()
		}, nil},
		"rewritten":         {func(path string) error { return os.WriteFile(path, []byte("world"), 0) }, nil},
		"touched":           {func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) }, nil},
		"the record is cut": {func(path string) error { return unix.Setxattr(path, "user.sharefs.metadata", []byte(`{"id":`), 0) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put("k", "hello", given)
			before := f.stat("k")
			f.do(c.change(f.path("k")))
			after := f.stat("k")
			if c.want != nil {
				if want := c.want(after.Metadata); !maps.Equal(after.Metadata, want) {
					t.Errorf("metadata %v, want %v", after.Metadata, want)
				}
			} else if after.Metadata[provider.MetaPut] != "" || after.Metadata["note"] != "" || after.Metadata[provider.MetaMode] == "" {
				t.Errorf("metadata %v are told of other bytes", after.Metadata)
			}
			if changed := name != "nothing" && name != "read"; changed != (before.Revision != after.Revision) {
				t.Errorf("the revision was %q and is %q", before.Revision, after.Revision)
			}
			if before.Revision == after.Revision != (before.Version == after.Version) {
				t.Errorf("the version was %q and is %q", before.Version, after.Version)
			}
		})
	}
}

func TestSpecialFilesAreNoObjectsAndAreNotReplaced(t *testing.T) {
	f := newFixture(t)
	f.put("src", "x", nil)
	f.do(os.Mkdir(f.path("d"), 0o755))
	f.do(unix.Mkfifo(f.path("d/fifo"), 0o644))
	f.wantListed("d/", "d/")
	_, err := f.store.Stat(t.Context(), "d/fifo")
	f.wantKind(err, provider.KindNotFound)
	_, _, err = f.store.Open(t.Context(), "d/fifo", provider.OpenOptions{})
	f.wantKind(err, provider.KindNotFound)
	for method, err := range f.allStores("src", "d/fifo") {
		if provider.KindOf(err) != provider.KindConflict {
			t.Errorf("%s: %v", method, err)
		}
	}
	f.do(f.store.Delete(t.Context(), provider.DeleteOptions{}, "d/fifo"))
	f.wantKind(f.store.Delete(t.Context(), provider.DeleteOptions{}, "d/"), provider.KindNotEmpty)
	if info, err := os.Lstat(f.path("d/fifo")); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe: %v, %v", info, err)
	}
}

func TestSymlinksAreNeverFollowed(t *testing.T) {
	f := newFixture(t)
	outside := t.TempDir()
	f.do(os.WriteFile(outside+"/secret", []byte("secret"), 0o600))
	f.do(os.Symlink(outside, f.path("out")))
	f.do(os.Symlink(outside+"/secret", f.path("file")))
	f.put("src", "x", nil)
	for _, key := range []string{"out/secret", "out/", "out/new"} {
		_, err := f.store.Stat(t.Context(), key)
		f.wantKind(err, provider.KindNotFound)
		_, _, err = f.store.Open(t.Context(), key, provider.OpenOptions{})
		f.wantKind(err, provider.KindNotFound)
		f.do(f.store.Delete(t.Context(), provider.DeleteOptions{}, key))
	}
	_, err := f.store.Move(t.Context(), "out/secret", "stolen")
	f.wantKind(err, provider.KindNotFound)
	_, err = f.store.Copy(t.Context(), "out/secret", "stolen", provider.CopyOptions{})
	f.wantKind(err, provider.KindNotFound)
	for method, err := range f.allStores("src", "out/new") {
		if provider.KindOf(err) != provider.KindConflict {
			t.Errorf("%s: %v", method, err)
		}
	}
	_, err = f.tryPut("out/", "", provider.Metadata{provider.MetaMode: "16895"})
	f.wantKind(err, provider.KindConflict)
	f.wantListed("", "file", "out", "src")
	f.wantListed("out/")
	if got := f.get("file"); got != outside+"/secret" {
		t.Errorf("the symlink reads as %q", got)
	}
	// Changing a symlink changes the symlink.
	f.put("file", "plain", nil)
	_, err = f.store.Copy(t.Context(), "out", "out", provider.CopyOptions{Metadata: provider.Metadata{provider.MetaMode: "41471", provider.MetaMtime: "1"}})
	f.do(err)
	if got := tree(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside there is %q", got)
	}
	info, err := os.Stat(outside + "/secret")
	if err != nil || info.Mode() != 0o600 || info.Size() != 6 {
		t.Errorf("the file outside: %v, %v", info, err)
	}
	if info, err := os.Stat(outside); err != nil || info.ModTime().Unix() == 1 {
		t.Errorf("the directory outside: %v, %v", info, err)
	}
}

func TestFilesBecomeSymlinksAndBack(t *testing.T) {
	f := newFixture(t)
	f.put("k", "target", nil)
	link := provider.Metadata{provider.MetaMode: "41471", "note": "link"}
	_, err := f.store.Copy(t.Context(), "k", "k", provider.CopyOptions{Metadata: link})
	f.do(err)
	if target, err := os.Readlink(f.path("k")); err != nil || target != "target" {
		t.Errorf("%q, %v", target, err)
	}
	if o := f.stat("k"); !maps.Equal(o.Metadata, link) {
		t.Errorf("metadata %v", o.Metadata)
	}
	_, err = f.store.Copy(t.Context(), "k", "k", provider.CopyOptions{Metadata: given})
	f.do(err)
	if data, err := os.ReadFile(f.path("k")); err != nil || string(data) != "target" {
		t.Errorf("%q, %v", data, err)
	}
	if got := tree(t, f.path(".sharefs/links")); len(got) != 0 {
		t.Errorf("records of symlinks that are gone: %q", got)
	}
	for _, target := range []string{"", "a\x00b", string(make([]byte, 4096))} {
		_, err := f.tryPut("bad", target, link)
		f.wantKind(err, provider.KindInvalid)
	}
}

func TestRecordsOfSymlinksGoWithThem(t *testing.T) {
	f := newFixture(t)
	link := provider.Metadata{provider.MetaMode: "41471", "note": "link"}
	records := func(want int) {
		t.Helper()
		if got := tree(t, f.path(".sharefs/links")); len(got) != want {
			t.Errorf("%d records, want %d", len(got), want)
		}
	}
	f.put("a", "one", link)
	f.put("a", "two", link)
	f.put("b", "three", link)
	records(2)
	f.put("b", "a file", nil)
	records(1)
	_, err := f.store.Move(t.Context(), "a", "c")
	f.do(err)
	records(1)
	if md := f.stat("c").Metadata; !maps.Equal(md, link) {
		t.Errorf("metadata %v", md)
	}
	f.put("d", "four", link)
	_, err = f.store.Move(t.Context(), "d", "c")
	f.do(err)
	records(1)
	_, err = f.store.Put(t.Context(), "c", nil, 0, provider.PutOptions{Metadata: link})
	f.wantKind(err, provider.KindInvalid)
	f.do(f.store.Delete(t.Context(), provider.DeleteOptions{}, "c"))
	records(0)
	f.do(f.store.Close())
	if got := tree(t, f.root); !slices.Equal(got, []string{"b"}) {
		t.Errorf("left in the directory: %q", got)
	}
}
