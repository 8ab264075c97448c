package retry_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/observe"
	"sharefs/provider/providertest"
	"sharefs/provider/retry"
)

// store is retry over a store with faults, with the requests counted between them.
type store struct {
	*retry.Provider
	faults *faulty.Provider
	seen   *observe.Provider
	below  provider.Provider
}

func newStore(opts retry.Options, rules ...faulty.Rule) store {
	below := mem.New(mem.Options{})
	faults := faulty.New(below, faulty.Options{Seed: 1, Rules: rules})
	seen := observe.New(faults, observe.Options{})
	return store{retry.New(seen, opts), faults, seen, below}
}

func (s store) requests(op string) int64 { return s.seen.Snapshot().Of(op).Requests }

func mustPut(t *testing.T, p provider.Provider, key, text string, md provider.Metadata) provider.Object {
	t.Helper()
	o, err := p.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), provider.PutOptions{Metadata: md})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func wantText(t *testing.T, p provider.Provider, key, want string) {
	t.Helper()
	body, _, err := p.Open(t.Context(), key, provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || string(got) != want {
		t.Fatalf("%s is %q (%v), want %q", key, got, err, want)
	}
}

func wantKind(t *testing.T, err error, kind provider.Kind) {
	t.Helper()
	if err == nil || provider.KindOf(err) != kind {
		t.Fatalf("the error is %v, want %v", err, kind)
	}
}

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		return retry.New(mem.New(mem.Options{}), retry.Options{})
	}})
}

// The suite's conditional writes carry no tag, so that one that got no answer could not be told from others: those
// are in settle_test.go, and here they are refused or not applied.
func TestConformanceWhileManyRequestsFail(t *testing.T) {
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		p := faulty.New(mem.New(mem.Options{}), faulty.Options{Seed: 7, Rules: []faulty.Rule{
			{Ops: []string{"put"}, Chance: 0.2, Effect: faulty.CutBody, Bytes: 100, Kind: provider.KindThrottled},
			{Ops: []string{"open", "upload.putpart"}, Chance: 0.2, Effect: faulty.CutBody, Bytes: 100},
			{Ops: []string{"open"}, Chance: 0.3},
			{Chance: 0.1, Kind: provider.KindThrottled},
			{Ops: []string{"stat", "list", "delete", "upload.putpart", "upload.copypart", "upload.abort", "abortupload"},
				Chance: 0.2, Effect: faulty.ApplyFail},
		}})
		return retry.New(p, retry.Options{BaseDelay: time.Microsecond})
	}})
}

func TestATransientErrorIsRepeated(t *testing.T) {
	for _, kind := range []provider.Kind{provider.KindThrottled, provider.KindUnavailable, provider.KindCorrupt} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{}, faulty.Rule{Ops: []string{"stat"}, Times: 3, Kind: kind})
				mustPut(t, s, "k", "text", nil)
				if o, err := s.Stat(t.Context(), "k"); err != nil || o.Size != 4 {
					t.Fatalf("%+v, %v", o, err)
				}
				if n := s.requests("stat"); n != 4 {
					t.Errorf("%d requests, want 4", n)
				}
			})
		})
	}
}

func TestAnErrorThatStaysIsNotRepeated(t *testing.T) {
	for kind := provider.KindOther + 1; kind <= provider.KindCorrupt; kind++ {
		if kind.Transient() {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			s := newStore(retry.Options{}, faulty.Rule{Kind: kind})
			_, err := s.Stat(t.Context(), "k")
			wantKind(t, err, kind)
			if n := s.requests("stat"); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
			if strings.Contains(err.Error(), "attempts") {
				t.Errorf("%v: there was one attempt, as the caller expects", err)
			}
		})
	}
}

func TestItGivesUp(t *testing.T) {
	for _, tc := range []struct {
		what    string
		opts    retry.Options
		timeout time.Duration // of the caller; 0 is none
		says    string
		longest time.Duration
	}{
		{"after so many attempts", retry.Options{MaxAttempts: 3}, 0, "3 attempts", 2 * time.Second},
		{"after so long", retry.Options{MaxAttempts: -1, MaxElapsed: 20 * time.Second}, 0, "later than 20s", 20 * time.Second},
		{"by default", retry.Options{}, 0, "attempts in", time.Minute},
		{"before the caller's deadline", retry.Options{MaxAttempts: -1}, 3 * time.Second, "deadline", 3 * time.Second},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(tc.opts, faulty.Rule{})
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				start := time.Now()
				_, err := s.Stat(ctx, "k")
				wantKind(t, err, provider.KindUnavailable)
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v: does not say %q", err, tc.says)
				}
				if took := time.Since(start); took > tc.longest {
					t.Errorf("it took %v, want at most %v", took, tc.longest)
				}
			})
		})
	}
}

func TestDelaysAreRandomBelowABoundThatDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		s := newStore(retry.Options{MaxAttempts: 8, BaseDelay: 100 * time.Millisecond, MaxDelay: time.Second},
			faulty.Rule{Notify: func(faulty.Call) { at = append(at, time.Now()) }})
		_, err := s.Stat(t.Context(), "k")
		wantKind(t, err, provider.KindUnavailable)
		for i, bound := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			if d := at[i+1].Sub(at[i]); d > bound*time.Millisecond {
				t.Errorf("delay %d is %v, want at most %v ms", i+1, d, int64(bound))
			}
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{}, faulty.Rule{Times: 1, Kind: provider.KindThrottled, RetryAfter: 17 * time.Second})
		start := time.Now()
		if _, err := s.List(t.Context(), provider.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 17*time.Second {
			t.Errorf("it came again after %v, the store had said 17s", took)
		}
	})
}

func TestTheCallersContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{}, faulty.Rule{RetryAfter: 30 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := s.Stat(ctx, "k"); err != context.Canceled {
			t.Errorf("%v, want the context's own error", err)
		}
	})
}

func TestAnAttemptWithoutASignOfLifeIsRepeated(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	for _, tc := range []struct {
		op     string
		effect faulty.Effect
		call   func(s store) error
	}{
		{"stat", faulty.Stall, func(s store) error { _, err := s.Stat(context.Background(), "k"); return err }},
		{"list", faulty.Stall, func(s store) error { _, err := s.List(context.Background(), provider.ListOptions{}); return err }},
		{"delete", faulty.Stall, func(s store) error { return s.Delete(context.Background(), provider.DeleteOptions{}, "other") }},
		{"put", faulty.Stall, putText(text)},
		{"put", faulty.StallBody, putText(text)},
		{"open", faulty.Stall, readText(text)},
		{"open", faulty.StallBody, readText(text)},
	} {
		t.Run(tc.op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{AttemptTimeout: 10 * time.Second})
				mustPut(t, s, "k", text, nil)
				s.faults.Add(faulty.Rule{Ops: []string{tc.op}, Times: 2, Effect: tc.effect, Bytes: 1000})
				start := time.Now()
				if err := tc.call(s); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < 20*time.Second || took > 25*time.Second {
					t.Errorf("it took %v, want twice the timeout and a little", took)
				}
			})
		})
	}
}

func putText(text string) func(store) error {
	return func(s store) error {
		_, err := s.Put(context.Background(), "k", strings.NewReader(text), int64(len(text)), provider.PutOptions{})
		return err
	}
}

func readText(want string) func(store) error {
	return func(s store) error {
		body, _, err := s.Open(context.Background(), "k", provider.OpenOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		got, err := io.ReadAll(body)
		if err == nil && string(got) != want {
			err = errors.New("other bytes")
		}
		return err
	}
}

func TestASlowCopyIsLeftInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resume := make(chan struct{})
		s := newStore(retry.Options{AttemptTimeout: 10 * time.Second}, faulty.Rule{Ops: []string{"copy"}, Effect: faulty.Stall, Resume: resume})
		mustPut(t, s, "k", "text", nil)
		time.AfterFunc(time.Hour, func() { close(resume) })
		if _, err := s.Copy(t.Context(), "k", "l", provider.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := s.requests("copy"); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestDeleteRepeatsOnlyTheKeysThatMayStillGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{},
			faulty.Rule{Ops: []string{"delete"}, Key: is("b"), Times: 2},
			faulty.Rule{Ops: []string{"delete"}, Key: is("c"), Kind: provider.KindDenied})
		for _, key := range []string{"a", "b", "c"} {
			mustPut(t, s, key, "x", nil)
		}
		err := s.Delete(t.Context(), provider.DeleteOptions{}, "a", "b", "c")
		failed := provider.Failed(err)
		if len(failed) != 1 || failed[0].Key != "c" || failed[0].Kind != provider.KindDenied {
			t.Errorf("%v: want that c is denied, and no more", err)
		}
		for key, there := range map[string]bool{"a": false, "b": false, "c": true} {
			if _, err := s.Stat(t.Context(), key); (err == nil) != there {
				t.Errorf("%s: %v", key, err)
			}
		}
		calls := 0
		for _, c := range s.faults.Injected() {
			if c.Key == "c" {
				calls++
			}
		}
		if calls != 1 {
			t.Errorf("c was tried %d times, want once", calls)
		}
	})
}

func TestDeleteThatGivesUpNamesEveryKeyThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{MaxAttempts: 2},
			faulty.Rule{Ops: []string{"delete"}, Key: is("b")},
			faulty.Rule{Ops: []string{"delete"}, Key: is("c"), Kind: provider.KindDenied})
		err := s.Delete(t.Context(), provider.DeleteOptions{}, "a", "b", "c")
		kinds := map[string]provider.Kind{}
		for _, e := range provider.Failed(err) {
			kinds[e.Key] = e.Kind
		}
		if len(kinds) != 2 || kinds["b"] != provider.KindUnavailable || kinds["c"] != provider.KindDenied {
			t.Errorf("%v names %v", err, kinds)
		}
	})
}

func is(key string) func(string) bool { return func(k string) bool { return k == key } }

// A delete of several keys with a version is refused as a whole, also when a part of it fails first for a reason that may pass.
func TestADeleteOfOneVersionIsNotRepeatedForFewerKeys(t *testing.T) {
	s := newStore(retry.Options{BaseDelay: time.Microsecond}, faulty.Rule{Ops: []string{"delete"}, Key: func(key string) bool { return key == "a" }, Times: 1, Kind: provider.KindThrottled})
	version := mustPut(t, s, "a", "text", nil).Version
	err := s.Delete(t.Context(), provider.DeleteOptions{IfVersion: version}, "a", "b")
	if !provider.Is(err, provider.KindInvalid) {
		t.Errorf("%v, want invalid", err)
	}
	if _, err := s.Stat(t.Context(), "a"); err != nil {
		t.Errorf("the object is gone: %v", err)
	}
}
