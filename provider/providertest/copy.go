package providertest

import (
	"context"
	"errors"
	"slices"

	"sharefs/provider"
)

var copyCases = []testCase{
	{"a store that cannot copy refuses", func(t *tester) {
		if t.caps.Copy {
			return // exercised below
		}
		t.putString(t.key("src"), "x")
		_, err := t.p.Copy(t.ctx, t.key("src"), t.key("dst"), provider.CopyOptions{})
		t.wantError(err, "copy", provider.KindUnsupported, t.keys("src", "dst")...)
		_, err = t.p.Copy(t.ctx, t.key("src"), t.key("src"), provider.CopyOptions{Metadata: provider.Metadata{"note": "x"}})
		t.wantError(err, "copy", provider.KindUnsupported, t.key("src"))
		t.wantMissing(t.key("dst"))
		t.wantMetadata(t.key("src"), provider.Metadata{})
	}},
	{"bytes and metadata", copying(func(t *tester) {
		data := pattern(100_000, 1)
		t.put(t.key("src"), data, fileMetadata)
		t.copy("src", "dir/dst", provider.CopyOptions{})
		t.wantContent(t.key("dir/dst"), data)
		t.wantMetadata(t.key("dir/dst"), fileMetadata)
		t.wantContent(t.key("src"), data)
		t.wantMetadata(t.key("src"), fileMetadata)
	})},
	{"an empty object", copying(func(t *tester) {
		t.put(t.key("src"), nil, nil)
		t.copy("src", "dst", provider.CopyOptions{})
		t.wantContent(t.key("dst"), nil)
		t.wantMetadata(t.key("dst"), provider.Metadata{})
	})},
	{"a symlink", copying(func(t *tester) {
		md := provider.Metadata{provider.MetaMode: "41471", provider.MetaPut: "6f1d-44"}
		t.put(t.key("src"), []byte("some/target"), md)
		t.copy("src", "dst", provider.CopyOptions{})
		t.wantContent(t.key("dst"), []byte("some/target"))
		t.wantMetadata(t.key("dst"), md)
		md = provider.Metadata{provider.MetaMode: "41471", provider.MetaPut: "6f1d-45", provider.MetaMtime: "1600000000"}
		t.copy("dst", "dst", provider.CopyOptions{Metadata: md})
		t.wantContent(t.key("dst"), []byte("some/target"))
		t.wantMetadata(t.key("dst"), md)
	})},
	{"other metadata", copying(func(t *tester) {
		t.put(t.key("src"), []byte("x"), fileMetadata)
		for _, md := range []provider.Metadata{{"note": "new"}, {}} {
			t.copy("src", "dst", provider.CopyOptions{Metadata: md})
			t.wantMetadata(t.key("dst"), md)
		}
		t.wantMetadata(t.key("src"), fileMetadata)
	})},
	{"over an object", copying(func(t *tester) {
		t.put(t.key("src"), pattern(10, 1), provider.Metadata{"note": "src"})
		t.put(t.key("dst"), pattern(5000, 2), provider.Metadata{"note": "dst"})
		t.copy("src", "dst", provider.CopyOptions{})
		t.wantContent(t.key("dst"), pattern(10, 1))
		t.wantMetadata(t.key("dst"), provider.Metadata{"note": "src"})
	})},
	{"onto itself changes the metadata alone", copying(func(t *tester) {
		data := pattern(1000, 1)
		t.put(t.key("k"), data, provider.Metadata{"note": "old", "gone": "yes"})
		for _, md := range []provider.Metadata{fileMetadata, {provider.MetaMode: "33261", provider.MetaUID: "7"}, {"note": "x"}, {}} {
			t.copy("k", "k", provider.CopyOptions{Metadata: md})
			t.wantContent(t.key("k"), data)
			t.wantMetadata(t.key("k"), md)
		}
	})},
	{"a marker", copying(func(t *tester) {
		t.put(t.key("d/"), nil, provider.Metadata{"note": "old"})
		t.copy("d/", "d/", provider.CopyOptions{Metadata: provider.Metadata{"note": "new", provider.MetaMode: "16832"}})
		t.wantMetadata(t.key("d/"), provider.Metadata{"note": "new", provider.MetaMode: "16832"})
	})},
	{"a source that is missing is KindNotFound", copying(func(t *tester) {
		t.putString(t.key("dst"), "old")
		for _, dst := range t.keys("dst", "new") {
			_, err := t.p.Copy(t.ctx, t.key("src"), dst, provider.CopyOptions{})
			t.wantError(err, "copy", provider.KindNotFound, t.key("src"), dst)
		}
		_, err := t.p.Copy(t.ctx, t.key("src"), t.key("src"), provider.CopyOptions{Metadata: provider.Metadata{}})
		t.wantError(err, "copy", provider.KindNotFound, t.key("src"))
		t.wantContent(t.key("dst"), []byte("old"))
		t.wantMissing(t.key("new"))
	})},
	{"IfSourceVersion", copying(func(t *tester) {
		t.put(t.key("src"), pattern(100, 1), nil)
		old := t.stat(t.key("src")).Version
		if old == "" {
			return // the store cannot tell versions apart
		}
		t.copy("src", "dst", provider.CopyOptions{IfSourceVersion: old})
		t.put(t.key("src"), pattern(100, 2), nil)
		for _, dst := range t.keys("dst", "src") {
			_, err := t.p.Copy(t.ctx, t.key("src"), dst, provider.CopyOptions{IfSourceVersion: old, Metadata: provider.Metadata{"note": "x"}})
			t.wantError(err, "copy", provider.KindPrecondition, t.key("src"), dst)
		}
		t.wantContent(t.key("dst"), pattern(100, 1))
		t.wantContent(t.key("src"), pattern(100, 2))
		t.wantMetadata(t.key("src"), provider.Metadata{})
		t.wantMetadata(t.key("dst"), provider.Metadata{})
	})},
	{"a condition on the destination is kept or refused", copying(func(t *tester) {
		t.putString(t.key("src"), "src")
		t.putString(t.key("dst"), "dst")
		version := t.stat(t.key("dst")).Version
		t.copyIf("dst", provider.Condition{Absent: true}, t.caps.CreateIfAbsent, false)
		t.copyIf("new", provider.Condition{Absent: true}, t.caps.CreateIfAbsent, true)
		t.copyIf("dst", provider.Condition{Version: "x" + version}, t.caps.ReplaceIfVersion, false)
		if version != "" {
			t.copyIf("dst", provider.Condition{Version: version}, t.caps.ReplaceIfVersion, true)
		}
	})},
	{"an object beyond MaxCopySize is KindTooLarge", copying(func(t *tester) {
		if t.caps.MaxCopySize == 0 || t.caps.MaxCopySize > 4<<20 {
			return // too large to try
		}
		data := pattern(int(t.caps.MaxCopySize)+1, 1)
		if most := t.caps.MaxPutSize; most == 0 || most >= int64(len(data)) {
			t.put(t.key("src"), data, nil)
		} else {
			up := t.newUpload("src", provider.UploadOptions{})
			t.complete(up, []provider.Part{t.putPart(up, 1, data[:most]), t.putPart(up, 2, data[most:])})
		}
		_, err := t.p.Copy(t.ctx, t.key("src"), t.key("dst"), provider.CopyOptions{})
		t.wantError(err, "copy", provider.KindTooLarge, t.keys("src", "dst")...)
		t.wantMissing(t.key("dst"))
	})},
	{"cancelled, the destination is whole", copying(func(t *tester) {
		old, changed := fill(1000, 'o'), fill(1<<20, 'c')
		t.put(t.key("src"), changed, nil)
		t.put(t.key("dst"), old, nil)
		ctx, cancel := context.WithCancel(t.ctx)
		go cancel()
		if _, err := t.p.Copy(ctx, t.key("src"), t.key("dst"), provider.CopyOptions{}); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
		t.wantOneOf(t.key("dst"), old, changed)
	})},
}

