package claim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sharefs/provider"
	"sharefs/provider/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are stores by what they check.
func kinds() map[string]provider.Capabilities {
	creates := mem.Full()
	creates.ReplaceIfVersion, creates.DeleteIfVersion = false, false
	return map[string]provider.Capabilities{"replacing": mem.Full(), "creating": creates, "settling": mem.Weak()}
}

// onEach runs a test on a store of each kind, in a bubble with a clock of its own.
func onEach(t *testing.T, test func(t *testing.T, s *mem.Store)) {
	for name, caps := range kinds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := mem.Options{Capabilities: caps}
				if !caps.Consistent {
					opts.ListingLag = time.Second
				}
				test(t, mem.New(opts))
			})
		})
	}
}

// clock is the boottime of a machine in a bubble; ahead is by how much more than the timers it has gone on.
type clock struct {
	mu    sync.Mutex
	began time.Time
	ahead time.Duration
}

func newClock() *clock { return &clock{began: time.Now()} }

func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.began) + c.ahead
}

// sleepThrough lets time pass that no timer sees, as when a process is stopped.
func (c *clock) sleepThrough(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// options are those of a mount with its own catalog.
func options(catalog string) Options {
	return Options{Host: "host-" + catalog, Machine: "machine-" + catalog, PID: 42, Catalog: catalog, Boottime: newClock().now}
}

// take takes the claim, which is released at the end of the test.
func take(t *testing.T, s provider.Provider, o Options) *Claim {
	t.Helper()
	c, _, err := Take(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abandon(c) })
	return c
}

// abandon ends a claim as the death of its process does.
func abandon(c *Claim) { c.end() }

// refused makes sure that the claim cannot be taken, and returns why.
func refused(t *testing.T, s provider.Provider, o Options) *HeldError {
	t.Helper()
	c, _, err := Take(t.Context(), s, o)
	if err == nil {
		abandon(c)
		t.Fatal("the claim was taken from its holder")
	}
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("the error is %v", err)
	}
	return held
}

func release(t *testing.T, c *Claim) {
	t.Helper()
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, c *Claim, want Status) {
	t.Helper()
	if s := c.State(); s.Status != want {
		t.Fatalf("the claim is %+v, want %s", s, want)
	}
}

// put sends a change through the fence.
func put(c *Claim, s provider.Provider) error {
	_, err := c.Fence(s).Put(context.Background(), "data", strings.NewReader("x"), 1, provider.PutOptions{})
	return err
}

func wantSent(t *testing.T, c *Claim, s provider.Provider) {
	t.Helper()
	if err := put(c, s); err != nil {
		t.Fatalf("a change is not sent: %v", err)
	}
}

func wantStopped(t *testing.T, err error, kind provider.Kind) {
	t.Helper()
	if !errors.Is(err, ErrLost) || provider.KindOf(err) != kind {
		t.Fatalf("the error is %v, want one of ErrLost and kind %v", err, kind)
	}
}

// records returns the claims in a store by key.
func records(t *testing.T, s provider.Provider) map[string]Record {
	t.Helper()
	time.Sleep(2 * time.Second) // listings may lag
	page, err := s.List(t.Context(), provider.ListOptions{Prefix: Prefix, Flat: true})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Record{}
	for _, o := range page.Objects {
		body, _, err := s.Open(t.Context(), o.Key, provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var r Record
		if err := errors.Join(json.NewDecoder(body).Decode(&r), body.Close()); err != nil {
			t.Fatalf("%s: %v", o.Key, err)
		}
		found[o.Key] = r
	}
	return found
}

// onlyRecord returns the one claim of a store.
func onlyRecord(t *testing.T, s provider.Provider) Record {
	t.Helper()
	all := records(t, s)
	if len(all) != 1 {
		t.Fatalf("claims are %v, want one", all)
	}
	for _, r := range all {
		return r
	}
	panic("unreachable")
}

// counting counts the requests for claims.
type counting struct {
	provider.Provider
	mu   sync.Mutex
	seen []string
}

func (s *counting) note(op, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, op+" "+key)
}

// reset returns what was seen, and forgets it.
func (s *counting) reset() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func (s *counting) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	s.note("put", key)
	return s.Provider.Put(ctx, key, r, size, o)
}

func (s *counting) Open(ctx context.Context, key string, o provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	s.note("open", key)
	return s.Provider.Open(ctx, key, o)
}

func (s *counting) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	s.note("list", o.Prefix)
	return s.Provider.List(ctx, o)
}

func (s *counting) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	s.note("delete", fmt.Sprint(keys))
	return s.Provider.Delete(ctx, o, keys...)
}

func newReader(text []byte) io.ReadSeeker { return bytes.NewReader(text) }
