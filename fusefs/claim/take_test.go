package claim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

func TestOneOfManyWhoRaceHoldsTheClaim(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		const takers = 12
		for round := range 20 { // the first finds no claim, the others a released one
			var mu sync.Mutex
			var holders []*Claim
			var refusals []*HeldError
			var wg sync.WaitGroup
			for i := range takers {
				wg.Go(func() {
					c, _, err := Take(t.Context(), s, options(fmt.Sprint(i)))
					mu.Lock()
					defer mu.Unlock()
					var held *HeldError
					switch {
					case err == nil:
						holders = append(holders, c)
					case errors.As(err, &held):
						refusals = append(refusals, held)
					default:
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			wg.Wait()
			if len(holders) != 1 || len(refusals) != takers-1 {
				t.Fatalf("round %d: %d hold the claim, %d were refused", round, len(holders), len(refusals))
			}
			for _, r := range refusals {
				if r.Holder.Token != holders[0].Token() {
					t.Errorf("round %d: a refusal names %s, not the holder", round, r.Holder.Holder())
				}
			}
			release(t, holders[0])
			time.Sleep(2 * time.Second)
		}
		onlyRecord(t, s)
	})
}

func TestAClaimThatIsHeldIsRefusedWithItsHolder(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		c := take(t, s, options("a"))
		time.Sleep(time.Hour)
		wantSent(t, c, s)
		held := refused(t, s, options("b"))
		if h := held.Holder; h.Host != "host-a" || h.PID != 42 || h.Token != c.Token() {
			t.Errorf("the holder is %+v", h)
		}
		for _, part := range []string{"host-a (process 42)", "since 2000-", "last heard of at 2000-", "--take-over", "--read-only", "3m0s"} {
			if !strings.Contains(held.Error(), part) {
				t.Errorf("%q is not in: %v", part, held)
			}
		}
		if strings.Contains(held.Error(), "\n") {
			t.Errorf("more than a line: %v", held)
		}
	})
}

func TestAReleasedClaimIsTakenAndTellsTheNextWhatWasBefore(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		o := options("a")
		var seq atomic.Uint64
		seq.Store(7)
		o.Seq = seq.Load
		c, before, err := Take(t.Context(), s, o)
		if err != nil || before != nil {
			t.Fatal(before, err)
		}
		if r := onlyRecord(t, s); r.Seq != 7 || r.Released {
			t.Errorf("the record is %+v", r)
		}
		seq.Store(9)
		time.Sleep(61 * time.Second)
		if r := onlyRecord(t, s); r.Seq != 9 || !r.Renewed.After(r.Started) {
			t.Errorf("renewed, the record is %+v", r)
		}
		seq.Store(11)
		release(t, c)
		wantStopped(t, put(c, s), provider.KindReadOnly)
		if r := onlyRecord(t, s); r.Seq != 11 || !r.Released || r.Token != c.Token() || r.Catalog != "a" {
			t.Errorf("released, the record is %+v", r)
		}
		release(t, c) // again: nothing
		next, before, err := Take(t.Context(), s, options("b"))
		if err != nil {
			t.Fatal(err)
		}
		defer abandon(next)
		if before == nil || before.Token != c.Token() || before.Seq != 11 || !before.Released || before.Catalog != "a" {
			t.Errorf("what was before is %+v", before)
		}
		if r := onlyRecord(t, s); r.Token != next.Token() || r.Released {
			t.Errorf("taken again, the record is %+v", r)
		}
	})
}

func TestOurOwnDeadClaimIsTakenAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		first := take(t, s, options("a"))
		abandon(first)
		for _, tc := range []struct {
			what   string
			change func(*Options)
		}{
			{"another machine", func(o *Options) { o.Machine = "other" }},
			{"another catalog", func(o *Options) { o.Catalog = "other" }},
			{"another token", func(o *Options) { o.LastToken = "other" }},
			{"no token", func(o *Options) { o.LastToken = "" }},
		} {
			o := options("a")
			o.LastToken = first.Token()
			tc.change(&o)
			if held := refused(t, s, o); held.Same != (tc.what != "another machine") {
				t.Errorf("%s: same machine is %v", tc.what, held.Same)
			}
		}
		o := options("a")
		o.LastToken = first.Token()
		began := time.Now()
		second := take(t, s, o)
		if took := time.Since(began); took > DefaultSettle {
			t.Errorf("it took %v", took)
		}
		abandon(second)
		// A process that died before it noted that the claim was its own has noted that it tries.
		o.TriedTokens = []string{"x", second.Token()}
		wantSent(t, take(t, s, o), s)
	})
}

