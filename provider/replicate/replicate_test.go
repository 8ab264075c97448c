package replicate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// part is the size of parts in these tests, in bytes.
const part = 10

// store returns a store in memory with small parts, which tells no metadata in listings.
func store(change ...func(*provider.Capabilities)) *mem.Store {
	caps := mem.Full()
	caps.ListMetadata = false
	caps.MaxListPage = 3
	for _, c := range change {
		c(&caps)
	}
	return mem.New(mem.Options{Capabilities: caps})
}

func put(t *testing.T, p provider.Provider, key, body string, md provider.Metadata) {
	t.Helper()
	if _, err := p.Put(t.Context(), key, strings.NewReader(body), int64(len(body)), provider.PutOptions{Metadata: md, ContentType: "text/x-" + md["mode"]}); err != nil {
		t.Fatal(err)
	}
}

// fill makes a source of all kinds of objects.
func fill(t *testing.T, p provider.Provider) {
	t.Helper()
	put(t, p, "a", "", provider.Metadata{"mode": "33188", "mtime": "1.5"})
	put(t, p, "a b%41+ü", "text", provider.Metadata{"mode": "33152", "uid": "7", "gid": "8", "mtime": "1600000000.000000001", "xattr": "%7B%22user.a%22:%22Yg==%22%7D"})
	put(t, p, "d/", "", provider.Metadata{"mode": "16832"})
	put(t, p, "d/link", "../a", provider.Metadata{"mode": "41471"})
	put(t, p, "d/large", strings.Repeat("0123456789abcdef", 4), provider.Metadata{"mode": "33188", "mtime": "2"})
	put(t, p, "empty/", "", provider.Metadata{"mode": "16877"})
	put(t, p, "foreign", "no metadata", nil)
	put(t, p, ".sharefs/claim-1", "the source's claim", nil)
	put(t, p, provider.Checkpoints+"00000000000000000001", "the source's checkpoint", nil)
}

// run copies, and the test fails unless all goes well.
func run(t *testing.T, src, dst provider.Provider, o Options) Progress {
	t.Helper()
	p, err := try(t.Context(), src, dst, o)
	if err != nil {
		t.Fatalf("%v: %+v", err, p.Failures)
	}
	return p
}

func try(ctx context.Context, src, dst provider.Provider, o Options) (Progress, error) {
	o.PartSize = part
	c := New(src, dst, o)
	err := c.Run(ctx)
	return c.Progress(), err
}

