package observe

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"sharefs/provider"
)

// Snapshot is what a provider counted. It is meant for JSON too.
type Snapshot struct {
	Requests   int64        `json:"requests"`  // that were answered, or failed
	InFlight   int64        `json:"in_flight"` // requests that have not ended, and bodies that are not closed
	BytesIn    int64        `json:"bytes_in"`  // of bodies, as they are read
	BytesOut   int64        `json:"bytes_out"` // of bodies that the store took
	Ops        []Op         `json:"ops"`       // sorted by name; only those that occurred
	LastErrors []ErrorEntry `json:"last_errors"`
}

// Op is what was counted for one operation.
type Op struct {
	Op       string           `json:"op"` // as in provider.Error
	Requests int64            `json:"requests"`
	BytesIn  int64            `json:"bytes_in,omitempty"`
	BytesOut int64            `json:"bytes_out,omitempty"`
	Errors   map[string]int64 `json:"errors,omitempty"` // by kind, in words; "cancelled" when the caller gave up
	Seconds  float64          `json:"seconds"`          // the sum of all durations
	Latency  Latency          `json:"latency"`
}

// ErrorEntry is one request that failed. The caller's giving up is not kept here.
type ErrorEntry struct {
	Time time.Time `json:"time"`
	Op   string    `json:"op"`
	Key  string    `json:"key,omitempty"`
	Kind string    `json:"kind"`
	Err  string    `json:"error"`
}

// Of returns what was counted for an operation.
func (s Snapshot) Of(op string) Op {
	i, found := slices.BinarySearchFunc(s.Ops, op, func(o Op, op string) int { return cmp.Compare(o.Op, op) })
	if !found {
		return Op{Op: op}
	}
	return s.Ops[i]
}

// Failed returns the number of requests of an operation that ended in an error of any kind.
func (o Op) Failed() int64 {
	var n int64
	for _, c := range o.Errors {
		n += c
	}
	return n
}

// cancelled stands beside the kinds in Op.Errors.
const cancelled = "cancelled"

type opStats struct {
	requests, bytesIn, bytesOut int64
	errors                      map[string]int64
	duration                    time.Duration
	latency                     histogram
}

// stats is guarded by one lock: a request costs a network round trip, or at least a system call, beside it.
type stats struct {
	maxErrors int

	mu       sync.Mutex
	inFlight int64
	ops      map[string]*opStats
	last     []ErrorEntry // oldest first
}

func newStats(maxErrors int) stats {
	return stats{maxErrors: maxErrors, ops: map[string]*opStats{}}
}

func (s *stats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
}

func (s *stats) received(op string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.op(op).bytesIn += n
}

// answered counts a request that the store has answered, if only with the first byte of a body.
func (s *stats) answered(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.op(e.Op)
	o.requests += int64(e.Requests)
	o.bytesOut += e.BytesOut
	o.duration += e.Duration
	o.latency.add(e.Duration)
}

// ended counts how a request ended: the last that is heard of it.
func (s *stats) ended(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if e.Err == nil {
		return
	}
	kind := kindOf(e.Err)
	s.op(e.Op).errors[kind]++
	if kind == cancelled {
		return
	}
	if len(s.last) == s.maxErrors {
		s.last = slices.Delete(s.last, 0, 1)
	}
	s.last = append(s.last, ErrorEntry{Time: time.Now(), Op: e.Op, Key: e.Key, Kind: kind, Err: e.Err.Error()})
}

// op is called with mu held.
func (s *stats) op(name string) *opStats {
	o := s.ops[name]
	if o == nil {
		o = &opStats{errors: map[string]int64{}}
		s.ops[name] = o
	}
	return o
}

func (s *stats) snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := Snapshot{InFlight: s.inFlight, Ops: []Op{}, LastErrors: append([]ErrorEntry{}, s.last...)}
	for name, o := range s.ops {
		errs := make(map[string]int64, len(o.errors))
		for kind, n := range o.errors {
			errs[kind] = n
		}
		snap.Requests += o.requests
		snap.BytesIn += o.bytesIn
		snap.BytesOut += o.bytesOut
		snap.Ops = append(snap.Ops, Op{Op: name, Requests: o.requests, BytesIn: o.bytesIn, BytesOut: o.bytesOut,
			Errors: errs, Seconds: o.duration.Seconds(), Latency: o.latency.latency()})
	}
	slices.SortFunc(snap.Ops, func(a, b Op) int { return cmp.Compare(a.Op, b.Op) })
	return snap
}

func kindOf(err error) string {
	var e *provider.Error
	switch {
	case errors.As(err, &e):
		return e.Kind.String()
	case provider.IsContext(err):
		return cancelled
	}
	return provider.KindOther.String()
}
