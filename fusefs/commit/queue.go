package commit

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// itemID names what is to be looked at: an inode, or a doomed object's key.
type itemID struct {
	ino uint64
	key string
}

// state is where an item is.
type state uint8

const (
	waiting state = iota // for its time to come: in the heap
	blocked              // for another item (item.on), which must come first
	behind               // for the request of another item (item.on) to end: their keys conflict
	parked               // for its file to be closed: until it is touched or urged
	running              // its request is under way
)

// item is something that is pending. Items exist only while something is, or may be, to be done.
type item struct {
	id      itemID
	state   state
	index   int // in the heap
	due     time.Time
	first   time.Time // the first change since the item last was clean
	from    time.Time // WritebackMax counts from here: the first change since the last look that came to something
	again   bool      // touched while running: look once more
	urged   bool      // somebody waits for it, or for what is blocked on it
	lazy    bool      // while waiting: its path's rule keeps it until it is due
	counted bool      // in queue.lazy
	hurried bool      // the disk is short: its path's rule does not count
	on      itemID    // while blocked or behind: what it waits for
	tries   int
	err     error     // of the last try
	since   time.Time // of the first failure in a row

	waiters []waiter
}

// waiter is a Sync that waits. It is served by a look at the item that begins after it came.
type waiter struct {
	ch  chan error
	old bool // the look under way began before it came
}

// queue holds the items. Its lock is held for moments only; it calls nothing that blocks.
type queue struct {
	mu    sync.Mutex
	items map[itemID]*item
	stuck map[itemID]*item // those that are blocked
	lazy  int64            // items that were postponed because of their path since the start
	heap  dueHeap
	wake  chan struct{} // capacity 1
	keys  map[itemID]keySet
}

func (q *queue) init() {
	q.items = map[itemID]*item{}
	q.stuck = map[itemID]*item{}
	q.keys = map[itemID]keySet{}
	q.wake = make(chan struct{}, 1)
}

func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// get returns the item, making it when there is none.
func (q *queue) get(id itemID, now time.Time) *item {
	it := q.items[id]
	if it == nil {
		it = &item{id: id, first: now, from: now, index: -1, due: now}
		q.items[id] = it
	}
	return it
}

// place puts an item that is neither running nor in the heap into the heap.
func (q *queue) place(it *item, due time.Time) {
	it.state, it.on, it.lazy = waiting, itemID{}, false
	delete(q.stuck, it.id)
	it.due = due
	if it.index >= 0 {
		heap.Fix(&q.heap, it.index)
	} else {
		heap.Push(&q.heap, it)
	}
	q.notify()
}

// atOnce is due before everything else.
var atOnce = time.Time{}

// soon places an item that need not wait for quiet.
func (q *queue) soon(it *item, now time.Time) {
	if it.urged {
		now = atOnce
	}
	q.place(it, now)
}

// quiet returns when an item that has just changed is due.
func (it *item) quiet(now time.Time, o Options) time.Time {
	due := now.Add(o.Writeback)
	if limit := it.from.Add(o.WritebackMax); due.After(limit) {
		due = limit
	}
	if it.urged {
		due = atOnce
	}
	return due
}

// touch says that an item is to be looked at after the write-back delay, for a change that was made at since.
func (q *queue) touch(id itemID, since, now time.Time, o Options) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.get(id, now)
	if since.Before(it.first) {
		it.first = since
	}
	switch it.state {
	case running:
		it.again = true
		return
	case blocked, behind:
		return // it is looked at when the other one is done
	case parked:
		it.from = now // it could not be stored before
	}
	due := it.quiet(now, o)
	if it.tries > 0 && it.due.After(due) && !it.urged {
		due = it.due // a failing one keeps its pause
	}
	q.place(it, due)
}

// closed puts a parked item, or one that is about to be parked, back to wait.
func (q *queue) closed(id itemID, now time.Time, o Options) {
	q.mu.Lock()
	it := q.items[id]
	known := it != nil
	q.mu.Unlock()
	if known {
		q.touch(id, now, now, o)
	}
}

// urge makes items due now, all in the same moment, and returns where the outcomes will be told.
func (q *queue) urge(ids []itemID, now time.Time) []chan error {
	q.mu.Lock()
	defer q.mu.Unlock()
	outcomes := make([]chan error, len(ids))
	for i, id := range ids {
		outcomes[i] = q.urgeOne(id, now)
	}
	return outcomes
}

func (q *queue) urgeOne(id itemID, now time.Time) chan error {
	ch := make(chan error, 1)
	it := q.get(id, now)
	looking := it
	if it.state == blocked && q.items[it.on] != nil {
		looking = q.items[it.on]
	}
	it.waiters = append(it.waiters, waiter{ch: ch, old: looking.state == running})
	it.urged = true
	switch it.state {
	case running:
		it.again = true
	case blocked:
		q.hasten(it.on)
	case waiting, parked:
		q.place(it, atOnce)
	}
	return ch
}

// hasten makes the item due that another one waits for, and the one that it waits for itself.
func (q *queue) hasten(id itemID) {
	for range len(q.items) {
		it := q.items[id]
		if it == nil {
			return
		}
		it.urged = true
		switch it.state {
		case waiting, parked:
			q.place(it, atOnce)
		case blocked:
			id = it.on
			continue
		}
		return
	}
}

// leave takes back an urge.
func (q *queue) leave(id itemID, ch chan error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[id]; it != nil {
		it.waiters = slices.DeleteFunc(it.waiters, func(w waiter) bool { return w.ch == ch })
	}
}

