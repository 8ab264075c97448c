package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sharefs/provider"
	"sharefs/provider/limit"
)

// request is what do needs to know of a request.
type request struct {
	op, key string
	slow    bool // may take long without a sign of life
	once    bool // is not repeated once it may have taken effect

	// settle finds out whether an attempt that got no answer took effect, after a later one found the condition
	// broken or the upload gone. nil: such an error of a later attempt is plain.
	settle func(ctx context.Context) (verdict, error)
}

// do makes attempts until one succeeds or there is no point in another.
func (p *Provider) do(ctx context.Context, r request, try func(context.Context, *watchdog) error) error {
	b := p.newBudget(r.op, r.key)
	ambiguous := false
	for {
		err := p.attempt(ctx, r, try)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ambiguous && r.settle != nil && (provider.Is(err, provider.KindPrecondition) || provider.Is(err, provider.KindNotFound)) {
			return p.settled(ctx, r, err)
		}
		if provider.Unanswered(err) {
			noteUnanswered(ctx)
		}
		if provider.Is(err, provider.KindUnavailable) {
			ambiguous = true
			if r.once {
				return err
			}
		}
		if err := b.wait(ctx, err); err != nil {
			return err
		}
	}
}

// attempt makes one attempt, which the watchdog ends unless the request is slow.
func (p *Provider) attempt(ctx context.Context, r request, try func(context.Context, *watchdog) error) error {
	if r.slow || p.opts.AttemptTimeout < 0 {
		return try(ctx, nil)
	}
	ctx, dog := p.watch(ctx)
	defer dog.end()
	return dog.explain(r.op, r.key, try(ctx, dog))
}

// settled returns the outcome of a request whose last attempt failed with cause, when an earlier one got no answer.
func (p *Provider) settled(ctx context.Context, r request, cause error) error {
	v, err := r.settle(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && v == ours:
		p.opts.Logger.DebugContext(ctx, "an earlier attempt had taken effect", "op", r.op, "key", r.key)
		return nil
	case err == nil && v == notOurs:
		return cause
	case err == nil:
		err = cause
	}
	return &provider.Error{Op: r.op, Key: r.key, Kind: provider.KindUnavailable,
		Err: fmt.Errorf("an attempt got no answer, and it cannot be told whether it took effect: %w", err)}
}

// watchdog cancels an attempt that gives no sign of life.
type watchdog struct {
	outer, inner context.Context
	cancel       context.CancelFunc
	timeout      time.Duration
	timer        *time.Timer
}

// watch returns the context of an attempt, and its watchdog, which is running.
func (p *Provider) watch(ctx context.Context) (context.Context, *watchdog) {
	inner, cancel := context.WithCancel(ctx)
	d := &watchdog{outer: ctx, inner: inner, cancel: cancel, timeout: patient(ctx, p.opts.AttemptTimeout)}
	d.timer = time.AfterFunc(d.timeout, cancel)
	return limit.WithWaiter(inner, d), d
}

// Wait and GoOn stop the watchdog while the attempt waits for its place among others: it has not been sent yet.
func (d *watchdog) Wait() { d.pause() }

// GoOn is described at Wait.
func (d *watchdog) GoOn() { d.alive() }

// alive tells the watchdog to start anew.
func (d *watchdog) alive() {
	if d != nil {
		d.timer.Reset(d.timeout)
	}
}

// pause stops the watchdog until alive: whoever reads a body may take their time between reads.
func (d *watchdog) pause() {
	if d != nil {
		d.timer.Stop()
	}
}

// end ends the attempt's context.
func (d *watchdog) end() {
	if d != nil {
		d.timer.Stop()
		d.cancel()
	}
}

// explain turns the error of an attempt that the watchdog has ended into one that says so.
func (d *watchdog) explain(op, key string, err error) error {
	if err == nil || d == nil || d.inner.Err() == nil || d.outer.Err() != nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Unanswered: true,
		Err: fmt.Errorf("no sign of life for %v", d.timeout)}
}
