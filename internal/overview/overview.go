// Package overview counts what the records of a tenant say, for the page of its
// administrators: how many requests each consumer has settled today, which it has
// in hand, what the last outcomes are, and how it was over the last 24 hours.
//
// It reads what stands in clear in records that pinned keys have signed, and keeps
// it in memory that does not grow: it is a view of the records, never what they are
// proven with. That is for the audit.
package overview

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

const (
	// maxOpen is how many requests that have not ended are kept. Of more, the
	// outcome is not shown.
	maxOpen = 20_000
	// maxReplicas is how many consumers are told apart a day.
	maxReplicas = 64
	bins        = int64(24 * time.Hour / reset.BinWidth)
)

// A Day is what is known of the last 24 hours of a tenant. It is safe for use by
// several goroutines.
type Day struct {
	verify audit.Verifier

	mu       sync.Mutex // guards what follows
	open     map[reset.ID]*request
	swept    time.Time
	today    time.Time // midnight UTC of what is counted in replicas
	replicas map[string]*tally
	recent   []reset.Recent   // oldest first
	bins     map[int64]*tally // by the number of their width since 1970
	begun    time.Time        // since when
	until    time.Time
	reading  bool
}

// A request is one that has not ended, or is unconfirmed.
type request struct {
	chain    audit.Chain
	accepted time.Time // by the broker's clock
	ended    time.Time // of an unconfirmed one; else zero
	consumer string    // that has ended it; empty if none has
}

// A tally is what one consumer has done today, or what ended in a part of the day.
type tally struct {
	classes [3]int // by reset.Class
	times   histogram
}

func (t *tally) add(code reset.Code, took time.Duration) {
	t.classes[reset.ClassOf(code)]++
	t.times.add(took)
}

// New returns a day of which nothing is known since begun.
func New(v audit.Verifier, begun time.Time) *Day {
	d := &Day{verify: v}
	d.Begin(begun)
	return d
}

// Begin forgets everything: all records are read that were stored since begun.
func (d *Day) Begin(begun time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.replicas, d.bins = make(map[reset.ID]*request), make(map[string]*tally), make(map[int64]*tally)
	d.recent, d.today, d.begun, d.until, d.reading = nil, time.Time{}, begun, begun, true
}

// CaughtUp notes that the records that were there at the beginning are read.
func (d *Day) CaughtUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = false
}

