package envelope

import (
	"time"

	"writeback/internal/reset"
)

// MaxTicket is the largest ticket in bytes: an account's name and a subject of
// 1,280 bytes together, and plenty.
const MaxTicket = 4 << 10

// A TicketState says whether a ticket was used. Its number is on the wire: add at
// the end.
type TicketState uint8

const (
	FreshTicket TicketState = 1 // no attempt was made, or the last one was taken back
	UsedTicket  TicketState = 2 // Request names the last attempt, and what became of it decides
)

// A Ticket is what the broker keeps of one. It does not hold what opens it.
type Ticket struct {
	Tenant   string
	ID       [16]byte  // hash of the ticket's text
	Issued   time.Time // to the millisecond
	Expires  time.Time // to the millisecond
	Private  []byte    // encrypted [TicketPrivate]; never rewritten
	Attempts uint8
	State    TicketState
	Session  [16]byte  // hash of the browser's session; zero until one has used it
	Request  reset.Ref // the last attempt; the zero Ref before the first
	Changed  time.Time // to the millisecond
	Signer   [16]byte  // id of the publishers' key
	Sig      []byte

	signed []byte // as it was received
}

// Bound returns the bytes that the private part is bound to.
func (t *Ticket) Bound() []byte {
	w := writer{make([]byte, 0, 64)}
	w.u8(version)
	w.str(t.Tenant)
	w.fixed(t.ID[:])
	w.i64(t.Issued.UnixMilli())
	w.i64(t.Expires.UnixMilli())
	return w.b
}

// Signed returns the bytes that the signature covers: everything before it.
func (t *Ticket) Signed() []byte {
	if t.signed != nil {
		return t.signed
	}
	w := writer{t.Bound()}
	w.bytes(t.Private)
	w.u8(t.Attempts)
	w.u8(uint8(t.State))
	w.fixed(t.Session[:])
	w.str(t.Request.Publisher)
	w.fixed(t.Request.ID[:])
	w.i64(t.Changed.UnixMilli())
	w.fixed(t.Signer[:])
	return w.b
}

// Encode returns the ticket with its signature.
func (t *Ticket) Encode() []byte { return append(append([]byte(nil), t.Signed()...), t.Sig...) }

// ParseTicket decodes a ticket. It checks the form only.
func ParseTicket(b []byte) (*Ticket, error) {
	if len(b) > MaxTicket {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	t := &Ticket{Tenant: r.name()}
	r.fixed(t.ID[:])
	t.Issued = time.UnixMilli(r.i64()).UTC()
	t.Expires = time.UnixMilli(r.i64()).UTC()
	t.Private = r.bytes()
	t.Attempts = r.u8()
	t.State = TicketState(r.u8())
	r.bad = r.bad || t.State < FreshTicket || t.State > UsedTicket
	r.fixed(t.Session[:])
	t.Request.Publisher = r.str()
	r.fixed(t.Request.ID[:])
	// A used ticket names an attempt and a browser, a fresh one no attempt.
	if used := t.State == UsedTicket; used != (t.Request != reset.Ref{}) || used && (reset.ValidName(t.Request.Publisher) != nil || t.Session == [16]byte{}) {
		r.bad = true
	}
	t.Changed = time.UnixMilli(r.i64()).UTC()
	r.fixed(t.Signer[:])
	t.signed = b[:len(b)-len(r.b)]
	t.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return t, nil
}

// A TicketPrivate is what only the ticket itself opens.
type TicketPrivate struct {
	Account    reset.Account
	Operations []reset.Operation // 1 to 4, in the order of their numbers
	Actor      reset.Actor
	Source     string // who asked for the ticket, as its credential names it
}

// Encode returns the part padded, so that its size hardly tells of an account.
func (p *TicketPrivate) Encode() []byte {
	w := writer{make([]byte, 0, 256)}
	w.u8(version)
	w.account(p.Account)
	w.u8(uint8(len(p.Operations)))
	for _, op := range p.Operations {
		w.u8(uint8(op))
	}
	w.actor(p.Actor)
	w.text(p.Source, maxText)
	return pad(w.b, ticketBlock)
}

const ticketBlock = 256

// ParseTicketPrivate decodes what a ticket has opened.
func ParseTicketPrivate(b []byte) (*TicketPrivate, error) {
	if len(b) > MaxTicket {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	p := &TicketPrivate{Account: r.account()}
	r.bad = r.bad || p.Account.Kind == 0
	n := int(r.u8())
	r.bad = r.bad || n < 1 || n > len(reset.Operations())
	for last := reset.Operation(0); n > 0 && !r.bad; n-- {
		op := r.operation()
		r.bad = r.bad || op <= last
		p.Operations, last = append(p.Operations, op), op
	}
	p.Actor = r.actor()
	r.bad = r.bad || p.Actor.Kind == 0
	p.Source = r.text(maxText)
	if used := len(b) - len(r.b); len(b)%ticketBlock != 0 || len(b)-used >= ticketBlock {
		return nil, errForm
	}
	r.padding()
	if err := r.end(); err != nil {
		return nil, err
	}
	return p, nil
}
