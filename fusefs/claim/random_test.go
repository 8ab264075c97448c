package claim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

// TestTwoNeverSendInTurns lets processes take the claim from each other for hours, over connections that hold requests up,
// lose answers, and deliver requests late that were given up. Processes are stopped for minutes, die, and leave in good
// order. Whatever happens, when one has sent a change, nobody who sent one before sends another.
func TestTwoNeverSendInTurns(t *testing.T) {
	for name, caps := range kinds() {
		t.Run(name, func(t *testing.T) {
			sent, takings := 0, 0
			for seed := range uint64(40) {
				synctest.Test(t, func(t *testing.T) {
					w := &world{t: t, store: mem.New(mem.Options{Capabilities: caps}), began: time.Now(), ended: map[string]bool{}}
					var wg sync.WaitGroup
					for i := range 4 {
						wg.Go(func() { w.live(fmt.Sprint("p", i), rand.New(rand.NewPCG(seed, uint64(i)))) })
					}
					wg.Wait()
					w.late.Wait()
					sent, takings = sent+w.sent, takings+len(w.ended)+1
				})
				if t.Failed() {
					t.Fatalf("with seed %d", seed)
				}
			}
			t.Logf("%d changes by %d holders in a row", sent, takings)
			if sent < 1000 || takings < 100 {
				t.Error("that is too little to prove anything")
			}
		})
	}
}

// world is what the processes have in common.
type world struct {
	t     *testing.T
	store *mem.Store
	began time.Time
	late  sync.WaitGroup // requests that were given up and are still on their way

	mu    sync.Mutex
	last  string          // the token that sent the last change; guarded by mu
	ended map[string]bool // those that sent before; guarded by mu
	sent  int             // guarded by mu
}

// left notes that a change leaves.
func (w *world) left(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended[token] && w.last != token {
		w.t.Errorf("at %v %s sends a change after %s has", time.Since(w.began), token, w.last)
	}
	if w.last != token && w.last != "" {
		w.ended[w.last] = true
	}
	w.last = token
	w.sent++
}

// live is a process that mounts again and again.
func (w *world) live(name string, r *rand.Rand) {
	o := options(name)
	o.Boottime = func() time.Duration { return time.Since(w.began) }
	o.Keep = func(token string, _ *Record, own bool) error {
		o.TriedTokens = append(o.TriedTokens, token)
		return nil
	}
	for time.Since(w.began) < 4*time.Hour {
		l := &link{Provider: w.store, w: w, r: rand.New(rand.NewPCG(r.Uint64(), 0))}
		o.TakeOver = r.IntN(3) > 0
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		c, _, err := Take(ctx, l, o)
		cancel()
		if err != nil {
			time.Sleep(time.Duration(r.IntN(int(5 * time.Minute))))
			continue
		}
		o.LastToken, o.TriedTokens = c.Token(), nil
		for range r.IntN(60) {
			l.stopped()
			_ = put(c, change{l, c.Token()})
			time.Sleep(time.Duration(r.IntN(int(20 * time.Second))))
		}
		if r.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_ = c.Release(ctx)
			cancel()
		} else {
			abandon(c)
		}
		o.TakeOver = false
	}
}

// link is a process's way to the store, and holds requests up, on the way there and back, now and then for very long.
type link struct {
	provider.Provider
	w  *world
	mu sync.Mutex
	r  *rand.Rand
}

func (l *link) delay() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n := l.r.IntN(100); {
	case n == 0:
		return time.Duration(l.r.IntN(int(10 * time.Minute)))
	case n < 10:
		return time.Duration(l.r.IntN(int(5 * time.Second)))
	}
	return time.Duration(l.r.IntN(int(100 * time.Millisecond)))
}

// stopped stops whoever calls it, now and then.
func (l *link) stopped() { time.Sleep(l.delay()) }

// pass carries a request out. One that is given up on its way there arrives later, or never.
func (l *link) pass(ctx context.Context, do func(context.Context) error) error {
	if err := sleep(ctx, l.delay()); err != nil {
		if l.delay()%2 == 0 {
			l.w.late.Go(func() { l.stopped(); _ = do(context.Background()) })
		}
		return ctx.Err()
	}
	err := do(ctx)
	if back := sleep(ctx, l.delay()); back != nil {
		return ctx.Err()
	}
	if l.delay()%20 == 0 {
		return &provider.Error{Kind: provider.KindUnavailable, Unanswered: true, Err: errors.New("the answer is lost")}
	}
	return err
}

func (l *link) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, o provider.PutOptions) (obj provider.Object, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return obj, err
	}
	got := make(chan provider.Object, 1) // only for who waits
	err = l.pass(ctx, func(ctx context.Context) error {
		obj, err := l.Provider.Put(ctx, key, newReader(text), size, o)
		got <- obj
		return err
	})
	if err == nil {
		obj = <-got
	}
	return obj, err
}

func (l *link) Open(ctx context.Context, key string, o provider.OpenOptions) (body io.ReadCloser, obj provider.Object, err error) {
	if err := sleep(ctx, l.delay()); err != nil {
		return nil, obj, ctx.Err()
	}
	return l.Provider.Open(ctx, key, o)
}

func (l *link) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	page, err := l.Provider.List(ctx, o)
	if back := sleep(ctx, l.delay()); back != nil {
		return page, ctx.Err()
	}
	return page, err
}

func (l *link) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	return l.pass(ctx, func(ctx context.Context) error { return l.Provider.Delete(ctx, o, keys...) })
}

// change is a store to which a change is sent: what counts is when it leaves.
type change struct {
	*link
	token string
}

func (c change) Put(ctx context.Context, _ string, _ io.ReadSeeker, _ int64, _ provider.PutOptions) (o provider.Object, err error) {
	c.stopped() // before it leaves
	if err := provider.Pass(ctx); err != nil {
		return o, err
	}
	c.w.left(c.token)
	return o, nil
}
