// Package crawl is what a storage node does with its shares now and then, of itself: it counts the buckets, and looks at the
// leases, and may remove those that have ended. A crawler goes through the prefixes of storage indexes in order, in slices of
// time, and keeps where it is in a file, so that another process goes on from there, be it of Tahoe-LAFS 1.20 or of ours: the
// files are those of its storage/crawler.py and storage/expirer.py.
package crawl

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sharefs/storage"
)

// Options of a crawler. The zero value works.
type Options struct {
	// Slice is how long a crawler works before it saves its state and waits; 0: a second.
	Slice time.Duration
	// Busy is the part of the time in which it works, within a cycle; 0: a tenth.
	Busy float64
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Log is told of shares that cannot be read; nil: slog.Default().
	Log *slog.Logger
}

// maxWait is how long a crawler waits at most within a cycle, however long its slice was.
const maxWait = 299 * time.Second

// Crawler goes through all buckets, again and again. Run does the work; Progress may be called at once.
type Crawler struct {
	store    *storage.Store
	o        Options
	job      job
	file     stateFile
	minCycle time.Duration // from the start of one cycle's wait to the next cycle
	slow     time.Duration // wait at the start

	mu     sync.Mutex // guards what follows, and what the job has
	state  position
	next   time.Time // of the next slice; zero: one is running
	listed listing
}

// job is what a crawler does. Its methods are called with the crawler's mu, but for bucket.
type job interface {
	started()
	// wholePrefix reports whether the job wants the list of buckets of a prefix only; it has taken it then.
	wholePrefix(cycle int, prefix string, buckets []string) bool
	bucket(prefix, bucket string)
	finished(cycle int, started, now time.Time) error
	// saved returns what is written to the state file.
	saved(p position) any
}

// position is the part of the state that all crawlers have.
type position struct {
	Version  int     `json:"version"`
	Finished *int    `json:"last-cycle-finished"`
	Cycle    *int    `json:"current-cycle"`
	Prefix   *string `json:"last-complete-prefix"`
	Bucket   *string `json:"last-complete-bucket"`
	Started  float64 `json:"current-cycle-start-time"` // in seconds since 1970
}

// listing is the buckets of a prefix, listed once for all slices that it takes.
type listing struct {
	prefix  string
	buckets []string
}

// prefixes are all prefixes, in order.
var prefixes = storage.Prefixes()

func newCrawler(s *storage.Store, o Options, file string) (*Crawler, error) {
	if o.Slice == 0 {
		o.Slice = time.Second
	}
	if o.Busy == 0 {
		o.Busy = 0.1
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	c := &Crawler{store: s, o: o, file: newStateFile(s, file)}
	return c, c.file.checkFormat()
}

// load reads the state file. One that cannot be read is as none, which costs a cycle: so does Tahoe-LAFS.
func (c *Crawler) load(state any, p *position) {
	if err := c.file.read(state); err != nil {
		c.o.Log.Warn("the state of a crawler cannot be read, and is begun anew", "file", c.file.path, "err", err)
		*p = position{}
	}
	if p.Prefix != nil && !slices.Contains(prefixes, *p.Prefix) {
		p.Prefix = nil
	}
	if p.Started == 0 {
		p.Started = seconds(c.o.Now())
	}
	p.Version = 1
	c.state = *p
}

// Run crawls until the context ends. An error says that the last state cannot be kept; errors before are logged.
func (c *Crawler) Run(ctx context.Context) error {
	wait := c.slow
	for {
		c.setNext(c.o.Now().Add(wait))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return c.save()
		case <-timer.C:
		}
		from := c.o.Now()
		done, err := c.Slice(ctx)
		if err != nil {
			c.o.Log.Error("the state of a crawler cannot be kept", "file", c.file.path, "err", err)
		}
		wait = c.wait(c.o.Now().Sub(from), done)
	}
}

// wait returns how long to wait after a slice.
func (c *Crawler) wait(slice time.Duration, done bool) time.Duration {
	wait := min(max(time.Duration(float64(slice)/c.o.Busy)-slice, 0), maxWait)
	if done {
		return max(wait, c.minCycle)
	}
	return wait
}

