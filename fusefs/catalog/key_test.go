package catalog

import (
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// nasty are names that are hard on keys, on SQL, or on text.
var nasty = []string{"plain", "with space", "%", "%25", "a%01", "a%2501", "a\x01", "\xff", "a\xffb", "\xc3", "é", "e\u0301", "日本",
	"'; DROP TABLE inode; --", "?1", "*", "[a]", "a\\b", "a\nb", "\ufffe", "\ufffd", "...", ". ", "0", "1e3", "NULL", "-", "~",
	strings.Repeat("n", 255), strings.Repeat("\xfe", 255)}

func TestKeyAndResolveAreInverse(t *testing.T) {
	c := fresh(t)
	for _, name := range nasty {
		d := dir(t, c, RootIno, name)
		for _, inner := range nasty {
			file(t, c, d.Ino, inner)
		}
	}
	keys := map[string]bool{}
	check := func(tx *Tx, n *Inode) {
		key, err := tx.Key(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := provider.CheckKey(key, provider.Capabilities{}); err != nil {
			t.Errorf("%q: %v", n.Name, err)
		}
		if keys[key] {
			t.Errorf("%q is the key of two", key)
		}
		keys[key] = true
		if back, err := tx.Resolve(key); err != nil || back.Ino != n.Ino {
			t.Errorf("Resolve(%q): %v", key, err)
		}
		if up, err := tx.ParentOf(key); err != nil || up.Ino != n.Parent {
			t.Errorf("ParentOf(%q): %v", key, err)
		}
	}
	view(t, c, func(tx *Tx) error {
		dirs, err := tx.Children(RootIno, 0, 1000)
		for _, d := range dirs {
			check(tx, d)
			files, err := tx.Children(d.Ino, 0, 1000)
			if err != nil {
				return err
			}
			for _, f := range files {
				check(tx, f)
			}
		}
		return err
	})
	if want := len(nasty) * (len(nasty) + 1); len(keys) != want {
		t.Errorf("%d keys, want %d", len(keys), want)
	}
}

func TestKeysOfTheRootAndOfWhatHasNoName(t *testing.T) {
	c := fresh(t)
	gone := dir(t, c, 0, "")
	inside := file(t, c, gone.Ino, "f")
	view(t, c, func(tx *Tx) error {
		r, err := tx.Get(RootIno)
		if err != nil {
			return err
		}
		if key, err := tx.Key(r); key != "" || err != nil {
			t.Errorf("root: %q, %v", key, err)
		}
		if p := tx.Path(r); p != "/" {
			t.Errorf("root: %q", p)
		}
		for _, n := range []*Inode{gone, inside} {
			if key, err := tx.Key(n); !IsNotFound(err) {
				t.Errorf("%q, %v", key, err)
			}
			if p := tx.Path(n); !strings.Contains(p, "inode") {
				t.Errorf("%q", p)
			}
		}
		if n, err := tx.Resolve(""); err != nil || n.Ino != RootIno {
			t.Errorf("Resolve of the root: %v", err)
		}
		return nil
	})
}

func TestPathIsWhatAPersonCallsIt(t *testing.T) {
	c := fresh(t)
	d := dir(t, c, RootIno, "50%25 é")
	f := file(t, c, d.Ino, "a\x01")
	view(t, c, func(tx *Tx) error {
		if p := tx.Path(f); p != "/50%25 é/a\x01" {
			t.Errorf("%q", p)
		}
		if p := tx.Path(d); p != "/50%25 é" {
			t.Errorf("%q", p)
		}
		return nil
	})
}

func TestResolveFindsOnlyWhatHasTheKey(t *testing.T) {
	c := fresh(t)
	d := dir(t, c, RootIno, "d")
	file(t, c, d.Ino, "f")
	file(t, c, d.Ino, "\xff") // has the key d/%FF
	file(t, c, d.Ino, "a\x01")
	for _, key := range []string{"d", "d/f/", "d/f/x", "none", "none/", "/", "//", "/d/", "d//f", "d/", "d/./f", "d/../d/f",
		"d/\xff", "d/a\x01"} {
		t.Run(key, func(t *testing.T) {
			view(t, c, func(tx *Tx) error {
				n, err := tx.Resolve(key)
				if key == "d/" {
					if err != nil || n.Ino != d.Ino {
						t.Errorf("%v", err)
					}
				} else if !IsNotFound(err) {
					t.Errorf("%v, %v", n, err)
				}
				return nil
			})
		})
	}
	view(t, c, func(tx *Tx) error {
		for key, want := range map[string]uint64{"x": RootIno, "x/": RootIno, "d/x": d.Ino, "d/x/": d.Ino, "d/": RootIno} {
			if n, err := tx.ParentOf(key); err != nil || n.Ino != want {
				t.Errorf("ParentOf(%q): %v", key, err)
			}
		}
		for _, key := range []string{"none/x", "d/f/x", "d/none/x/"} {
			if _, err := tx.ParentOf(key); !IsNotFound(err) {
				t.Errorf("ParentOf(%q): %v", key, err)
			}
		}
		n, err := tx.Resolve("d/" + keycodec.Encode("\xff"))
		if err == nil && n.Name != "\xff" {
			t.Errorf("%q", n.Name)
		}
		return err
	})
}
