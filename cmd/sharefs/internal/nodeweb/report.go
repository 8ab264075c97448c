// Package nodeweb shows how a storage node is: a page for people, metrics for Prometheus with the names that Tahoe-LAFS's node gives them,
// and the same as JSON. It shows no secret, changes nothing, and asks nobody for a password: it is meant for this machine.
package nodeweb

import (
	"strings"
	"time"

	"sharefs/storage"
	"sharefs/storage/crawl"
)

// Report is how a node is at some moment.
type Report struct {
	Nickname   string             `json:"nickname"`
	NodeID     string             `json:"node_id"`
	Version    string             `json:"version"`
	Started    time.Time          `json:"started"`
	Now        time.Time          `json:"now"`
	Dir        string             `json:"storage_dir"`
	ReadOnly   bool               `json:"read_only"`
	Reserved   int64              `json:"reserved_space"`
	Space      *storage.Space     `json:"space"`     // nil: the disk does not tell
	Available  int64              `json:"available"` // for new shares
	Stats      storage.Stats      `json:"operations"`
	Buckets    Buckets            `json:"bucket_counter"`
	Leases     Leases             `json:"lease_checker"`
	Advisories []storage.Advisory `json:"advisories"` // the last ones, newest first
}

// Buckets is what the bucket counter knows.
type Buckets struct {
	Count    *int           `json:"count"` // of the last whole cycle; nil: there was none
	Progress crawl.Progress `json:"progress"`
}

// Leases is what the lease checker knows.
type Leases struct {
	Progress crawl.Progress `json:"progress"`
	Current  crawl.Cycle    `json:"current"`
	Last     *crawl.Cycle   `json:"last"` // the last whole cycle; nil: there was none
}

// stat is one figure under the name that Tahoe-LAFS gives it (src/allmydata/storage/server.py: get_stats, get_latencies).
type stat struct {
	name  string
	value float64
}

// stats are the figures that rise and fall.
func (r Report) stats() []stat {
	found := []stat{
		{"storage_server.allocated", float64(r.Stats.Allocated)},
		{"storage_server.reserved_space", float64(r.Reserved)},
		{"storage_server.disk_avail", float64(r.Available)},
		{"storage_server.accepting_immutable_shares", one(r.Available > 0)},
		{"node.uptime", r.Now.Sub(r.Started).Seconds()},
	}
	if s := r.Space; s != nil {
		found = append(found,
			stat{"storage_server.disk_total", float64(s.Total)},
			stat{"storage_server.disk_used", float64(s.Total - s.Free)},
			stat{"storage_server.disk_free_for_root", float64(s.Free)},
			stat{"storage_server.disk_free_for_nonroot", float64(s.Available)})
	}
	if n := r.Buckets.Count; n != nil {
		found = append(found, stat{"storage_server.total_bucket_count", float64(*n)})
	}
	for operation, l := range r.Stats.Latencies {
		name := "storage_server.latencies." + operation + "."
		found = append(found, stat{name + "samplesize", float64(l.Samples)}, stat{name + "mean", l.Mean.Seconds()})
		for _, p := range []struct {
			name string
			took time.Duration
		}{
			{"01_0", l.P01}, {"10_0", l.P10}, {"50_0", l.P50}, {"90_0", l.P90}, {"95_0", l.P95}, {"99_0", l.P99}, {"99_9", l.P999},
		} {
			if p.took >= 0 { // else there are too few to tell
				found = append(found, stat{name + p.name + "_percentile", p.took.Seconds()})
			}
		}
	}
	return found
}

// counters are the figures that only rise.
func (r Report) counters() []stat {
	found := []stat{{"storage_server.bytes_added", float64(r.Stats.BytesAdded)}}
	for operation, n := range r.Stats.Operations {
		found = append(found, stat{"storage_server." + strings.ReplaceAll(operation, " ", "_"), float64(n)})
	}
	return found
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