func (c *Crawler) setNext(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = at
}

// Slice works until its time is over, the cycle is done or the context has ended, and saves the state. done: the cycle is.
func (c *Crawler) Slice(ctx context.Context) (done bool, err error) {
	c.setNext(time.Time{})
	deadline := c.o.Now().Add(c.o.Slice)
	over := func() bool { return ctx.Err() != nil || !c.o.Now().Before(deadline) }
	c.begin()
	for done = false; !done; {
		prefix := c.nextPrefix()
		if prefix == "" {
			err = c.finish()
			done = true
			break
		}
		if !c.crawlPrefix(prefix, over) || over() {
			break
		}
	}
	return done, errors.Join(err, c.save())
}

// begin starts a cycle, unless one is running.
func (c *Crawler) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Cycle != nil {
		return
	}
	cycle := 0
	if c.state.Finished != nil {
		cycle = *c.state.Finished + 1
	}
	c.state.Cycle, c.state.Started = &cycle, seconds(c.o.Now())
	c.job.started()
}

// nextPrefix returns the prefix that is to be crawled, "" after the last.
func (c *Crawler) nextPrefix() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.crawled(); i < len(prefixes) {
		return prefixes[i]
	}
	return ""
}

// crawled returns how many prefixes are done. The caller has mu.
func (c *Crawler) crawled() int {
	if c.state.Prefix == nil {
		return 0
	}
	return slices.Index(prefixes, *c.state.Prefix) + 1
}

// crawlPrefix crawls the buckets of a prefix that are not yet crawled; false: the time is over before the last.
func (c *Crawler) crawlPrefix(prefix string, over func() bool) bool {
	buckets := c.list(prefix)
	c.mu.Lock()
	whole := c.job.wholePrefix(*c.state.Cycle, prefix, buckets)
	last := c.state.Bucket
	c.mu.Unlock()
	for _, b := range buckets {
		if whole || last != nil && b <= *last {
			continue
		}
		c.job.bucket(prefix, b)
		c.mu.Lock()
		c.state.Bucket = &b
		c.mu.Unlock()
		if over() {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Prefix = &prefix
	return true
}

// list returns the buckets of a prefix. One that cannot be listed has none.
func (c *Crawler) list(prefix string) []string {
	if c.listed.prefix == prefix {
		return c.listed.buckets
	}
	buckets, err := c.store.Buckets(prefix)
	if err != nil {
		c.o.Log.Error("a directory cannot be crawled", "prefix", prefix, "err", err)
	}
	c.listed = listing{prefix, buckets}
	return buckets
}

// finish ends a cycle.
func (c *Crawler) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cycle := *c.state.Cycle
	c.state.Prefix, c.state.Bucket, c.state.Cycle, c.state.Finished = nil, nil, nil, &cycle
	c.listed = listing{}
	return c.job.finished(cycle, timeOf(c.state.Started), c.o.Now())
}

func (c *Crawler) save() error {
	c.mu.Lock()
	saved := c.job.saved(c.state)
	c.mu.Unlock()
	return c.file.write(saved)
}

// Progress is how far a crawler is.
type Progress struct {
	Cycle     int       // the number of the cycle that is running, or of the last; -1: there was none
	Running   bool      // a cycle is
	Done      float64   // the part of it that is done, from 0 to 1
	Started   time.Time // when the cycle was
	NextSlice time.Time // when it goes on; zero: it is at work
}

// Progress returns how far the crawler is.
func (c *Crawler) Progress() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Progress{Cycle: -1, Started: timeOf(c.state.Started), NextSlice: c.next}
	switch {
	case c.state.Cycle != nil:
		p.Cycle, p.Running, p.Done = *c.state.Cycle, true, float64(c.crawled())/float64(len(prefixes))
	case c.state.Finished != nil:
		p.Cycle = *c.state.Finished
	}
	return p
}

// seconds is a time as the files have it.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func timeOf(s float64) time.Time { return time.UnixMicro(int64(s * 1e6)) }
