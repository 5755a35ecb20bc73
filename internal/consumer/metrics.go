package consumer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

type metrics struct {
	outcomes   *prometheus.CounterVec
	handedBack *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	late       prometheus.Counter
	took       prometheus.Histogram
	steps      *obs.Steps
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
		steps: obs.NewSteps(reg, "consumer", obs.ConsumerSteps(), c.cfg.Tracer),
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
	key := obs.NewGauge("writeback_consumer_sealing_key_age_seconds", "Age of the key that requests are sealed for.", func(tell obs.Tell) {
		_, made := c.cfg.Keys.Public()
		tell(time.Since(made).Seconds())
	})
	checkpoint := obs.NewTime("writeback_consumer_last_checkpoint_timestamp_seconds",
		"A signed checkpoint covers all that was written before this time: that of the last one, or now if nothing was written since.",
		func() time.Time { return c.journal.Covered(time.Now()) })
	for _, code := range reset.Codes() {
		m.outcomes.WithLabelValues(string(code)) // shown as 0 from the start
	}
	for _, reason := range handBackReasons() {
		m.handedBack.WithLabelValues(reason)
	}
	for _, reason := range dropReasons() {
		m.dropped.WithLabelValues(reason)
	}
	reg.MustRegister(m.outcomes, m.handedBack, m.dropped, m.late, m.took, inHand, lost, waiting, key, checkpoint)
	return m
}
