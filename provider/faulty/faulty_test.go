package faulty_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
)

func TestConformanceWithoutRules(t *testing.T) {
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		return faulty.New(mem.New(mem.Options{}), faulty.Options{})
	}})
}

func TestConformanceWhileEveryRequestIsSlow(t *testing.T) {
	resume := make(chan struct{})
	close(resume)
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		return faulty.New(mem.New(mem.Options{}), faulty.Options{Rules: []faulty.Rule{
			{Ops: []string{"open", "put", "upload.putpart"}, Effect: faulty.StallBody, Bytes: 10, Resume: resume},
			{Effect: faulty.Stall, Resume: resume},
		}})
	}})
}

func newStore(t *testing.T, rules ...faulty.Rule) (*faulty.Provider, *mem.Store) {
	t.Helper()
	inner := mem.New(mem.Options{})
	put(t, inner, "k", "old")
	return faulty.New(inner, faulty.Options{Seed: 3, Rules: rules}), inner
}

func put(t *testing.T, p provider.Provider, key, text string) {
	t.Helper()
	if _, err := p.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), provider.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, p provider.Provider, key string) string {
	t.Helper()
	body, _, err := p.Open(t.Context(), key, provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAFailedCallHasItsKindAndDoesNothing(t *testing.T) {
	f, inner := newStore(t, faulty.Rule{Ops: []string{"put"}, Kind: provider.KindThrottled, RetryAfter: time.Second})
	_, err := f.Put(t.Context(), "k", strings.NewReader("new"), 3, provider.PutOptions{})
	var e *provider.Error
	if !errors.As(err, &e) || e.Op != "put" || e.Key != "k" || e.Kind != provider.KindThrottled || e.RetryAfter != time.Second {
		t.Errorf("%v", err)
	}
	if got := read(t, inner, "k"); got != "old" {
		t.Errorf("k is %q", got)
	}
}

func TestAnAppliedCallFailsNevertheless(t *testing.T) {
	f, inner := newStore(t, faulty.Rule{Ops: []string{"put", "delete"}, Effect: faulty.ApplyFail})
	if _, err := f.Put(t.Context(), "k", strings.NewReader("new"), 3, provider.PutOptions{}); !provider.Is(err, provider.KindUnavailable) {
		t.Error(err)
	}
	if got := read(t, inner, "k"); got != "new" {
		t.Errorf("k is %q", got)
	}
	if err := f.Delete(t.Context(), provider.DeleteOptions{}, "k"); !provider.Is(err, provider.KindUnavailable) {
		t.Error(err)
	}
	if _, err := inner.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNotFound) {
		t.Error(err)
	}
	if _, err := f.Put(t.Context(), "k", strings.NewReader("new"), 3, provider.PutOptions{If: provider.Condition{Version: "no"}}); !provider.Is(err, provider.KindPrecondition) {
		t.Errorf("%v: what the store refuses is not applied", err)
	}
}

func TestACutBody(t *testing.T) {
	f, inner := newStore(t, faulty.Rule{Effect: faulty.CutBody, Bytes: 2})
	body, o, err := f.Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil || o.Size != 3 {
		t.Fatal(o, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if string(got) != "ol" || !errors.Is(err, io.ErrUnexpectedEOF) || !provider.Is(err, provider.KindUnavailable) {
		t.Errorf("%q, %v", got, err)
	}
	sent := strings.NewReader("new")
	if _, err := f.Put(t.Context(), "k", sent, 3, provider.PutOptions{}); !provider.Is(err, provider.KindUnavailable) || sent.Len() != 1 {
		t.Errorf("%v, %d bytes unread", err, sent.Len())
	}
	if got := read(t, inner, "k"); got != "old" {
		t.Errorf("k is %q", got)
	}
	if _, err := f.Stat(t.Context(), "k"); !provider.Is(err, provider.KindUnavailable) {
		t.Errorf("%v: what has no body just fails", err)
	}
}

func TestAStallEndsWhenItIsToldToOrWithTheContext(t *testing.T) {
	for _, effect := range []faulty.Effect{faulty.Stall, faulty.StallBody} {
		synctest.Test(t, func(t *testing.T) {
			resume := make(chan struct{})
			f, inner := newStore(t, faulty.Rule{Effect: effect, Bytes: 2, Resume: resume})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := f.Put(ctx, "k", strings.NewReader("new"), 3, provider.PutOptions{}); err != context.DeadlineExceeded {
				t.Errorf("%v", err)
			}
			if got := read(t, inner, "k"); got != "old" {
				t.Errorf("k is %q", got)
			}
			time.AfterFunc(time.Hour, func() { close(resume) })
			start := time.Now()
			put(t, f, "k", "new")
			if took := time.Since(start); took != time.Hour {
				t.Errorf("it took %v", took)
			}
			if got := read(t, f, "k"); got != "new" {
				t.Errorf("k is %q", got)
			}
		})
	}
}

func TestWhichCallsARuleAppliesTo(t *testing.T) {
	for _, tc := range []struct {
		what string
		rule faulty.Rule
		want string // of ten stats of keys 0 to 9: which fail
	}{
		{"all", faulty.Rule{}, "0123456789"},
		{"other operations only", faulty.Rule{Ops: []string{"put", "list"}}, ""},
		{"by key", faulty.Rule{Key: func(k string) bool { return k > "6" }}, "789"},
		{"from the third on", faulty.Rule{Skip: 2}, "23456789"},
		{"the third", faulty.Rule{Skip: 2, Times: 1}, "2"},
		{"the second and third of those", faulty.Rule{Key: func(k string) bool { return k > "4" }, Skip: 1, Times: 2}, "67"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			f, _ := newStore(t, tc.rule)
			if got := failing(t, f); got != tc.want {
				t.Errorf("%q fail, want %q", got, tc.want)
			}
			var seen []string
			for _, c := range f.Injected() {
				seen = append(seen, c.Key)
			}
			if strings.Join(seen, "") != tc.want {
				t.Errorf("Injected says %q", seen)
			}
		})
	}
}

// failing returns the keys 0 to 9 whose Stat an injected error hits.
func failing(t *testing.T, p provider.Provider) string {
	t.Helper()
	got := ""
	for _, key := range strings.Split("0123456789", "") {
		if _, err := p.Stat(t.Context(), key); !provider.Is(err, provider.KindNotFound) {
			got += key
		}
	}
	return got
}

func TestChanceComesFromTheSeed(t *testing.T) {
	run := func(seed uint64) string {
		f := faulty.New(mem.New(mem.Options{}), faulty.Options{Seed: seed, Rules: []faulty.Rule{{Chance: 0.5}}})
		var all []string
		for range 10 {
			all = append(all, failing(t, f))
		}
		return strings.Join(all, ",")
	}
	first := run(1)
	if n := len(strings.ReplaceAll(first, ",", "")); n < 25 || n > 75 {
		t.Errorf("%d of 100 failed, want about 50", n)
	}
	if again := run(1); again != first {
		t.Errorf("seed 1 gave %q, then %q", first, again)
	}
	if run(2) == first {
		t.Error("seeds 1 and 2 give the same")
	}
}

func TestTheFirstRuleThatAppliesActs(t *testing.T) {
	f, _ := newStore(t, faulty.Rule{Times: 1, Kind: provider.KindDenied})
	remove := f.Add(faulty.Rule{Kind: provider.KindQuota})
	var kinds []provider.Kind
	for range 2 {
		_, err := f.Stat(t.Context(), "k")
		kinds = append(kinds, provider.KindOf(err))
	}
	if !slices.Equal(kinds, []provider.Kind{provider.KindDenied, provider.KindQuota}) {
		t.Errorf("%v", kinds)
	}
	remove()
	remove()
	if _, err := f.Stat(t.Context(), "k"); err != nil {
		t.Errorf("%v after the rule was taken away", err)
	}
}

func TestDeleteOfSeveralKeysFailsForThoseThatRulesName(t *testing.T) {
	f, inner := newStore(t, faulty.Rule{Ops: []string{"delete"}, Key: func(k string) bool { return k == "k" }})
	put(t, inner, "l", "")
	err := f.Delete(t.Context(), provider.DeleteOptions{}, "k", "l", "m")
	if failed := provider.Failed(err); len(failed) != 1 || failed[0].Key != "k" {
		t.Errorf("%v", err)
	}
	if _, err := inner.Stat(t.Context(), "l"); !provider.Is(err, provider.KindNotFound) {
		t.Errorf("l: %v", err)
	}
	if got := read(t, inner, "k"); got != "old" {
		t.Errorf("k is %q", got)
	}
}
