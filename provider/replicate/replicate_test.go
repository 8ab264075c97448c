package replicate

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sharefs/provider"
)

func TestAllIsCarriedOverAndASecondRunChangesNothing(t *testing.T) {
	for name, change := range map[string]func(*provider.Capabilities){
		"to a store":                           func(*provider.Capabilities) {},
		"to a store whose listings tell all":   func(c *provider.Capabilities) { c.ListMetadata = true },
		"to a store that takes 5 bytes a part": func(c *provider.Capabilities) { c.MaxPartSize, c.MaxPutSize = 5, 5 },
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := store(), store(change)
			fill(t, src)
			p := run(t, src, dst, Options{VerifyRead: true})
			mustEqual(t, src, dst)
			all := Count{Objects: 7, Bytes: 4 + 4 + 64 + 11}
			if p.Copied != all || p.Source != all || !p.Counted || p.Moving != 0 {
				t.Errorf("%+v", p)
			}
			if o, err := dst.Stat(t.Context(), "foreign"); err != nil || o.Metadata["mtime"] == "" {
				t.Errorf("without a time of its own it has no time: %+v, %v", o, err)
			}
			before := content(t, dst)
			if p := run(t, src, dst, Options{}); p.Same != all || p.Copied.Objects != 0 {
				t.Errorf("the second run: %+v", p)
			}
			if diff := cmp.Diff(before, content(t, dst)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsSharefsOwnStaysWhereItIs(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	put(t, dst, ".sharefs/claim-7", "the destination's claim", nil)
	put(t, dst, provider.Checkpoints+"00000000000000000002", "stale", nil)
	run(t, src, dst, Options{Delete: true})
	page, err := dst.List(t.Context(), provider.ListOptions{Prefix: provider.Reserved, Flat: true})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != ".sharefs/claim-7" {
		t.Errorf("%+v, %v", page.Objects, err)
	}
}

func TestWhatHasChangedIsCopiedAgain(t *testing.T) {
	md := provider.Metadata{"mode": "33188", "mtime": "1"}
	for name, change := range map[string]func(t *testing.T, src, dst provider.Provider){
		"the source's bytes": func(t *testing.T, src, _ provider.Provider) { put(t, src, "k", "BYTES", md) },
		"the source's metadata": func(t *testing.T, src, _ provider.Provider) {
			put(t, src, "k", "bytes", provider.Metadata{"mode": "33152"})
		},
		"the copy's bytes, by a mount": func(t *testing.T, _, dst provider.Provider) {
			put(t, dst, "k", "BYTES", provider.Metadata{"mode": "33188", "mtime": "1", provider.MetaPut: "catalog-1"})
		},
		"the copy's metadata": func(t *testing.T, _, dst provider.Provider) {
			o, err := dst.Stat(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			o.Metadata["mode"] = "33152"
			if _, err := dst.Copy(t.Context(), "k", "k", provider.CopyOptions{Metadata: o.Metadata}); err != nil {
				t.Fatal(err)
			}
		},
		"the copy is gone": func(t *testing.T, _, dst provider.Provider) {
			if err := dst.Delete(t.Context(), provider.DeleteOptions{}, "k"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := store(), store()
			put(t, src, "k", "bytes", md)
			put(t, src, "other", "bytes", md)
			run(t, src, dst, Options{})
			change(t, src, dst)
			if p := run(t, src, dst, Options{}); p.Copied.Objects != 1 || p.Same.Objects != 1 {
				t.Errorf("%+v", p)
			}
			mustEqual(t, src, dst)
		})
	}
}

func TestOnlyWithDeleteAreExtraObjectsDeleted(t *testing.T) {
	for _, del := range []bool{false, true} {
		src, dst := store(), store()
		fill(t, src)
		for i := range 9 {
			put(t, dst, fmt.Sprint("d/extra", i), "text", nil)
		}
		p := run(t, src, dst, Options{Delete: del})
		extra := Count{9, 36}
		switch {
		case del && (p.Deleted != extra || p.Extra != Count{}):
			t.Errorf("%+v", p)
		case !del && (p.Extra != extra || p.Deleted != Count{} || len(content(t, dst)) != 16):
			t.Errorf("%+v", p)
		case del:
			mustEqual(t, src, dst)
		}
	}
}

func TestAnEmptySourceDeletesNothing(t *testing.T) {
	src, dst := store(), store()
	put(t, src, ".sharefs/claim-1", "only this", nil)
	put(t, dst, "k", "text", nil)
	if _, err := try(t.Context(), src, dst, Options{Delete: true}); !errors.Is(err, ErrEmpty) || len(content(t, dst)) != 1 {
		t.Error(err)
	}
	run(t, src, dst, Options{})
}

func TestADryRunChangesNothingAndTellsAll(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	put(t, dst, "extra", "text", nil)
	put(t, dst, provider.Checkpoints+"00000000000000000002", "a checkpoint", nil)
	before := content(t, dst)
	var told []string
	p := run(t, src, dst, Options{Delete: true, DryRun: true, Parallel: 1,
		Changed: func(c Change, o provider.Object) { told = append(told, string(c)+" "+o.Key) }})
	slices.Sort(told)
	want := []string{"copy a", "copy a b%41+ü", "copy d/", "copy d/large", "copy d/link", "copy empty/", "copy foreign", "delete extra"}
	if diff := cmp.Diff(want, told); diff != "" || p.Copied.Objects != 7 || p.Deleted.Objects != 1 {
		t.Errorf("%+v\n%s", p, diff)
	}
	if diff := cmp.Diff(before, content(t, dst)); diff != "" {
		t.Error(diff)
	}
	if _, err := dst.Stat(t.Context(), provider.Checkpoints+"00000000000000000002"); err != nil {
		t.Error(err)
	}
}

func TestUploadsAreTold(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	began, gone := map[string]string{}, 0
	run(t, src, dst, Options{Parallel: 1,
		OnUpload: func(key, id string) error { began[id] = key; return nil },
		OnGone: func(id string) {
			if began[id] == "d/large" {
				gone++
			}
		}})
	if len(began) != 1 || gone != 1 {
		t.Errorf("%v, %d gone", began, gone)
	}
}