// content is what a store has, without what sharefs keeps there, and without the marks of copies.
func content(t *testing.T, p provider.Provider) map[string]string {
	t.Helper()
	all := map[string]string{}
	for c := newCursor(p); ; c.pop() {
		listed, err := c.peek(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if listed == nil {
			return all
		}
		all[listed.Key] = object(t, p, listed.Key)
	}
}

func object(t *testing.T, p provider.Provider, key string) string {
	t.Helper()
	body, o, err := p.Open(t.Context(), key, provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", o.ContentType, text)
	for _, name := range slices.Sorted(maps.Keys(o.Metadata)) {
		if name != provider.MetaPut {
			fmt.Fprintf(&b, " %s=%s", name, o.Metadata[name])
		}
	}
	return b.String()
}

func mustEqual(t *testing.T, src, dst provider.Provider) {
	t.Helper()
	want, got := content(t, src), content(t, dst)
	for key, text := range got { // a copy has got the time of its object
		if before, _, ok := strings.Cut(text, " mtime="); ok && !strings.Contains(want[key], " mtime=") {
			got[key] = before
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the destination is not as the source:\n%s", diff)
	}
}

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

// TestARunThatIsCutOffAtAnyRequestIsResumed cancels a run at each of its requests, before and after it has taken effect.
func TestARunThatIsCutOffAtAnyRequestIsResumed(t *testing.T) {
	for _, effect := range []faulty.Effect{faulty.Stall, faulty.ApplyFail} {
		for _, side := range []string{"source", "destination"} {
			cut := 0
			for cut = 0; ; cut++ {
				src, dst := store(), store()
				fill(t, src)
				put(t, dst, "a", "old", nil)
				put(t, dst, "gone", "old", nil)
				ctx, cancel := context.WithCancel(t.Context())
				reached := false
				f := faulty.New(map[string]provider.Provider{"source": src, "destination": dst}[side], faulty.Options{})
				f.Add(faulty.Rule{Skip: cut, Times: 1, Effect: effect, Notify: func(faulty.Call) { reached = true; cancel() }})
				from, to := provider.Provider(src), provider.Provider(f)
				if side == "source" {
					from, to = f, dst
				}
				_, err := try(ctx, from, to, Options{Delete: true, Parallel: 1})
				cancel()
				if reached && !errors.Is(err, context.Canceled) && !provider.Is(err, provider.KindUnavailable) && !errors.Is(err, ErrIncomplete) {
					t.Fatalf("cut off at request %d of the %s: %v", cut, side, err)
				}
				wholeObjects(t, src, dst)
				run(t, src, dst, Options{Delete: true})
				mustEqual(t, src, dst)
				if left, err := dst.ListUploads(t.Context(), ""); err != nil || len(left) > 0 && effect == faulty.Stall {
					t.Errorf("cut off at request %d of the %s: uploads are left: %v, %v", cut, side, left, err)
				}
				if t.Failed() {
					t.Fatalf("cut off at request %d of the %s, effect %d", cut, side, effect)
				}
				if !reached {
					break
				}
			}
			if cut < 10 {
				t.Errorf("only %d requests of the %s", cut, side)
			}
		}
	}
}

// wholeObjects checks that each object of the destination is an old one, or as the source's.
func wholeObjects(t *testing.T, src, dst provider.Provider) {
	t.Helper()
	want := content(t, src)
	for key, have := range content(t, dst) {
		if before, _, _ := strings.Cut(have, " mtime="); have != want[key] && before != want[key] && !strings.Contains(have, `"old"`) {
			t.Errorf("%s is %s, neither old nor new", key, have)
		}
	}
}

func TestOneObjectThatFailsKeepsNoOtherBack(t *testing.T) {
	for _, op := range []string{"put", "open", "stat", "upload.putpart", "upload.complete", "newupload"} {
		t.Run(op, func(t *testing.T) {
			src, dst := store(), store()
			fill(t, src)
			rule := faulty.Rule{Ops: []string{op}, Kind: provider.KindUnavailable, Times: 1}
			fs, fd := faulty.New(src, faulty.Options{}), faulty.New(dst, faulty.Options{})
			fs.Add(rule)
			fd.Add(rule)
			p, err := try(t.Context(), fs, fd, Options{})
			if !errors.Is(err, ErrIncomplete) || p.Failed == 0 || p.Copied.Objects+p.Failed != 7 {
				t.Errorf("%v: %+v", err, p)
			}
			run(t, src, dst, Options{})
			mustEqual(t, src, dst)
		})
	}
}

func TestAStoreThatIsGoneEndsTheRun(t *testing.T) {
	for kind, ends := range map[provider.Kind]bool{provider.KindUnavailable: true, provider.KindAuth: true, provider.KindQuota: true, provider.KindDenied: false} {
		src, dst := store(), faulty.New(store(), faulty.Options{})
		for i := range 100 {
			put(t, src, fmt.Sprint("k", i), "text", nil)
		}
		dst.Add(faulty.Rule{Ops: []string{"put"}, Kind: kind})
		p, err := try(t.Context(), src, dst, Options{Parallel: 4})
		if ended := err != nil && !errors.Is(err, ErrIncomplete); ended != ends || !ends && p.Failed != 100 {
			t.Errorf("%v: %v after %d failures", kind, err, p.Failed)
		}
	}
}

func TestAnObjectThatChangesWhileItIsCopiedIsCopiedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		key, op string
		skip    int
	}{
		"small":                           {"a b%41+ü", "open", 0},
		"in parts, before the first part": {"d/large", "open", 0},
		"in parts, between parts":         {"d/large", "open", 2},
		"empty":                           {"empty/", "stat", 0},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := store(), store()
			fill(t, src)
			f := faulty.New(src, faulty.Options{})
			text := strings.Repeat("other bytes", 6)
			if name == "empty" {
				text = ""
			}
			f.Add(faulty.Rule{Ops: []string{c.op}, Key: func(k string) bool { return k == c.key }, Skip: c.skip, Times: 1,
				Effect: faulty.StallBody, Resume: closed(), Notify: func(faulty.Call) { put(t, src, c.key, text, provider.Metadata{"mode": "33152"}) }})
			run(t, f, dst, Options{})
			mustEqual(t, src, dst)
		})
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestAnObjectThatNeverStandsStillIsAFailure(t *testing.T) {
	src, dst := store(), store()
	put(t, src, "k", strings.Repeat("x", 5*part), nil)
	put(t, src, "other", "text", nil)
	f := faulty.New(src, faulty.Options{})
	var n atomic.Int64
	f.Add(faulty.Rule{Ops: []string{"open"}, Key: func(k string) bool { return k == "k" }, Effect: faulty.StallBody, Resume: closed(),
		Notify: func(faulty.Call) {
			put(t, src, "k", strings.Repeat("x", 5*part)+strings.Repeat("y", int(n.Add(1))), nil)
		}})
	p, err := try(t.Context(), f, dst, Options{Parallel: 1})
	if !errors.Is(err, ErrIncomplete) || p.Failed != 1 || !errors.Is(p.Failures[0].Err, errChanged) || p.Copied.Objects != 1 {
		t.Errorf("%v: %+v", err, p)
	}
}

func TestAnObjectThatIsDeletedMeanwhileIsNoFailure(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	f := faulty.New(src, faulty.Options{})
	f.Add(faulty.Rule{Ops: []string{"open"}, Times: 1, Effect: faulty.StallBody, Resume: closed(), Notify: func(c faulty.Call) {
		if err := src.Delete(context.Background(), provider.DeleteOptions{}, c.Key); err != nil {
			t.Error(err)
		}
	}})
	run(t, f, dst, Options{})
	mustEqual(t, src, dst)
}

func TestWhatIsAddedBehindTheWalkIsSaid(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	f := faulty.New(src, faulty.Options{})
	f.Add(faulty.Rule{Ops: []string{"open"}, Key: func(k string) bool { return k == "foreign" }, Times: 1, Effect: faulty.StallBody,
		Resume: closed(), Notify: func(faulty.Call) { put(t, src, "_late", "text", nil) }})
	p, err := try(t.Context(), f, dst, Options{Parallel: 1})
	if !errors.Is(err, ErrIncomplete) || p.Failed != 1 || p.Failures[0].Key != "_late" {
		t.Errorf("%v: %+v", err, p)
	}
	run(t, src, dst, Options{})
	mustEqual(t, src, dst)
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

func TestWhatTheDestinationCannotHoldIsToldAtTheEnd(t *testing.T) {
	src := store()
	dst := store(func(c *provider.Capabilities) { c.MaxComponent, c.MaxObjectSize, c.MaxMetadata = 20, 50, 120 })
	put(t, src, strings.Repeat("n", 21), "a long name", nil)
	put(t, src, "large", strings.Repeat("x", 51), nil)
	put(t, src, "meta", "text", provider.Metadata{"xattr": strings.Repeat("x", 120)})
	put(t, src, "good", "text", nil)
	p, err := try(t.Context(), src, dst, Options{})
	if !errors.Is(err, ErrIncomplete) || p.Failed != 3 || p.Copied.Objects != 1 {
		t.Errorf("%v: %+v", err, p)
	}
}

// liar stores other bytes than it is given.
type liar struct{ provider.Provider }

func (l liar) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	return l.Provider.Put(ctx, key, bytes.NewReader(make([]byte, size)), size, o)
}

func TestACopyThatIsReadBackMustBeWhatWasSent(t *testing.T) {
	src, dst := store(), store()
	put(t, src, "k", "text", nil)
	p, err := try(t.Context(), src, liar{dst}, Options{VerifyRead: true})
	if !errors.Is(err, ErrIncomplete) || len(p.Failures) != 1 || !provider.Is(p.Failures[0].Err, provider.KindCorrupt) {
		t.Errorf("%v: %+v", err, p)
	}
}

// forgetful loses an object that it has confirmed.
type forgetful struct{ provider.Provider }

func (f forgetful) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	if key == "lost" {
		return provider.Object{Key: key, Size: size}, nil
	}
	return f.Provider.Put(ctx, key, body, size, o)
}

