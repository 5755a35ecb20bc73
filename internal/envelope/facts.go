package envelope

import (
	"time"

	"writeback/internal/reset"
)

// Started is the first event of a run: nothing was accepted or taken before it.
type Started struct {
	Version string // of the software, at most 255 bytes
}

// Stopped is written after the last record of a run; only a checkpoint follows.
type Stopped struct{}

// SealingKey is written before a consumer announces another sealing key.
type SealingKey struct {
	Box  [16]byte  // id of the key: the first half of the SHA-256 of its public half
	Made time.Time // to the microsecond
}

// ReplicaSeen is written when a publisher hears of a run of a consumer for the
// first time. Only a replica with a pinned key is heard of at all.
type ReplicaSeen struct {
	Replica string
	Run     [16]byte // as the announcement says
	Key     [16]byte // id of the key that signed it
	How     Sighting
}

// A Sighting says what is new about a replica. Its number is on the wire: add at
// the end.
type Sighting uint8

const (
	FirstSight Sighting = 1 // this publisher, since it started, had not heard of the name
	NewRun     Sighting = 2 // the replica was restarted
	TwoRuns    Sighting = 3 // two runs use one name at the same time
)

// String returns the sighting's name, for people and exports.
func (s Sighting) String() string {
	switch s {
	case FirstSight:
		return "first_sight"
	case NewRun:
		return "new_run"
	case TwoRuns:
		return "two_runs"
	}
	return "unknown"
}

// TokenMade is written when a publisher finds a token or client certificate in
// its tokens file that this run has not seen there: at its start all of them,
// which Made tells apart from new ones. The private part has the source's name.
type TokenMade struct {
	Token       string // its id, at most 128 bytes
	Certificate bool
	Operations  []string  // what it may ask for, at most 16
	Actors      []string  // on whose behalf, at most 16
	Made        time.Time // to the microsecond
	NotAfter    time.Time // to the microsecond
}

// TokenRevoked is written when it is not there any more, or no longer as it was
// (then another TokenMade follows). The private part has the source's name.
type TokenRevoked struct {
	Token       string // its id, at most 128 bytes
	Certificate bool
}

// SwitchChanged is written before a change of one of the tenant's switches is.
// The private part says who changed it.
type SwitchChanged struct {
	Switch string // its name, at most 128 bytes
	On     bool   // as it is then
	Number uint64 // of the change; it only grows
}

// NameRevealed is written before somebody is shown whom a request is about. The
// private part says who saw which name.
type NameRevealed struct {
	Request reset.ID
}

// TicketMade is written before a ticket is given out, once for each operation that
// it is for. The private part says for whom, and who asked for it.
type TicketMade struct {
	Ticket    [16]byte // its id, which does not open it
	Operation reset.Operation
	NotAfter  time.Time // to the microsecond
}

// TicketUsed is written before what a ticket was used for is accepted. The private
// part says for whom, and from which address.
type TicketUsed struct {
	Ticket  [16]byte
	Request reset.ID // what comes of it, unless it is refused or another one is faster
}

func (Started) Kind() EventKind       { return EventStarted }
func (Stopped) Kind() EventKind       { return EventStopped }
func (SealingKey) Kind() EventKind    { return EventSealingKey }
func (ReplicaSeen) Kind() EventKind   { return EventReplicaSeen }
func (TokenMade) Kind() EventKind     { return EventTokenMade }
func (TokenRevoked) Kind() EventKind  { return EventTokenRevoked }
func (SwitchChanged) Kind() EventKind { return EventSwitchChanged }
func (NameRevealed) Kind() EventKind  { return EventNameRevealed }
func (TicketMade) Kind() EventKind    { return EventTicketMade }
func (TicketUsed) Kind() EventKind    { return EventTicketUsed }

func (f Started) encode(w *writer) { w.text(f.Version, maxText) }
func (Stopped) encode(*writer)     {}

func (f SealingKey) encode(w *writer) {
	w.fixed(f.Box[:])
	w.i64(micros(f.Made))
}

func (f ReplicaSeen) encode(w *writer) {
	w.str(f.Replica)
	w.fixed(f.Run[:])
	w.fixed(f.Key[:])
	w.u8(uint8(f.How))
}

func (f TokenMade) encode(w *writer) {
	w.text(f.Token, maxItem)
	w.bool(f.Certificate)
	w.strs(f.Operations)
	w.strs(f.Actors)
	w.i64(micros(f.Made))
	w.i64(micros(f.NotAfter))
}

func (f TokenRevoked) encode(w *writer) {
	w.text(f.Token, maxItem)
	w.bool(f.Certificate)
}

func (f SwitchChanged) encode(w *writer) {
	w.text(f.Switch, maxItem)
	w.bool(f.On)
	w.u64(f.Number)
}

func (f NameRevealed) encode(w *writer) { w.fixed(f.Request[:]) }

func (f TicketMade) encode(w *writer) {
	w.fixed(f.Ticket[:])
	w.u8(uint8(f.Operation))
	w.i64(micros(f.NotAfter))
}

func (f TicketUsed) encode(w *writer) {
	w.fixed(f.Ticket[:])
	w.fixed(f.Request[:])
}
