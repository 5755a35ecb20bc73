package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/consumer"
	"writeback/internal/directory"
	"writeback/internal/obs"
	"writeback/internal/queue"
)

// checks are what /readyz says.
type checks struct{ broker, streams, announcement, directory, clock, policy obs.Check }

func (c checks) all() []obs.Check {
	return []obs.Check{c.broker, c.streams, c.announcement, c.directory, c.clock, c.policy}
}

// directoryEvery is how often a probe of health, or a scrape, has a domain controller
// connected to.
const directoryEvery = 15 * time.Second

// newChecks returns them.
func newChecks(ctx context.Context, conn *queue.Conn, dir *directory.Client, c *consumer.Consumer, policy func() error) checks {
	return checks{
		broker:       obs.Check{Name: "broker", Run: conn.Check},
		streams:      obs.Check{Name: "streams", Run: conn.Streams},
		announcement: obs.Check{Name: "announcement", Run: c.Heard},
		directory:    obs.Remember(ctx, directoryEvery, obs.Check{Name: "directory", Run: dir.Check}),
		clock:        obs.Check{Name: "clock", Run: c.Clock},
		policy:       obs.Check{Name: "policy", Run: func(context.Context) error { return policy() }},
	}
}

// watch adds the metrics of what the program needs: what /readyz checks, and when
// something ends.
func (l *loaded) watch(reg prometheus.Registerer, conn *queue.Conn, dir *directory.Client, health checks) {
	pins := append(l.publishers.Ends(), l.consumers.Ends()...)
	reg.MustRegister(
		obs.NewUp("writeback_consumer_ready", "1 if /readyz says that the consumer is ready, else 0.", health.all()...),
		obs.NewUp("writeback_consumer_broker_up", "1 if the consumer is connected to the broker, else 0.", health.broker),
		obs.NewUp("writeback_consumer_directory_up", "1 if a domain controller could be used when one was last tried, else 0.", health.directory),
		obs.NewUp("writeback_consumer_policy_in_force", "1 if the policy file is in force as it is, 0 if an earlier version of it is.", health.policy),
		obs.NewGauge("writeback_consumer_clock_skew_seconds", "By how much the own clock was ahead of a domain controller's when one was last looked at.",
			func(tell obs.Tell) {
				if ahead, known := dir.Skew(); known {
					tell(ahead.Seconds())
				}
			}),
		obs.NewTimes("writeback_consumer_certificate_expiry_timestamp_seconds", "When certificates end, by certificate.", "certificate",
			map[string]func() time.Time{
				"broker":    func() time.Time { return conn.Ends().Broker },
				"client":    func() time.Time { return conn.Ends().Client },
				"directory": dir.CertificateEnd,
			}),
		obs.NewTimes("writeback_consumer_credential_expiry_timestamp_seconds", "When the first of each kind of credential ends, by kind.", "credential",
			map[string]func() time.Time{
				"pin":         func() time.Time { return obs.EarliestEnd(time.Now(), pins) },
				"broker_user": func() time.Time { return conn.Ends().User },
			}),
	)
}