func TestAnObjectThatTheDestinationHasLostIsFound(t *testing.T) {
	src, dst := store(), store()
	put(t, src, "kept", "text", nil)
	put(t, src, "lost", "text", nil)
	p, err := try(t.Context(), src, forgetful{dst}, Options{})
	if !errors.Is(err, ErrIncomplete) || len(p.Failures) != 1 || p.Failures[0].Key != "lost" {
		t.Errorf("%v: %+v", err, p)
	}
}

func TestAListingThatLagsIsNotBelieved(t *testing.T) {
	src, dst := store(), mem.New(mem.Options{Capabilities: mem.Weak(), ListingLag: time.Hour})
	fill(t, src)
	if p := run(t, src, dst, Options{}); p.Copied.Objects != 7 {
		t.Errorf("%+v", p)
	}
}

// disordered lists in the wrong order.
type disordered struct{ provider.Provider }

func (d disordered) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	page, err := d.Provider.List(ctx, o)
	slices.Reverse(page.Objects)
	return page, err
}

func TestAListingOutOfOrderEndsTheRun(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	put(t, dst, "x", "text", nil)
	put(t, dst, "y", "text", nil)
	if _, err := try(t.Context(), src, disordered{dst}, Options{Delete: true}); err == nil || !strings.Contains(err.Error(), "order of keys") {
		t.Error(err)
	}
	if _, err := dst.Stat(t.Context(), "x"); err != nil {
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
