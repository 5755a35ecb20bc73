package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// sign returns the encoding of an event that tells f. private is nil where
// nothing is personal; it is left out where there is no key for the month.
func (j *Journal) sign(number uint64, at time.Time, f envelope.Fact, private *envelope.Private) ([]byte, error) {
	e := envelope.Event{Tenant: j.cfg.Tenant, Time: at, Writer: j.cfg.Log.writer(number), Fact: f}
	rand.Read(e.ID[:])
	month := seal.MonthOf(at)
	if key, ok := j.cfg.Months.Key(month, e.Tenant, e.ID); ok && private != nil {
		e.Month = uint32(month)
		var err error
		if e.Private, err = key.Seal(e.Clear(), private.Encode()); err != nil {
			return nil, fmt.Errorf("encrypting the private part of an event: %w", err)
		}
	}
	e.Sig = j.cfg.Log.Sign(seal.KindEvent, e.Signed())
	return e.Encode(), nil
}

// ErrEvent is returned for an event that no pinned key vouches for. Its text
// says why, for people.
var ErrEvent = errors.New("not an event of a pinned writer")

// An Entry is one verified event.
type Entry struct {
	*envelope.Event
	Seq       uint64
	Hash      [32]byte // SHA-256 of its encoding
	Publisher bool     // a publisher wrote it; else a consumer
}

// Event verifies one event: its form, its tenant, its signature by a pinned key,
// and that its writer's side may say it. The error wraps [ErrEvent].
func (v Verifier) Event(s reset.Stored) (Entry, error) {
	bad := func(why string) (Entry, error) {
		return Entry{}, fmt.Errorf("%w: event %d %s", ErrEvent, s.Seq, why)
	}
	e, err := envelope.ParseEvent(s.Data)
	if err != nil {
		return bad("is malformed")
	}
	if e.Tenant != v.Tenant {
		return bad("is of another tenant")
	}
	byPublisher, byConsumer := v.Signed(e.Writer.Key, e.Time, seal.KindEvent, e.Signed(), e.Sig)
	if !byPublisher && !byConsumer {
		return bad("is not signed by a pinned key")
	}
	switch e.Fact.Kind() {
	case envelope.EventStarted, envelope.EventStopped, envelope.EventCheckpoint:
	case envelope.EventSealingKey:
		if byPublisher {
			return bad("is not for a publisher to say")
		}
	default:
		if !byPublisher {
			return bad("is not for a consumer to say")
		}
	}
	return Entry{Event: e, Seq: s.Seq, Hash: sha256.Sum256(s.Data), Publisher: byPublisher}, nil
}

// PrivateEvent opens the private part of an event. A part that is empty is
// returned as nothing said.
func PrivateEvent(months seal.MonthKeys, e Entry) (*envelope.Private, error) {
	if len(e.Event.Private) == 0 {
		return &envelope.Private{}, nil
	}
	key, ok := months.Key(seal.Month(e.Month), e.Tenant, e.ID)
	if !ok {
		return nil, fmt.Errorf("there is no key for %s", seal.Month(e.Month))
	}
	plain, err := key.Open(e.Clear(), e.Event.Private)
	if err != nil {
		return nil, err
	}
	return envelope.ParsePrivate(plain)
}

// A Numbered is a record or event of a run that is in the streams.
type Numbered struct {
	Number uint64
	Hash   [32]byte // SHA-256 of it as it is stored
}

// A Coverage is how a checkpoint compares with what is in the streams.
type Coverage struct {
	Stored       uint64 // numbers that the checkpoint covers and that are there
	Missing      uint64 // numbers that were stored and are not there any more
	FirstMissing uint64 // the first of them
	Refused      uint64 // numbers that are there although the broker had said that it would not store them
	FirstRefused uint64
	Uncertain    uint64 // numbers that are there and that the checkpoint could not speak for
	Altered      bool   // none is missing, and what is there is not what was stored
}

// Whole reports whether everything is there as it was stored, and nothing else.
func (c Coverage) Whole() bool { return c.Missing == 0 && c.Refused == 0 && !c.Altered }

// Compare compares a checkpoint with the records and events of its run whose
// numbers are within its range, ascending, each number once.
func Compare(c envelope.Checkpoint, have []Numbered) Coverage {
	var out Coverage
	var sum Sum
	next, gaps := c.From, c.Gaps    // next is the lowest number that is to be accounted for
	missing := func(until uint64) { // numbers before until, none of which is in a gap
		if until > next {
			if out.Missing == 0 {
				out.FirstMissing = next
			}
			out.Missing += until - next
		}
	}
	for _, h := range have {
		for len(gaps) > 0 && gaps[0].Last() < h.Number {
			missing(gaps[0].First)
			next, gaps = max(next, gaps[0].Last()+1), gaps[1:]
		}
		if len(gaps) > 0 && gaps[0].First <= h.Number {
			switch {
			case gaps[0].Uncertain:
				out.Uncertain++
			case out.Refused == 0:
				out.FirstRefused = h.Number
				fallthrough
			default:
				out.Refused++
			}
			continue
		}
		missing(h.Number)
		next = h.Number + 1
		sum = sum.Add(h.Number, h.Hash)
		out.Stored++
	}
	for _, g := range gaps {
		missing(g.First)
		next = g.Last() + 1
	}
	missing(c.To + 1)
	out.Altered = out.Missing == 0 && sum != c.Sum
	return out
}
