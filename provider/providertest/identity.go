package providertest

import (
	"fmt"
	"maps"

	"sharefs/provider"
)

var identityCases = []testCase{
	{"Stat, Open and List tell the same", func(t *tester) {
		t.put(t.key("d/k"), pattern(100, 1), provider.Metadata{"note": "x"})
		t.put(t.key("d/empty"), nil, nil)
		for _, key := range t.keys("d/k", "d/empty") {
			want := t.stat(key)
			_, opened := t.get(key)
			t.wantSame(opened, want)
			t.wantListedSame(want)
		}
	}},
	{"Version and Revision change with the bytes", func(t *tester) {
		t.put(t.key("k"), pattern(100, 1), nil)
		first := t.stat(t.key("k"))
		t.passGrain()
		t.put(t.key("k"), pattern(100, 2), nil)
		t.wantChanged(first, t.stat(t.key("k")), true)
	}},
	{"Revision changes with the metadata alone", func(t *tester) {
		data := pattern(100, 1)
		t.put(t.key("k"), data, provider.Metadata{"note": "one"})
		first := t.stat(t.key("k"))
		t.passGrain()
		t.put(t.key("k"), data, provider.Metadata{"note": "two"})
		second := t.stat(t.key("k"))
		t.wantChanged(first, second, false)
		if !t.caps.Copy {
			return
		}
		t.passGrain()
		if _, err := t.p.Copy(t.ctx, t.key("k"), t.key("k"), provider.CopyOptions{Metadata: provider.Metadata{"note": "three"}}); err != nil {
			t.Fatal(err)
		}
		if third := t.stat(t.key("k")); !t.cfg.SelfCopyKeepsRevision {
			t.wantChanged(second, third, false)
		} else if third.Revision != second.Revision {
			t.Errorf("the revision was %q and is %q: Config.SelfCopyKeepsRevision is wrong", second.Revision, third.Revision)
		}
		t.wantListedSame(t.stat(t.key("k")))
	}},
	{"reading changes neither", func(t *tester) {
		t.put(t.key("k"), pattern(100, 1), provider.Metadata{provider.MetaAtime: "1700000000"})
		first := t.stat(t.key("k"))
		t.passGrain()
		t.get(t.key("k"))
		t.list(provider.ListOptions{Prefix: t.prefix})
		t.wantSame(t.stat(t.key("k")), first)
	}},
	{"an object that is put again after its deletion is another one", func(t *tester) {
		t.put(t.key("k"), pattern(100, 1), nil)
		first := t.stat(t.key("k"))
		t.delete(t.key("k"))
		t.passGrain()
		t.put(t.key("k"), pattern(100, 2), nil)
		t.wantChanged(first, t.stat(t.key("k")), true)
	}},
}

// wantSame compares what two methods say of one object.
func (t *tester) wantSame(got, want provider.Object) {
	t.Helper()
	if problem := t.different(got, want); problem != "" {
		t.Error(problem)
	}
	if !maps.Equal(got.Metadata, want.Metadata) {
		t.Errorf("metadata %v, want %v", got.Metadata, want.Metadata)
	}
}

func (t *tester) different(got, want provider.Object) string {
	switch {
	case got.Key != want.Key, got.Size != want.Size:
		return fmt.Sprintf("got %q of %d bytes, want %q of %d", got.Key, got.Size, want.Key, want.Size)
	case got.Version != want.Version:
		return fmt.Sprintf("%q: version %q, want %q", got.Key, got.Version, want.Version)
	case got.Revision != want.Revision:
		return fmt.Sprintf("%q: revision %q, want %q", got.Key, got.Revision, want.Revision)
	}
	if d := got.ModTime.Sub(want.ModTime).Abs(); d > t.caps.TimeGrain {
		return fmt.Sprintf("%q: ModTime %v, want %v (TimeGrain %v)", got.Key, got.ModTime, want.ModTime, t.caps.TimeGrain)
	}
	return ""
}

// wantListedSame demands that a flat and a delimited listing tell what Stat told.
func (t *tester) wantListedSame(want provider.Object) {
	t.Helper()
	for _, flat := range []bool{false, true} {
		t.settled(func() error {
			objects, err := t.tryList(provider.ListOptions{Prefix: parent(want.Key), Flat: flat})
			if err != nil {
				return err
			}
			for _, o := range objects {
				if o.Key != want.Key {
					continue
				}
				if problem := t.different(o, want); problem != "" {
					return fmt.Errorf("flat %v: the listing differs from Stat: %s", flat, problem)
				}
				return t.listedMetadata(o, want.Metadata)
			}
			return fmt.Errorf("flat %v: %q is not listed", flat, want.Key)
		})
	}
}

func (t *tester) listedMetadata(o provider.Object, want provider.Metadata) error {
	if !t.caps.ListMetadata {
		if o.Metadata != nil {
			return fmt.Errorf("%q: a listing without ListMetadata brings %v", o.Key, o.Metadata)
		}
		return nil
	}
	if o.Metadata == nil || !maps.Equal(o.Metadata, want) {
		return fmt.Errorf("%q: listed metadata %#v, want %v", o.Key, o.Metadata, want)
	}
	return nil
}

func (t *tester) wantChanged(first, second provider.Object, bytes bool) {
	t.Helper()
	if first.Revision == second.Revision {
		t.Errorf("the revision is %q as before", first.Revision)
	}
	if bytes && first.Version != "" && first.Version == second.Version {
		t.Errorf("the version is %q as before", first.Version)
	}
}
