package claim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"sharefs/provider"
)

// rules are how a claim is taken and renewed in one kind of store. errRaced: somebody else was first; who, is to be looked
// at. The claim holds from a moment before the request that proves it, and before the one that others see it by.
type rules interface {
	take(ctx context.Context, found place, rec Record) (got place, from time.Duration, err error)
	renew(ctx context.Context, held place, rec Record) (got place, from time.Duration, err error)
}

func (r *register) rules() rules {
	switch caps := r.store.Capabilities(); {
	case caps.CreateIfAbsent && caps.ReplaceIfVersion:
		return replacing{r}
	case caps.CreateIfAbsent:
		return creating{r}
	}
	return settling{r}
}

// replacing is for stores that check whether an object is absent, and which version it has: all S3. There is one claim,
// which is only ever replaced in the version that was seen last. So whoever replaces it is the only one, and the next
// renewal of the holder before fails: one request for each.
type replacing struct{ *register }

func (s replacing) take(ctx context.Context, found place, rec Record) (place, time.Duration, error) {
	from := s.o.Boottime()
	cond := provider.Condition{Version: found.version}
	if found.n == 0 {
		cond = provider.Condition{Absent: true}
	}
	got, err := s.write(ctx, max(found.n, 1), rec, cond)
	if err == nil {
		s.remove(ctx, found.others...)
	}
	return got, from, err
}

func (s replacing) renew(ctx context.Context, held place, rec Record) (place, time.Duration, error) {
	from := s.o.Boottime()
	got, err := s.write(ctx, held.n, rec, provider.Condition{Version: held.version})
	return got, from, err
}

// creating is for stores that only check whether an object is absent: a directory. Whoever creates the next number is the
// only one who does, be it to take the claim or to renew it. Numbers below the highest are removed, so one that was
// created may have been there before: it counts only if there is none higher.
type creating struct{ *register }

func (s creating) take(ctx context.Context, found place, rec Record) (place, time.Duration, error) {
	from := s.o.Boottime()
	got, err := s.write(ctx, found.n+1, rec, provider.Condition{Absent: true})
	if err != nil {
		return got, from, err
	}
	now, err := s.list(ctx)
	if err != nil {
		return got, from, err
	}
	if now.n != got.n {
		return got, from, errRaced
	}
	s.remove(ctx, now.others...)
	return got, from, nil
}

func (s creating) renew(ctx context.Context, held place, rec Record) (place, time.Duration, error) {
	return s.take(ctx, held, rec)
}

// settling is for stores that check nothing: OpenStack Swift. The claim is written under a higher number, one of many, so that
// nobody else writes that one; it is left to settle, and held if it is the highest then. The holder looks, each time before
// it renews, whether its own still is.
//
// Why two who race do not both hold it: let each write at most Settle/2 after it has listed, look Settle after it has
// written, and let listings be at most Settle/4 late. Say that both find their own at the end. The one with the lower
// number did not see the other's, which was therefore written after it had looked, less Settle/4. But then the other had
// listed when the lower one had been there for Settle/4, and has seen it. The other way round it is the same. Who was
// held up for longer between listing and writing waits for Hold as well, after which one that it has displaced has
// stopped sending; and so does who finds a claim of its own of which it does not know whether it ever held.
//
// A renewal that begins while the claim holds is seen by who watches it before he may take it. One that comes later is
// proved as a new claim is, under its old number. One that arrives late is of a number that does not count any more.
type settling struct{ *register }

// manyNumbers is how many numbers a taker chooses from.
const manyNumbers = 1 << 20

func (s settling) take(ctx context.Context, found place, rec Record) (place, time.Duration, error) {
	from := s.o.Boottime()
	got, err := s.write(ctx, found.n+1+rand.IntN(manyNumbers), rec, provider.Condition{})
	if err != nil {
		return got, from, err
	}
	if s.o.Boottime()-found.seen <= s.o.Gap && !found.tried {
		return s.prove(ctx, got, from)
	}
	if err := sleep(ctx, s.o.Hold+s.o.Settle); err != nil {
		return got, from, err
	}
	rec.Renewed = s.o.Now().UTC() // for who watches it, and has seen no change for long
	return s.again(ctx, got, rec)
}

func (s settling) renew(ctx context.Context, held place, rec Record) (place, time.Duration, error) {
	now, err := s.check(ctx, held)
	if err != nil {
		return held, 0, err
	}
	if now.seen >= held.until {
		return s.again(ctx, held, rec)
	}
	got, err := s.write(ctx, held.n, rec, provider.Condition{})
	return got, now.seen, err
}

// again writes a claim under the number that it has, and proves it.
func (s settling) again(ctx context.Context, held place, rec Record) (place, time.Duration, error) {
	from := s.o.Boottime()
	got, err := s.write(ctx, held.n, rec, provider.Condition{})
	if err != nil {
		return got, from, err
	}
	return s.prove(ctx, got, from)
}

// prove lets a claim settle that was written after from, and looks whether it stands.
func (s settling) prove(ctx context.Context, got place, from time.Duration) (place, time.Duration, error) {
	if err := sleep(ctx, s.o.Settle); err != nil {
		return got, from, err
	}
	now, err := s.check(ctx, got)
	if err == nil {
		s.remove(ctx, now.others...)
	}
	return got, from, err
}

// check returns errRaced unless a claim is the one that counts, and as it was written.
func (s settling) check(ctx context.Context, held place) (place, error) {
	now, err := s.look(ctx, held)
	if err == nil && (now.n != held.n || now.record.Token != held.record.Token) {
		err = errRaced
	}
	return now, err
}

// sleep waits.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the claim: %w", ctx.Err())
	}
}
