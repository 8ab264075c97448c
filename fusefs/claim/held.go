package claim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sharefs/provider"
)

// Status is how a claim stands.
type Status string

// The ways a claim stands. Held and Unsure change into each other; Lost and Released are for good.
const (
	Held     Status = "held"
	Unsure   Status = "unsure" // it could not be renewed for too long: nothing is sent until it is
	Lost     Status = "lost"   // somebody else has it
	Released Status = "released"
)

// State is what a claim says of itself.
type State struct {
	Status  Status
	Holder  Record    // ours, as it was last written; when it is lost that of who has it
	Since   time.Time // when it came to this status
	Problem string    // why it could not be renewed at the last try; empty: it was
}

// Claim is a claim that was taken. It is safe for concurrent use.
type Claim struct {
	r     *register
	rules rules
	o     Options
	token string
	share bool // with others: see Share

	stop context.CancelFunc // of renewing
	done chan struct{}      // closed when renewing has ended
	wake chan struct{}      // capacity 1: renew now
	held place              // of the one that renews, until done

	mu       sync.Mutex
	state    State         // guarded by mu
	cause    provider.Kind // guarded by mu: the kind of state.Problem
	deadline time.Duration // guarded by mu: nothing is sent from then on
	span     context.Context
	endSpan  context.CancelFunc // guarded by mu, as span: ends when the claim does not hold any more
	lapse    *time.Timer        // guarded by mu: looks at the deadline
}

// retryPause is between tries to renew that fail; a sixth of Renew at the most.
const retryPause = 5 * time.Second

// hold begins to keep a claim that was taken.
func hold(r *register, rules rules, share bool, got place, from time.Duration) *Claim {
	c := &Claim{r: r, rules: rules, o: r.o, share: share, token: got.record.Token, held: got, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.held.until = from + r.o.Hold
	c.span, c.endSpan = context.WithCancel(context.Background())
	c.state = State{Status: Held, Holder: got.record, Since: r.o.Now()}
	c.lapse = time.AfterFunc(r.o.Hold, c.lapsed)
	c.good(got.record, from)
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.keep(ctx)
	return c
}

// Token returns the claim's own random name.
func (c *Claim) Token() string { return c.token }

// State says how the claim stands.
func (c *Claim) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.state
}

// Lost reports whether somebody else has the claim, for good.
func (c *Claim) Lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Status == Lost
}

// enter changes the status. mu is held.
func (c *Claim) enter(s Status) {
	if c.state.Status != s {
		c.state.Status, c.state.Since = s, c.o.Now()
	}
	if s == Held {
		return
	}
	c.endSpan()
	c.lapse.Stop()
}

// look notices that the deadline has passed. mu is held.
func (c *Claim) look() {
	if c.state.Status == Held && c.o.Boottime() >= c.deadline {
		c.o.Logger.Warn("the claim could not be renewed in time: no change is sent until it is", "renewed", c.state.Holder.Renewed, "error", c.state.Problem)
		c.enter(Unsure)
	}
}

// lapsed is called when the deadline may have passed.
func (c *Claim) lapsed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	if c.state.Status == Held {
		c.lapse.Reset(c.deadline - c.o.Boottime())
	}
}

// good notes a claim that was proved to be ours.
func (c *Claim) good(rec Record, from time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = from + c.o.Hold
	c.state.Holder, c.state.Problem = rec, ""
	left := c.deadline - c.o.Boottime()
	if left <= 0 || c.state.Status != Held && c.state.Status != Unsure {
		c.look() // it took too long, or is the last one
		return
	}
	if c.state.Status == Unsure {
		c.o.Logger.Info("the claim is renewed: changes are sent again")
		c.span, c.endSpan = context.WithCancel(context.Background())
		c.enter(Held)
	}
	c.lapse.Reset(left)
}

// keep renews the claim until ctx is done or the claim is lost.
func (c *Claim) keep(ctx context.Context) {
	defer close(c.done)
	timer := time.NewTimer(c.o.Renew)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		began := c.o.Boottime()
		err := c.renew(ctx)
		if ctx.Err() != nil || c.Lost() {
			return
		}
		pause := max(c.o.Renew-(c.o.Boottime()-began), 0)
		if err != nil {
			c.failed(err)
			pause = min(retryPause, c.o.Renew/6)
		}
		timer.Reset(pause)
	}
}

