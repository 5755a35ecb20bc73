package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

// outageOf is how long what is away is away: WRITEBACK_OUTAGE, such as 1h, or else
// for a short while.
func outageOf(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("WRITEBACK_OUTAGE")
	if text == "" {
		return 12 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// awayFor takes a process away until back is called.
func (l *Lab) awayFor(t *testing.T, name string) (back func()) {
	t.Helper()
	p := l.named(t, name)
	l.leave(p)
	return func() {
		t.Helper()
		if _, err := l.run(name, p.command); err != nil {
			t.Fatal(err)
		}
		if err := l.writeEndpoints(); err != nil {
			t.Fatal(err)
		}
	}
}

// named returns the process with that name.
func (l *Lab) named(t *testing.T, name string) *process {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("there is no process %s", name)
	return nil
}

// A footprint is what a program takes.
type footprint struct {
	memory, goroutines, files, cpu float64
	lines, bytes                   int // of its log
}

func (l *Lab) footprints(t *testing.T) map[string]footprint {
	t.Helper()
	all := make(map[string]footprint)
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		page, log := metrics(t, url), l.logOf(t, name)
		all[name] = footprint{
			gauge(t, page, "process_resident_memory_bytes"), gauge(t, page, "go_goroutines"), gauge(t, page, "process_open_fds"),
			gauge(t, page, "process_cpu_seconds_total"), bytes.Count(log, []byte("\n")), len(log),
		}
	}
	return all
}

// logOf returns what one program has logged so far, as far as the last line is whole.
func (l *Lab) logOf(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(l.path("logs", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return text[:bytes.LastIndexByte(text, '\n')+1]
}

// gauge returns the value of a series without labels.
func gauge(t *testing.T, page, series string) float64 {
	t.Helper()
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no %s", series)
	return 0
}

// TestOutage takes the broker away, or all domain controllers, for as long as
// WRITEBACK_OUTAGE says, with somebody who wants to reset a password every minute.
// Nobody waits for nothing, no program fills its log or its memory, and everything
// comes back by itself.
func TestOutage(t *testing.T) {
	t.Parallel()
	t.Run("broker", func(t *testing.T) {
		t.Parallel()
		l := startLab(t, "fake")
		o := &outage{t: t, l: l, e: l.endpoints(t)}
		o.run(func() func() { return l.awayFor(t, "nats") }, "503 broker_unavailable")
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		l := startLab(t, "fake-pair")
		o := &outage{t: t, l: l, e: l.endpoints(t)}
		o.run(func() func() {
			l.fake.Close()
			l.second.Close()
			return func() {
				if err := errors.Join(l.fake.Restart(), l.second.Restart()); err != nil {
					t.Fatal(err)
				}
			}
		}, "202 ")
	})
}

// An outage is one of the whole system, and what callers were told.
type outage struct {
	t        *testing.T
	l        *Lab
	e        *Endpoints
	told     map[string]int
	longest  time.Duration
	accepted []string
	used     int
}

// ask asks for one reset, of an account that nobody is asking for.
func (o *outage) ask() response {
	o.t.Helper()
	u := o.l.Directory.Users[o.used%len(o.l.Directory.Users)]
	o.used++
	begun := time.Now()
	r, err := o.e.post(o.t.Context(), "upn", u.UPN, fmt.Sprintf("Outage-Word-%d", o.used), "Prefer: wait=5")
	if err != nil {
		o.t.Fatal(err)
	}
	o.told[fmt.Sprintf("%d %s", r.Status, r.Code)]++
	o.longest = max(o.longest, time.Since(begun))
	if r.ID != "" {
		o.accepted = append(o.accepted, r.ID)
	}
	return r
}

// probe reads what all programs say of their health, as whoever watches them does
// every few seconds, and counts it.
func (o *outage) probe(said map[string]int) {
	o.t.Helper()
	for name, url := range operations(o.t, o.l.Dir, o.l.opts.Consumers) {
		if err := ready(o.t.Context(), name, url); err != nil {
			said[strings.TrimSpace(err.Error())]++
		}
	}
}

// run takes away, asks, and has it back. Callers may be told nothing but allowed.
func (o *outage) run(away func() (back func()), allowed ...string) {
	t, l := o.t, o.l
	defer l.stopPrograms() // while there is a broker to say good-bye to
	lasts := outageOf(t)
	o.told = make(map[string]int)
	applied := func() error {
		if r := o.ask(); r.Code != string(reset.Applied) {
			return errors.New(r.Body)
		}
		return nil
	}
	for range 4 {
		await(t, "a reset before", applied)
	}
	clear(o.told)
	o.accepted, o.longest = nil, 0
	before := l.footprints(t)
	back := away()
	begun := time.Now()
	tick, probe := time.NewTicker(min(time.Minute, lasts/5)), time.NewTicker(5*time.Second)
	defer tick.Stop()
	defer probe.Stop()
	said := make(map[string]int)
	for time.Since(begun) < lasts {
		o.ask()
		for waiting := true; waiting; {
			select {
			case <-tick.C:
				waiting = false
			case <-probe.C:
				o.probe(said)
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(said)) {
		t.Logf("%4d x %s", said[what], what)
	}
	after := l.footprints(t)
	for what, n := range o.told {
		if !slices.Contains(allowed, what) {
			t.Errorf("%d callers were told %q", n, what)
		}
	}
	t.Logf("%s: told %v, at most after %s", lasts, o.told, o.longest.Round(10*time.Millisecond))
	requests := len(o.accepted)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		a, b := after[name], before[name]
		lines, size := a.lines-b.lines, a.bytes-b.bytes
		t.Logf("%-9s %4d lines, %6d bytes of log; memory %5.1f to %5.1f MB, goroutines %3.0f to %3.0f, files %3.0f to %3.0f, %6.2f s of CPU",
			name, lines, size, b.memory/1e6, a.memory/1e6, b.goroutines, a.goroutines, b.files, a.files, a.cpu-b.cpu)
		// What is said of the outage itself, every ten minutes or each minute if it
		// changes, and of a request: a consumer hands it back five times.
		if most := 30 + 4*int(lasts/time.Minute) + 8*requests; lines > most {
			t.Errorf("%s has logged %d lines, want %d at most: %v", name, lines, most, counted(t, l.logOf(t, name)[b.bytes:]))
		}
		if a.memory > 2*b.memory+8e6 || a.goroutines > b.goroutines+64 || a.files > b.files+32 {
			t.Errorf("%s has grown", name)
		}
	}
	back()
	begun = time.Now()
	await(t, "a reset afterwards", applied)
	t.Logf("the first reset is applied %s after the end", time.Since(begun).Round(10*time.Millisecond))
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		await(t, name+" being ready", func() error { return ready(t.Context(), name, url) })
	}
	t.Logf("everybody is ready %s after the end", time.Since(begun).Round(10*time.Millisecond))
	ends := make(map[string]int)
	for _, id := range o.accepted {
		await(t, "the end of "+id, func() error {
			r := l.get(t, o.e, id)
			if !r.Final {
				return errors.New(r.Body)
			}
			ends[r.Code]++
			return nil
		})
	}
	t.Logf("what was accepted has ended as %v", ends)
	for code := range ends {
		if code != string(reset.Applied) && code != string(reset.Expired) {
			t.Errorf("%d ended as %s", ends[code], code)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%s: %v", name, counted(t, l.logOf(t, name)[before[name].bytes:]))
	}
}

// counted counts the lines of a log by what they say.
func counted(t *testing.T, log []byte) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for line := range bytes.Lines(log) {
		var entry struct{ Message, Level string }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		counts[entry.Level+" "+entry.Message]++
	}
	return counts
}
