package nodeweb

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/crawl"
)

// sample is a node that has done everything once.
func sample() Report {
	now := time.Unix(1_800_000_000, 0)
	buckets := 7
	cycle := crawl.Cycle{Times: []float64{1_799_990_000, 1_799_990_100}, Enabled: true, Mode: crawl.Mode{Name: "age", Kinds: []string{"mutable"}},
		Space: map[string]int64{"examined-shares": 41, "actual-diskbytes": 4096}, Corrupt: []crawl.CorruptShare{{Bucket: "aaaa", Number: 3}}}
	return Report{
		Nickname: "<one>", NodeID: "abc", Version: "sharefs/1", Started: now.Add(-time.Hour), Now: now, Dir: "/srv/shares", Reserved: 1000,
		Space: &storage.Space{Total: 10 << 30, Free: 3 << 30, Available: 2 << 30}, Available: 2<<30 - 1000,
		Stats: storage.Stats{Operations: map[string]int64{"add-lease": 12}, BytesAdded: 99,
			Latencies: map[string]storage.Latency{"add-lease": {Samples: 12, Mean: 20 * time.Millisecond, P01: -1, P10: time.Millisecond,
				P50: 2 * time.Millisecond, P90: 30 * time.Millisecond, P95: -1, P99: -1, P999: -1}}},
		Buckets:    Buckets{Count: &buckets, Progress: crawl.Progress{Cycle: 2, NextSlice: now.Add(time.Minute)}},
		Leases:     Leases{Progress: crawl.Progress{Cycle: 1, Running: true, Done: 0.25}, Current: cycle, Last: &cycle},
		Advisories: []storage.Advisory{{Time: now, Index: "bbbb", Number: 1, Reason: "<script>rotten</script>"}},
	}
}

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	Handler(sample).ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	if rec.Code != 200 {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec
}

func TestPage(t *testing.T) {
	text := get(t, "/").Body.String()
	for _, want := range []string{"&lt;one&gt;", "abc", "/srv/shares", "10 GiB", "7 files and directories", "cycle 2 is done, the next one goes on in 1m0s",
		"cycle 1 is 25.0 % done, at work", "<td class=\"n\">41</td>", "4.0 KiB", "aaaa/3", "bbbb/1", "&lt;script&gt;rotten", "Shares without leases are deleted", "20.0", "–"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<script>") {
		t.Error("the page runs what a client has said")
	}
}

func TestANewNodeHasAPage(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler(func() Report { return Report{Leases: Leases{Progress: crawl.Progress{Cycle: -1}}} }).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{"Not counted yet", "no cycle yet", "None yet", "does not tell", "no room"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestMetrics(t *testing.T) {
	text := get(t, "/metrics").Body.String()
	for _, want := range []string{
		"# TYPE tahoe_counters_storage_server_add_lease counter\ntahoe_counters_storage_server_add_lease 12\n",
		"# TYPE tahoe_counters_storage_server_bytes_added counter\ntahoe_counters_storage_server_bytes_added 99\n",
		"# TYPE tahoe_stats_storage_server_latencies_add_lease gauge\n" +
			"tahoe_stats_storage_server_latencies_add_lease{quantile=\"0.100\"} 0.001\ntahoe_stats_storage_server_latencies_add_lease{quantile=\"0.500\"} 0.002\n",
		"tahoe_stats_storage_server_latencies_add_lease_samplesize 12\n", "tahoe_stats_storage_server_latencies_add_lease_mean 0.02\n",
		"tahoe_stats_storage_server_total_bucket_count 7\n", "tahoe_stats_storage_server_accepting_immutable_shares 1\n",
		"tahoe_stats_storage_server_disk_used 7.516192768e+09\n", "tahoe_stats_node_uptime 3600\n",
		"\nprocess_resident_memory_bytes ", "\ngo_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestJSON(t *testing.T) {
	var got struct {
		Nickname string             `json:"nickname"`
		Stats    map[string]float64 `json:"stats"`
		Counters map[string]float64 `json:"counters"`
	}
	if err := json.Unmarshal(get(t, "/status.json").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Nickname != "<one>" || got.Stats["storage_server.latencies.add-lease.50_0_percentile"] != 0.002 || got.Counters["storage_server.bytes_added"] != 99 {
		t.Errorf("%+v", got)
	}
}
