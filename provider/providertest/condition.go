package providertest

import (
	"bytes"
	"fmt"
	"sync"

	"sharefs/provider"
)

var conditionCases = []testCase{
	{"Put Absent", func(t *tester) {
		t.absentCases("put", t.putIf)
	}},
	{"Put Version", func(t *tester) {
		t.versionCases("put", t.putIf)
	}},
	{"Complete Absent", func(t *tester) {
		t.absentCases("upload.complete", t.completeIf)
	}},
	{"Complete Version", func(t *tester) {
		t.versionCases("upload.complete", t.completeIf)
	}},
	{"writers race for an absent key: one wins", func(t *tester) {
		if !t.caps.CreateIfAbsent {
			return // refused, as shown above
		}
		for i := range 5 {
			t.race(t.key(fmt.Sprintf("k%d", i)), provider.Condition{Absent: true})
		}
	}},
	{"writers race for a version: one wins", func(t *tester) {
		if !t.caps.ReplaceIfVersion {
			return // refused, as shown above
		}
		for i := range 5 {
			key := t.key(fmt.Sprintf("k%d", i))
			t.putString(key, "base")
			t.race(key, provider.Condition{Version: t.stat(key).Version})
		}
	}},
	{"a marker is created once", func(t *tester) {
		_, err := t.p.Put(t.ctx, t.key("d/"), bytes.NewReader(nil), 0, provider.PutOptions{If: provider.Condition{Absent: true}})
		if !t.caps.CreateIfAbsent {
			t.wantError(err, "put", provider.KindUnsupported, t.key("d/"))
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = t.p.Put(t.ctx, t.key("d/"), bytes.NewReader(nil), 0, provider.PutOptions{If: provider.Condition{Absent: true}})
		t.wantError(err, "put", provider.KindPrecondition, t.key("d/"))
	}},
}

// conditional stores data under key with a condition, by one way or another.
type conditional func(key string, data []byte, cond provider.Condition) (provider.Object, error)

func (t *tester) putIf(key string, data []byte, cond provider.Condition) (provider.Object, error) {
	return t.p.Put(t.ctx, key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{If: cond})
}

func (t *tester) completeIf(key string, data []byte, cond provider.Condition) (provider.Object, error) {
	up, part := t.onePart(key, data, provider.UploadOptions{})
	o, err := up.Complete(t.ctx, []provider.Part{part}, provider.CompleteOptions{If: cond})
	if err != nil {
		if abortErr := up.Abort(t.ctx); abortErr != nil {
			t.Error(abortErr)
		}
	}
	return o, err
}

func (t *tester) absentCases(op string, store conditional) {
	old, changed := []byte("old"), []byte("changed")
	absent := provider.Condition{Absent: true}
	_, err := store(t.key("new"), changed, absent)
	if !t.caps.CreateIfAbsent {
		t.wantError(err, op, provider.KindUnsupported, t.key("new"))
		t.wantMissing(t.key("new"))
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.wantContent(t.key("new"), changed)
	t.put(t.key("old"), old, nil)
	_, err = store(t.key("old"), changed, absent)
	t.wantError(err, op, provider.KindPrecondition, t.key("old"))
	t.wantContent(t.key("old"), old)
	t.delete(t.key("old"))
	if _, err = store(t.key("old"), changed, absent); err != nil {
		t.Errorf("after the object was deleted: %v", err)
	}
}

func (t *tester) versionCases(op string, store conditional) {
	old, changed, third := []byte("old"), []byte("changed"), []byte("a third one")
	t.put(t.key("k"), old, nil)
	first := t.stat(t.key("k")).Version
	if !t.caps.ReplaceIfVersion {
		_, err := store(t.key("k"), changed, provider.Condition{Version: "v" + first})
		t.wantError(err, op, provider.KindUnsupported, t.key("k"))
		t.wantContent(t.key("k"), old)
		return
	}
	if first == "" {
		t.Fatal("the store checks versions and does not tell them")
	}
	if _, err := store(t.key("k"), changed, provider.Condition{Version: first}); err != nil {
		t.Fatal(err)
	}
	t.wantContent(t.key("k"), changed)
	_, err := store(t.key("k"), third, provider.Condition{Version: first})
	t.wantError(err, op, provider.KindPrecondition, t.key("k"))
	t.wantContent(t.key("k"), changed)
	_, err = store(t.key("missing"), third, provider.Condition{Version: first})
	t.wantError(err, op, provider.KindPrecondition, t.key("missing"))
	t.wantMissing(t.key("missing"))
}

// race has six writers put different bytes under one condition, of whom one may win.
func (t *tester) race(key string, cond provider.Condition) {
	t.Helper()
	const writers = 6
	var errs [writers]error
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { _, errs[i] = t.putIf(key, fill(1000+i, byte('a'+i)), cond) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			if winner >= 0 {
				t.Errorf("writers %d and %d both won %q", winner, i, key)
			}
			winner = i
			continue
		}
		if problem := checkError(err, "put", provider.KindPrecondition, key); problem != "" {
			t.Errorf("writer %d: %s", i, problem)
		}
	}
	if winner < 0 {
		t.Fatalf("nobody won %q", key)
	}
	t.wantContent(key, fill(1000+winner, byte('a'+winner)))
}
