package obs

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape returns the lines of the metrics that are ours.
func scrape(t *testing.T, c ...prometheus.Collector) string {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c...)
	_, body := get(t, Handler(reg), "GET", "/metrics")
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "x") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

func TestGaugesOfTime(t *testing.T) {
	at := func(seconds int64) func() time.Time {
		return func() time.Time {
			if seconds == 0 {
				return time.Time{}
			}
			return time.Unix(seconds, 5e8)
		}
	}
	if got := scrape(t, NewTimes("x", "h", "certificate", map[string]func() time.Time{"api": at(7), "client": at(0), "broker": at(9)})); got != `x{certificate="api"} 7.5; x{certificate="broker"} 9.5` {
		t.Errorf("times are %s", got)
	}
	if got := scrape(t, NewTime("x", "h", at(7)), NewTime("xx", "h", at(0))); got != "x 7.5" {
		t.Errorf("a time is %s", got)
	}
}

func TestUp(t *testing.T) {
	broken := errors.New("broken")
	check := func(err error) Check {
		return Check{Name: "c", Run: func(context.Context) error { return err }}
	}
	unknown := Check{Name: "c", last: func() (bool, error) { return false, nil }}
	advisory := check(broken)
	advisory.Advisory = true
	for _, tt := range []struct {
		name   string
		checks []Check
		want   string
	}{
		{"all hold", []Check{check(nil), check(nil)}, "x 1"},
		{"one does not", []Check{check(nil), check(broken)}, "x 0"},
		{"one that is advisory does not", []Check{check(nil), advisory}, "x 1"},
		{"one is not known", []Check{check(nil), unknown}, ""},
		{"one is not known, one does not hold", []Check{unknown, check(broken)}, "x 0"},
	} {
		if got := scrape(t, NewUp("x", "h", tt.checks...)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A scrape shows what a slow check said last, and does not wait for it.
func TestRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runs, result, takes := 0, error(nil), 20*time.Second
		c := Remember(ctx, 15*time.Second, Check{Name: "directory", Run: func(ctx context.Context) error {
			runs++
			select {
			case <-time.After(takes):
				return result
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}})
		up := NewUp("x", "h", c)
		want := func(text string, n int) {
			t.Helper()
			synctest.Wait() // for a run that ends now
			began := time.Now()
			got := scrape(t, up)
			synctest.Wait()
			if got != text || runs != n || time.Since(began) != 0 {
				t.Errorf("after %d runs and %s it is %q, want %q after %d", runs, time.Since(began), got, text, n)
			}
		}
		want("", 1)
		want("", 1) // it still runs
		time.Sleep(takes)
		want("x 1", 1)
		result = errors.New("no domain controller answers")
		time.Sleep(15 * time.Second)
		want("x 1", 2)
		time.Sleep(takes)
		want("x 0", 2)
		if err := c.Run(ctx); err != result || runs != 2 {
			t.Errorf("a probe has %v after %d runs", err, runs)
		}
		// One that never ends does not hold.
		result, takes = nil, time.Hour
		time.Sleep(15 * time.Second)
		want("x 0", 3)
		time.Sleep(besideTimeout)
		want("x 0", 3)
		time.Sleep(shownFor + time.Second)
		want("", 4) // nobody has looked for too long
	})
}

// A probe does not wait for a run that has more time than it has itself. It says what
// came out last, if that was an error.
func TestProbeBesideScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dropped := errors.New("what is sent there is dropped")
		c := Remember(ctx, 15*time.Second, Check{Name: "directory", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return dropped
		}})
		up := NewUp("x", "h", c)
		probe := func() error {
			t.Helper()
			scrape(t, up)
			synctest.Wait()
			ctx, end := context.WithTimeout(ctx, checkTimeout)
			defer end()
			began := time.Now()
			err := c.Run(ctx)
			if time.Since(began) != checkTimeout {
				t.Errorf("a probe has an answer after %s", time.Since(began))
			}
			return err
		}
		if err := probe(); err == nil || err == dropped {
			t.Errorf("with nothing known, a probe has %v", err)
		}
		time.Sleep(besideTimeout + time.Minute)
		if err := probe(); err != dropped {
			t.Errorf("with something known, a probe has %v", err)
		}
		cancel()
		synctest.Wait()
	})
}

func TestEarliestEnd(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, tt := range []struct {
		name string
		ends []time.Time
		want time.Time
	}{
		{"nothing ends", []time.Time{{}, {}}, time.Time{}},
		{"the first", []time.Time{now.Add(3 * day), {}, now.Add(day), now.Add(2 * day)}, now.Add(day)},
		{"one has ended", []time.Time{now.Add(3 * day), now.Add(-day)}, now.Add(-day)},
		{"one has been forgotten", []time.Time{now.Add(3 * day), now.Add(-8 * day)}, now.Add(3 * day)},
	} {
		if got := EarliestEnd(now, tt.ends); !got.Equal(tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	leaf, issuer := &x509.Certificate{NotAfter: now.Add(2 * day)}, &x509.Certificate{NotAfter: now.Add(day)}
	if got := ChainEnd([]*x509.Certificate{leaf, issuer}); !got.Equal(issuer.NotAfter) {
		t.Errorf("a chain ends at %s", got)
	}
	if got := ChainEnd(nil); !got.IsZero() {
		t.Errorf("no chain ends at %s", got)
	}
}

func TestSteps(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := NewSteps(reg, "consumer", ConsumerSteps(), nil)
	begun := time.Now()
	s.Watch(begun).Took(StepModify, begun, begun.Add(40*time.Millisecond))
	_, body := get(t, Handler(reg), "GET", "/metrics")
	for _, want := range []string{`_count{step="modify"} 1`, `_sum{step="modify"} 0.04`, `_count{step="take"} 0`, `_bucket{step="modify",le="0.064"} 1`, `_bucket{step="modify",le="0.032"} 0`} {
		if !strings.Contains(body, "writeback_consumer_step_seconds"+want) {
			t.Errorf("%s is missing in\n%s", want, body)
		}
	}
}
