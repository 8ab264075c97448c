package crawl

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/storage"
	"sharefs/storage/container"
	"sharefs/storage/crashfs"
	"sharefs/storage/storagetest"
)

// golden is what Tahoe-LAFS 1.20 made: see test/tahoe/golden.py, which lets it crawl ten days after the last request.
const golden = "../testdata/tahoe-1.20"

var crawled = time.Unix(1_800_000_000, 0).Add(3*time.Hour + 10*24*time.Hour)

// plainFS is a disk that does not tell how much a file takes.
type plainFS struct{ storage.FS }

func (p plainFS) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	f, err := p.FS.OpenFile(name, flag, perm)
	return plainFile{f}, err
}

func (p plainFS) Stat(name string) (fs.FileInfo, error) {
	fi, err := p.FS.Stat(name)
	return plainInfo{fi}, err
}

type plainFile struct{ storage.File }

func (p plainFile) Stat() (fs.FileInfo, error) {
	fi, err := p.File.Stat()
	return plainInfo{fi}, err
}

type plainInfo struct{ fs.FileInfo }

func (plainInfo) Sys() any { return nil }

// bed is a store with crawlers, and a clock.
type bed struct {
	*testing.T
	dir   string
	now   time.Time
	tick  time.Duration // how long a look at the clock takes
	store *storage.Store
}

func newBed(t *testing.T, from string) *bed {
	b := &bed{T: t, dir: t.TempDir(), now: crawled}
	if from != "" {
		b.check(os.CopyFS(b.dir, os.DirFS(from)))
	}
	var err error
	b.store, err = storage.Open(b.dir, storage.Options{FS: plainFS{storage.OS()}, Now: b.clock, Log: slog.New(slog.DiscardHandler)})
	b.check(err)
	return b
}

func (b *bed) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bed) clock() time.Time {
	b.now = b.now.Add(b.tick)
	return b.now
}

func (b *bed) options() Options { return Options{Now: b.clock, Log: slog.New(slog.DiscardHandler)} }

func (b *bed) counter() *BucketCounter {
	b.Helper()
	c, err := NewBucketCounter(b.store, b.options())
	b.check(err)
	return c
}

func (b *bed) checker(e Expiry) *LeaseChecker {
	b.Helper()
	l, err := NewLeaseChecker(b.store, e, b.options())
	b.check(err)
	return l
}

// slice lets a crawler work once.
func (b *bed) slice(c *Crawler) (done bool) {
	b.Helper()
	done, err := c.Slice(context.Background())
	b.check(err)
	return done
}

// damage puts a file into the store that is no container, as golden.py does.
func (b *bed) damage() {
	b.Helper()
	dir := filepath.Join(b.dir, "shares", "22", "22aaaaaaaaaaaaaaaaaaaaaaaa")
	b.check(os.MkdirAll(dir, 0o777))
	b.check(os.WriteFile(filepath.Join(dir, "1"), []byte("no container"), 0o666))
}

// sameJSON compares two files, but for some keys at their top.
func (b *bed) sameJSON(got, want string, but ...string) {
	b.Helper()
	read := func(path string) map[string]any {
		text, err := os.ReadFile(path)
		b.check(err)
		var state map[string]any
		b.check(json.Unmarshal(text, &state))
		for _, key := range but {
			delete(state, key)
		}
		return state
	}
	if diff := cmp.Diff(read(want), read(got)); diff != "" {
		b.Errorf("%s is not as Tahoe-LAFS has it (-its +ours):\n%s", filepath.Base(got), diff)
	}
}

func TestTheFilesOfACycleAreThoseOfTahoe(t *testing.T) {
	b := newBed(t, filepath.Join(golden, "server"))
	b.damage()
	counter, checker := b.counter(), b.checker(Expiry{})
	if !b.slice(counter.Crawler) || !b.slice(checker.Crawler) {
		t.Fatal("a cycle is not done in a slice of a second")
	}
	state := filepath.Join(golden, "crawlers")
	b.sameJSON(filepath.Join(b.dir, "bucket_counter.state.json"), filepath.Join(state, "bucket_counter.state.json.between"))
	b.sameJSON(filepath.Join(b.dir, "lease_checker.state.json"), filepath.Join(state, "lease_checker.state.json.between"),
		"history", "current-cycle-start-time")
	if n, ok := counter.Count(); !ok || n != 3 {
		t.Errorf("%d buckets, %v, want 3", n, ok)
	}
	// The counter has had its first cycle 1000 seconds before the checker, there.
	past := checker.Past()[0]
	past.Times = []float64{seconds(crawled) + 1000, seconds(crawled) + 1000}
	text, err := json.Marshal(map[string]Cycle{"0": past})
	b.check(err)
	b.check(os.WriteFile(filepath.Join(b.dir, "shifted"), text, 0o666))
	b.sameJSON(filepath.Join(b.dir, "shifted"), filepath.Join(state, "lease_checker.history.json"))
}

