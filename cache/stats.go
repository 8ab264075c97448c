package cache

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the state of a cache and counts since Open.
type Stats struct {
	Bytes       int64 `json:"bytes"`        // on disk: present blocks and sidecars, in pages of 4 KiB
	Limit       int64 `json:"limit"`        // of Bytes
	Ends        int64 `json:"ends_bytes"`   // of Bytes, what heads and tails have in the tier of their own
	MemoryBytes int64 `json:"memory_bytes"` // in memory
	Objects     int64 `json:"objects"`      // contents, whole or in part

	Hits     int64 `json:"hits"`      // reads answered without waiting for the store
	Misses   int64 `json:"misses"`    // the others
	HitBytes int64 `json:"hit_bytes"` // of the hits

	Fetches       int64 `json:"fetches"`        // GETs
	FetchedBytes  int64 `json:"fetched_bytes"`  // what they brought
	CorruptBlocks int64 `json:"corrupt_blocks"` // blocks on disk that did not match their checksum
	Evicted       int64 `json:"evicted"`        // times that a content lost all or part of its room
	Unkept        int64 `json:"unkept"`         // blocks that there was no room for
	DiskErrors    int64 `json:"disk_errors"`    // trouble of the local disk
}

type counters struct {
	hits, misses, hitBytes, fetches, fetchedBytes, corrupt, evicted, unkept, diskErrors atomic.Int64

	troubleMu  sync.Mutex
	troubled   time.Time // when trouble was last seen; guarded by troubleMu
	lastLogged time.Time // guarded by troubleMu
}

// Stats returns the state and the counts.
func (c *Cache) Stats() Stats {
	s := Stats{
		Limit:         c.room.limit,
		MemoryBytes:   c.memory.bytes(),
		Hits:          c.stats.hits.Load(),
		Misses:        c.stats.misses.Load(),
		HitBytes:      c.stats.hitBytes.Load(),
		Fetches:       c.stats.fetches.Load(),
		FetchedBytes:  c.stats.fetchedBytes.Load(),
		CorruptBlocks: c.stats.corrupt.Load(),
		Evicted:       c.stats.evicted.Load(),
		Unkept:        c.stats.unkept.Load(),
		DiskErrors:    c.stats.diskErrors.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Bytes, s.Ends = c.room.used, c.room.tiers[ends].Bytes()
	for _, o := range c.index {
		if o.present > 0 {
			s.Objects++
		}
	}
	return s
}

const (
	troubleLog   = time.Minute      // trouble of the disk is logged at most so often
	troublePause = 10 * time.Second // after trouble nothing new is put on the disk for so long
)

// trouble counts an error of the local disk.
func (c *Cache) trouble(what string, err error) {
	c.stats.diskErrors.Add(1)
	now := c.opts.Now()
	s := &c.stats
	s.troubleMu.Lock()
	s.troubled = now
	say := s.lastLogged.IsZero() || now.Sub(s.lastLogged) >= troubleLog
	if say {
		s.lastLogged = now
	}
	s.troubleMu.Unlock()
	if say {
		c.opts.Logger.Warn("the read cache has trouble with its disk; reads go on from the store",
			slog.String("doing", what), slog.String("dir", c.lock.path), slog.Any("error", err),
			slog.Int64("errors", s.diskErrors.Load()))
	}
}

// pausing reports whether the disk had trouble a moment ago.
func (c *Cache) pausing() bool {
	s := &c.stats
	s.troubleMu.Lock()
	defer s.troubleMu.Unlock()
	return !s.troubled.IsZero() && c.opts.Now().Sub(s.troubled) < troublePause
}
