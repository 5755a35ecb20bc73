package publisher

import (
	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

type metrics struct {
	outcomes    *prometheus.CounterVec
	corrections *prometheus.CounterVec
	wait        prometheus.Histogram
	switches    *prometheus.CounterVec
	sightings   *prometheus.CounterVec
	steps       *obs.Steps
}

func newMetrics(reg prometheus.Registerer, p *Publisher) metrics {
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
		sightings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_publisher_replicas_seen_total",
			Help: "Runs of consumers that were heard of for the first time, by how: first_sight, new_run, or two_runs at the same time under one name.",
		}, []string{"how"}),
	}
	m.steps = obs.NewSteps(reg, "publisher", obs.PublisherSteps(), p.cfg.Tracer)
	lost := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "writeback_publisher_lost_events_total",
		Help: "Events for the audit that could not be written.",
	}, func() (n float64) {
		for _, t := range p.tenants {
			n += float64(t.journal.Lost())
		}
		return n
	})
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "writeback_publisher_waiting_events",
		Help: "Events for the audit that wait until the broker stores them.",
	}, func() (n float64) {
		for _, t := range p.tenants {
			n += float64(t.journal.Waiting())
		}
		return n
	})
	for how := envelope.FirstSight; how <= envelope.TwoRuns; how++ {
		m.sightings.WithLabelValues(how.String())
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
		m.corrections.WithLabelValues(string(code))
	}
	reg.MustRegister(m.outcomes, m.corrections, m.wait, m.switches, m.sightings, lost, waiting)
	reg.MustRegister(gauges(p)...)
	return m
}
