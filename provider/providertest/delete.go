package providertest

import (
	"fmt"
	"slices"

	"sharefs/provider"
)

var deleteCases = []testCase{
	{"one object", func(t *tester) {
		t.putString(t.key("k"), "x")
		t.putString(t.key("k2"), "stays")
		t.delete(t.key("k"))
		t.wantMissing(t.key("k"))
		t.wantContent(t.key("k2"), []byte("stays"))
		t.wantListed(provider.ListOptions{Prefix: t.key("k"), Flat: true}, t.keys("k2"))
	}},
	{"a missing object is no error", func(t *tester) {
		t.delete(t.key("missing"))
		t.delete(t.key("no/such/dir/missing"))
		t.delete(t.key("no/such/marker/"))
		t.delete(t.keys("m1", "m2", "m3/")...)
	}},
	{"no key is no error", func(t *tester) { t.delete() }},
	{"a prefix of keys is no object", func(t *tester) {
		t.putString(t.key("d/x"), "x")
		t.delete(t.key("d"))
		t.wantContent(t.key("d/x"), []byte("x"))
		t.delete(t.key("d/x/"))
		t.delete(t.key("d/x/y"))
		t.wantContent(t.key("d/x"), []byte("x"))
	}},
	{"one key named twice", func(t *tester) {
		t.putString(t.key("k"), "x")
		t.delete(t.keys("k", "k")...)
		t.wantMissing(t.key("k"))
	}},
	{"more keys than travel in one request", func(t *tester) {
		n := min(t.caps.MaxDeleteBatch, 2000) + 3
		if t.cfg.Slow { // how a driver divides them, quicker stores show: one that takes a thousand deletes them one by one
			n = min(n, 203)
		}
		keys := make([]string, n) // few of which exist
		for i := range keys {
			keys[i] = t.key(fmt.Sprintf("k%05d", i))
		}
		exist := []string{keys[0], keys[len(keys)/2], keys[len(keys)-1]}
		for _, key := range exist {
			t.putString(key, "x")
		}
		t.putString(t.key("other"), "stays")
		t.delete(keys...)
		for _, key := range exist {
			t.wantMissing(key)
		}
		t.wantContent(t.key("other"), []byte("stays"))
	}},
	{"IfVersion", func(t *tester) {
		t.putString(t.key("k"), "old")
		old := t.stat(t.key("k")).Version
		if !t.caps.DeleteIfVersion {
			err := t.p.Delete(t.ctx, provider.DeleteOptions{IfVersion: "v" + old}, t.key("k"))
			t.wantError(err, "delete", provider.KindUnsupported, t.key("k"))
			t.wantContent(t.key("k"), []byte("old"))
			return
		}
		t.putString(t.key("k"), "changed")
		err := t.p.Delete(t.ctx, provider.DeleteOptions{IfVersion: old}, t.key("k"))
		t.wantError(err, "delete", provider.KindPrecondition, t.key("k"))
		t.wantContent(t.key("k"), []byte("changed"))
		right := provider.DeleteOptions{IfVersion: t.stat(t.key("k")).Version}
		for range 2 { // the second time the object is gone already
			if err := t.p.Delete(t.ctx, right, t.key("k")); err != nil {
				t.Fatal(err)
			}
			t.wantMissing(t.key("k"))
		}
	}},
	{"a marker", func(t *tester) {
		t.put(t.key("d/"), nil, nil)
		t.delete(t.key("d/"))
		t.wantMissing(t.key("d/"))
		t.wantListed(provider.ListOptions{Prefix: t.key("d/"), Flat: true}, []string{})
	}},
	{"a marker with keys below it", func(t *tester) {
		t.put(t.key("d/"), nil, nil)
		t.putString(t.key("d/x"), "x")
		err := t.p.Delete(t.ctx, provider.DeleteOptions{}, t.key("d/"))
		if t.caps.Directories {
			t.wantError(err, "delete", provider.KindNotEmpty, t.key("d/"))
			t.stat(t.key("d/"))
		} else if err != nil {
			t.Fatal(err)
		}
		t.wantContent(t.key("d/x"), []byte("x"))
	}},
	{"a directory outlives its last key", func(t *tester) {
		t.putString(t.key("d/x"), "x")
		t.delete(t.key("d/x"))
		t.wantMissing(t.key("d/x"))
		if !t.caps.Directories {
			t.wantListed(provider.ListOptions{Prefix: t.prefix}, []string{})
			return
		}
		t.stat(t.key("d/"))
		t.delete(t.key("d/"))
		t.wantMissing(t.key("d/"))
	}},
	{"of several keys, those that fail are named and the others deleted", func(t *tester) {
		if !t.caps.Directories {
			return // elsewhere nothing that the suite can make fails
		}
		for _, name := range []string{"a", "d1/x", "b", "d2/x", "c"} {
			t.putString(t.key(name), "x")
		}
		err := t.p.Delete(t.ctx, provider.DeleteOptions{}, t.keys("a", "d1/", "b", "d2/", "c")...)
		t.wantError(err, "delete", provider.KindNotEmpty, t.key("d1/"))
		var failed []string
		for _, e := range provider.Failed(err) {
			failed = append(failed, e.Key)
		}
		if want := t.keys("d1/", "d2/"); !slices.Equal(failed, want) {
			t.Errorf("Failed names %q, want %q", failed, want)
		}
		for _, key := range t.keys("a", "b", "c") {
			t.wantMissing(key)
		}
		t.wantContent(t.key("d1/x"), []byte("x"))
	}},
	{"several keys with a version are refused", func(t *tester) {
		if !t.caps.DeleteIfVersion {
			return // refused for one key already
		}
		t.putString(t.key("a"), "x")
		version := t.stat(t.key("a")).Version
		err := t.p.Delete(t.ctx, provider.DeleteOptions{IfVersion: version}, t.keys("a", "b")...)
		t.wantError(err, "delete", provider.KindInvalid, t.keys("a", "b")...)
		t.wantContent(t.key("a"), []byte("x"))
	}},
}
