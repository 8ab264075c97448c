package crawl

import (
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"sharefs/storage"
)

// BucketCounter counts the buckets of a store: the files and directories of clients that it has shares of. Its state is in
// bucket_counter.state.json.
type BucketCounter struct {
	*Crawler
	counts bucketCounts // guarded by Crawler.mu
}

// bucketCounts is the state file.
type bucketCounts struct {
	position
	ByCycle map[string]map[string]int `json:"bucket-counts"` // by cycle and prefix
	Count   *int                      `json:"last-complete-bucket-count"`
	Samples map[string]sample         `json:"storage-index-samples"` // by prefix: those of the first
}

// sample is the buckets of a prefix in a cycle: a list of two in the file.
type sample struct {
	cycle   int
	buckets []string
}

func (s sample) MarshalJSON() ([]byte, error) { return json.Marshal([]any{s.cycle, s.buckets}) }

func (s *sample) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&s.cycle, &s.buckets})
}

// NewBucketCounter returns the counter of a store, which goes on from where the store's last one was.
func NewBucketCounter(s *storage.Store, o Options) (*BucketCounter, error) {
	c, err := newCrawler(s, o, "bucket_counter.state")
	if err != nil {
		return nil, err
	}
	c.minCycle, c.slow = time.Hour, 5*time.Minute
	b := &BucketCounter{Crawler: c}
	c.job = b
	c.load(&b.counts, &b.counts.position)
	if b.counts.ByCycle == nil {
		b.counts.ByCycle = map[string]map[string]int{}
	}
	if b.counts.Samples == nil {
		b.counts.Samples = map[string]sample{}
	}
	return b, nil
}

// Count returns how many buckets the last cycle has counted; ok is false when there was none.
func (b *BucketCounter) Count() (n int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts.Count == nil {
		return 0, false
	}
	return *b.counts.Count, true
}

func (b *BucketCounter) started() {}

func (b *BucketCounter) wholePrefix(cycle int, prefix string, buckets []string) bool {
	key := strconv.Itoa(cycle)
	if b.counts.ByCycle[key] == nil {
		b.counts.ByCycle[key] = map[string]int{}
	}
	b.counts.ByCycle[key][prefix] = len(buckets)
	if prefix == prefixes[0] {
		b.counts.Samples[prefix] = sample{cycle, buckets}
	}
	return true
}

func (b *BucketCounter) bucket(string, string) {}

func (b *BucketCounter) finished(cycle int, _, _ time.Time) error {
	key := strconv.Itoa(cycle)
	if last := b.counts.ByCycle[key]; len(last) == len(prefixes) {
		sum := 0
		for _, n := range last {
			sum += n
		}
		b.counts.Count = &sum
		b.counts.ByCycle = map[string]map[string]int{key: last}
	}
	maps.DeleteFunc(b.counts.Samples, func(_ string, s sample) bool { return s.cycle != cycle })
	return nil
}

func (b *BucketCounter) saved(p position) any {
	saved := b.counts
	saved.position = p
	saved.ByCycle, saved.Samples = map[string]map[string]int{}, maps.Clone(b.counts.Samples)
	for cycle, counts := range b.counts.ByCycle {
		saved.ByCycle[cycle] = maps.Clone(counts)
	}
	return saved
}
