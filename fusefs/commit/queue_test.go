package commit

import (
	"slices"
	"testing"
	"time"
)

func newQueue() (*queue, Options, time.Time) {
	q := &queue{}
	q.init()
	return q, Options{}.withDefaults(), time.Unix(1000, 0)
}

func ino(n uint64) itemID { return itemID{ino: n} }

// take touches an item and takes it, so that it runs.
func take(t *testing.T, q *queue, id itemID, now time.Time, o Options) *item {
	t.Helper()
	q.touch(id, now, now, o)
	q.mu.Lock()
	q.place(q.items[id], atOnce)
	q.mu.Unlock()
	it, _, _ := q.next(now, false)
	if it == nil || it.id != id {
		t.Fatalf("took %+v", it)
	}
	return it
}

func TestKeysConflictWithThemselvesAndWithWhatIsAboveAndBelow(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true}, {"a", "a/", true}, {"a/", "a/b", true}, {"a", "a/b/c", true}, {"a/b/", "a/b/c/", true},
		{"a", "b", false}, {"a", "ab", false}, {"a", "a-b", false}, {"a/b", "a/c", false}, {"a/", "ab/", false}, {"a/b", "b/a", false},
		{"a", "a0", false}, {"é", "é/x", true}, {"é", "éx", false},
	} {
		if related(tc.a, tc.b) != tc.want || related(tc.b, tc.a) != tc.want {
			t.Errorf("%q and %q", tc.a, tc.b)
		}
		write, read := keySet{writes: []string{tc.a}}, keySet{writes: []string{"elsewhere"}, reads: []string{tc.b}}
		if conflict(write, read) != tc.want || conflict(read, write) != tc.want {
			t.Errorf("a write of %q and a read of %q", tc.a, tc.b)
		}
	}
	if conflict(keySet{writes: []string{"x"}, reads: []string{"a"}}, keySet{writes: []string{"y"}, reads: []string{"a"}}) {
		t.Error("two reads")
	}
}

func TestPausesDoubleAndAreBounded(t *testing.T) {
	o := Options{BackoffMin: time.Second, BackoffMax: 10 * time.Second}
	var got []time.Duration
	for tries := 1; tries <= 6; tries++ {
		got = append(got, backoff(tries, o)/time.Second)
	}
	if want := []time.Duration{1, 2, 4, 8, 10, 10}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if d := backoff(1<<40, o); d != 10*time.Second {
		t.Errorf("%v", d)
	}
	if d := backoff(1, Options{BackoffMin: time.Minute, BackoffMax: time.Second}); d != time.Second {
		t.Errorf("%v", d)
	}
}

func TestWhatIsBehindARequestIsLookedAtWhenThatOneEndsAndNotBefore(t *testing.T) {
	q, o, now := newQueue()
	first, other, third := take(t, q, ino(1), now, o), take(t, q, ino(2), now, o), take(t, q, ino(3), now, o)
	for it, key := range map[*item]string{first: "d/", other: "e"} {
		if _, ok := q.claim(it.id, keySet{writes: []string{key}}); !ok {
			t.Fatal(key)
		}
	}
	by, ok := q.claim(third.id, keySet{writes: []string{"d/f"}})
	if ok || by != first.id {
		t.Fatalf("%v, %v", by, ok)
	}
	q.follow(third, by, now)
	q.touch(third.id, now, now, o)
	q.done(other, outcome{clean: true}, now, o)
	if it, _, _ := q.next(now.Add(time.Hour), false); it != nil {
		t.Errorf("%v is looked at", it.id)
	}
	q.done(first, outcome{err: errClosed}, now, o)
	if it, _, _ := q.next(now, false); it != third {
		t.Errorf("%+v", it)
	}
}

func TestWhoIsBehindARequestThatHasEndedGoesOn(t *testing.T) {
	q, o, now := newQueue()
	first, second := take(t, q, ino(1), now, o), take(t, q, ino(2), now, o)
	if _, ok := q.claim(first.id, keySet{writes: []string{"a"}}); !ok {
		t.Fatal("a")
	}
	by, _ := q.claim(second.id, keySet{writes: []string{"a"}})
	q.done(first, outcome{clean: true}, now, o) // between the two
	q.follow(second, by, now)
	if it, _, _ := q.next(now, false); it != second {
		t.Errorf("%+v", it)
	}
}

