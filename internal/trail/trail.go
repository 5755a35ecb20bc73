// Package trail reads what a tenant's streams RECORDS and EVENTS hold: from a
// broker, live or started on a backup, or from an archive, which is a file. It
// decodes, filters and prints, and believes nothing but signatures of pinned
// keys; whether anything is missing is a question for package inspect.
package trail

import (
	"context"
	"time"

	"writeback/internal/reset"
)

// The two streams.
const (
	Records = "RECORDS"
	Events  = "EVENTS"
)

// A Message is one of either stream, as whoever kept it has it.
type Message struct {
	Stream string `json:"stream"`
	reset.Message
}

// A Position is how far somebody has read: the sequence of the last message of
// each stream. It is what is kept to go on from.
type Position struct {
	Records uint64 `json:"records"`
	Events  uint64 `json:"events"`
}

// Covers reports whether m was read.
func (p Position) Covers(m Message) bool {
	if m.Stream == Records {
		return m.Seq <= p.Records
	}
	return m.Seq <= p.Events
}

// Pass notes that m was read.
func (p *Position) Pass(m Message) {
	if m.Stream == Records {
		p.Records = m.Seq
	} else {
		p.Events = m.Seq
	}
}

// A Range is a part of the trail. Its zero value is all of it. Times are those at
// which the broker stored a message, sequences are those of RECORDS; of EVENTS
// there is what was stored in the same time.
type Range struct {
	From, To       time.Time // From is included, To is not
	FromSeq, ToSeq uint64    // both included
	After          Position
}

// During reports whether a time is within the range.
func (r Range) During(at time.Time) bool {
	return !at.Before(r.From) && (r.To.IsZero() || at.Before(r.To))
}

// A Source has a trail.
type Source interface {
	// Walk calls f with every message in a range: those of each stream in the
	// order of their sequences, both streams together in the order of the
	// times at which they were stored. It ends with the last message that was
	// there when it began.
	Walk(ctx context.Context, r Range, f func(Message) error) error
}

// A Log is one stream. See queue.Log.
type Log interface {
	Bounds(ctx context.Context) (first, last uint64, err error)
	Since(ctx context.Context, at time.Time) (seq uint64, ok bool, err error)
	Read(ctx context.Context, from, to uint64, f func(reset.Message) error) error
}
