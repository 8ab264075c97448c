package replicate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/file"
)

// directory returns a store in a directory, and the directory.
func directory(t *testing.T) (*file.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := file.Open(dir, file.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func TestADirectoryThereAndBack(t *testing.T) {
	src, _ := directory(t)
	middle := store()
	dst, _ := directory(t)
	for _, key := range []string{"d/", "d/e/", "empty/", "z/"} {
		put(t, src, key, "", provider.Metadata{"mode": "16832", "uid": "0"})
	}
	for _, key := range []string{"a", "d/e/f", "d-", "d0", "z/f"} {
		put(t, src, key, "text of "+key, provider.Metadata{"mode": "33184", "mtime": "1600000000.25", "xattr": "%7B%22user.a%22:%22Yg==%22%7D"})
	}
	put(t, src, "d/link", "e/f", provider.Metadata{"mode": "41471"})
	for _, way := range []struct{ from, to provider.Provider }{{src, middle}, {middle, dst}} {
		if p := run(t, way.from, way.to, Options{}); p.Copied.Objects != 10 {
			t.Errorf("%+v", p)
		}
		if p := run(t, way.from, way.to, Options{Delete: true}); p.Same.Objects != 10 || p.Copied.Objects+p.Deleted.Objects != 0 {
			t.Errorf("again: %+v", p)
		}
	}
	for _, key := range []string{"a", "d/", "d/e/", "d/link", "d/e/f", "empty/"} {
		want, err := src.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dst.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if hashMetadata(true, want.Metadata) != hashMetadata(true, got.Metadata) || want.Size != got.Size {
			t.Errorf("%s: %v, want %v", key, got.Metadata, want.Metadata)
		}
	}
}

func TestDirectoriesWithoutMarkersStay(t *testing.T) {
	src := store()
	dst, dir := directory(t)
	put(t, src, "d/e/f", "text", nil)
	run(t, src, dst, Options{})
	if p := run(t, src, dst, Options{Delete: true}); p.Same.Objects != 1 || p.Deleted.Objects != 0 || p.Extra.Objects != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := os.Stat(filepath.Join(dir, "d/e/f")); err != nil {
		t.Error(err)
	}
}

func TestWhatIsInTheWayIsDeletedFirst(t *testing.T) {
	src := store()
	put(t, src, "file", "text", nil)
	put(t, src, "dir/file", "text", nil)
	for _, del := range []bool{false, true} {
		dst, dir := directory(t)
		put(t, dst, "file/in/the/way", "text", nil)
		put(t, dst, "file/too", "text", nil)
		put(t, dst, "dir", "text", nil)
		put(t, dst, "x/y/z", "text", nil)
		p, err := try(t.Context(), src, dst, Options{Delete: del})
		if !del {
			if p.Failed != 2 {
				t.Errorf("%v: %+v", err, p)
			}
			continue
		}
		if err != nil || p.Copied.Objects != 2 {
			t.Errorf("%v: %+v", err, p)
		}
		mustEqualKeys(t, dst, "dir/", "dir/file", "file")
		if _, err := os.Stat(filepath.Join(dir, "x")); !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

func mustEqualKeys(t *testing.T, p provider.Provider, want ...string) {
	t.Helper()
	have := content(t, p)
	for _, key := range want {
		if _, ok := have[key]; !ok {
			t.Errorf("%s is missing", key)
		}
		delete(have, key)
	}
	for key := range have {
		t.Errorf("%s should not be there", key)
	}
}

func TestAFileThatIsChangedInPlaceWhileItIsReadIsNotTorn(t *testing.T) {
	src, dir := directory(t)
	dst := store()
	name := filepath.Join(dir, "f")
	old, now := strings.Repeat("a", 5*part), strings.Repeat("b", 5*part)
	if err := os.WriteFile(name, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	f := faulty.New(src, faulty.Options{})
	f.Add(faulty.Rule{Ops: []string{"open"}, Skip: 1, Times: 1, Effect: faulty.StallBody, Bytes: 3, Resume: closed(), Notify: func(faulty.Call) {
		if err := os.WriteFile(name, []byte(now[:2*part]+old[:2*part]+now[:part]), 0o600); err != nil {
			t.Error(err)
		}
	}})
	run(t, f, dst, Options{Changed: func(_ Change, o provider.Object) { seen[o.Key] = true }})
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := object(t, dst, "f"); !strings.Contains(got, string(want)) || !seen["f"] {
		t.Errorf("%s, want %s", got, want)
	}
}
