package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Tell says one value of a gauge, with the values of its labels.
type Tell func(value float64, labels ...string)

// NewGauge returns a gauge that is read when it is scraped. What read does not
// tell is absent, which is what becomes of a value that nobody knows: it is not
// zero. read must not wait for anything.
func NewGauge(name, help string, read func(Tell), labels ...string) prometheus.Collector {
	return gauge{prometheus.NewDesc(name, help, labels, nil), read}
}

type gauge struct {
	desc *prometheus.Desc
	read func(Tell)
}

// Describe is of [prometheus.Collector].
func (g gauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect is of [prometheus.Collector].
func (g gauge) Collect(ch chan<- prometheus.Metric) {
	g.read(func(value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, labels...)
	})
}

// NewTimes returns a gauge of points in time (Unix, in seconds), by a label. What
// has no such time is absent.
func NewTimes(name, help, label string, times map[string]func() time.Time) prometheus.Collector {
	return NewGauge(name, help, func(tell Tell) {
		for value, at := range times {
			if at := at(); !at.IsZero() {
				tell(unix(at), value)
			}
		}
	}, label)
}

// NewTime is [NewTimes] of a single one, without a label.
func NewTime(name, help string, at func() time.Time) prometheus.Collector {
	return NewGauge(name, help, func(tell Tell) {
		if at := at(); !at.IsZero() {
			tell(unix(at))
		}
	})
}

func unix(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// NewUp returns a gauge that is 1 while all of the checks hold that are not
// advisory, and 0 while one does not. It is absent while none is known not to
// hold and one is not known at all.
func NewUp(name, help string, checks ...Check) prometheus.Collector {
	return NewGauge(name, help, func(tell Tell) {
		all := true
		for _, c := range checks {
			if c.Advisory {
				continue
			}
			known, err := c.newest()
			if err != nil {
				tell(0)
				return
			}
			all = all && known
		}
		if all {
			tell(1)
		}
	})
}