// renew writes the claim once more. When somebody else has it, it is lost. A store that does not answer is asked anew
// while the claim still holds.
func (c *Claim) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Renew/2)
	defer cancel()
	return c.write(ctx, func(rec Record) Record {
		rec.Renewed, rec.Seq = c.o.Now().UTC(), c.o.Seq()
		if c.share {
			rec = rec.with(c.o.self())
		}
		return rec
	})
}

// write writes what next makes of the record that is held in its place.
func (c *Claim) write(ctx context.Context, next func(Record) Record) error {
	rec := next(c.held.record)
	got, from, err := c.rules.renew(ctx, c.held, rec)
	for range 3 { // a write of ours may have taken effect whose answer was lost
		if !errors.Is(err, errRaced) {
			break
		}
		now, lookErr := c.r.look(ctx, place{})
		switch {
		case lookErr != nil:
			return lookErr
		case now.n == 0: // somebody has removed it: the first to write it again has it
			got, from, err = c.rules.take(ctx, now, rec)
		case now.record.Token == c.token:
			rec = next(now.record) // of ours before, or of others who share the store
			got, from, err = c.rules.renew(ctx, now, rec)
		default:
			c.lose(now.record)
			return errRaced
		}
	}
	if err == nil {
		c.held = got
		c.held.until = from + c.o.Hold
		c.good(rec, from)
	}
	return err
}

// failed notes that the claim could not be renewed.
func (c *Claim) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Problem == "" {
		c.o.Logger.Warn("the claim cannot be renewed; trying again", "error", err)
	}
	c.state.Problem, c.cause = err.Error(), provider.KindOf(err)
}

// lose notes that somebody else has the claim.
func (c *Claim) lose(to Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.o.Logger.Error("the claim on the store is lost: nothing is sent any more; what is not stored stays in the cache directory",
		"holder", to.Holder(), "since", to.Started)
	c.state.Holder, c.state.Problem = to, ""
	c.enter(Lost)
}

// Release ends the claim: it writes that nobody holds it, with the last sequence number, and from before that on the Fence
// lets nothing through. It is for the next mount of this store to see that nothing has been left unsaid. A claim that is
// lost stays as it is.
func (c *Claim) Release(ctx context.Context) error {
	if !c.end() {
		return nil
	}
	err := c.write(ctx, func(rec Record) Record {
		rec.Renewed, rec.Seq, rec.Released = c.o.Now().UTC(), c.o.Seq(), true
		if c.share {
			rec = rec.without(c.o.self())
		}
		return rec
	})
	if err != nil && !errors.Is(err, errRaced) {
		return fmt.Errorf("releasing the claim on the store: %w", err)
	}
	return nil
}

// end stops renewing and sending; false: the claim was lost, or ended, before.
func (c *Claim) end() bool {
	c.stop()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Status == Lost || c.state.Status == Released {
		return false
	}
	c.enter(Released)
	return true
}

// allow reports whether a change may be sent now. The error's kind is KindReadOnly when it never may again, else that of what
// somebody must mend before, else KindUnavailable.
func (c *Claim) allow() *provider.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	switch s := c.state; s.Status {
	case Held:
		return nil
	case Lost:
		return &provider.Error{Kind: provider.KindReadOnly, Err: fmt.Errorf("%w: %s has taken it over", ErrLost, s.Holder.Holder())}
	case Released:
		return &provider.Error{Kind: provider.KindReadOnly, Err: fmt.Errorf("%w: it was released", ErrLost)}
	default:
		select {
		case c.wake <- struct{}{}:
		default:
		}
		return &provider.Error{Kind: c.refusal(), Err: fmt.Errorf("%w: it was renewed last at %s: %s", ErrLost, stamp(s.Holder.Renewed), s.Problem)}
	}
}

// refusal is the kind of an error that says that the claim could not be renewed. mu is held.
func (c *Claim) refusal() provider.Kind {
	switch c.cause {
	case provider.KindAuth, provider.KindDenied, provider.KindQuota, provider.KindNoStore:
		return c.cause
	}
	return provider.KindUnavailable
}
