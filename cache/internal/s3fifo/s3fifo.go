// Package s3fifo decides which content leaves a full cache: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are
// all you need for cache eviction", SOSP 2023), with costs in bytes that grow and shrink while an entry is in.
//
// A new entry stands in a small queue, probation, that gets a tenth of the room. One that is used again before it
// reaches the end moves to the main queue, any other leaves; its key is remembered for a while, and if it comes back
// it goes to the main queue at once. So a scan, which uses each entry once, runs through the small queue and leaves
// the main one alone. In the main queue an entry that was used goes round again.
//
// What differs from the paper: entries that are pinned (open files) stand outside the queues and come back to the
// front, so that finding a victim never walks over them.
//
// A Policy only decides; it holds no contents. It is not safe for concurrent use.
package s3fifo

import "container/list"

const (
	maxHits     = 3       // more uses than this count no further
	probationOf = 10      // the small queue's part of the limit is one in this many
	maxGhosts   = 1 << 16 // keys remembered
)

// Policy is the order of eviction of the entries of one cache.
type Policy[K comparable] struct {
	limit int64
	small queue[K]
	main  queue[K]
	ghost ghosts[K]
}

// Entry is one thing in the cache.
type Entry[K comparable] struct {
	Key K

	cost       int64
	hits       int
	in         *queue[K]
	pins       int
	prev, next *Entry[K] // nil while pinned
}

// Cost returns the bytes that the entry takes.
func (e *Entry[K]) Cost() int64 { return e.cost }

// New returns the policy of a cache that holds limit bytes.
func New[K comparable](limit int64) *Policy[K] {
	p := &Policy[K]{limit: limit}
	p.small.init()
	p.main.init()
	p.ghost.init(limit)
	return p
}

// Insert adds a new entry without cost.
func (p *Policy[K]) Insert(key K) *Entry[K] {
	e := &Entry[K]{Key: key, in: &p.small}
	if p.ghost.remove(key) {
		e.in = &p.main
	}
	e.in.pushFront(e)
	return e
}

// Restore adds an entry that was in the cache in an earlier run; entries are restored oldest first. Their past is not
// known, so they count as proven.
func (p *Policy[K]) Restore(key K, cost int64) *Entry[K] {
	e := &Entry[K]{Key: key, in: &p.main}
	e.in.pushFront(e)
	p.Grow(e, cost)
	return e
}

// Remove takes the entry out; evicted, its key is remembered.
func (p *Policy[K]) Remove(e *Entry[K], evicted bool) {
	if e.pins == 0 {
		e.unlink()
	}
	e.in.bytes -= e.cost
	e.in.pinned -= e.pinnedCost()
	if evicted {
		p.ghost.add(e.Key, e.cost)
	}
	e.in, e.cost = nil, 0
}

// Grow changes the cost of the entry by delta.
func (p *Policy[K]) Grow(e *Entry[K], delta int64) {
	e.in.pinned -= e.pinnedCost()
	e.cost += delta
	e.in.bytes += delta
	e.in.pinned += e.pinnedCost()
}

// Touch counts a use of the entry.
func (p *Policy[K]) Touch(e *Entry[K]) { e.hits = min(e.hits+1, maxHits) }

// Pin keeps the entry from being a victim until as many Unpins.
func (p *Policy[K]) Pin(e *Entry[K]) {
	if e.pins == 0 {
		e.unlink()
	}
	e.in.pinned -= e.pinnedCost()
	e.pins++
	e.in.pinned += e.pinnedCost()
}

// Unpin undoes one Pin. The entry stands at the front of its queue then.
func (p *Policy[K]) Unpin(e *Entry[K]) {
	e.in.pinned -= e.pinnedCost()
	e.pins--
	e.in.pinned += e.pinnedCost()
	if e.pins == 0 {
		e.in.pushFront(e)
	}
}

// Evictable returns the cost of the entries that may be victims, in the order of Victim.
func (p *Policy[K]) Evictable(probationOnly bool) int64 {
	n := p.small.bytes - p.small.pinned
	if !probationOnly {
		n += p.main.bytes - p.main.pinned
	}
	return n
}

// Bytes returns the cost of all entries.
func (p *Policy[K]) Bytes() int64 { return p.small.bytes + p.main.bytes }

// ProbationLimit returns the room that entries in probation get when others need the rest.
func (p *Policy[K]) ProbationLimit() int64 { return p.limit / probationOf }

// Proven reports whether the entry was used more than once.
func (p *Policy[K]) Proven(e *Entry[K]) bool { return e.in == &p.main || e.hits > 0 }

// Victim returns the entry that goes next, or nil when there is none; the caller removes it. With probationOnly no
// entry of the main queue goes.
func (p *Policy[K]) Victim(probationOnly bool) *Entry[K] {
	for {
		main := p.main.back()
		if probationOnly {
			main = nil
		}
		small := p.small.back()
		switch {
		case small != nil && (main == nil || p.small.bytes > p.ProbationLimit()):
			if small.hits == 0 {
				return small
			}
			p.promote(small)
		case main != nil:
			if main.hits == 0 {
				return main
			}
			main.hits--
			main.unlink()
			p.main.pushFront(main)
		default:
			return nil
		}
	}
}

func (p *Policy[K]) promote(e *Entry[K]) {
	e.unlink()
	p.small.bytes -= e.cost
	e.hits, e.in = 0, &p.main
	p.main.bytes += e.cost
	p.main.pushFront(e)
}

// queue is a ring with the sentinel head: head.next is the newest, head.prev the oldest.
type queue[K comparable] struct {
	head   Entry[K]
	bytes  int64 // of all entries
	pinned int64 // of those that are pinned
}

func (q *queue[K]) init() { q.head.prev, q.head.next = &q.head, &q.head }

func (q *queue[K]) back() *Entry[K] {
	if q.head.prev == &q.head {
		return nil
	}
	return q.head.prev
}

func (q *queue[K]) pushFront(e *Entry[K]) {
	e.prev, e.next = &q.head, q.head.next
	e.prev.next, e.next.prev = e, e
}

func (e *Entry[K]) pinnedCost() int64 {
	if e.pins == 0 {
		return 0
	}
	return e.cost
}

func (e *Entry[K]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// ghosts remembers keys that were evicted, as many as had room in the cache.
type ghosts[K comparable] struct {
	limit, cost int64
	order       *list.List // of ghost[K], oldest first
	byKey       map[K]*list.Element
}

type ghost[K comparable] struct {
	key  K
	cost int64
}

func (g *ghosts[K]) init(limit int64) {
	g.limit, g.order, g.byKey = limit, list.New(), make(map[K]*list.Element)
}

func (g *ghosts[K]) add(key K, cost int64) {
	g.remove(key)
	g.byKey[key] = g.order.PushBack(ghost[K]{key, cost})
	g.cost += cost
	for g.cost > g.limit || len(g.byKey) > maxGhosts {
		g.remove(g.order.Front().Value.(ghost[K]).key)
	}
}

func (g *ghosts[K]) remove(key K) bool {
	at, ok := g.byKey[key]
	if ok {
		g.cost -= g.order.Remove(at).(ghost[K]).cost
		delete(g.byKey, key)
	}
	return ok
}