func TestAFailureOfWhatIsInTheWayIsNotTheFailureOfWhoWaitsBehindIt(t *testing.T) {
	q, o, now := newQueue()
	first, behindIt, needsIt := take(t, q, ino(1), now, o), take(t, q, ino(2), now, o), take(t, q, ino(3), now, o)
	told := q.urge([]itemID{behindIt.id, needsIt.id}, now)
	behindIt.begin() // their looks begin now
	needsIt.begin()
	if _, ok := q.claim(first.id, keySet{writes: []string{"a"}}); !ok {
		t.Fatal("a")
	}
	q.follow(behindIt, first.id, now)
	if circle := q.block(needsIt, first.id, now); circle != nil {
		t.Fatal(circle)
	}
	q.done(first, outcome{err: errClosed}, now, o)
	if len(told[0]) != 0 {
		t.Errorf("who was behind was told %v", <-told[0])
	}
	if len(told[1]) != 0 {
		t.Error("that look began before the wait")
	}
	first, _, _ = q.next(now.Add(time.Second), false)
	for first != nil && first.id != ino(1) { // they are looked at again
		if first.id == needsIt.id {
			q.block(first, ino(1), now)
		} else {
			q.done(first, outcome{clean: true}, now, o)
		}
		first, _, _ = q.next(now.Add(time.Second), false)
	}
	if first == nil {
		t.Fatal("nobody looks at the first again")
	}
	q.done(first, outcome{err: errClosed}, now, o)
	if len(told[1]) != 1 {
		t.Error("what needs it was not told")
	}
}

func TestItemsThatWaitForEachOtherAreFound(t *testing.T) {
	q, o, now := newQueue()
	a, b, c := take(t, q, ino(1), now, o), take(t, q, ino(2), now, o), take(t, q, ino(3), now, o)
	if circle := q.block(a, a.id, now); !slices.Equal(circle, []itemID{ino(1)}) {
		t.Errorf("with itself: %v", circle)
	}
	if q.block(a, b.id, now) != nil || q.block(b, c.id, now) != nil {
		t.Error("there is no circle yet")
	}
	if circle := q.block(c, a.id, now); !slices.Equal(circle, []itemID{ino(3), ino(1), ino(2)}) {
		t.Errorf("of three: %v", circle)
	}
}

func TestAWaitForWhatNobodyHasTouchedHasItLookedAt(t *testing.T) {
	q, o, now := newQueue()
	a := take(t, q, ino(1), now, o)
	if q.block(a, itemID{key: "gone"}, now) != nil {
		t.Fatal("a circle")
	}
	it, _, _ := q.next(now, false)
	if it == nil || it.id.key != "gone" {
		t.Fatalf("%+v", it)
	}
	q.done(it, outcome{clean: true}, now, o)
	if it, _, _ := q.next(now, false); it != a {
		t.Errorf("%+v", it)
	}
}

func TestUrgencyGoesDownAChainOfWaits(t *testing.T) {
	q, o, now := newQueue()
	a, b, c := take(t, q, ino(1), now, o), take(t, q, ino(2), now, o), take(t, q, ino(3), now, o)
	q.park(c, now, o)
	if q.block(b, c.id, now) != nil || q.block(a, b.id, now) != nil {
		t.Fatal("a circle")
	}
	c, _, _ = q.next(now, false) // it may be needed now
	q.park(c, now, o)
	if it, _, _ := q.next(now.Add(time.Hour), false); it != nil {
		t.Fatalf("%v is looked at", it.id)
	}
	q.urge([]itemID{a.id}, now)
	if it, urgent, _ := q.next(now, false); it != c || !urgent {
		t.Errorf("%+v, urgent: %v", it, urgent)
	}
}

func TestOnlyDeletesThatAreDueJoinABatch(t *testing.T) {
	q, o, now := newQueue()
	for _, key := range []string{"a", "b", "c"} {
		q.touch(itemID{key: key}, now, now, o)
	}
	q.touch(itemID{key: "later"}, now, now.Add(time.Minute), o)
	q.touch(ino(1), now, now, o)
	now = now.Add(o.Writeback)
	if got := q.takeDoomed(now, 0); len(got) != 0 {
		t.Errorf("%d of none", len(got))
	}
	if got := q.takeDoomed(now, 2); len(got) != 2 {
		t.Errorf("%d of 2", len(got))
	}
	if got := q.takeDoomed(now, 10); len(got) != 1 {
		t.Errorf("%d of the one that is left", len(got))
	}
}

func TestASyncOfADeleteThatRunsIsServedByTheBatchThatTakesItUpNext(t *testing.T) {
	q, o, now := newQueue()
	id := itemID{key: "k"}
	it := take(t, q, id, now, o)
	told := q.urge([]itemID{id}, now)[0] // while it runs
	q.done(it, outcome{clean: true}, now, o)
	if len(told) != 0 {
		t.Fatal("served by a look that began before it came")
	}
	list := q.takeDoomed(now, 10)
	if len(list) != 1 {
		t.Fatal(list)
	}
	q.done(list[0], outcome{clean: true}, now, o)
	if len(told) != 1 {
		t.Error("it was never served")
	}
}
