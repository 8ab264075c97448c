package limit

import (
	"context"
	"sync"
	"time"

	"sharefs/provider"
)

// gate lets at most so many requests pass at a time, and learns how many the store takes.
type gate struct {
	least, most float64
	now         func() time.Time

	mu      sync.Mutex
	limit   float64   // from least to most
	cut     time.Time // when it was lowered last
	running int
	behind  int  // of those, for the background
	front   line // of the foreground
	back    line
}

// line is a queue of those who wait, the first first.
type line []chan struct{}

func newGate(o Options) *gate {
	return &gate{least: 1, most: float64(o.Most), limit: float64(o.Most), now: time.Now}
}

// enter waits until a request may be sent, and returns what is to be called with its outcome.
func (g *gate) enter(ctx context.Context) (leave func(error), err error) {
	background := isBackground(ctx)
	g.mu.Lock()
	mine := make(chan struct{})
	if background {
		g.back = append(g.back, mine)
	} else {
		g.front = append(g.front, mine)
	}
	g.admit()
	g.mu.Unlock()
	select {
	case <-mine:
	default:
		if err := g.wait(ctx, mine, background); err != nil {
			return nil, err
		}
	}
	began := g.now()
	return func(err error) { g.leave(began, background, err) }, nil
}

func (g *gate) wait(ctx context.Context, mine chan struct{}, background bool) error {
	if w, ok := ctx.Value(waiterKey{}).(Waiter); ok {
		w.Wait()
		defer w.GoOn()
	}
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-mine: // in the same moment
		g.end(background)
	default:
		g.front, g.back = g.front.without(mine), g.back.without(mine)
	}
	return ctx.Err()
}

func (l line) without(one chan struct{}) line {
	for i, c := range l {
		if c == one {
			return append(l[:i:i], l[i+1:]...)
		}
	}
	return l
}

// admit lets in who may pass: the foreground first, and the background as long as it leaves some room for the foreground. mu is
// locked.
func (g *gate) admit() {
	limit := int(g.limit)
	for len(g.front) > 0 && g.running < limit {
		close(g.front[0])
		g.front = g.front[1:]
		g.running++
	}
	room := max(limit-max(limit/4, 1), 1)
	for len(g.back) > 0 && g.running < limit && g.behind < room {
		close(g.back[0])
		g.back = g.back[1:]
		g.running++
		g.behind++
	}
}

func (g *gate) leave(began time.Time, background bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.learn(began, err)
	g.end(background)
}

// end gives a place back. mu is locked.
func (g *gate) end(background bool) {
	g.running--
	if background {
		g.behind--
	}
	g.admit()
}

// learn lowers the limit by a third when the store asks to slow down, once for all requests that were under way then, and raises it
// by one for as many good answers as the limit says. mu is locked.
func (g *gate) learn(began time.Time, err error) {
	switch {
	case provider.Is(err, provider.KindThrottled):
		if began.Before(g.cut) {
			return
		}
		// What was running is what the store did not take; a limit that was not reached says nothing.
		g.limit = max(g.least, min(g.limit, float64(g.running))*2/3)
		g.cut = g.now()
	case err == nil:
		g.limit = min(g.most, g.limit+1/g.limit)
	}
}

// current returns how many requests may be under way now.
func (g *gate) current() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.limit)
}
