package envelope

import "time"

// An EventKind says what an event tells. Its number is on the wire: add at the
// end.
type EventKind uint8

const (
	EventStarted       EventKind = 1  // both: a run of the program begins to work
	EventStopped       EventKind = 2  // both: and has ended its work
	EventCheckpoint    EventKind = 3  // both: how far this run's records have come
	EventSealingKey    EventKind = 4  // consumer: requests are sealed for this key from now on
	EventReplicaSeen   EventKind = 5  // publisher: a run of a consumer was heard of for the first time
	EventTokenMade     EventKind = 6  // publisher: a token or certificate is in force
	EventTokenRevoked  EventKind = 7  // publisher: it is no longer
	EventSwitchChanged EventKind = 8  // publisher: one of the tenant's switches
	EventNameRevealed  EventKind = 9  // publisher: somebody was shown whom a request is about
	EventTicketMade    EventKind = 10 // publisher: somebody may choose a password on the reset page
	EventTicketUsed    EventKind = 11 // publisher: and has
	lastEventKind                = EventTicketUsed
)

var eventNames = [...]string{"", "started", "stopped", "checkpoint", "sealing_key", "replica_seen", "token_made",
	"token_revoked", "switch_changed", "name_revealed", "ticket_made", "ticket_used"}

// String returns the kind's name, for people and exports.
func (k EventKind) String() string {
	if k == 0 || k > lastEventKind {
		return "unknown"
	}
	return eventNames[k]
}

// MaxEvent is the largest event in bytes.
const MaxEvent = 16 << 10

// An Event is a record that belongs to no request. Like a [Record] it has a part
// in clear, an encrypted private part, and the signature of whoever wrote it;
// both are numbered in one series.
type Event struct {
	Tenant  string
	ID      [16]byte  // random: the private part is encrypted for it alone
	Time    time.Time // the writer's clock, to the microsecond
	Writer  Writer
	Month   uint32 // of the record key
	Fact    Fact
	Private []byte // encrypted [Private]; empty where there is nothing personal
	Sig     []byte

	clear []byte // as it was received
}

// A Fact is what an event tells, in clear: one of the types of this package that
// have this method. None of them holds anything personal.
type Fact interface {
	Kind() EventKind
	encode(w *writer)
}

// Clear returns the bytes that the private part is bound to: all that is before
// it.
func (e *Event) Clear() []byte {
	if e.clear != nil {
		return e.clear
	}
	w := writer{make([]byte, 0, 256)}
	w.u8(version)
	w.u8(uint8(e.Fact.Kind()))
	w.str(e.Tenant)
	w.fixed(e.ID[:])
	w.i64(e.Time.UnixMicro())
	w.writer(e.Writer)
	w.u32(e.Month)
	e.Fact.encode(&w)
	return w.b
}

// Signed returns the bytes that the signature covers: everything before it.
func (e *Event) Signed() []byte { return withPrivate(e.Clear(), e.Private) }

// Encode returns the event with its signature.
func (e *Event) Encode() []byte { return append(e.Signed(), e.Sig...) }

// ParseEvent decodes an event. It checks the form only.
func ParseEvent(b []byte) (*Event, error) {
	if len(b) > MaxEvent {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	kind := EventKind(r.u8())
	e := &Event{Tenant: r.name()}
	r.fixed(e.ID[:])
	e.Time = time.UnixMicro(r.i64()).UTC()
	e.Writer = r.writer()
	e.Month = r.u32()
	if e.Fact = r.fact(kind); e.Fact == nil {
		return nil, errForm
	}
	e.clear = b[:len(b)-len(r.b)]
	e.Private = r.bytes()
	e.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return e, nil
}

// fact reads what an event of that kind tells; nil is an unknown kind.
func (r *reader) fact(kind EventKind) Fact {
	switch kind {
	case EventStarted:
		return Started{Version: r.text(maxText)}
	case EventStopped:
		return Stopped{}
	case EventCheckpoint:
		return r.checkpoint()
	case EventSealingKey:
		f := SealingKey{}
		r.fixed(f.Box[:])
		f.Made = r.when()
		return f
	case EventReplicaSeen:
		f := ReplicaSeen{Replica: r.name()}
		r.fixed(f.Run[:])
		r.fixed(f.Key[:])
		f.How = Sighting(r.u8())
		r.bad = r.bad || f.How < FirstSight || f.How > TwoRuns
		return f
	case EventTokenMade:
		return TokenMade{Token: r.text(maxItem), Certificate: r.bool(), Operations: r.strs(), Actors: r.strs(), Made: r.when(), NotAfter: r.when()}
	case EventTokenRevoked:
		return TokenRevoked{Token: r.text(maxItem), Certificate: r.bool()}
	case EventSwitchChanged:
		return SwitchChanged{Switch: r.text(maxItem), On: r.bool(), Number: r.u64()}
	case EventNameRevealed:
		f := NameRevealed{}
		r.fixed(f.Request[:])
		return f
	case EventTicketMade:
		f := TicketMade{}
		r.fixed(f.Ticket[:])
		f.Operation, f.NotAfter = r.operation(), r.when()
		return f
	case EventTicketUsed:
		f := TicketUsed{}
		r.fixed(f.Ticket[:])
		r.fixed(f.Request[:])
		return f
	}
	return nil
}