// copying wraps the cases that need Copy; that it is refused elsewhere is a case of its own.
func copying(run func(t *tester)) func(t *tester) {
	return func(t *tester) {
		if t.caps.Copy {
			run(t)
		}
	}
}

// copy copies and checks the object that is returned.
func (t *tester) copy(src, dst string, opts provider.CopyOptions) {
	t.Helper()
	size := t.stat(t.key(src)).Size
	o, err := t.p.Copy(t.ctx, t.key(src), t.key(dst), opts)
	if err != nil {
		t.Fatalf("copy %q to %q: %v", src, dst, err)
	}
	got := t.stat(t.key(dst))
	if o.Key != got.Key || got.Size != size || o.Size != 0 && o.Size != size {
		t.Errorf("copy of %d bytes returned %+v, stat %+v", size, o, got)
	}
	if o.Version != "" && o.Version != got.Version || o.Revision != "" && o.Revision != got.Revision {
		t.Errorf("copy returned version %q, revision %q; stat %q, %q", o.Version, o.Revision, got.Version, got.Revision)
	}
}

// copyIf copies src with a condition that holds or does not. A store may refuse conditions on copies even where Put
// takes them; it must not ignore them.
func (t *tester) copyIf(dst string, cond provider.Condition, claimed, holds bool) {
	t.Helper()
	before, _, beforeErr := t.open(t.key(dst), provider.OpenOptions{})
	_, err := t.p.Copy(t.ctx, t.key("src"), t.key(dst), provider.CopyOptions{If: cond})
	switch {
	case provider.Is(err, provider.KindUnsupported):
		t.wantError(err, "copy", provider.KindUnsupported, t.keys("src", dst)...)
	case !claimed:
		t.Errorf("copy with %+v, which the store cannot check: %v", cond, err)
	case holds:
		if err != nil {
			t.Errorf("copy with %+v, which holds: %v", cond, err)
		}
		t.wantContent(t.key(dst), []byte("src"))
		return
	default:
		t.wantError(err, "copy", provider.KindPrecondition, t.keys("src", dst)...)
	}
	if beforeErr != nil {
		t.wantMissing(t.key(dst))
		return
	}
	t.wantContent(t.key(dst), before)
}

