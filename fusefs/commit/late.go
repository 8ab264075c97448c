package commit

import (
	"context"
	"sync"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/retry"
)

// A request that got no answer may still be on its way: the store may carry it out after others that were sent later. What a
// late request could spoil is not sent before its time has passed, that is, when the store would have given it up too.

// lateness is a set of requests that may still be on their way for a key.
type lateness uint8

const (
	lateDelete lateness = 1 << iota
	lateCreate          // only takes effect while nothing is there
	lateCopy            // replaces whatever is there; a repeat of the same copy makes the same
	lateWrite           // replaces whatever is there
)

// defaultLate is how long a request may be late when Options.Patience does not say.
const defaultLate = time.Minute

// late remembers the keys of requests that got no answer.
type late struct {
	mu   sync.Mutex
	keys map[string]lateRequest
}

type lateRequest struct {
	what  lateness
	from  source // of copies; the zero value when there are several
	until time.Time
}

// source is what a copy copies.
type source struct {
	key     string
	version provider.Version
}

// note remembers a request until a time.
func (l *late) note(key string, what lateness, from source, until time.Time) {
	if what == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]lateRequest{}
	}
	have, known := l.keys[key]
	if !known {
		have.from = from
	} else if have.from != from {
		have.from = source{}
	}
	have.what |= what
	if until.After(have.until) {
		have.until = until
	}
	l.keys[key] = have
}

// until returns when a request may leave that some late ones for its key could spoil; zero: now.
func (l *late) until(key string, spoil lateness, from source, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.keys[key]
	if from != (source{}) && have.from == from {
		spoil &^= lateCopy
	}
	switch {
	case !ok:
		return time.Time{}
	case !have.until.After(now):
		delete(l.keys, key)
		return time.Time{}
	case have.what&spoil == 0:
		return time.Time{}
	}
	return have.until
}

// spoiledBy says which late requests could spoil the one that a plan is about to send.
func (p plan) spoiledBy() lateness {
	switch p.kind {
	case putFile, putSymlink:
		return lateDelete | lateCopy | lateWrite
	case putMarker: // one is as good as the other
		return lateDelete | lateCopy
	case copyFile, moveFile, copyMeta:
		return lateDelete | lateCopy | lateWrite
	}
	return 0
}

// from is what the plan copies; the zero value when it does not.
func (p plan) from() source {
	if p.kind != copyFile {
		return source{}
	}
	return source{p.n.Key, p.n.Version}
}

// deleteSpoiledBy says which late requests bring back what is deleted.
const deleteSpoiledBy = lateCreate | lateCopy | lateWrite

// lateAs says what a plan's request does to its key when it comes late.
func (p plan) lateAs(cond provider.Condition) lateness {
	switch {
	case p.kind == copyMeta || cond.Version != "":
		return 0 // it names the version that it replaces
	case p.kind == copyFile:
		return lateCopy
	case cond.Absent:
		return lateCreate
	}
	return lateWrite
}

// lateBy is how long a request may be late.
func (c *Committer) lateBy() time.Duration {
	if c.o.Patience > 0 {
		return c.o.Patience
	}
	return defaultLate
}

// watched returns the context of a request for keys, which notes what of it may come late.
func (c *Committer) watched(ctx context.Context, what lateness, from source, keys ...string) context.Context {
	return retry.WithUnanswered(ctx, func() { c.noteLate(what, from, keys...) })
}

func (c *Committer) noteLate(what lateness, from source, keys ...string) {
	until := c.o.Now().Add(c.lateBy())
	for _, key := range keys {
		c.late.note(key, what, from, until)
	}
}

// forgetUnlessLate notes that nothing has come of the request that was sent for an inode. What may come of it yet is doomed, as
// long as nothing else is stored in its place: the inode may not want the key any more by then.
func (c *Committer) forgetUnlessLate(p plan) error {
	sent := p.n.PutKey
	late := !c.late.until(sent, deleteSpoiledBy, source{}, c.o.Now()).IsZero()
	return c.cat.Update(func(tx *catalog.Tx) error {
		n, err := tx.Get(p.n.Ino)
		if catalog.IsNotFound(err) || err == nil && n.PutKey != sent {
			return nil
		}
		if err != nil {
			return err
		}
		n.PutKey, n.PutTag = "", ""
		if err := c.putOrVanish(tx, n); err != nil || !late {
			return err
		}
		others, err := tx.StoredAt(sent)
		if err != nil || len(others) > 0 {
			return err // by conditions it does not harm what is there, or has been replaced
		}
		now := c.o.Now()
		since := n.Dirty // so that a flush that waits for the inode waits for this too
		if since.IsZero() {
			since = now
		}
		tx.After(func() { c.q.touch(itemID{key: sent}, since, now, c.o) })
		return tx.DoomSent(sent, "", since, catalog.SentWrite)
	})
}

// noteSent takes up what the process before may have sent without seeing the answer.
func (c *Committer) noteSent(dirty []*catalog.Inode, doomed []catalog.Doomed) {
	if c.caps.AtomicMove {
		return // a store of this machine: what the process before has asked for ended with it
	}
	for _, d := range doomed {
		switch d.Sent {
		case catalog.SentDelete:
			c.noteLate(lateDelete, source{}, d.Key)
		case catalog.SentWrite:
			c.noteLate(lateWrite, source{}, d.Key)
		}
	}
	for _, n := range dirty {
		if n.PutKey == "" {
			continue
		}
		what, from := lateWrite, source{}
		switch {
		case n.Key != "" && n.Key != n.PutKey:
			what, from = lateCopy, source{n.Key, n.Version}
		case n.Key == "" && c.caps.CreateIfAbsent && !n.IsDir():
			what = lateCreate
		case n.Key == n.PutKey && c.caps.ReplaceIfVersion && !n.IsDir():
			what = 0
		}
		c.noteLate(what, from, n.PutKey)
	}
}
