package mem_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
)

func TestConformance(t *testing.T) {
	for name, opts := range map[string]mem.Options{
		"full": {},
		"weak": {Name: "weak", Capabilities: mem.Weak(), ListingLag: 20 * time.Millisecond},
		"without conditions": {Capabilities: with(func(c *provider.Capabilities) {
			c.CreateIfAbsent, c.ReplaceIfVersion, c.DeleteIfVersion = false, false, false
		})},
		"create only":  {Capabilities: with(func(c *provider.Capabilities) { c.ReplaceIfVersion, c.DeleteIfVersion = false, false })},
		"without copy": {Capabilities: with(func(c *provider.Capabilities) { c.Copy, c.AtomicMove, c.ListMetadata = false, false, false })},
		"small limits": {Capabilities: with(func(c *provider.Capabilities) {
			c.MaxPutSize, c.MaxCopySize, c.MinPartSize, c.MaxPartSize = 4<<20, 2<<20, 100_000, 4<<20
			c.MaxListPage, c.MaxDeleteBatch, c.MaxMetadata, c.MaxKey = 5, 3, 2000, 1000
		})},
		"no limits": {Capabilities: provider.Capabilities{Consistent: true}},
	} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider { return mem.New(opts) }, ManyKeys: 200})
		})
	}
}

func with(change func(*provider.Capabilities)) provider.Capabilities {
	caps := mem.Full()
	change(&caps)
	return caps
}

func put(t *testing.T, s *mem.Store, key string, size int) error {
	t.Helper()
	_, err := s.Put(t.Context(), key, bytes.NewReader(make([]byte, size)), int64(size), provider.PutOptions{})
	return err
}

func TestQuotaRefusesWhatDoesNotFit(t *testing.T) {
	s := mem.New(mem.Options{Quota: 100})
	if err := put(t, s, "a", 60); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b", 41); !provider.Is(err, provider.KindQuota) {
		t.Fatalf("41 bytes more: %v", err)
	}
	if err := put(t, s, "a", 100); err != nil {
		t.Fatalf("in place of the first: %v", err)
	}
	if u, err := s.Usage(t.Context()); err != nil || u != (provider.Usage{Bytes: 100, Objects: 1, Quota: 100}) {
		t.Fatalf("%+v, %v", u, err)
	}
	if err := s.Delete(t.Context(), provider.DeleteOptions{}, "a"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b", 100); err != nil {
		t.Fatalf("after the deletion: %v", err)
	}
}

func TestListingsLagByTheClock(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := mem.New(mem.Options{Capabilities: mem.Weak(), ListingLag: time.Second, Now: func() time.Time { return now }})
	listed := func() []string {
		page, err := s.List(t.Context(), provider.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
		return keys
	}
	want := func(when string, keys ...string) {
		t.Helper()
		if got := listed(); !slices.Equal(got, keys) {
			t.Errorf("%s: %q, want %q", when, got, keys)
		}
	}
	if err := put(t, s, "a", 1); err != nil {
		t.Fatal(err)
	}
	want("at once")
	now = now.Add(time.Second)
	want("after the lag", "a")
	if err := s.Delete(t.Context(), provider.DeleteOptions{}, "a"); err != nil {
		t.Fatal(err)
	}
	want("deleted at once", "a")
	now = now.Add(time.Second)
	want("deleted, after the lag")
}
