package httpapi

import (
	"sync"
	"time"

	"sharefs/storage"
)

// finished remembers for a while which client has completed which share, so that the last chunk can be repeated when its answer was
// lost ("to ensure retries work in the face of lost responses" of the specification).
type finished struct {
	now func() time.Time

	mu    sync.Mutex
	by    map[shareName]completion
	order []shareName // as they were noted; some are there no more
}

type shareName struct {
	index  storage.Index
	number int
}

type completion struct {
	secret digest
	when   time.Time
}

const (
	maxFinished = 4096
	remembered  = 30 * time.Minute
)

func newFinished(now func() time.Time) *finished {
	return &finished{now: now, by: map[shareName]completion{}}
}

func (c *call) name() shareName { return shareName{c.index, c.share} }

// note remembers that a call's client completes its share.
func (f *finished) note(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.order) >= maxFinished || len(f.order) > 0 && f.now().Sub(f.by[f.order[0]].when) > remembered {
		delete(f.by, f.order[0])
		f.order = f.order[1:]
	}
	f.by[c.name()] = completion{digestOf(c.secrets[upload]), f.now()}
	f.order = append(f.order, c.name())
}

func (f *finished) forget(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, c.name())
}

// has returns whether a call's client has completed its share.
func (f *finished) has(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	done, ok := f.by[c.name()]
	return ok && f.now().Sub(done.when) <= remembered && done.secret.is(digestOf(c.secrets[upload]))
}