// TestACycleThatTahoeHasBegunIsFinished takes over the states that Tahoe-LAFS has left within its second cycle.
func TestACycleThatTahoeHasBegunIsFinished(t *testing.T) {
	b := newBed(t, filepath.Join(golden, "server"))
	b.damage()
	for _, name := range []string{"bucket_counter.state.json", "lease_checker.state.json"} {
		text, err := os.ReadFile(filepath.Join(golden, "crawlers", name+".within"))
		b.check(err)
		b.check(os.WriteFile(filepath.Join(b.dir, name), text, 0o666))
	}
	counter, checker := b.counter(), b.checker(Expiry{})
	if p := counter.Progress(); !p.Running || p.Cycle != 1 || p.Done < 0.4 || p.Done > 0.6 {
		t.Errorf("the counter is at %+v", p)
	}
	if p := checker.Progress(); !p.Running || p.Cycle != 1 {
		t.Errorf("the checker is at %+v", p)
	}
	if !b.slice(counter.Crawler) || !b.slice(checker.Crawler) {
		t.Fatal("a cycle is not done in a slice of a second")
	}
	if n, ok := counter.Count(); !ok || n != 3 {
		t.Errorf("%d buckets, %v, want 3", n, ok)
	}
	fresh := newBed(t, filepath.Join(golden, "server"))
	fresh.damage()
	whole := fresh.checker(Expiry{})
	fresh.slice(whole.Crawler)
	want, got := whole.Past()[0], checker.Past()[1]
	got.Times, want.Times = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a cycle that was taken over is not as a whole one (-whole +taken):\n%s", diff)
	}
}

