package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sharefs/storage"
)

// Cycle is what a LeaseChecker has found, in the format of the history file.
type Cycle struct {
	Times   []float64      `json:"cycle-start-finish-times,omitempty"` // seconds since 1970; none while it is running
	Enabled bool           `json:"expiration-enabled"`
	Mode    Mode           `json:"configured-expiration-mode"`
	Ages    Ages           `json:"lease-age-histogram"`
	Leases  map[string]int `json:"leases-per-share-histogram"` // shares by the number of leases
	Corrupt []CorruptShare `json:"corrupt-shares"`
	// Space is how many buckets, shares, sharebytes and diskbytes were examined; were removed: actual; would have been by the leases'
	// own ends: original; would have been by what is configured: configured. Each also by kind. For instance
	// examined-sharebytes-immutable.
	Space map[string]int64 `json:"space-recovered"`
}

// Measures of Cycle.Space.
const (
	examined   = "examined"
	actual     = "actual"
	original   = "original"
	configured = "configured"
)

func newCycle() Cycle {
	c := Cycle{Ages: Ages{}, Leases: map[string]int{}, Corrupt: []CorruptShare{}, Space: map[string]int64{}}
	for _, measure := range []string{actual, original, configured, examined} {
		for _, what := range []string{"buckets", "shares", "sharebytes", "diskbytes"} {
			for _, kind := range []string{"", "-mutable", "-immutable"} {
				c.Space[measure+"-"+what+kind] = 0
			}
		}
	}
	return c
}

func (c Cycle) clone() Cycle {
	c.Ages, c.Leases, c.Space = maps.Clone(c.Ages), maps.Clone(c.Leases), maps.Clone(c.Space)
	c.Corrupt = slices.Clone(c.Corrupt)
	return c
}

// count adds to a measure, as a whole and by kind, if there is one.
func (c Cycle) count(measure, what, kind string, n int64) {
	c.Space[measure+"-"+what] += n
	if kind != "" {
		c.Space[measure+"-"+what+"-"+kind] += n
	}
}

func (c Cycle) share(measure string, info storage.ShareInfo) {
	kind := info.Kind.String()
	c.count(measure, "shares", kind, 1)
	c.count(measure, "sharebytes", kind, info.FileSize)
	c.count(measure, "diskbytes", kind, info.DiskBytes)
}

func (c Cycle) examinedShare(info storage.ShareInfo, now time.Time) {
	c.share(examined, info)
	c.Leases[strconv.Itoa(len(info.Leases))]++
	for _, l := range info.Leases {
		c.Ages.add(now.Sub(l.Renewed()))
	}
}

func (c Cycle) freedShare(v verdict, info storage.ShareInfo) {
	for measure, kept := range v.byMeasure() {
		if !kept {
			c.share(measure, info)
		}
	}
}

func (v verdict) byMeasure() map[string]bool {
	return map[string]bool{original: v.original, configured: v.configured, actual: v.actual}
}

func (c Cycle) examinedBucket(kind string) { c.count(examined, "buckets", kind, 1) }

// freedBucket counts the directory of a bucket whose shares are not kept.
func (c Cycle) freedBucket(v verdict, disk int64, kind string) {
	for measure, kept := range v.byMeasure() {
		if !kept {
			c.count(measure, "buckets", kind, 1)
			c.count(measure, "diskbytes", kind, disk)
		}
	}
}

// CorruptShare names a share that is damaged: a list of two in the file.
type CorruptShare struct {
	Bucket string
	Number int
}

// MarshalJSON writes a list.
func (s CorruptShare) MarshalJSON() ([]byte, error) { return json.Marshal([]any{s.Bucket, s.Number}) }

// UnmarshalJSON reads a list.
func (s *CorruptShare) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&s.Bucket, &s.Number})
}

// Mode is what of an Expiry the files have: a list of four in the file.
type Mode struct {
	Name     string // age or cutoff-date
	Duration *int64 // seconds; nil: none
	Cutoff   *int64 // seconds since 1970; nil: none
	Kinds    []string
}

func modeOf(e Expiry) Mode {
	m := Mode{Name: "age"}
	for _, k := range e.kinds() {
		m.Kinds = append(m.Kinds, k.String())
	}
	if !e.Cutoff.IsZero() {
		at := e.Cutoff.Unix()
		m.Name, m.Cutoff = "cutoff-date", &at
	} else if e.Duration > 0 {
		s := int64(e.Duration / time.Second)
		m.Duration = &s
	}
	return m
}

// MarshalJSON writes a list.
func (m Mode) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{m.Name, m.Duration, m.Cutoff, m.Kinds})
}

// UnmarshalJSON reads a list.
func (m *Mode) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&m.Name, &m.Duration, &m.Cutoff, &m.Kinds})
}

// Ages is how many leases were last renewed how many days ago. In the file it is a list of lists of three: from and to in seconds,
// and the number of leases.
type Ages map[int]int

const day = 24 * time.Hour

func (a Ages) add(age time.Duration) { a[int(age/day)]++ }

// MarshalJSON writes the list.
func (a Ages) MarshalJSON() ([]byte, error) {
	list := [][3]int{}
	for _, days := range slices.Sorted(maps.Keys(a)) {
		from := days * int(day/time.Second)
		list = append(list, [3]int{from, from + int(day/time.Second), a[days]})
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads the list, and what Tahoe-LAFS has within a cycle that it took over from before 1.17: a dictionary by
// "from,to".
func (a *Ages) UnmarshalJSON(b []byte) error {
	*a = Ages{}
	var list [][3]int
	if err := json.Unmarshal(b, &list); err == nil {
		for _, l := range list {
			(*a)[l[0]/int(day/time.Second)] += l[2]
		}
		return nil
	}
	var byRange map[string]int
	if err := json.Unmarshal(b, &byRange); err != nil {
		return errors.New("a histogram of the ages of leases that is neither a list nor a dictionary")
	}
	for key, n := range byRange {
		from, _, _ := strings.Cut(key, ",")
		s, err := strconv.Atoi(from)
		if err != nil {
			return fmt.Errorf("a histogram of the ages of leases has %q", key)
		}
		(*a)[s/int(day/time.Second)] += n
	}
	return nil
}

// leaseState is the state file of a LeaseChecker.
type leaseState struct {
	position
	ToDate *savedCycle `json:"cycle-to-date,omitempty"` // within a cycle
}

// savedCycle is a cycle that is running. Tahoe-LAFS 1.20 writes the ages as a list, and cannot go on from that, not even from its
// own: so they are under a name of ours, and where it looks for them there is an empty dictionary, to which it adds. What both
// say is added up.
type savedCycle struct {
	Cycle
	Theirs json.RawMessage `json:"lease-age-histogram"`
	Ours   Ages            `json:"sharefs-lease-age-histogram"`
}

func saveCycle(c Cycle) *savedCycle {
	return &savedCycle{Cycle: c, Theirs: json.RawMessage("{}"), Ours: c.Ages}
}

// cycle returns the cycle, with whatever the file lacks.
func (s savedCycle) cycle() Cycle {
	c := newCycle()
	var theirs Ages
	if json.Unmarshal(s.Theirs, &theirs) == nil {
		for days, n := range theirs {
			c.Ages[days] += n
		}
	}
	for days, n := range s.Ours {
		c.Ages[days] += n
	}
	maps.Copy(c.Leases, s.Leases)
	maps.Copy(c.Space, s.Space)
	c.Corrupt = append(c.Corrupt, s.Corrupt...)
	return c
}
