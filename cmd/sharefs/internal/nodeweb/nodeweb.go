package nodeweb

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"sharefs/storage/crawl"
)

// Handler serves / for people, /metrics for Prometheus and /status.json.
func Handler(report func() Report) http.Handler {
	mux := http.NewServeMux()
	show := func(pattern, media string, render func(*bytes.Buffer, Report) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			var b bytes.Buffer
			if err := render(&b, report()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", media)
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write(b.Bytes()) // who is gone is not told
		})
	}
	show("GET /{$}", "text/html; charset=utf-8", func(b *bytes.Buffer, r Report) error { return page.Execute(b, r) })
	mux.Handle("GET /metrics", metrics(report))
	show("GET /status.json", "application/json", asJSON)
	return mux
}

// Serve answers on a listener until ctx is done.
func Serve(ctx context.Context, listener net.Listener, report func() Report) error {
	server := &http.Server{Handler: Handler(report), ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

// asJSON has the report, and the figures under the names of Tahoe-LAFS's /statistics?t=json.
func asJSON(b *bytes.Buffer, r Report) error {
	byName := func(stats []stat) map[string]float64 {
		m := map[string]float64{}
		for _, s := range stats {
			m[s.name] = s.value
		}
		return m
	}
	enc := json.NewEncoder(b)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Report
		Stats    map[string]float64 `json:"stats"`
		Counters map[string]float64 `json:"counters"`
	}{r, byName(r.stats()), byName(r.counters())})
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"bytes":    func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"time":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"ms":       milliseconds,
	"progress": progressText,
	"ended":    func(c *crawl.Cycle) time.Time { return time.Unix(int64(c.Times[len(c.Times)-1]), 0) },
	"space":    func(c crawl.Cycle, name string) int64 { return c.Space[name] },
	"mode":     modeText,
}).Parse(pageText))

func milliseconds(d time.Duration) string {
	if d < 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000)
}

// progressText says how far a crawler is.
func progressText(p crawl.Progress, now time.Time) string {
	next := "at work"
	if !p.NextSlice.IsZero() {
		next = "goes on in " + max(p.NextSlice.Sub(now), 0).Round(time.Second).String()
	}
	switch {
	case p.Running:
		return fmt.Sprintf("cycle %d is %.1f %% done, %s", p.Cycle, 100*p.Done, next)
	case p.Cycle < 0:
		return "no cycle yet, the first " + next
	}
	return fmt.Sprintf("cycle %d is done, the next one %s", p.Cycle, next)
}

// modeText says which leases end.
func modeText(c crawl.Cycle) string {
	when := "31 days after it was renewed"
	switch {
	case c.Mode.Cutoff != nil:
		when = "if it was last renewed before " + time.Unix(*c.Mode.Cutoff, 0).UTC().Format(time.DateOnly)
	case c.Mode.Duration != nil:
		when = (time.Duration(*c.Mode.Duration) * time.Second).String() + " after it was renewed"
	}
	text := "A lease on a share (" + strings.Join(c.Mode.Kinds, ", ") + ") ends " + when + ". "
	if c.Enabled {
		return text + "Shares without leases are deleted."
	}
	return text + "Nothing is deleted: expiration is not enabled."
}
