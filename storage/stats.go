package storage

import (
	"slices"
	"sync"
	"time"
)

// Stats are counts and times of what a Store did since it was opened.
type Stats struct {
	// Operations is how often each was done: allocate, write, close, abort, get, read, readv, writev, add-lease, renew.
	Operations map[string]int64
	// Latencies are how long the last ones took.
	Latencies map[string]Latency
	// BytesAdded are those of the files of uploads that became shares.
	BytesAdded int64
	// Uploads in progress, and the bytes of data that they will have.
	Uploads   int
	Allocated int64
}

// Latency is how long the last operations of a kind took, at most 1000. A percentile that so few do not tell is -1.
type Latency struct {
	Samples                            int
	Mean                               time.Duration
	P01, P10, P50, P90, P95, P99, P999 time.Duration
}

const maxSamples = 1000

// stats counts. The zero value works.
type stats struct {
	mu      sync.Mutex
	counts  map[string]int64           // guarded by mu
	samples map[string][]time.Duration // guarded by mu
	bytes   int64                      // guarded by mu
}

// time starts the measurement of an operation, and returns what ends it.
func (s *stats) time(operation string, now func() time.Time) (done func()) {
	from := now()
	return func() {
		took := now().Sub(from)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.countLocked(operation)
		if s.samples == nil {
			s.samples = map[string][]time.Duration{}
		}
		list := append(s.samples[operation], took)
		if len(list) > 2*maxSamples {
			list = slices.Clone(list[len(list)-maxSamples:])
		}
		s.samples[operation] = list
	}
}

func (s *stats) count(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(operation)
}

func (s *stats) countLocked(operation string) {
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	s.counts[operation]++
}

func (s *stats) added(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += bytes
}

// Stats returns what the store did.
func (s *Store) Stats() Stats {
	got := Stats{Operations: map[string]int64{}, Latencies: map[string]Latency{}}
	s.mu.Lock()
	got.Uploads, got.Allocated = len(s.uploads), s.allocated
	s.mu.Unlock()
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	got.BytesAdded = s.stats.bytes
	for operation, n := range s.stats.counts {
		got.Operations[operation] = n
	}
	for operation, list := range s.stats.samples {
		got.Latencies[operation] = latencyOf(slices.Clone(list[max(0, len(list)-maxSamples):]))
	}
	return got
}

// latencyOf sorts samples.
func latencyOf(samples []time.Duration) Latency {
	slices.Sort(samples)
	var sum time.Duration
	for _, d := range samples {
		sum += d
	}
	percentile := func(thousandths, least int) time.Duration {
		if len(samples) < least {
			return -1
		}
		return samples[thousandths*len(samples)/1000]
	}
	return Latency{
		Samples: len(samples), Mean: sum / time.Duration(len(samples)),
		P01: percentile(10, 100), P10: percentile(100, 10), P50: percentile(500, 10), P90: percentile(900, 10),
		P95: percentile(950, 20), P99: percentile(990, 100), P999: percentile(999, 1000),
	}
}
