package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/queue"
)

// watch adds the metrics of what the program needs: what /readyz checks, and when
// something ends.
func (l *loaded) watch(reg prometheus.Registerer, conn *queue.Conn, tokens *portal.Tokens, api func() time.Time, health []obs.Check) {
	pins := l.publishers.Ends()
	for _, p := range l.consumers {
		pins = append(pins, p.Ends()...)
	}
	reg.MustRegister(
		obs.NewUp("writeback_publisher_ready", "1 if /readyz says that the publisher is ready, else 0.", health...),
		obs.NewUp("writeback_publisher_broker_up", "1 if the publisher is connected to the broker, else 0.", obs.Check{Run: conn.Check}),
		obs.NewTimes("writeback_publisher_certificate_expiry_timestamp_seconds", "When certificates end, by certificate.", "certificate",
			map[string]func() time.Time{
				"api":    api,
				"broker": func() time.Time { return conn.Ends().Broker },
				"client": func() time.Time { return conn.Ends().Client },
			}),
		obs.NewTimes("writeback_publisher_credential_expiry_timestamp_seconds", "When the first of each kind of credential ends, by kind.", "credential",
			map[string]func() time.Time{
				"token":       func() time.Time { return obs.EarliestEnd(time.Now(), tokens.Ends()) },
				"pin":         func() time.Time { return obs.EarliestEnd(time.Now(), pins) },
				"broker_user": func() time.Time { return conn.Ends().User },
			}),
	)
}
