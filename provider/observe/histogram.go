package observe

import (
	"math/bits"
	"slices"
	"time"
)

// Latency tells how long requests took, in milliseconds. A quantile is the upper edge of a bucket and so at most twice
// the true one.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`

	// Buckets double: bucket i counts the calls that took less than 2^i microseconds and are in no earlier one.
	Buckets []int64 `json:"buckets"`
}

// histogram counts durations in the buckets of Latency. The zero value is empty.
type histogram struct {
	count   int64
	buckets []int64
	max     time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	i := bits.Len64(uint64(d.Microseconds()))
	for len(h.buckets) <= i {
		h.buckets = append(h.buckets, 0)
	}
	h.buckets[i]++
	h.count++
	h.max = max(h.max, d)
}

// quantile returns a duration that the share q (0 to 1) of all durations does not exceed; 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	want := max(1, int64(q*float64(h.count)+0.5))
	var seen int64
	for i, n := range h.buckets {
		if seen += n; seen >= want {
			return min(time.Microsecond<<i, h.max)
		}
	}
	return h.max
}

func (h *histogram) latency() Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Latency{
		P50: ms(h.quantile(0.5)), P90: ms(h.quantile(0.9)), P99: ms(h.quantile(0.99)), Max: ms(h.max),
		Buckets: slices.Clone(h.buckets),
	}
}
