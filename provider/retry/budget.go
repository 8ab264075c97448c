package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sharefs/provider"
)

// budget bounds the attempts of one request.
type budget struct {
	p       *Provider
	op, key string
	failed  int
	first   time.Time // of the failures
}

func (p *Provider) newBudget(op, key string) *budget { return &budget{p: p, op: op, key: key} }

// reset forgets the failures: the request has made progress.
func (b *budget) reset() { b.failed = 0 }

// wait waits until the next attempt is due after one that failed with err, and returns nil; or else the error of
// the request.
func (b *budget) wait(ctx context.Context, err error) error {
	if b.failed == 0 {
		b.first = time.Now()
	}
	b.failed++
	if !provider.KindOf(err).Transient() {
		return err
	}
	delay := b.delay(err)
	if why := b.spent(ctx, delay); why != "" {
		return b.giveUp(err, why)
	}
	b.p.opts.Logger.DebugContext(ctx, "a request failed and will be repeated",
		"op", b.op, "key", b.key, "attempt", b.failed, "delay", delay, "error", err)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// delay returns a random time, never none, up to a bound that doubles with every failure, or the store's RetryAfter when that is
// longer.
func (b *budget) delay(err error) time.Duration {
	bound := max(b.p.opts.BaseDelay, 1)
	for range b.failed - 1 {
		if bound >= b.p.opts.MaxDelay/2 && b.p.opts.MaxDelay > 0 {
			bound = b.p.opts.MaxDelay
			break
		}
		if bound > time.Hour {
			break
		}
		bound *= 2
	}
	delay := 1 + rand.N(bound)
	var e *provider.Error
	if errors.As(err, &e) {
		delay = max(delay, e.RetryAfter)
	}
	return delay
}

// spent says what forbids another attempt after the delay; empty when nothing does.
func (b *budget) spent(ctx context.Context, delay time.Duration) string {
	if n := b.p.opts.MaxAttempts; n > 0 && b.failed >= n {
		return "no more are allowed"
	}
	due := time.Now().Add(delay)
	if d := patient(ctx, b.p.opts.MaxElapsed); d > 0 && due.After(b.first.Add(d)) {
		return fmt.Sprintf("none is made later than %v after the first failure", d)
	}
	if deadline, ok := ctx.Deadline(); ok && due.After(deadline) {
		return "the next would come after the caller's deadline"
	}
	return ""
}

// giveUp returns err with the number of attempts. It is an *Error: only these are transient.
func (b *budget) giveUp(err error, why string) error {
	var e *provider.Error
	if !errors.As(err, &e) {
		return err
	}
	up := *e
	attempts := fmt.Sprintf("%d attempts in %v (%s)", b.failed, time.Since(b.first).Round(time.Millisecond), why)
	if e.Err == nil {
		up.Err = errors.New(attempts)
	} else {
		up.Err = fmt.Errorf("%s, the last: %w", attempts, e.Err)
	}
	return &up
}