// next takes an item that is due, and says how long until the next one is. urgent: somebody waits for it. onlyUrgent: no
// other is taken.
func (q *queue) next(now time.Time, onlyUrgent bool) (it *item, urgent bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return nil, false, time.Hour
	}
	it = q.heap[0]
	if onlyUrgent && !it.urged {
		if it = q.heap.firstUrgent(); it == nil {
			return nil, false, time.Hour
		}
	}
	if d := it.due.Sub(now); d > 0 {
		return nil, false, d
	}
	heap.Remove(&q.heap, it.index)
	it.begin()
	return it, it.urged, 0
}

// begin begins a look at an item: it serves everybody who waits by now.
func (it *item) begin() {
	it.state, it.again = running, false
	for i := range it.waiters {
		it.waiters[i].old = false
	}
}

// takeDoomed takes at most n further doomed items that are due.
func (q *queue) takeDoomed(now time.Time, n int) []*item {
	if n <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []*item
	for _, it := range slices.Clone(q.heap) {
		if len(list) >= n {
			break
		}
		if it.id.key == "" || it.due.After(now) {
			continue
		}
		heap.Remove(&q.heap, it.index)
		it.begin()
		list = append(list, it)
	}
	return list
}

// postpone puts an item that was taken back to wait until its path's rule lets it go. It refuses when a file waits for it.
// (A doomed object does not count: the one that is to replace it may take its time.)
func (q *queue) postpone(it *item, until, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.urged || it.hurried {
		return false
	}
	for _, other := range q.stuck {
		if other.on == it.id && other.id.ino != 0 {
			return false
		}
	}
	if it.again {
		q.place(it, now)
		return true
	}
	if it.from.Before(now) {
		it.from = now // its rule, not WritebackMax, says when
	}
	q.place(it, until)
	it.lazy = true
	if !it.counted {
		it.counted = true
		q.lazy++
	}
	return true
}

// lazies returns how many items wait because of their path, and how many have since the start.
func (q *queue) lazies() (now int, seen int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		if it.lazy {
			now++
		}
	}
	return now, q.lazy
}

// park puts a file that was taken aside until it is closed.
func (q *queue) park(it *item, now time.Time, o Options) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.keys, it.id)
	if it.again || it.urged {
		q.place(it, it.quiet(now, o))
		return
	}
	it.state = parked
}

// hold puts a doomed object that was taken aside until the unlinked file that still reads it is closed. Nobody waits for
// that.
func (q *queue) hold(it *item, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it.tell(nil)
	if it.again {
		q.soon(it, now)
		return
	}
	it.state, it.urged = parked, false
}

// tell gives the outcome to those who came before the look began.
func (it *item) tell(err error) {
	it.waiters = slices.DeleteFunc(it.waiters, func(w waiter) bool {
		if !w.old {
			w.ch <- err
		}
		return !w.old
	})
}

// outcome is how a look at an item ended.
type outcome struct {
	clean  bool // nothing is pending for the item any more
	stored bool // content that was there when the look began is stored, even if there is newer by now
	idle   bool // nothing was stored; only what is to be done has become known
	err    error
}

// done ends a look at an item: it disappears when it is clean, else comes again. Waiters are told, and what was blocked on
// it, or on keys, is looked at again.
func (q *queue) done(it *item, out outcome, now time.Time, o Options) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.keys, it.id)
	if out.err != nil {
		if it.tries == 0 {
			it.since = now
		}
		it.tries++
		it.err = out.err
	} else if !out.idle {
		it.tries, it.err = 0, nil
	}
	if out.clean || out.stored || out.err != nil {
		it.tell(out.err)
	}
	if out.stored && !out.clean {
		it.first = now // what is pending now was changed after the snapshot
	}
	it.urged = len(it.waiters) > 0
	it.hurried = false
	q.release(it, out.err, now)
	switch {
	case out.err != nil:
		q.place(it, now.Add(backoff(it.tries, o)))
		if it.again && it.urged {
			q.place(it, atOnce)
		}
	case it.again:
		it.from = now
		if out.clean {
			it.first = now
		}
		q.place(it, it.quiet(now, o))
	case out.clean:
		delete(q.items, it.id)
	default:
		q.soon(it, now)
	}
	q.notify()
}

// release looks again at what waited for an item. What is blocked on one that failed fails too.
func (q *queue) release(it *item, err error, now time.Time) {
	for _, other := range q.stuck {
		if other.on != it.id {
			continue
		}
		if err != nil && other.state == blocked {
			other.tell(err)
			other.urged = len(other.waiters) > 0
		}
		q.soon(other, now)
	}
}

func backoff(tries int, o Options) time.Duration {
	d := o.BackoffMin
	for i := 1; i < tries && d < o.BackoffMax; i++ {
		d *= 2
	}
	return min(d, o.BackoffMax)
}

// since returns the items whose first change was not after start; doomed ones that are held are left out.
func (q *queue) since(start time.Time, held func(string) uint64) []itemID {
	q.mu.Lock()
	var list []itemID
	for id, it := range q.items {
		if !it.first.After(start) {
			list = append(list, id)
		}
	}
	q.mu.Unlock()
	return slices.DeleteFunc(list, func(id itemID) bool { return id.key != "" && held(id.key) != 0 })
}

func (q *queue) running() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.keys)
}

// failure is an item that failed at its last try.
type failure struct {
	id    itemID
	err   error
	since time.Time
	tries int
}

func (q *queue) failed() []failure {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []failure
	for _, it := range q.items {
		if it.err != nil {
			list = append(list, failure{it.id, it.err, it.since, it.tries})
		}
	}
	slices.SortFunc(list, func(a, b failure) int { return a.since.Compare(b.since) })
	return list
}
