package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// Latency is how long one kind of small request takes, one after the other.
type Latency struct {
	Op          string // "put", "stat", "get", "list", "delete"
	Count       int
	Median, P95 time.Duration
}

// Throughput is how fast bytes move, Streams objects at a time.
type Throughput struct {
	Up, Down float64 // bytes a second
	Bytes    int64   // each way
	Streams  int
}

// smallBody is that of a timed request: a share's lease, a symlink, a small file.
const smallBody = 1024

// latency times small requests.
func (r *run) latency(ctx context.Context) {
	body := make([]byte, smallBody)
	_, _ = rand.Read(body) // never fails
	key := r.name + "-latency"
	took := map[string][]time.Duration{}
	ops := []struct {
		name string
		run  func(context.Context) error
	}{
		{"put", func(ctx context.Context) error {
			obj, err := r.put(ctx, key, body)
			r.clock(obj)
			return err
		}},
		{"stat", func(ctx context.Context) error {
			obj, err := r.store.Stat(ctx, key)
			r.clock(obj)
			return err
		}},
		{"get", func(ctx context.Context) error { _, err := r.get(ctx, key); return err }},
		{"list", func(ctx context.Context) error {
			_, err := r.store.List(ctx, provider.ListOptions{Prefix: r.name, Flat: true, Limit: 1})
			return err
		}},
		{"delete", func(ctx context.Context) error { return r.remove(ctx, key) }},
	}
	for range r.opts.Rounds {
		for _, op := range ops {
			begin := time.Now()
			if err := r.timed(ctx, op.run); err != nil {
				r.problem("timing "+op.name, err)
				return
			}
			took[op.name] = append(took[op.name], time.Since(begin))
		}
	}
	for _, op := range ops {
		if all := took[op.name]; len(all) > 0 {
			r.report.Latency = append(r.report.Latency, summary(op.name, all))
		}
	}
}

func summary(op string, all []time.Duration) Latency {
	slices.Sort(all)
	n := len(all)
	return Latency{Op: op, Count: n, Median: all[n/2], P95: all[min(n*95/100, n-1)]}
}

// clock compares the time of an object that was just stored with that of this machine.
func (r *run) clock(obj provider.Object) {
	if !obj.ModTime.IsZero() && r.report.Clock == 0 {
		r.report.Clock = time.Until(obj.ModTime)
	}
}

// streams is how many objects move at a time.
const streams = 4

// throughput sends objects and reads them back.
func (r *run) throughput(ctx context.Context) {
	if r.opts.Size < streams {
		return
	}
	body := make([]byte, r.opts.Size/streams)
	_, _ = rand.Read(body)
	keys := make([]string, streams)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s-throughput-%d", r.name, i)
		r.made[keys[i]] = true
	}
	t := &Throughput{Bytes: int64(len(body)) * streams, Streams: streams}
	var err error
	t.Up, err = r.move(ctx, keys, t.Bytes, func(ctx context.Context, key string) error {
		_, err := r.store.Put(ctx, key, bytes.NewReader(body), int64(len(body)), provider.PutOptions{})
		return err
	})
	if err == nil {
		t.Down, err = r.move(ctx, keys, t.Bytes, func(ctx context.Context, key string) error {
			n, err := r.get(ctx, key)
			if err == nil && n != int64(len(body)) {
				return fmt.Errorf("%s came back with %d bytes instead of %d", key, n, len(body))
			}
			return err
		})
	}
	if err != nil {
		r.problem("measuring the throughput", err)
		return
	}
	r.report.Throughput = t
}

// move does something with all keys at the same time, and returns the bytes a second.
func (r *run) move(ctx context.Context, keys []string, size int64, f func(context.Context, string) error) (float64, error) {
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, key := range keys {
		group.Go(func() error { return f(ctx, key) })
	}
	err := group.Wait()
	return float64(size) / max(time.Since(begin), time.Microsecond).Seconds(), err
}
