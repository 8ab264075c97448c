package nodeweb

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics serves the figures of a node, and those of its process.
func metrics(report func() Report) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(figures(report), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// figures collects what a report holds, under the names of Tahoe-LAFS's /statistics?t=openmetrics. There add-lease keeps its
// hyphen, which no scraper takes; here it is an underscore.
type figures func() Report

// Describe says nothing: which figures there are depends on what the node has done.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect takes a report.
func (f figures) Collect(ch chan<- prometheus.Metric) {
	r := f()
	for _, s := range r.counters() {
		ch <- s.metric("tahoe_counters_", prometheus.CounterValue)
	}
	for _, s := range r.stats() {
		ch <- s.metric("tahoe_stats_", prometheus.GaugeValue)
	}
}

// percentile is how the name of a figure tells one: the metric has it as its label.
var percentile = regexp.MustCompile(`\.(\d\d)_(\d)_percentile$`)

func (s stat) metric(prefix string, kind prometheus.ValueType) prometheus.Metric {
	name, labels := s.name, prometheus.Labels{}
	if p := percentile.FindStringSubmatch(name); p != nil {
		name, labels["quantile"] = strings.TrimSuffix(name, p[0]), "0."+p[1]+p[2]
	}
	help := "Of Tahoe-LAFS's statistics: " + name + "."
	desc := prometheus.NewDesc(prefix+strings.NewReplacer(".", "_", "-", "_").Replace(name), help, nil, labels)
	return prometheus.MustNewConstMetric(desc, kind, s.value) // fails only where labels do not fit
}
