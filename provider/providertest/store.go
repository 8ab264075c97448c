package providertest

import (
	"errors"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"sharefs/provider"
)

var storeCases = []testCase{
	{"an empty store lists as an empty page", func(t *tester) {
		t.wantListed(provider.ListOptions{}, []string{})
		t.wantListed(provider.ListOptions{Flat: true}, []string{})
	}},
	{"an object at the root is listed", func(t *tester) {
		t.putString("at the root", "x")
		t.wantListed(provider.ListOptions{}, []string{"at the root"})
		t.wantListed(provider.ListOptions{Flat: true}, []string{"at the root"})
		t.delete("at the root")
		t.wantListed(provider.ListOptions{}, []string{})
	}},
	{"keys below the reserved prefix are keys like others", func(t *tester) {
		key := provider.Reserved + "claim-1"
		t.putString(key, "x")
		t.wantContent(key, []byte("x"))
		t.wantListed(provider.ListOptions{}, []string{provider.Reserved})
		t.settled(func() error {
			objects, err := t.tryList(provider.ListOptions{Prefix: provider.Reserved, After: provider.Reserved})
			if err == nil && !slices.Equal(keysOf(objects), []string{key}) {
				return errors.New("it is not listed")
			}
			return err
		})
		t.delete(key)
		t.delete(provider.Reserved)
		t.wantMissing(key)
	}},
	{"String is a URL without secrets", func(t *tester) {
		u, err := url.Parse(t.p.String())
		if err != nil || u.Scheme == "" {
			t.Fatalf("%q is no URL (%v)", t.p.String(), err)
		}
		if _, has := u.User.Password(); has {
			t.Fatalf("%q holds a password", t.p.String())
		}
	}},
	{"Capabilities never change and make sense", func(t *tester) {
		caps := t.caps
		if again := t.p.Capabilities(); again != caps {
			t.Fatalf("first %+v, then %+v", caps, again)
		}
		if caps.MaxDeleteBatch < 1 {
			t.Errorf("MaxDeleteBatch is %d, want at least 1", caps.MaxDeleteBatch)
		}
		for name, n := range map[string]int64{"MaxObjectSize": caps.MaxObjectSize, "MaxPutSize": caps.MaxPutSize,
			"MaxCopySize": caps.MaxCopySize, "MinPartSize": caps.MinPartSize, "MaxPartSize": caps.MaxPartSize,
			"MaxParts": int64(caps.MaxParts), "MaxKey": int64(caps.MaxKey), "MaxComponent": int64(caps.MaxComponent), "MaxMarker": int64(caps.MaxMarker),
			"MaxMetadata": int64(caps.MaxMetadata), "MaxListPage": int64(caps.MaxListPage), "TimeGrain": int64(caps.TimeGrain)} {
			if n < 0 {
				t.Errorf("%s is %d, want 0 or more", name, n)
			}
		}
		if caps.MaxPartSize > 0 && caps.MinPartSize > caps.MaxPartSize {
			t.Errorf("MinPartSize %d is more than MaxPartSize %d", caps.MinPartSize, caps.MaxPartSize)
		}
	}},
	{"Create of a store that is ours is no error and keeps its objects", func(t *tester) {
		t.putString(t.key("kept"), "x")
		for range 2 {
			if err := t.p.Create(t.ctx); err != nil {
				t.Fatal(err)
			}
		}
		t.wantContent(t.key("kept"), []byte("x"))
	}},
	{"Usage tells or says -1", func(t *tester) {
		u, err := t.p.Usage(t.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if u.Bytes < -1 || u.Objects < -1 || u.Quota < -1 {
			t.Fatalf("%+v", u)
		}
	}},
	{"another provider on the same store sees the same", func(t *tester) {
		if t.cfg.Reopen == nil {
			return // this store lives in one process: Config says so
		}
		data, md := pattern(1000, 1), provider.Metadata{"note": "kept"}
		t.put(t.key("kept"), data, md)
		first := t.stat(t.key("kept"))
		up, err := t.p.NewUpload(t.ctx, t.key("unfinished"), provider.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		other := *t
		other.p = t.cfg.Reopen(t.T)
		defer func() {
			if err := other.p.Close(); err != nil {
				t.Error(err)
			}
		}()
		if other.p.Capabilities() != t.caps {
			t.Errorf("its capabilities are others: %+v", other.p.Capabilities())
		}
		other.wantContent(t.key("kept"), data)
		if got := other.stat(t.key("kept")); got.Revision != first.Revision || got.Version != first.Version {
			t.Errorf("first %+v, then %+v", first, got)
		}
		if ids := other.uploadIDs(t.key("unfinished")); !slices.Equal(ids, []string{up.ID()}) {
			t.Errorf("uploads %q, want %q", ids, up.ID())
		}
		if err := other.p.AbortUpload(t.ctx, t.key("unfinished"), up.ID()); err != nil {
			t.Error(err)
		}
		if ids := t.uploadIDs(t.key("unfinished")); len(ids) != 0 {
			t.Errorf("uploads %q after they were aborted", ids)
		}
	}},
	{"a store that does not exist is KindNoStore", func(t *tester) {
		if t.cfg.Missing == nil {
			return // such a store cannot be opened: Config says so
		}
		m := *t
		m.p = t.cfg.Missing(t.T)
		defer func() { _ = m.p.Close() }()
		_, err := m.p.List(t.ctx, provider.ListOptions{})
		t.wantError(err, "list", provider.KindNoStore, "")
		_, err = m.p.Put(t.ctx, "k", strings.NewReader("x"), 1, provider.PutOptions{})
		t.wantError(err, "put", provider.KindNoStore, "k")
		_, _, err = m.open("k", provider.OpenOptions{})
		t.wantError(err, "open", provider.KindNoStore, "k")
		if _, err := m.p.Stat(t.ctx, "k"); !errors.Is(err, fs.ErrNotExist) { // an answer to HEAD has no code
			t.Errorf("stat: %v", err)
		}
	}},
}

// endCases leave the store as it was.
var endCases = []testCase{
	{"everything can be removed", func(t *tester) {
		uploads, err := t.p.ListUploads(t.ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uploads {
			t.Errorf("a case left upload %s of %q", u.ID, u.Key)
		}
		t.settled(func() error {
			objects, err := t.tryList(provider.ListOptions{Flat: true})
			if err != nil {
				return err
			}
			keys := keysOf(objects)
			slices.Reverse(keys) // a directory after what is in it
			if err := t.p.Delete(t.ctx, provider.DeleteOptions{}, keys...); err != nil {
				return err
			}
			if objects, err = t.tryList(provider.ListOptions{Flat: true}); err == nil && len(objects) > 0 {
				return errors.New("the store is not empty after its objects were deleted")
			}
			return err
		})
	}},
}
