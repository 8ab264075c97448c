package replicate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/faulty"
)

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