// TestACycleInManySlicesIsAsInOne stops and starts again after every bucket.
func TestACycleInManySlicesIsAsInOne(t *testing.T) {
	one, many := newBed(t, filepath.Join(golden, "server")), newBed(t, filepath.Join(golden, "server"))
	whole := one.checker(Expiry{})
	one.slice(whole.Crawler)
	many.tick = time.Millisecond
	slices := 0
	for done := false; !done; slices++ {
		l, err := NewLeaseChecker(many.store, Expiry{}, Options{Now: many.clock, Slice: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
		many.check(err)
		done = many.slice(l.Crawler)
	}
	last := many.checker(Expiry{})
	want, got := whole.Past()[0], last.Past()[0]
	got.Times, want.Times = nil, nil
	if diff := cmp.Diff(want, got); diff != "" || slices < 5 {
		t.Errorf("in %d slices (-one +many):\n%s", slices, diff)
	}
}

var (
	index = storagetest.Index
	lease = storagetest.Lease
)

// upload stores a share with the lease of a client.
func (b *bed) upload(i storage.Index, client int) {
	b.Helper()
	got, err := b.store.Allocate(i, storage.Allocation{Shares: []int{0}, Size: 100, Lease: lease(client)})
	b.check(err)
	_, err = got.Uploads[0].Write(0, bytes.Repeat([]byte{1}, 100))
	b.check(err)
	b.check(got.Uploads[0].Close())
}

func (b *bed) slot(i storage.Index) {
	b.Helper()
	_, err := b.store.ReadTestWrite(i, storage.SlotUpdate{
		Secrets: storage.SlotSecrets{Lease: lease(0)}, Shares: map[int]storage.ShareUpdate{0: {}},
	})
	b.check(err)
}

// TestLeasesEnd has an immutable share of two clients, and a slot of one, and looks at what is left after a crawl.
func TestLeasesEnd(t *testing.T) {
	const days = 24 * time.Hour
	immutable, mutable := []storage.Kind{container.Immutable}, []storage.Kind{container.Mutable}
	for _, c := range []struct {
		name              string
		expiry            Expiry
		after             time.Duration // the second lease is ten days younger
		leases, slot      int
		removed, wouldHad int64 // shares
	}{
		{"not enabled", Expiry{}, 100 * days, 2, 1, 0, 2},
		{"none yet", Expiry{Enabled: true}, 30 * days, 2, 1, 0, 0},
		{"by their own ends", Expiry{Enabled: true}, 32 * days, 1, 0, 1, 1},
		{"all by their own ends", Expiry{Enabled: true}, 42 * days, 0, 0, 2, 2},
		{"by an age", Expiry{Enabled: true, Duration: 5 * days}, 11 * days, 1, 0, 1, 0},
		{"of no slots", Expiry{Enabled: true, Kinds: immutable}, 42 * days, 0, 1, 1, 2},
		{"of slots only", Expiry{Enabled: true, Kinds: mutable}, 42 * days, 2, 0, 1, 2},
		{"by a date", Expiry{Enabled: true, Cutoff: crawled.Add(5 * days)}, 11 * days, 1, 0, 1, 0},
		{"by a date before all", Expiry{Enabled: true, Cutoff: crawled.Add(-days)}, 100 * days, 2, 1, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "")
			b.upload(index(0), 0)
			b.slot(index(1))
			b.now = crawled.Add(10 * days)
			b.check(b.store.AddLease(index(0), lease(1)))
			b.now = crawled.Add(c.after)
			l := b.checker(c.expiry)
			b.slice(l.Crawler)
			for n, want := range []int{c.leases, c.slot} {
				leases, err := b.store.Leases(index(n), 0)
				if len(leases) != want || (err != nil) != (want == 0) {
					t.Errorf("share %d has %d leases, want %d: %v", n, len(leases), want, err)
				}
			}
			space := l.Past()[0].Space
			if space["actual-shares"] != c.removed || space["original-shares"] != c.wouldHad || space["examined-shares"] != 2 {
				t.Errorf("removed: %d shares, want %d; by their own ends: %d, want %d", space["actual-shares"], c.removed,
					space["original-shares"], c.wouldHad)
			}
			if entries, err := os.ReadDir(filepath.Join(b.dir, "shares")); err != nil || int64(len(entries)) != 1+2-c.removed {
				t.Errorf("%d directories are left: %v", len(entries), err)
			}
		})
	}
}

func TestAStateThatCannotBeReadIsBegunAnew(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"last-complete-prefix": "no prefix", "current-cycle": 3}`, `{"bucket-counts": 7}`} {
		b := newBed(t, filepath.Join(golden, "server"))
		for _, name := range []string{"bucket_counter.state.json", "lease_checker.state.json", "lease_checker.history.json"} {
			b.check(os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o666))
		}
		counter, checker := b.counter(), b.checker(Expiry{})
		if !b.slice(counter.Crawler) || !b.slice(checker.Crawler) {
			t.Errorf("after %q a cycle is not done", text)
		}
		if n, ok := counter.Count(); !ok || n != 2 {
			t.Errorf("after %q there are %d buckets, %v, want 2", text, n, ok)
		}
	}
}

func TestAStateOfAnOldTahoeIsRefused(t *testing.T) {
	b := newBed(t, "")
	b.check(os.WriteFile(filepath.Join(b.dir, "lease_checker.history"), []byte("pickled"), 0o666))
	if _, err := NewLeaseChecker(b.store, Expiry{}, b.options()); err == nil {
		t.Error("the history of an old Tahoe-LAFS is not refused")
	}
}

// TestACrawlerWaitsAndStopsWithItsStateSaved lets a counter run for a day, and stops it.
func TestACrawlerWaitsAndStopsWithItsStateSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open("/storage", storage.Options{FS: crashfs.New()})
		if err != nil {
			t.Fatal(err)
		}
		counter, err := NewBucketCounter(s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- counter.Run(ctx) }()
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if p := counter.Progress(); p.Cycle != -1 || p.Running || time.Until(p.NextSlice) != time.Minute {
			t.Errorf("four minutes after the start: %+v", p)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if p := counter.Progress(); p.Running || p.Cycle < 22 || p.Cycle > 24 {
			t.Errorf("after a day: %+v", p)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		last := counter.Progress().Cycle
		again, err := NewBucketCounter(s, Options{})
		if err != nil || again.Progress().Cycle != last {
			t.Errorf("another crawler is at %+v, want cycle %d: %v", again.Progress(), last, err)
		}
	})
}
