package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A Sum is what a checkpoint says of what was stored, in the order of the
// numbers. The zero value is of nothing.
type Sum [32]byte

// Add returns the sum with one more: SHA-256(sum ‖ number as 8 bytes big-endian
// ‖ SHA-256 of the record or event as it is stored).
func (s Sum) Add(number uint64, hash [32]byte) Sum {
	var b [32 + 8 + 32]byte
	copy(b[:], s[:])
	binary.BigEndian.PutUint64(b[32:], number)
	copy(b[40:], hash[:])
	return sha256.Sum256(b[:])
}

// A ledger gives the records and events of one run, of one tenant, their numbers
// and keeps count of what became of them until a checkpoint says so. Nobody
// waits for anybody: numbers up to mark are in the sum or in a gap, later ones
// may still be on their way.
type ledger struct {
	mu     sync.Mutex
	last   uint64 // number that was given out last
	from   uint64 // first number of the next checkpoint
	mark   uint64
	sum    Sum
	stored int // numbers in sum
	gaps   []envelope.Gap
	open   map[uint64]*entry // numbers after mark
	worth  bool              // something but checkpoints was written since the last one
	full   chan struct{}     // has room for one: a checkpoint is due
}

// An entry is a number and what became of it.
type entry struct {
	begun      time.Time
	fate       fate
	hash       [32]byte
	checkpoint bool
}

type fate int

const (
	inFlight  fate = iota
	stored         // the broker says that it is on disk
	void           // it is not, and never will be
	uncertain      // it may be, or become so
)

// fateOf is what a store's error says of what was to be stored.
func fateOf(err error) fate {
	switch {
	case err == nil:
		return stored
	case errors.Is(err, reset.ErrConflict), errors.Is(err, reset.ErrUnavailable):
		return void
	}
	return uncertain
}

// checkpointAfter is how many records a checkpoint covers before it is due at
// once, and gapsAfter how many gaps.
const (
	checkpointAfter = 1000
	gapsAfter       = envelope.MaxGaps / 2
)

// patience is how long a write that is on its way keeps those after it out of a
// checkpoint. Then its fate counts as uncertain.
const patience = 30 * time.Second

func newLedger() *ledger {
	return &ledger{from: 1, open: make(map[uint64]*entry), full: make(chan struct{}, 1)}
}

// begin gives out the next number.
func (l *ledger) begin(checkpoint bool) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.open[l.last] = &entry{begun: time.Now(), checkpoint: checkpoint}
	return l.last
}

// end says what became of a number. Only the first word counts, and none that
// comes after a checkpoint had to do without it.
func (l *ledger) end(number uint64, f fate, hash [32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.open[number]
	if e == nil || e.fate != inFlight {
		return
	}
	e.fate, e.hash = f, hash
	l.worth = l.worth || !e.checkpoint
	// Who cuts may be the one that is on its way.
	l.advance(time.Now().Add(-patience))
	if l.stored >= checkpointAfter || len(l.gaps) >= gapsAfter {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// advance moves mark over every number whose fate is known, and over those that
// were begun before then. l.mu is held.
func (l *ledger) advance(then time.Time) {
	for e := l.open[l.mark+1]; e != nil; e = l.open[l.mark+1] {
		if e.fate == inFlight && !e.begun.Before(then) {
			return
		}
		l.mark++
		delete(l.open, l.mark)
		if e.fate == stored {
			l.sum = l.sum.Add(l.mark, e.hash)
			l.stored++
			continue
		}
		l.gap(l.mark, e.fate != void)
	}
}

// gap notes a number that is not known to be stored. One that follows another
// belongs to the same gap, so that there are never more gaps than what was
// stored. l.mu is held.
func (l *ledger) gap(number uint64, uncertain bool) {
	if n := len(l.gaps); n > 0 && l.gaps[n-1].Last()+1 == number {
		g := &l.gaps[n-1]
		g.Count++
		g.Uncertain = g.Uncertain || uncertain
		return
	}
	if len(l.gaps) == envelope.MaxGaps {
		// No checkpoint could be written for long. What is left out shows
		// as numbers between two checkpoints.
		l.restart(number)
	}
	l.gaps = append(l.gaps, envelope.Gap{First: number, Count: 1, Uncertain: uncertain})
}

// restart begins another checkpoint at number. l.mu is held.
func (l *ledger) restart(number uint64) { l.from, l.sum, l.stored, l.gaps = number, Sum{}, 0, nil }

// worthy reports whether something was written, or is on its way, that is worth a
// checkpoint.
func (l *ledger) worthy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worth || len(l.open) > 0
}

// cut returns what the next checkpoint says, and begins the one after it. ok is
// false where nothing was written that is worth one. A final checkpoint does not
// wait for anybody.
func (l *ledger) cut(final bool) (c envelope.Checkpoint, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if final {
		l.advance(time.Now().Add(time.Hour))
	} else {
		l.advance(time.Now().Add(-patience))
	}
	if !l.worth || l.mark < l.from {
		return c, false
	}
	c = envelope.Checkpoint{From: l.from, To: l.mark, Gaps: l.gaps, Sum: l.sum, Final: final}
	l.restart(l.mark + 1)
	l.worth = len(l.open) > 0
	return c, true
}
