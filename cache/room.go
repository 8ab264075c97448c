package cache

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sharefs/cache/internal/blockfile"
	"sharefs/cache/internal/s3fifo"
)

// tier is a part of the room on disk with an order of eviction of its own.
type tier int

const (
	body  tier = iota // contents
	ends              // heads and tails that were asked for alone
	tiers             // how many there are
)

const (
	endsOf    = 8       // the ends get one in this many of the room
	sideSlack = 2 << 12 // what a reservation adds for the sidecar, in bytes
)

// room is what the cache has of the disk. Present blocks count with the pages of 4 KiB that they take, sidecars too.
type room struct {
	limit    int64
	keepFree int64
	path     string

	evicting sync.Mutex // one makes room at a time; taken before all locks of objects

	// Guarded by Cache.mu.
	used     int64
	reserved [tiers]int64
	tiers    [tiers]*s3fifo.Policy[ID]
}

func (r *room) init(limit, keepFree int64, path string) {
	r.limit, r.keepFree, r.path = limit, keepFree, path
	r.tiers[body] = s3fifo.New[ID](limit)
	r.tiers[ends] = s3fifo.New[ID](limit / endsOf)
}

func (r *room) endsLimit() int64 { return r.limit / endsOf }

// endsFull reports whether n more bytes of ends are too many. Cache.mu is locked.
func (r *room) endsFull(n int64) bool {
	return r.tiers[ends].Bytes()+r.reserved[ends]+n > r.endsLimit()
}

func (r *room) reservedAll() int64 { return r.reserved[body] + r.reserved[ends] }

// free returns the bytes that the disk has free.
func (r *room) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: r.path, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// reservation is room that was set aside and is not yet taken.
type reservation struct {
	c    *Cache
	t    tier
	left int64
}

// reserve sets n bytes aside for blocks of an object, and evicts others for it when needed; nil when there is no room.
func (c *Cache) reserve(o *object, t tier, n int64) *reservation {
	n += sideSlack
	if n > c.room.limit || t == ends && n > c.room.endsLimit() || c.pausing() {
		return nil
	}
	free, ok := c.freeNow()
	if !ok {
		return nil
	}
	if !c.enter(o, t) {
		return nil
	}
	if c.grant(t, n, free) {
		return &reservation{c, t, n}
	}
	c.room.evicting.Lock()
	defer c.room.evicting.Unlock()
	if free, ok = c.freeNow(); !ok {
		return nil
	}
	for !c.grant(t, n, free) {
		v := c.victim(o, t, n, free)
		if v.o == nil {
			return nil
		}
		free += c.evict(v) // counted, for some filesystems tell it late
	}
	return &reservation{c, t, n}
}

func (c *Cache) freeNow() (int64, bool) {
	free, err := c.room.free()
	if err != nil {
		c.trouble("asking for free space", err)
	}
	return free, err == nil
}

// enter gives the object its place in the order of eviction of a tier; false when the object was forgotten.
func (c *Cache) enter(o *object, t tier) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index[o.id] != o {
		return false
	}
	c.entryOf(o, t)
	return true
}

// entryOf returns the object's entry in a tier, made if there is none. Cache.mu is locked.
func (c *Cache) entryOf(o *object, t tier) *s3fifo.Entry[ID] {
	if o.entry[t] == nil {
		o.entry[t] = c.room.tiers[t].Insert(o.id)
		o.used[t] = c.opts.Now()
		if o.holds > 0 {
			c.room.tiers[t].Pin(o.entry[t])
		}
	}
	return o.entry[t]
}

// grant reserves n bytes if they are free.
func (c *Cache) grant(t tier, n, free int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.room
	if r.used+r.reservedAll()+n > r.limit || r.floorLacks(n, free) || t == ends && r.endsFull(n) {
		return false
	}
	r.reserved[t] += n
	return true
}

// floorLacks reports whether n more bytes would leave less free than the floor.
func (r *room) floorLacks(n, free int64) bool {
	return r.keepFree > 0 && free-r.reservedAll()-n < r.keepFree
}

// victim is what goes: what an object has in a tier. The object is held.
type victim struct {
	o *object
	t tier
}

// victim chooses what goes for n bytes of o in a tier; no object when nothing may.
func (c *Cache) victim(o *object, t tier, n, free int64) victim {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.room
	if t == ends && r.endsFull(n) {
		return c.victimOf(ends, false)
	}
	// One content that was never used again must not take the place of many that were.
	own := o.entry[body]
	probationOnly := t == body && own != nil && !r.tiers[body].Proven(own) && own.Cost()+n > r.tiers[body].ProbationLimit()
	andEnds := t == ends || !probationOnly && r.floorLacks(n, free)
	most := r.tiers[body].Evictable(probationOnly)
	if andEnds {
		most += r.tiers[ends].Evictable(false)
	}
	if r.used+r.reservedAll()+n-most > r.limit {
		return victim{} // it would be for nothing
	}
	if v := c.victimOf(body, probationOnly); v.o != nil || !andEnds {
		return v
	}
	return c.victimOf(ends, false)
}

