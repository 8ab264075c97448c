package limit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/limit"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
)

func TestConformance(t *testing.T) {
	for _, most := range []int{0, 1} {
		t.Run(fmt.Sprint("most ", most), func(t *testing.T) {
			providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
				return limit.New(mem.New(mem.Options{}), limit.Options{Most: most})
			}})
		})
	}
}

// slow is a store whose Stats take a second, and that takes only so many at a time.
type slow struct {
	provider.Provider
	mu               sync.Mutex
	takes            int // 0: any number
	running, highest int
	order            []string
	refused          int
}

func (s *slow) Stat(ctx context.Context, key string) (provider.Object, error) {
	s.mu.Lock()
	s.running++
	s.order = append(s.order, key)
	s.highest = max(s.highest, s.running)
	over := s.takes > 0 && s.running > s.takes
	if over {
		s.refused++
	}
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.running--; s.mu.Unlock() }()
	if over {
		return provider.Object{}, &provider.Error{Op: "stat", Key: key, Kind: provider.KindThrottled}
	}
	select {
	case <-time.After(time.Second):
		return provider.Object{}, nil
	case <-ctx.Done():
		return provider.Object{}, ctx.Err()
	}
}

func TestNoMoreRequestsThanAllowedAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		p := limit.New(s, limit.Options{Most: 8})
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 80 {
			wg.Go(func() { _, _ = p.Stat(t.Context(), fmt.Sprint(i)) })
		}
		wg.Wait()
		if s.highest != 8 || time.Since(began) != 10*time.Second {
			t.Errorf("%d at a time, in %v; want 8 in 10 s", s.highest, time.Since(began))
		}
	})
}

func TestWhoIsWaitedForGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		p := limit.New(s, limit.Options{Most: 4})
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { _, _ = p.Stat(limit.Background(t.Context()), fmt.Sprint("upload", i)) })
		}
		synctest.Wait()
		if s.running != 3 {
			t.Errorf("%d of the background are under way, want 3 of the 4 places", s.running)
		}
		began := time.Now()
		var reads sync.WaitGroup
		for i := range 4 {
			reads.Go(func() { _, _ = p.Stat(limit.Foreground(limit.Background(t.Context())), fmt.Sprint("read", i)) })
		}
		reads.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("four reads behind a thousand uploads took %v", took)
		}
		wg.Wait()
		last := slices.IndexFunc(s.order, func(key string) bool { return key == "read3" })
		if last > 10 {
			t.Errorf("the last read was request %d", last)
		}
	})
}

func TestTheLimitFallsWhenTheStoreIsAskedTooMuchAndRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: 5}
		p := limit.New(s, limit.Options{Most: 32})
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := p.Stat(limit.Background(t.Context()), fmt.Sprint(i)); err != nil {
							time.Sleep(100 * time.Millisecond) // as retry would
						}
					}
				}
			})
		}
		time.Sleep(20 * time.Second)
		s.mu.Lock()
		before := s.refused
		s.mu.Unlock()
		time.Sleep(60 * time.Second)
		s.mu.Lock()
		often := s.refused - before
		s.takes = 0
		s.mu.Unlock()
		if now := p.Limit(); now > 10 || often > 60 {
			t.Errorf("the limit is %d for a store that takes 5 at a time, which refused %d of some 300 requests", now, often)
		}
		time.Sleep(5 * time.Minute)
		if now := p.Limit(); now != 32 {
			t.Errorf("the limit is %d when the store has recovered, want 32", now)
		}
		close(stop)
		wg.Wait()
	})
}

func TestWhoGivesUpLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		p := limit.New(s, limit.Options{Most: 1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Stat(t.Context(), "first") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for _, c := range []context.Context{ctx, limit.Background(ctx)} {
			wg.Go(func() {
				if _, err := p.Stat(c, "gives up"); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := p.Stat(t.Context(), "last"); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if got := strings.Join(s.order, ", "); got != "first, last" {
			t.Errorf("requests were %s", got)
		}
	})
}

// waiting notes what a Waiter is told.
type waiting struct{ told []string }

func (w *waiting) Wait() { w.told = append(w.told, "wait") }
func (w *waiting) GoOn() { w.told = append(w.told, "go on") }

func TestAWaiterIsToldOfTheWaitOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := limit.New(&slow{}, limit.Options{Most: 1})
		first, second := &waiting{}, &waiting{}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Stat(limit.WithWaiter(t.Context(), first), "first") })
		synctest.Wait()
		wg.Go(func() { _, _ = p.Stat(limit.WithWaiter(t.Context(), second), "second") })
		wg.Wait()
		if len(first.told) != 0 || strings.Join(second.told, ", ") != "wait, go on" {
			t.Errorf("told %q and %q", first.told, second.told)
		}
	})
}

func TestAnOpenBodyHoldsNoPlace(t *testing.T) {
	p := limit.New(mem.New(mem.Options{}), limit.Options{Most: 1})
	if _, err := p.Put(t.Context(), "k", strings.NewReader("body"), 4, provider.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		body, _, err := p.Open(t.Context(), "k", provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
}

func TestAFailureThatIsNoThrottlingChangesNothing(t *testing.T) {
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
	f.Add(faulty.Rule{Effect: faulty.Fail})
	p := limit.New(f, limit.Options{Most: 8})
	for range 20 {
		if _, err := p.Stat(t.Context(), "k"); err == nil {
			t.Fatal("no failure")
		}
	}
	if p.Limit() != 8 {
		t.Errorf("the limit is %d", p.Limit())
	}
}
