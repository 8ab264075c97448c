package claim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
)

// taker is one Take.
type taker struct {
	o     Options
	r     *register
	rules rules
	share bool // with others who do
}

// tries is how often a taker looks again because others were first. Each time somebody has won.
const tries = 10

func (t taker) take(ctx context.Context) (*Claim, *Record, error) {
	now := t.o.Now().UTC()
	rec := Record{Host: t.o.Host, Machine: t.o.Machine, PID: t.o.PID, Token: rand.Text(), Catalog: t.o.Catalog, Started: now, Renewed: now}
	var found place
	for range tries {
		var err error
		if found, err = t.r.look(ctx, found); err != nil {
			return nil, nil, err
		}
		if found, err = t.mayTake(ctx, found); err != nil {
			return nil, nil, err
		}
		found.tried = t.own(found) && found.record.Token != t.o.LastToken
		var before *Record
		if found.n != 0 {
			before = &found.record
		}
		if err := t.o.Keep(rec.Token, before, t.own(found)); err != nil {
			return nil, nil, fmt.Errorf("noting the claim: %w", err)
		}
		rec.Seq = t.o.Seq()
		write := rec
		if t.share {
			write = t.joined(found, rec)
		}
		got, from, err := t.rules.take(ctx, found, write)
		if errors.Is(err, errRaced) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		return hold(t.r, t.rules, t.share, got, from), before, nil
	}
	return nil, nil, &HeldError{Holder: found.record, Watched: t.o.Watched}
}

// own reports whether a claim is that of a process of this machine and catalog, which has died.
func (t taker) own(p place) bool {
	r := p.record
	return r.Token != "" && r.Machine == t.o.Machine && r.Catalog == t.o.Catalog && (r.Token == t.o.LastToken || slices.Contains(t.o.TriedTokens, r.Token))
}

// mayTake returns the claim to take, after it has been watched if need be, or a HeldError.
func (t taker) mayTake(ctx context.Context, p place) (place, error) {
	switch {
	case t.free(p):
		return p, nil
	case !t.o.TakeOver:
		return p, t.held(p, false)
	case t.o.Force:
		t.o.Logger.Warn("taking the claim over at once, as told", "holder", p.record.Holder(), "renewed", p.record.Renewed)
		return p, nil
	}
	return t.watch(ctx, p)
}

// free reports whether a claim is nobody's, or, for who shares the store, of others who do.
func (t taker) free(p place) bool {
	return p.n == 0 || p.record.Released || t.own(p) || t.left(p) || t.share && p.record.Shared()
}

func (t taker) held(p place, changed bool) error {
	return &HeldError{Holder: p.record, Changed: changed, Watched: t.o.Watched, Same: p.record.Machine == t.o.Machine}
}

// polls is how often a claim is looked at while it is watched.
const polls = 12

// watch returns when a claim has not changed for long enough, or has been released.
func (t taker) watch(ctx context.Context, p place) (place, error) {
	t.o.Logger.Info("watching the claim before it is taken over", "holder", p.record.Holder(), "renewed", p.record.Renewed, "for", t.o.Watched)
	for began := t.o.Boottime(); ; { // after p was seen
		left := t.o.Watched - (p.seen - began)
		if left <= 0 {
			t.o.Logger.Warn("taking the claim over", "holder", p.record.Holder(), "renewed", p.record.Renewed, "silent_for", t.o.Watched)
			return p, nil
		}
		t.o.Watch(p.record, left)
		if err := sleep(ctx, min(left, t.o.Watched/polls+time.Millisecond)); err != nil {
			return p, err
		}
		now, err := t.r.look(ctx, p)
		switch {
		case err != nil:
			return p, err
		case t.free(now):
			return now, nil
		case now.n != p.n || now.version != p.version || !now.record.same(p.record):
			return now, t.held(now, true)
		}
		now.record = p.record
		p = now
	}
}
