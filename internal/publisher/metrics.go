package publisher

import (
	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/reset"
)

type metrics struct {
	outcomes    *prometheus.CounterVec
	corrections *prometheus.CounterVec
	wait        prometheus.Histogram
	switches    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_publisher_outcomes_total",
			Help: "Outcomes of requests that this publisher accepted, by code.",
		}, []string{"code"}),
		corrections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_publisher_corrections_total",
			Help: "Unconfirmed requests of this publisher of which the truth became known later, by code.",
		}, []string{"code"}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "writeback_publisher_reply_wait_seconds",
			Help:    "From a request's arrival to its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.004, 2, 16), // 4 ms to 131 s
		}),
	}
	m.switches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "writeback_publisher_switches_refused_total",
		Help: "Values of a tenant's switch that the broker showed and that were not believed, by why.",
	}, []string{"reason"})
	for _, reason := range switchReasons() {
		m.switches.WithLabelValues(reason)
	}
	for _, code := range reset.Codes() {
		m.outcomes.WithLabelValues(string(code)) // shown as 0 from the start
	}
	reg.MustRegister(m.outcomes, m.corrections, m.wait, m.switches)
	return m
}