func TestTheTokenIsKeptBeforeItIsWritten(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		first := take(t, s, options("a"))
		abandon(first)
		no := errors.New("no")
		o := options("a")
		o.LastToken = first.Token()
		var kept string
		o.Keep = func(token string, before *Record, own bool) error {
			kept = token
			if before == nil || before.Token != first.Token() || !own {
				t.Errorf("before is %+v, own %v", before, own)
			}
			if r := onlyRecord(t, s); r.Token != first.Token() {
				t.Errorf("the record is %+v before the token is kept", r)
			}
			return no
		}
		if _, _, err := Take(t.Context(), s, o); !errors.Is(err, no) {
			t.Fatalf("the error is %v", err)
		}
		if r := onlyRecord(t, s); r.Token != first.Token() {
			t.Fatalf("the record is %+v although the token could not be kept", r)
		}
		o.Keep = func(token string, _ *Record, _ bool) error { kept = token; return nil }
		if c := take(t, s, o); c.Token() != kept || kept == first.Token() {
			t.Errorf("the token is %s, kept was %s", c.Token(), kept)
		}
	})
}

func TestTakeOver(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		dead := take(t, s, options("dead"))
		abandon(dead)
		o := options("b")
		o.TakeOver = true
		var lefts []time.Duration
		o.Watch = func(held Record, left time.Duration) {
			if held.Token != dead.Token() {
				t.Errorf("told of %+v", held)
			}
			lefts = append(lefts, left)
		}
		began := time.Now()
		c, before, err := Take(t.Context(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		defer abandon(c)
		if took := time.Since(began); took < DefaultWatch || took > DefaultWatch+2*DefaultSettle {
			t.Errorf("it was watched for %v", took)
		}
		if before == nil || before.Token != dead.Token() {
			t.Errorf("before is %+v", before)
		}
		if len(lefts) < polls || !slices.IsSortedFunc(lefts, func(a, b time.Duration) int { return int(b - a) }) {
			t.Errorf("progress was %v", lefts)
		}
		wantSent(t, c, s)
	})
}

func TestTakeOverIsRefusedByAHolderThatIsAlive(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		c := take(t, s, options("a"))
		o := options("b")
		o.TakeOver = true
		began := time.Now()
		held := refused(t, s, o)
		if took := time.Since(began); !held.Changed || took > 2*DefaultRenew || !strings.Contains(held.Error(), "alive") {
			t.Errorf("after %v: %v", took, held)
		}
		wantSent(t, c, s)
	})
}

func TestAClaimThatIsReleasedWhileItIsWatchedIsTaken(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		c := take(t, s, options("a"))
		go func() {
			time.Sleep(40 * time.Second)
			_ = c.Release(t.Context())
		}()
		o := options("b")
		o.TakeOver = true
		began := time.Now()
		take(t, s, o)
		if took := time.Since(began); took > DefaultRenew+DefaultSettle {
			t.Errorf("it took %v", took)
		}
	})
}

func TestForceTakesAtOnceAndTheHolderLearnsOfIt(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		a := take(t, s, options("a"))
		o := options("b")
		o.TakeOver, o.Force = true, true
		began := time.Now()
		b := take(t, s, o)
		if took := time.Since(began); took > DefaultSettle {
			t.Errorf("it took %v", took)
		}
		time.Sleep(DefaultRenew + time.Second)
		status(t, a, Lost)
		if h := a.State().Holder; h.Token != b.Token() || !a.Lost() {
			t.Errorf("lost to %+v", h)
		}
		wantStopped(t, put(a, s), provider.KindReadOnly)
		wantSent(t, b, s)
		release(t, a) // does nothing
		time.Sleep(10 * time.Minute)
		status(t, b, Held)
		if r := onlyRecord(t, s); r.Token != b.Token() || r.Released {
			t.Errorf("the record is %+v", r)
		}
	})
}

func TestAClaimThatCannotBeReadIsHeld(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		if _, err := s.Put(t.Context(), Prefix+"3", strings.NewReader("{torn"), 5, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), Prefix+"x", strings.NewReader("{}"), 2, provider.PutOptions{}); err != nil { // no claim
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if held := refused(t, s, options("a")); !strings.Contains(held.Error(), "cannot be read") {
			t.Error(held)
		}
		o := options("a")
		o.TakeOver, o.Force = true, true
		wantSent(t, take(t, s, o), s)
	})
}

func TestWhatAClaimCosts(t *testing.T) {
	for name, want := range map[string][4]int{ // take, take again, ten minutes, release
		"replacing": {2, 3, 10, 1},
		"creating":  {3, 5, 30, 3},
		"settling":  {3, 5, 20, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &counting{Provider: mem.New(mem.Options{Capabilities: kinds()[name]})}
				var got [4]int
				c := take(t, s, options("a"))
				got[0] = len(s.reset())
				release(t, c)
				got[3] = len(s.reset())
				c = take(t, s, options("b"))
				seen := s.reset()
				got[1] = len(seen)
				time.Sleep(10*time.Minute + time.Second)
				ten := s.reset()
				got[2] = len(ten)
				if got != want {
					t.Errorf("requests to take it, to take it again, in ten minutes, to release it: %v, want %v\n%v\n%v", got, want, seen, ten)
				}
				wantSent(t, c, s)
			})
		})
	}
}
