package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"sharefs/cache/internal/blockfile"
	"sharefs/cache/internal/s3fifo"
	"sharefs/provider"
)

// object is one content. It is in the index while it is held or has room on disk.
type object struct {
	c      *Cache
	id     ID
	size   int64
	blocks int64

	// Guarded by Cache.mu.
	at      *place // nil until somebody said it, in this process
	holds   int    // open Files, and operations under way
	running int    // flights
	present int64  // blocks on disk
	side    int64  // cost of the sidecar
	marked  uint8  // endBits of the blocks that are accounted as ends
	charged uint8  // endBits of the blocks that are accounted at all
	entry   [tiers]*s3fifo.Entry[ID]
	used    [tiers]time.Time // when a use was last counted

	// What is on disk. io is locked for reading over the reading and writing of blocks, for writing when files come
	// and go; state, trust and file are guarded by it.
	io    sync.RWMutex
	state diskState
	trust trust
	file  *blockfile.File

	unkept atomic.Bool // the last GET found no room on disk

	mu      sync.Mutex
	flights []*flight // guarded by mu
	wants   []*want   // guarded by mu
	last    pattern   // of the File that was read last; guarded by mu
}

// place is where the content is in the store.
type place struct {
	key     string
	version provider.Version
}

// diskState says what a content has on disk.
type diskState int

const (
	diskNone   diskState = iota // no files; made when the first block comes
	diskClosed                  // files that are not open
	diskOpen                    // file is set
	diskOff                     // forgotten: nothing is there, and nothing will be
)

// trust says whether what is on disk is known to be the content that the ID names now.
type trust int

const (
	trustChecked   trust = iota // made in this process, or compared in it
	trustUnchecked              // from an earlier run, not yet compared
)

func newObject(c *Cache, obj Object) *object {
	return &object{c: c, id: obj.ID, size: obj.Size, blocks: blockfile.Blocks(obj.Size)}
}

func (o *object) blockLen(block int64) int64 { return blockfile.BlockLen(o.size, block) }

// hold returns the object of a content, made if it is new, and holds it.
func (c *Cache) hold(obj Object) *object {
	for {
		if o := c.tryHold(obj); o != nil {
			return o
		}
		// An ID names one content for ever; what has another size under it is of a catalog that was lost.
		c.opts.Logger.Warn("the read cache had another content under this id; it is dropped", "id", obj.ID, "key", obj.Key)
		c.drop(obj.ID)
	}
}

// tryHold is hold, and nil when another content is known under the ID.
func (c *Cache) tryHold(obj Object) *object {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.index[obj.ID]
	if o == nil {
		o = newObject(c, obj)
		c.index[obj.ID] = o
	}
	if o.size != obj.Size {
		return nil
	}
	if o.at == nil {
		o.at = &place{obj.Key, obj.Version}
	}
	c.holdLocked(o)
	return o
}

func (c *Cache) holdLocked(o *object) {
	o.holds++
	if o.holds > 1 {
		return
	}
	for t, e := range o.entry {
		if e != nil {
			c.room.tiers[t].Pin(e)
		}
	}
}

// holdKnown holds the object of an ID, or returns nil.
func (c *Cache) holdKnown(id ID) *object {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.index[id]
	if o != nil {
		c.holdLocked(o)
	}
	return o
}

func (c *Cache) drop(id ID) {
	if o := c.holdKnown(id); o != nil {
		o.abandon()
		o.io.Lock()
		o.forget(leftForGood)
		o.io.Unlock()
		o.release()
	}
}

// holdIdle holds the object of a content that is known and not held; nil when it is not known, ErrOpen when it is held.
func (c *Cache) holdIdle(obj Object) (*object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.index[obj.ID]
	switch {
	case o == nil || o.size != obj.Size:
		return nil, nil
	case o.holds > 0:
		return nil, ErrOpen
	}
	if o.at == nil {
		o.at = &place{obj.Key, obj.Version}
	}
	c.holdLocked(o)
	return o, nil
}

// release ends a hold. The last one lets the object rest.
func (o *object) release() {
	c := o.c
	c.mu.Lock()
	o.holds--
	last := o.holds == 0
	if last {
		for t, e := range o.entry {
			if e != nil {
				c.room.tiers[t].Unpin(e)
			}
		}
	}
	c.mu.Unlock()
	if last {
		o.rest()
	}
}

// needed reports whether the object is held, or a flight is under way.
func (o *object) needed() bool {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	return o.holds > 0 || o.running > 0
}

// idle reports whether nobody holds the object. One without files leaves the index. io is locked.
func (o *object) idle() bool {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.holds > 0 || o.running > 0 {
		return false
	}
	if o.state == diskNone || o.state == diskOff {
		o.state = diskOff // for a GET that still runs
		c.unindex(o)
		c.uncharge(o, leftUnkept)
	}
	return true
}

// unindex takes the object out of the index. Cache.mu is locked.
func (c *Cache) unindex(o *object) {
	if c.index[o.id] == o {
		delete(c.index, o.id)
	}
}
