// Package probe tries what can be done with a store, and how fast: each right with a key of its own below .sharefs/probe-,
// which it removes again, also when it is interrupted. It knows stores by the provider contract only.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sharefs/provider"
)

// Prefix is that of the keys of probes, of sharefs probe and of what drivers try when they are opened.
const Prefix = provider.Reserved + "probe-"

// Options say what to try. The zero value tries the rights.
type Options struct {
	ReadOnly bool          // nothing is written: writing, deleting and their speed are not tried
	Rounds   int           // how often each kind of request is timed; 0: not
	Size     int64         // bytes that are sent and read for the throughput; 0: none
	Timeout  time.Duration // for one request; 0: a minute

	// Capabilities opens the store once more, so that it finds out what it can do; nil, or ReadOnly: that is not tried.
	Capabilities func(ctx context.Context) (provider.Capabilities, error)
}

// Right is something that the credentials may do or not.
type Right string

// The rights, in the order in which they are tried.
const (
	List   Right = "list"
	Write  Right = "write"
	Read   Right = "read"
	Delete Right = "delete"
)

// Outcome is how trying a right ended.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Refused Outcome = "refused" // see the problems
	Untried Outcome = "not tried"
)

// Problem is something that is wrong with a store.
type Problem struct {
	What string // was tried
	Err  error
}

// Report is what was found. What was not tried is empty.
type Report struct {
	Rights       map[Right]Outcome
	Capabilities *provider.Capabilities
	Latency      []Latency
	Throughput   *Throughput
	Clock        time.Duration // of the store less that of this machine, exact to a few seconds; 0 also when nothing told it
	Left         []string      // keys that could not be removed
	Problems     []Problem
}

// Usable reports whether all that was tried worked.
func (r *Report) Usable() bool { return len(r.Problems) == 0 }

// Unreachable reports whether the first thing that was tried showed that nothing can work: no answer, no store, no good
// credentials.
func (r *Report) Unreachable() bool {
	return r.Rights[List] != Allowed && r.Rights[Write] != Allowed && len(r.Problems) > 0 && r.Problems[0].fatal()
}

// run is a probe that is under way.
type run struct {
	store  provider.Provider
	opts   Options
	report *Report
	name   string          // what the keys of this probe begin with
	made   map[string]bool // keys that may be there
}

// Run tries a store, and removes what it has made. When ctx is done it stops, and the report says so.
func Run(ctx context.Context, store provider.Provider, o Options) *Report {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	r := &run{store: store, opts: o, name: Prefix + strings.ToLower(rand.Text()), made: map[string]bool{},
		report: &Report{Rights: map[Right]Outcome{List: Untried, Write: Untried, Read: Untried, Delete: Untried}}}
	defer r.clean(ctx)
	r.rights(ctx)
	if r.report.Rights[Write] == Allowed && r.report.Rights[Delete] == Allowed {
		r.capabilities(ctx)
		r.latency(ctx)
		r.throughput(ctx)
	}
	return r.report
}

// rights tries each right. It stops when the store cannot be reached, for then all else fails alike.
func (r *run) rights(ctx context.Context) {
	var page provider.Page
	ok := r.try(ctx, List, func(ctx context.Context) (err error) {
		page, err = r.store.List(ctx, provider.ListOptions{Flat: true, Limit: 1})
		return err
	})
	if !ok && r.report.Problems[0].fatal() {
		return
	}
	key, text := r.name+"-rights", "sharefs probes what these credentials may do\n"
	if r.opts.ReadOnly {
		for _, o := range page.Objects {
			if !o.IsDir() {
				r.tryRead(ctx, o.Key)
			}
		}
		return
	}
	ok = r.try(ctx, Write, func(ctx context.Context) error {
		_, err := r.put(ctx, key, []byte(text))
		return err
	})
	if !ok {
		return
	}
	r.tryRead(ctx, key)
	r.try(ctx, Delete, func(ctx context.Context) error { return r.remove(ctx, key) })
}

func (r *run) tryRead(ctx context.Context, key string) {
	r.try(ctx, Read, func(ctx context.Context) error {
		_, err := r.get(ctx, key)
		return err
	})
}

// try tries a right and notes how that ended.
func (r *run) try(ctx context.Context, right Right, f func(context.Context) error) bool {
	err := r.timed(ctx, f)
	if err == nil {
		r.report.Rights[right] = Allowed
		return true
	}
	r.report.Rights[right] = Refused
	r.problem(string(right), err)
	return false
}

// timed runs one request within its time.
func (r *run) timed(ctx context.Context, f func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	err := f(within)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &provider.Error{Op: "probe", Kind: provider.KindUnavailable, Err: fmt.Errorf("no answer within %v", r.opts.Timeout)}
	}
	return err
}

func (r *run) problem(what string, err error) {
	r.report.Problems = append(r.report.Problems, Problem{What: what, Err: err})
}

// fatal reports whether nothing else can work either.
func (p Problem) fatal() bool {
	switch provider.KindOf(p.Err) {
	case provider.KindNoStore, provider.KindAuth, provider.KindUnavailable, provider.KindInvalid, provider.KindOther:
		return true
	}
	return provider.IsContext(p.Err)
}

// capabilities finds out what the store can do.
func (r *run) capabilities(ctx context.Context) {
	if r.opts.Capabilities == nil {
		return
	}
	err := r.timed(ctx, func(ctx context.Context) error {
		caps, err := r.opts.Capabilities(ctx)
		r.report.Capabilities = &caps
		return err
	})
	if err != nil {
		r.report.Capabilities = nil
		r.problem("capabilities", err)
	}
}

// The requests.

func (r *run) put(ctx context.Context, key string, body []byte) (provider.Object, error) {
	r.made[key] = true // even if it fails: that may be known too late
	return r.store.Put(ctx, key, bytes.NewReader(body), int64(len(body)), provider.PutOptions{})
}

// get reads an object to its end, and returns how long it is.
func (r *run) get(ctx context.Context, key string) (int64, error) {
	body, _, err := r.store.Open(ctx, key, provider.OpenOptions{})
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, body)
	return n, errors.Join(err, body.Close())
}

func (r *run) remove(ctx context.Context, key string) error {
	err := r.store.Delete(ctx, provider.DeleteOptions{}, key)
	if err == nil {
		delete(r.made, key)
	}
	return err
}

// cleanTimeout is for all that is left to remove, when nobody waits for anything else any more.
const cleanTimeout = 20 * time.Second

// clean removes what is left, even when the probe was interrupted.
func (r *run) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	var first error
	for key := range r.made {
		if err := r.remove(ctx, key); err != nil {
			// A store that refuses to write has nothing of ours.
			if _, statErr := r.store.Stat(ctx, key); provider.Is(statErr, provider.KindNotFound) || r.report.Rights[Write] == Refused {
				continue
			}
			r.report.Left = append(r.report.Left, key)
			if first == nil {
				first = err
			}
		}
	}
	if first != nil {
		r.problem("cleaning up", fmt.Errorf("%d objects below %s could not be removed, which sharefs doctor STORE --fix probes does later: %w",
			len(r.report.Left), Prefix, first))
	}
}
