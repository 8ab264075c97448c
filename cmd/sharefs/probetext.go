package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"sharefs/cmd/sharefs/internal/probe"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider"
)

// printReport prints a probe for people.
func printReport(w io.Writer, s stores.Store, r *probe.Report) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, s)
	for _, right := range []probe.Right{probe.List, probe.Write, probe.Read, probe.Delete} {
		line(&b, string(right), string(r.Rights[right]))
	}
	if c := r.Capabilities; c != nil {
		can, cannot := split(abilities(*c))
		line(&b, "can", can)
		if cannot != "" {
			line(&b, "cannot", cannot)
		}
		line(&b, "limits", limits(*c))
	}
	for _, l := range r.Latency {
		line(&b, l.Op, fmt.Sprintf("%s, p95 %s, of %d", short(l.Median), short(l.P95), l.Count))
	}
	if t := r.Throughput; t != nil {
		line(&b, "up", fmt.Sprintf("%s/s, %d at a time", humanize.IBytes(uint64(t.Up)), t.Streams))
		line(&b, "down", fmt.Sprintf("%s/s, %d at a time", humanize.IBytes(uint64(t.Down)), t.Streams))
	}
	if off := r.Clock.Abs(); off > clockTolerance {
		line(&b, "clock", fmt.Sprintf("that of the store and that of this machine differ by %v: set this machine's by NTP", off.Round(time.Second)))
	}
	for _, p := range r.Problems {
		line(&b, "problem", strings.TrimPrefix(p.What+": ", opOf(p.Err)+": ")+p.Err.Error()+hint(stores.Advice(p.Err)))
	}
	for _, key := range r.Left {
		line(&b, "left", key)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// clockTolerance is what clocks may differ before it is worth a line: stores refuse requests from a quarter of an hour on.
const clockTolerance = 30 * time.Second

// opOf returns the operation that an error of a store begins with.
func opOf(err error) string {
	var e *provider.Error
	if errors.As(err, &e) {
		return e.Op
	}
	return ""
}

func short(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// ability is a capability that a store has or has not.
type ability struct {
	name, text string
	has        bool
}

func abilities(c provider.Capabilities) []ability {
	return []ability{
		{"create_if_absent", "create only what is not there", c.CreateIfAbsent},
		{"replace_if_version", "replace only a version", c.ReplaceIfVersion},
		{"delete_if_version", "delete only a version", c.DeleteIfVersion},
		{"copy", "copy", c.Copy},
		{"atomic_move", "rename", c.AtomicMove},
		{"directories", "keep empty directories", c.Directories},
		{"list_metadata", "list with metadata", c.ListMetadata},
		{"consistent", "list what was just stored", c.Consistent},
	}
}

func split(all []ability) (can, cannot string) {
	var yes, no []string
	for _, a := range all {
		if a.has {
			yes = append(yes, a.text)
		} else {
			no = append(no, a.text)
		}
	}
	return strings.Join(yes, ", "), strings.Join(no, ", ")
}

// bound is a limit of a store in bytes; 0 is none.
type bound struct {
	name, text string
	bytes      int64
}

func limitsOf(c provider.Capabilities) []bound {
	return []bound{
		{"max_object_size", "object", c.MaxObjectSize},
		{"max_put_size", "one PUT", c.MaxPutSize},
		{"min_part_size", "part at least", c.MinPartSize},
		{"max_key", "key", int64(c.MaxKey)},
		{"max_component", "name", int64(c.MaxComponent)},
		{"max_metadata", "metadata", int64(c.MaxMetadata)},
	}
}

func limits(c provider.Capabilities) string {
	var known []string
	for _, l := range limitsOf(c) {
		if l.bytes > 0 {
			known = append(known, l.text+" "+bytesText(l.bytes))
		}
	}
	return strings.Join(known, ", ")
}

// reportJSON returns a probe for machines; the names of fields stay.
func reportJSON(s stores.Store, r *probe.Report) any {
	type latency struct {
		Op     string  `json:"op"`
		Count  int     `json:"count"`
		Median float64 `json:"median_ms"`
		P95    float64 `json:"p95_ms"`
	}
	type throughput struct {
		Up      float64 `json:"up"`
		Down    float64 `json:"down"`
		Bytes   int64   `json:"bytes"`
		Streams int     `json:"streams"`
	}
	type problem struct {
		What   string `json:"what"`
		Error  string `json:"error"`
		Advice string `json:"advice,omitempty"`
	}
	out := struct {
		Store        string                        `json:"store"`
		Usable       bool                          `json:"usable"`
		Rights       map[probe.Right]probe.Outcome `json:"rights"`
		Capabilities map[string]any                `json:"capabilities,omitempty"`
		Latency      []latency                     `json:"latency"`
		Throughput   *throughput                   `json:"throughput,omitempty"`
		Clock        float64                       `json:"clock_seconds"`
		Left         []string                      `json:"left"`
		Problems     []problem                     `json:"problems"`
	}{Store: s.String(), Usable: r.Usable(), Rights: r.Rights, Latency: []latency{}, Clock: r.Clock.Seconds(),
		Left: append([]string{}, r.Left...), Problems: []problem{}}
	if c := r.Capabilities; c != nil {
		out.Capabilities = map[string]any{}
		for _, a := range abilities(*c) {
			out.Capabilities[a.name] = a.has
		}
		for _, l := range limitsOf(*c) {
			out.Capabilities[l.name] = l.bytes
		}
	}
	for _, l := range r.Latency {
		out.Latency = append(out.Latency, latency{l.Op, l.Count, ms(l.Median), ms(l.P95)})
	}
	if t := r.Throughput; t != nil {
		out.Throughput = &throughput{t.Up, t.Down, t.Bytes, t.Streams}
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, problem{p.What, p.Err.Error(), stores.Advice(p.Err)})
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
