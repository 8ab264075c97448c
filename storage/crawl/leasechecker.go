package crawl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"time"

	"sharefs/storage"
	"sharefs/storage/container"
)

// Expiry says which leases have ended, beside the time that each of them has.
type Expiry struct {
	// Enabled removes the leases that have ended, and shares that have none any more. Else the checker only counts.
	Enabled bool
	// Cutoff, if not zero, ends the leases that were last renewed before it. If it is zero leases end by their age.
	Cutoff time.Time
	// Duration is the age at which leases end; 0: each has its own end.
	Duration time.Duration
	// Kinds are the shares whose leases end; none: of both kinds.
	Kinds []storage.Kind
}

// kinds returns those whose leases end.
func (e Expiry) kinds() []storage.Kind {
	if len(e.Kinds) == 0 {
		return []storage.Kind{container.Mutable, container.Immutable}
	}
	return e.Kinds
}

// Ended reports whether a lease on a share of a kind has ended.
func (e Expiry) Ended(kind storage.Kind, l storage.Lease, now time.Time) bool {
	switch {
	case !slices.Contains(e.kinds(), kind):
		return false
	case !e.Cutoff.IsZero():
		return l.Renewed().Before(e.Cutoff)
	case e.Duration > 0:
		return now.Sub(l.Renewed()) > e.Duration
	}
	// Tahoe-LAFS compares the age with the time of the end, which is never over; its documents say what is done here.
	return l.Expires.Before(now)
}

// LeaseChecker looks at the leases of all shares. Its state is in lease_checker.state.json, and what came of the last ten cycles
// in lease_checker.history.json.
type LeaseChecker struct {
	*Crawler
	expiry  Expiry
	history stateFile
	cycle   Cycle            // guarded by Crawler.mu
	past    map[string]Cycle // by number; guarded by Crawler.mu
}

// maxPast is how many cycles the history has.
const maxPast = 10

// NewLeaseChecker returns the checker of a store, which goes on from where the store's last one was.
func NewLeaseChecker(s *storage.Store, e Expiry, o Options) (*LeaseChecker, error) {
	c, err := newCrawler(s, o, "lease_checker.state")
	if err != nil {
		return nil, err
	}
	c.minCycle, c.slow = 12*time.Hour, 6*time.Minute
	l := &LeaseChecker{Crawler: c, expiry: e, history: newStateFile(s, "lease_checker.history"), past: map[string]Cycle{}}
	c.job = l
	if err := l.history.checkFormat(); err != nil {
		return nil, err
	}
	if err := l.history.read(&l.past); err != nil {
		c.o.Log.Warn("the history of the lease checker cannot be read, and is begun anew", "file", l.history.path, "err", err)
		l.past = map[string]Cycle{}
	}
	var state leaseState
	c.load(&state, &state.position)
	l.cycle = newCycle()
	if state.Cycle != nil && state.ToDate != nil {
		l.cycle = state.ToDate.cycle()
	}
	return l, nil
}

// Current returns what the cycle that is running has found so far.
func (l *LeaseChecker) Current() Cycle {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.configured(l.cycle.clone())
}

// Past returns what came of the last cycles, by number.
func (l *LeaseChecker) Past() map[int]Cycle {
	l.mu.Lock()
	defer l.mu.Unlock()
	past := map[int]Cycle{}
	for n, c := range l.past {
		if i, err := strconv.Atoi(n); err == nil {
			past[i] = c
		}
	}
	return past
}

// configured notes what the cycle is about.
func (l *LeaseChecker) configured(c Cycle) Cycle {
	c.Enabled, c.Mode = l.expiry.Enabled, modeOf(l.expiry)
	return c
}

func (l *LeaseChecker) started() { l.cycle = newCycle() }

func (l *LeaseChecker) wholePrefix(int, string, []string) bool { return false }

// bucket looks at the shares of a storage index.
func (l *LeaseChecker) bucket(prefix, bucket string) {
	index, ok := storage.BucketIndex(prefix, bucket)
	if !ok {
		l.o.Log.Warn("no storage index, and not crawled", "prefix", prefix, "name", bucket)
		return
	}
	disk, err := l.store.BucketDisk(index)
	var numbers []int
	if err == nil {
		numbers, err = l.store.Shares(index)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.o.Log.Error("a bucket cannot be crawled", "bucket", bucket, "err", err)
		}
		return
	}
	all := verdict{}
	kind := ""
	for _, n := range numbers {
		found, err := l.share(index, n)
		if err != nil {
			l.o.Log.Error("a share cannot be crawled", "share", l.store.SharePath(index, n), "err", err)
			continue
		}
		kind = found.kind
		all = all.with(found.verdict)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cycle.examinedBucket(kind)
	l.cycle.freedBucket(all, disk, kind)
}

// found is what a share is, and what becomes of it.
type found struct {
	verdict
	kind string
}

// verdict says by which measure a share, or any of a bucket, is kept.
type verdict struct {
	original   bool // a lease has not ended by its own time
	configured bool // by what is configured
	actual     bool // it was not removed
}

func (v verdict) with(o verdict) verdict {
	return verdict{v.original || o.original, v.configured || o.configured, v.actual || o.actual}
}

// share looks at a share. One that is damaged is noted, and kept.
func (l *LeaseChecker) share(index storage.Index, number int) (found, error) {
	info, err := l.store.Inspect(index, number)
	if wrong := new(container.Error); errors.As(err, &wrong) {
		l.o.Log.Error("a share is damaged, or of an unknown version: it is left as it is", "err", err)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cycle.Corrupt = append(l.cycle.Corrupt, CorruptShare{index.String(), number})
		return found{verdict{true, true, true}, "unknown"}, nil
	}
	if err != nil {
		return found{}, err
	}
	now := l.o.Now()
	v := verdict{actual: true}
	ended := false
	for _, lease := range info.Leases {
		v.original = v.original || lease.Expires.After(now)
		if l.expiry.Ended(info.Kind, lease, now) {
			ended = true
		} else {
			v.configured = true
		}
	}
	if l.expiry.Enabled {
		v.actual = v.configured
		if err := l.remove(index, number, info.Kind, ended, now); err != nil {
			return found{}, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cycle.examinedShare(info, now)
	l.cycle.freedShare(v, info)
	return found{v, info.Kind.String()}, nil
}

// remove removes the leases that have ended.
func (l *LeaseChecker) remove(index storage.Index, number int, kind storage.Kind, ended bool, now time.Time) error {
	if !ended {
		return nil
	}
	left, err := l.store.CancelLeases(index, number, func(lease storage.Lease) bool { return l.expiry.Ended(kind, lease, now) })
	if err == nil && left == 0 {
		l.o.Log.Info("a share is removed: all its leases have ended", "share", fmt.Sprintf("%v/%d", index, number))
	}
	return err
}

func (l *LeaseChecker) finished(cycle int, started, now time.Time) error {
	done := l.configured(l.cycle.clone())
	done.Times = []float64{seconds(started), seconds(now)}
	l.past[strconv.Itoa(cycle)] = done
	for len(l.past) > maxPast {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(l.past)), compareNumbers)
		delete(l.past, oldest)
	}
	return l.history.write(l.past)
}

func compareNumbers(a, b string) int {
	x, _ := strconv.Atoi(a) // what is no number is the oldest
	y, _ := strconv.Atoi(b)
	return x - y
}

func (l *LeaseChecker) saved(p position) any {
	state := leaseState{position: p}
	if p.Cycle != nil {
		state.ToDate = saveCycle(l.configured(l.cycle.clone()))
	}
	return state
}
