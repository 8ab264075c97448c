package commit

import (
	"slices"
	"time"
)

// block puts an item that was taken aside until the item on is done. It refuses when on waits for the item itself, and
// returns all that wait for each other.
func (q *queue) block(it *item, on itemID, now time.Time) (circle []itemID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.keys, it.id)
	circle = []itemID{it.id}
	if on == it.id {
		return circle
	}
	for at := q.items[on]; at != nil && at.state == blocked; at = q.items[at.on] {
		circle = append(circle, at.id)
		if at.on == it.id {
			return circle
		}
	}
	if it.again {
		q.soon(it, now)
		return nil
	}
	other := q.items[on]
	if other == nil || other.state == parked || other.lazy && it.id.ino != 0 { // nobody would release it, or it may be needed now
		q.place(q.get(on, now), now)
	}
	it.state, it.on = blocked, on
	q.stuck[it.id] = it
	if q.items[on].state == running {
		for i := range it.waiters { // what comes of a look that began before is nothing to them
			it.waiters[i].old = true
		}
	}
	if it.urged {
		q.hasten(on)
	}
	return nil
}

// anyUrged reports whether somebody waits for one of the items.
func (q *queue) anyUrged(items []*item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(items, func(it *item) bool { return it.urged })
}

// delay puts an item that was taken back until a time, whoever waits for it.
func (q *queue) delay(it *item, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.keys, it.id)
	q.place(it, until)
}

// unblock looks again at items that wait for another one.
func (q *queue) unblock(ids []itemID, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if it := q.items[id]; it != nil && it.state == blocked {
			q.soon(it, now)
		}
	}
}

// follow puts an item that was taken aside until the request of another one has ended.
func (q *queue) follow(it *item, on itemID, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, runs := q.keys[on]; !runs || it.again {
		q.soon(it, now)
		return
	}
	it.state, it.on = behind, on
	q.stuck[it.id] = it
}