// Hear takes note of a record, in the order of the stream. at is the broker's time.
func (d *Day) Hear(s reset.Stored, at time.Time) {
	rec, err := envelope.ParseRecord(s.Data)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = at
	d.turn(at)
	d.sweep(at)
	r := d.open[rec.ID]
	if r == nil {
		if rec.Kind != envelope.Accepted || len(d.open) >= maxOpen {
			return // it began before what we know
		}
		r = &request{accepted: at}
	}
	chain, err := d.verify.Extend(r.chain, rec.ID, s)
	if err != nil {
		return
	}
	r.chain = chain
	d.open[rec.ID] = r
	switch {
	case rec.Kind == envelope.Corrected && !r.ended.IsZero():
		d.correct(r, rec.Code, rec.Writer.Name)
		delete(d.open, rec.ID)
	case chain.Ended():
		d.end(r, at)
		if r.ended = at; !chain.Unconfirmed() {
			delete(d.open, rec.ID)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// turn forgets what is counted and over at a time, which may be that of a look at
// the page, or of a record that is read late.
func (d *Day) turn(at time.Time) {
	if day := at.UTC().Truncate(24 * time.Hour); day.After(d.today) {
		d.today = day
		clear(d.replicas)
	}
	oldest := numberOf(at) - bins
	maps.DeleteFunc(d.bins, func(n int64, _ *tally) bool { return n < oldest })
}

// sweep forgets what nobody has ended until a record was stored: by the clock of a
// look, all that is read late would be over.
func (d *Day) sweep(at time.Time) {
	if at.Sub(d.swept) > time.Minute {
		d.swept = at
		maps.DeleteFunc(d.open, func(_ reset.ID, r *request) bool { return at.Sub(r.accepted) > reset.Correctable })
	}
}

func numberOf(at time.Time) int64 { return at.Unix() / int64(reset.BinWidth/time.Second) }

// end counts the outcome of a request.
func (d *Day) end(r *request, at time.Time) {
	last, took := r.chain.Last(), at.Sub(r.accepted)
	e := reset.Recent{
		Ref: reset.Ref{Publisher: last.Publisher, ID: last.ID}, Operation: last.Operation, Code: last.Code, Ended: at, Took: took,
	}
	if claim, ok := r.chain.Claim(); ok && claim.Writer.Run == last.Writer.Run {
		e.Consumer, r.consumer = last.Writer.Name, last.Writer.Name
		if t := d.tally(e.Consumer, at); t != nil {
			t.add(e.Code, last.Time.Sub(claim.Time))
		}
	}
	b := d.bins[numberOf(at)]
	if b == nil {
		b = new(tally)
		d.bins[numberOf(at)] = b
	}
	b.add(e.Code, took)
	if d.recent = append(d.recent, e); len(d.recent) > reset.MaxRecent {
		d.recent = slices.Delete(d.recent, 0, len(d.recent)-reset.MaxRecent)
	}
}

// tally returns that of a consumer, for what ended at a time; nil if that was not
// today, or there are too many.
func (d *Day) tally(name string, ended time.Time) *tally {
	t := d.replicas[name]
	switch {
	case ended.Before(d.today):
		return nil
	case t == nil && len(d.replicas) < maxReplicas:
		t = new(tally)
		d.replicas[name] = t
	}
	return t
}

// correct puts the truth, which a consumer has found out, in the place of an
// unconfirmed outcome. If it was the publisher that could not tell, no consumer
// was counted yet.
func (d *Day) correct(r *request, code reset.Code, finder string) {
	if b := d.bins[numberOf(r.ended)]; b != nil {
		b.classes[reset.Failed]--
		b.classes[reset.ClassOf(code)]++
	}
	counted := r.consumer != ""
	if !counted {
		r.consumer = finder
	}
	if t := d.tally(r.consumer, r.ended); t != nil {
		if counted {
			t.classes[reset.Failed]--
		}
		t.classes[reset.ClassOf(code)]++
	}
	for i := range d.recent {
		if e := &d.recent[i]; e.Ref.ID == r.chain[0].ID {
			e.Code, e.Consumer = code, r.consumer
		}
	}
}

// Show writes what is known at a time into o: to the consumers that are in it
// already it adds what they did, and those that nothing else is known of.
func (d *Day) Show(o *reset.Overview, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	o.Since, o.Reading, o.Until = later(d.begun, now.Add(-24*time.Hour)), d.reading, d.until
	o.Recent = slices.Clone(d.recent)
	slices.Reverse(o.Recent)
	hands := make(map[string]int)
	for _, r := range d.open {
		if last := r.chain.Last(); last.Kind == envelope.Claimed && now.Sub(r.accepted) < reset.Life {
			hands[last.Writer.Name]++
		}
	}
	for _, names := range []func(func(string) bool){maps.Keys(d.replicas), maps.Keys(hands)} {
		for name := range names {
			if !slices.ContainsFunc(o.Replicas, func(r reset.Replica) bool { return r.Replica == name }) {
				o.Replicas = append(o.Replicas, reset.Replica{Consumer: reset.Consumer{Replica: name}})
			}
		}
	}
	for i := range o.Replicas {
		r := &o.Replicas[i]
		r.InHand = hands[r.Replica]
		if t := d.replicas[r.Replica]; t != nil {
			r.Applied, r.Refused, r.Failed = t.classes[reset.Done], t.classes[reset.Refused], t.classes[reset.Failed]
			r.Median, r.Slow = t.times.median(), t.times.slow()
		}
	}
	slices.SortFunc(o.Replicas, func(a, b reset.Replica) int { return strings.Compare(a.Replica, b.Replica) })
	for n := numberOf(now) - bins + 1; n <= numberOf(now); n++ {
		shown := reset.Bin{Start: time.Unix(n*int64(reset.BinWidth/time.Second), 0).UTC()}
		if b := d.bins[n]; b != nil {
			shown.Applied, shown.Refused, shown.Failed = b.classes[reset.Done], b.classes[reset.Refused], b.classes[reset.Failed]
			shown.Median, shown.Slow = b.times.median(), b.times.slow()
		}
		o.Bins = append(o.Bins, shown)
	}
}
