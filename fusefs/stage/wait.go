package stage

import (
	"context"
	"slices"
	"time"
)

// waiter is somebody who waits for room.
type waiter struct {
	id   ID // of the file that is to grow; 0: of none
	n    int64
	d    Demand
	out  chan *Reservation // capacity 1: the room, or nil when there will be none
	kick chan struct{}     // capacity 1: it is the first now, or something got free
}

// Await waits until there is room for n bytes of id, and sets it aside. Those who wait are served in the order of their
// coming. First what is not needed gives way, then it is waited for what is being stored. It ends with the context, and
// with a NoRoomError when nothing gets free for RoomOptions.Stall, or when that could not help.
func (s *Store) Await(ctx context.Context, id ID, n int64, d Demand) (*Reservation, error) {
	r := &s.room
	if d == ForEntry {
		if v := r.try(n, d); v != nil {
			return v, nil
		}
	}
	return r.wait(ctx, &waiter{id: id, n: n, d: d, out: make(chan *Reservation, 1), kick: make(chan struct{}, 1)})
}

// Look has those who wait look again: something may be able to give way now.
func (s *Store) Look() { s.room.serve(nil) }

// Refused says that the disk did not take what there was room for. No room is granted until it has more.
func (s *Store) Refused() {
	free := s.room.free()
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.refused = max(free, 1)
}

func (r *room) wait(ctx context.Context, w *waiter) (*Reservation, error) {
	r.join(w)
	timer := time.NewTimer(roomLook)
	defer timer.Stop()
	for asked := (time.Time{}); ; {
		r.giveWay(w)
		r.serve(w)
		if v, ok := w.served(); ok {
			return r.outcome(w, v)
		}
		if now := r.now(); asked.IsZero() || now.Sub(asked) >= roomLook {
			asked = now
			releasing := r.o.Short != nil && r.o.Short(w.id, w.n)
			if why := r.hopeless(w, releasing); why != "" && r.leaveQueue(w) {
				return nil, r.describe(w, why)
			}
		}
		timer.Reset(roomLook)
		select {
		case v := <-w.out:
			return r.outcome(w, v)
		case <-w.kick:
		case <-timer.C:
			r.expire()
		case <-ctx.Done():
			if !r.leaveQueue(w) {
				(<-w.out).Release()
			}
			return nil, ctx.Err()
		}
	}
}

// served returns what became of a wait that has ended.
func (w *waiter) served() (*Reservation, bool) {
	select {
	case v := <-w.out:
		return v, true
	default:
		return nil, false
	}
}

func (r *room) outcome(w *waiter, v *Reservation) (*Reservation, error) {
	if v == nil {
		return nil, r.describe(w, "nothing got free for "+r.o.Stall.String())
	}
	return v, nil
}

func (r *room) join(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, w)
	if r.state == roomOpen {
		now := r.now()
		r.state, r.since, r.progress = roomWaiting, now, now
	}
}

// leaveQueue takes back a wait; false when it has just ended.
func (r *room) leaveQueue(w *waiter) bool {
	r.mu.Lock()
	before := len(r.queue)
	r.queue = slices.DeleteFunc(r.queue, func(o *waiter) bool { return o == w })
	left := len(r.queue) < before
	r.mu.Unlock()
	if left {
		r.serve(nil) // those behind it may need less
	}
	return left
}

// giveWay frees disk that is not needed, for the first of those who wait.
func (r *room) giveWay(w *waiter) {
	r.mu.Lock()
	if len(r.queue) == 0 || r.queue[0] != w || r.o.GiveWay == nil || r.lacks(w.n, w.d) != lacksDisk {
		r.mu.Unlock()
		return
	}
	n := max(leastWay, r.floor()+r.reserved+w.n-r.free())
	r.mu.Unlock()
	if r.o.GiveWay(n) == 0 {
		return
	}
	r.mu.Lock()
	r.freed()
	r.mu.Unlock()
}

// serve gives room to those who wait, in their order, as far as there is some. The first of the others is to look
// whether anything can give way, unless it is the one that asks.
func (r *room) serve(asks *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		w := r.queue[0]
		if r.lacks(w.n, w.d) != lacksNothing {
			if w != asks {
				select {
				case w.kick <- struct{}{}:
				default:
				}
			}
			return
		}
		r.reserved += w.n
		w.out <- &Reservation{r, w.n}
		r.queue = r.queue[1:]
		r.progress = r.now()
		if r.state == roomStalled {
			r.state = roomWaiting
		}
	}
	if r.state == roomWaiting {
		r.state, r.since, r.queue = roomOpen, time.Time{}, nil
	}
}

// hopeless says why waiting cannot help: nothing has got free for long, or even if everything else were stored there
// would be no room for it, unless its own file is released.
func (r *room) hopeless(w *waiter, releasing bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == roomStalled:
		r.least = min(r.least, w.n)
		return "nothing gets free"
	case releasing:
		return ""
	}
	var own int64
	if u := r.files[w.id]; u != nil {
		own = u.bytes
	}
	if w.d == ForContent && r.o.Size > 0 && own+w.n > r.o.Size {
		return "an open file is larger than the stage"
	}
	if len(r.queue) > 0 && r.queue[0] == w && r.free()+r.used-own-r.floor() < w.n { // what gives way has done so
		return "it is nearly full"
	}
	return ""
}

// expire ends all waits when nothing got free, and nothing moved, for too long.
func (r *room) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomWaiting || r.now().Sub(r.lastProgress()) < r.o.Stall {
		return
	}
	r.state, r.least = roomStalled, 1<<62
	for _, w := range r.queue {
		r.least = min(r.least, w.n)
		w.out <- nil
	}
	r.queue = nil
}
