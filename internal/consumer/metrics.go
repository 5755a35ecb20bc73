package consumer

import (
	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/reset"
)

type metrics struct {
	outcomes   *prometheus.CounterVec
	handedBack *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	late       prometheus.Counter
	took       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, c *Consumer) metrics {
	m := metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_consumer_outcomes_total",
			Help: "Outcomes that this replica has written, by code.",
		}, []string{"code"}),
		handedBack: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_consumer_handed_back_total",
			Help: "Deliveries that were given back to the queue, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_consumer_dropped_total",
			Help: "Messages taken off the queue that were not requests of a pinned publisher, by reason.",
		}, []string{"reason"}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "writeback_consumer_late_outcomes_total",
			Help: "Outcomes of this replica that were refused because another had taken over.",
		}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "writeback_consumer_request_seconds",
			Help:    "From a request's delivery to its stored outcome.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14), // 2 ms to 16 s
		}),
	}
	inHand := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "writeback_consumer_in_hand_requests",
		Help: "Requests that this replica is working on.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.inHand))
	})
	lost := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "writeback_consumer_lost_events_total",
		Help: "Events for the audit that could not be written.",
	}, func() float64 { return float64(c.journal.Lost()) })
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "writeback_consumer_waiting_events",
		Help: "Events for the audit that wait until the broker stores them.",
	}, func() float64 { return float64(c.journal.Waiting()) })
	for _, code := range reset.Codes() {
		m.outcomes.WithLabelValues(string(code)) // shown as 0 from the start
	}
	for _, reason := range []string{notARequest, unknownSigner, otherTenant} {
		m.dropped.WithLabelValues(reason)
	}
	reg.MustRegister(m.outcomes, m.handedBack, m.dropped, m.late, m.took, inHand, lost, waiting)
	return m
}
