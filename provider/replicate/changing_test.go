package replicate

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"sharefs/provider"
	"sharefs/provider/faulty"
)

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