// victimOf takes the next victim of a tier. Cache.mu is locked.
func (c *Cache) victimOf(t tier, probationOnly bool) victim {
	e := c.room.tiers[t].Victim(probationOnly)
	if e == nil {
		return victim{}
	}
	v := victim{c.index[e.Key], t}
	c.holdLocked(v.o)
	return v
}

// evict removes what the victim has, unless somebody opened it meanwhile, and returns the bytes that it gave back.
func (c *Cache) evict(v victim) (freed int64) {
	o := v.o
	defer o.release()
	o.io.Lock()
	defer o.io.Unlock()
	c.mu.Lock()
	if o.holds > 1 || o.entry[v.t] == nil { // opened or dropped meanwhile
		c.mu.Unlock()
		return 0
	}
	other := o.entry[tiers-1-v.t]
	whole := other == nil || other.Cost() == 0
	freed = o.entry[v.t].Cost()
	if whole {
		freed += o.side
	}
	c.mu.Unlock()
	if whole {
		o.forget(leftEvicted)
	} else {
		o.clearTier(v.t)
	}
	c.stats.evicted.Add(1)
	return freed
}

// clearTier removes the blocks that are accounted in a tier. io is locked.
func (o *object) clearTier(t tier) {
	c := o.c
	o.open()
	if o.state != diskOpen {
		return
	}
	for _, r := range o.tierBlocks(t) {
		if _, err := o.file.Clear(r.first, r.end); err != nil {
			c.trouble("evicting blocks", err)
			o.forget(leftEvicted)
			return
		}
	}
	present := o.file.Present()
	c.mu.Lock()
	defer c.mu.Unlock()
	o.present = present
	c.removeEntry(o, t, true)
	if t == ends {
		o.charged &^= o.marked
		o.marked = 0
	} else {
		o.charged &= o.marked
	}
}

// shrink evicts what is beyond the bound, or the floor.
func (c *Cache) shrink() {
	free, ok := c.freeNow()
	if !ok {
		return
	}
	c.room.evicting.Lock()
	defer c.room.evicting.Unlock()
	for !c.grant(body, 0, free) {
		v := c.anyVictim()
		if v.o == nil {
			return
		}
		free += c.evict(v)
	}
}

// GiveWay evicts contents until n bytes of the disk are free that were not, or nothing is left that may go, and returns
// how many it freed: for what cannot be fetched again.
func (c *Cache) GiveWay(n int64) (freed int64) {
	if !c.life.begin() {
		return 0
	}
	defer c.life.done()
	c.room.evicting.Lock()
	defer c.room.evicting.Unlock()
	for freed < n {
		v := c.anyVictim()
		if v.o == nil {
			break
		}
		freed += c.evict(v)
	}
	return freed
}

func (c *Cache) anyVictim() victim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.victimOf(body, false); v.o != nil {
		return v
	}
	return c.victimOf(ends, false)
}

// commit takes room for a block that was stored.
func (r *reservation) commit(o *object, block int64, added bool, side int64) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if added {
		cost := blockfile.Cost(o.size, block)
		t := o.tierOf(block)
		c.room.tiers[t].Grow(c.entryOf(o, t), cost)
		o.present++
		o.charged |= o.endBit(block)
		r.take(cost)
	}
	if side > o.side {
		r.take(side - o.side)
		o.side = side
	}
}

// take makes n reserved bytes used ones. Cache.mu is locked.
func (r *reservation) take(n int64) {
	r.c.room.used += n
	n = min(n, r.left)
	r.left -= n
	r.c.room.reserved[r.t] -= n
}

// release gives back what was not taken.
func (r *reservation) release() {
	if r == nil {
		return
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.room.reserved[r.t] -= r.left
	r.left = 0
}

// refund accounts for one block that was cleared.
func (c *Cache) refund(o *object, block, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := o.tierOf(block)
	c.room.tiers[t].Grow(c.entryOf(o, t), -cost)
	c.room.used -= cost
	o.present--
	o.charged &^= o.endBit(block)
}

// leaving says why a content has no room any more.
type leaving int

const (
	leftBad     leaving = iota // damaged or outdated: it may come again
	leftEvicted                // others needed the room
	leftUnkept                 // it never got any
	leftForGood                // dropped or taken: it will not come again
)

// uncharge accounts for an object that has nothing on disk. Cache.mu is locked.
func (c *Cache) uncharge(o *object, why leaving) {
	for t := range tiers {
		c.removeEntry(o, t, why == leftEvicted || why == leftUnkept)
	}
	c.room.used -= o.side
	o.side, o.present, o.marked, o.charged = 0, 0, 0, 0
}

// removeEntry ends what an object has in a tier. Cache.mu is locked.
func (c *Cache) removeEntry(o *object, t tier, remember bool) {
	e := o.entry[t]
	if e == nil {
		return
	}
	c.room.used -= e.Cost()
	c.room.tiers[t].Remove(e, remember)
	o.entry[t] = nil
}
