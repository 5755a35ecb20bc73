package publisher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/obs"
)

// gauges are what is read of each tenant when it is scraped. None of them asks the
// broker.
func gauges(p *Publisher) []prometheus.Collector {
	each := func(name, help string, read func(t *tenant, now time.Time) (value float64, known bool)) prometheus.Collector {
		return obs.NewGauge(name, help, func(tell obs.Tell) {
			now := time.Now()
			for name, t := range p.tenants {
				if value, known := read(t, now); known {
					tell(value, name)
				}
			}
		}, "tenant")
	}
	return []prometheus.Collector{
		each("writeback_publisher_consumers_seen", "Consumers that were heard of in the last 30 s, by tenant.",
			func(t *tenant, now time.Time) (float64, bool) {
				live, _ := t.presence.live(now)
				return float64(len(live)), true
			}),
		each("writeback_publisher_sealing_key_age_seconds", "Age of the oldest key that requests are sealed for, by tenant.",
			func(t *tenant, now time.Time) (float64, bool) {
				live, err := t.presence.live(now)
				var age time.Duration
				for _, c := range live {
					age = max(age, now.Sub(c.said.BoxMade))
				}
				return age.Seconds(), err == nil
			}),
		each("writeback_publisher_queued_requests", "Requests in the queue, those in hand included, by tenant.",
			func(t *tenant, _ time.Time) (float64, bool) {
				n, _, known := t.backlog.known(backlogKnown)
				return float64(n), known
			}),
		each("writeback_publisher_oldest_request_seconds", "For how long the oldest request has been in the queue, by tenant; 0 if there is none.",
			func(t *tenant, now time.Time) (float64, bool) {
				_, oldest, known := t.backlog.known(backlogKnown)
				if oldest.IsZero() {
					return 0, known
				}
				return max(0, now.Sub(oldest).Seconds()), known
			}),
		obs.NewTime("writeback_publisher_last_checkpoint_timestamp_seconds",
			"Signed checkpoints cover all that was written before this time: that of the last one, or now if nothing was written since; of several tenants the earliest.",
			func() (first time.Time) {
				now := time.Now()
				for _, t := range p.tenants {
					if at := t.journal.Covered(now); first.IsZero() || at.Before(first) {
						first = at
					}
				}
				return first
			}),
	}
}
