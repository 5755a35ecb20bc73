// Package report makes one HTML page of a period: what was asked for, what came
// of it and how soon, what must be looked at, and whether the trail is whole. The
// page needs nothing but itself, holds no script, and prints well.
package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"writeback/internal/inspect"
	"writeback/internal/reset"
	"writeback/internal/trail"
)

// Limits of what a page lists.
const (
	slowest   = 10
	maxEvents = 200
)

// A Collector reads a trail once, from [inspect.Before] a period to
// [inspect.After] it. It keeps counts, and no requests.
type Collector struct {
	reader    trail.Reader
	from, to  time.Time
	inspector *inspect.Inspector
	ends      *inspect.Reconciler
	hours     map[time.Time]*[classes]int
	codes     map[reset.Code]int
	ops       map[reset.Operation]int
	writers   map[string]int
	took      []int // how many took up to 2^(i/4) ms
	slow      []inspect.Outcome
	events    []trail.Entry
	more      int // events that are not listed
}

// New returns a collector for the requests that were accepted from from on and
// before to; zero is no bound.
func New(r trail.Reader, from, to time.Time) (*Collector, error) {
	inspector, err := inspect.New(r.Verifier, nil)
	if err != nil {
		return nil, err
	}
	if !to.IsZero() {
		inspector.EndsEarly()
	}
	c := &Collector{
		reader: r, from: from, to: to, inspector: inspector, ends: inspect.NewReconciler(r, from, to),
		hours: make(map[time.Time]*[classes]int), codes: make(map[reset.Code]int), ops: make(map[reset.Operation]int),
		writers: make(map[string]int), took: make([]int, 100),
	}
	c.ends.Ended = c.ended
	return c, nil
}

// Add reads the next message.
func (c *Collector) Add(m trail.Message) {
	c.inspector.Add(m)
	c.ends.Add(m)
	if m.Stream != trail.Events || !(trail.Range{From: c.from, To: c.to}).During(m.Time) {
		return
	}
	switch e := c.reader.Read(m); e.Kind {
	case "checkpoint", "sealing_key", "unreadable":
	default:
		if len(c.events) == maxEvents {
			c.more++
			return
		}
		c.events = append(c.events, e)
	}
}

// A class is what a plot distinguishes.
type class int

const (
	applied class = iota
	refused
	expired
	unconfirmed
	classes int = iota
)

// classOf returns the class of a code.
func classOf(code reset.Code) class {
	switch code {
	case reset.Applied, reset.AppliedPartly:
		return applied
	case reset.Expired, reset.InProgress:
		return expired
	case reset.Unconfirmed:
		return unconfirmed
	}
	return refused
}

func (c *Collector) ended(o inspect.Outcome) {
	hour := o.Accepted.UTC().Truncate(time.Hour)
	if c.hours[hour] == nil {
		c.hours[hour] = new([classes]int)
	}
	if o.Corrected { // it was counted as unconfirmed
		c.hours[hour][unconfirmed]--
		c.codes[reset.Unconfirmed]--
	}
	c.hours[hour][classOf(o.Code)]++
	c.codes[o.Code]++
	if o.Corrected {
		return
	}
	c.ops[o.Operation]++
	c.writers[o.By]++
	c.took[step(o.Took)]++
	i, _ := slices.BinarySearchFunc(c.slow, o, func(a, b inspect.Outcome) int { return cmp.Compare(b.Took, a.Took) })
	if i < slowest {
		c.slow = slices.Insert(c.slow, i, o)
		c.slow = c.slow[:min(len(c.slow), slowest)]
	}
}

// step returns the class of a duration: a quarter of an octave of milliseconds.
func step(d time.Duration) int {
	for i := range 100 {
		if d <= edge(i) {
			return i
		}
	}
	return 99
}

// edge is the longest duration of a class.
func edge(i int) time.Duration {
	quarters := [4]float64{1, 1.189207, 1.414214, 1.681793} // 2^(n/4)
	return time.Duration(float64(time.Millisecond) * quarters[i%4] * float64(uint64(1)<<(i/4)))
}

// quantile returns a duration that a share of the requests did not exceed.
func (c *Collector) quantile(share float64) time.Duration {
	total := 0
	for _, n := range c.took {
		total += n
	}
	left := int(share * float64(total))
	for i, n := range c.took {
		if left -= n; left < 0 {
			return edge(i)
		}
	}
	return 0
}

// sum returns how many requests there are of each class.
func (c *Collector) sum() (n [classes]int) {
	for _, h := range c.hours {
		for i := range n {
			n[i] += h[i]
		}
	}
	return n
}

// span returns the first and the last hour with a request.
func (c *Collector) span() (first, last time.Time) {
	hours := slices.SortedFunc(maps.Keys(c.hours), time.Time.Compare)
	if len(hours) == 0 {
		return first, last
	}
	return hours[0], hours[len(hours)-1]
}