var moveCases = []testCase{
	{"a store that cannot move refuses", func(t *tester) {
		if t.caps.AtomicMove {
			return // exercised below
		}
		t.putString(t.key("src"), "x")
		_, err := t.p.Move(t.ctx, t.key("src"), t.key("dst"))
		t.wantError(err, "move", provider.KindUnsupported, t.keys("src", "dst")...)
		t.wantContent(t.key("src"), []byte("x"))
		t.wantMissing(t.key("dst"))
	}},
	{"bytes and metadata", moving(func(t *tester) {
		data := pattern(1000, 1)
		t.put(t.key("src"), data, fileMetadata)
		t.move("src", "dir/dst")
		t.wantMissing(t.key("src"))
		t.wantContent(t.key("dir/dst"), data)
		t.wantMetadata(t.key("dir/dst"), fileMetadata)
	})},
	{"a symlink", moving(func(t *tester) {
		md := provider.Metadata{provider.MetaMode: "41471", provider.MetaPut: "6f1d-46"}
		t.put(t.key("src"), []byte("t"), md)
		t.move("src", "dst")
		t.wantMissing(t.key("src"))
		t.wantMetadata(t.key("dst"), md)
	})},
	{"over an object", moving(func(t *tester) {
		t.putString(t.key("src"), "new")
		t.putString(t.key("dst"), "old")
		t.move("src", "dst")
		t.wantMissing(t.key("src"))
		t.wantContent(t.key("dst"), []byte("new"))
	})},
	{"onto itself keeps it", moving(func(t *tester) {
		t.putString(t.key("k"), "x")
		t.move("k", "k")
		t.wantContent(t.key("k"), []byte("x"))
	})},
	{"a source that is missing is KindNotFound", moving(func(t *tester) {
		t.putString(t.key("dst"), "old")
		_, err := t.p.Move(t.ctx, t.key("src"), t.key("dst"))
		t.wantError(err, "move", provider.KindNotFound, t.keys("src", "dst")...)
		t.wantContent(t.key("dst"), []byte("old"))
	})},
	{"there is always one", moving(func(t *tester) {
		t.putString(t.key("src"), "x")
		objects := t.list(provider.ListOptions{Prefix: t.prefix})
		for i := range 10 {
			names := []string{"src", "dst"}
			if i%2 == 1 {
				slices.Reverse(names)
			}
			t.move(names[0], names[1])
			if got := t.list(provider.ListOptions{Prefix: t.prefix}); len(got) != len(objects) {
				t.Fatalf("after move %d the listing has %q", i, keysOf(got))
			}
		}
	})},
}

func moving(run func(t *tester)) func(t *tester) {
	return func(t *tester) {
		if t.caps.AtomicMove {
			run(t)
		}
	}
}

func (t *tester) move(src, dst string) {
	t.Helper()
	o, err := t.p.Move(t.ctx, t.key(src), t.key(dst))
	if err != nil {
		t.Fatalf("move %q to %q: %v", src, dst, err)
	}
	got := t.stat(t.key(dst))
	if o.Key != got.Key || o.Version != "" && o.Version != got.Version || o.Revision != "" && o.Revision != got.Revision {
		t.Errorf("move returned %+v, stat %+v", o, got)
	}
}
