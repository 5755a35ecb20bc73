package trail

import (
	"encoding/hex"
	"strings"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// An Entry is a message as people want it: who did what, to whom, with what
// result. What it does not say is empty.
type Entry struct {
	Message   `json:"-"`
	Stream    string    `json:"stream"`
	Seq       uint64    `json:"seq"`
	Stored    time.Time `json:"stored"`         // by the broker's clock; nobody has signed it
	Time      time.Time `json:"time,omitzero"`  // by the writer's clock
	Kind      string    `json:"kind"`           // unreadable: it is neither a record nor an event
	Signed    bool      `json:"signed"`         // by a key that is pinned
	Side      string    `json:"side,omitempty"` // publisher or consumer: whose key it is
	Writer    string    `json:"writer,omitempty"`
	Run       string    `json:"run,omitempty"`
	Number    uint64    `json:"number,omitempty"`
	Request   string    `json:"request,omitempty"` // its name in the API
	Operation string    `json:"operation,omitempty"`
	Code      string    `json:"code,omitempty"`
	Doubt     bool      `json:"doubt,omitempty"` // a modify may have had an effect that nobody has seen
	Asked     bool      `json:"asked,omitempty"` // the directory was asked by a bind
	Facts     []Fact    `json:"facts,omitempty"` // of an event, and details of an outcome

	Hidden      bool   `json:"hidden,omitempty"` // the personal part has no key
	AccountKind string `json:"account_kind,omitempty"`
	Account     string `json:"account,omitempty"`
	ObjectGUID  string `json:"object_guid,omitempty"`
	ActorKind   string `json:"actor_kind,omitempty"`
	Actor       string `json:"actor,omitempty"`
	Source      string `json:"source,omitempty"`
	Address     string `json:"address,omitempty"`
	DC          string `json:"dc,omitempty"`
}

// A Fact is one thing more that an entry tells.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// At is when e was written, or stored if nobody says when it was written.
func (e Entry) At() time.Time {
	if e.Time.IsZero() {
		return e.Stored
	}
	return e.Time
}

// A Reader decodes messages of one tenant.
type Reader struct {
	Verifier audit.Verifier
	Months   seal.MonthKeys // opens personal parts; those of other months are hidden
}

// Read decodes a message. Whatever it holds, there is an entry for it.
func (r Reader) Read(m Message) Entry {
	e := Entry{Message: m, Stream: m.Stream, Seq: m.Seq, Stored: m.Time, Kind: "unreadable"}
	if m.Stream == Records {
		if rec, err := envelope.ParseRecord(m.Data); err == nil && rec.Tenant == r.Verifier.Tenant {
			r.record(&e, rec)
		}
		return e
	}
	if ev, err := envelope.ParseEvent(m.Data); err == nil && ev.Tenant == r.Verifier.Tenant {
		r.event(&e, ev)
	}
	return e
}

func (e *Entry) writer(w envelope.Writer, at time.Time, publisher, consumer bool) {
	e.Time, e.Writer, e.Run, e.Number = at, w.Name, hex.EncodeToString(w.Run[:]), w.Number
	e.Signed = publisher || consumer
	switch {
	case publisher:
		e.Side = "publisher"
	case consumer:
		e.Side = "consumer"
	}
}

func (r Reader) record(e *Entry, rec *envelope.Record) {
	publisher, consumer := r.Verifier.Signed(rec.Writer.Key, rec.Time, seal.KindRecord, rec.Signed(), rec.Sig)
	e.writer(rec.Writer, rec.Time, publisher, consumer)
	e.Kind, e.Operation, e.Code = rec.Kind.String(), rec.Operation.String(), string(rec.Code)
	e.Request = reset.Ref{Publisher: rec.Publisher, ID: rec.ID}.String()
	e.Doubt, e.Asked = rec.Doubt, rec.Asked
	e.private(audit.PrivateRecord(r.Months, audit.Link{Record: rec}))
}

// private shows a personal part, unless it could not be opened.
func (e *Entry) private(p *envelope.Private, err error) {
	if err != nil {
		e.Hidden = true
		return
	}
	if p.Account.Kind != 0 {
		e.AccountKind, e.Account = p.Account.Kind.String(), p.Account.Value
	}
	if p.Actor.Kind != 0 {
		e.ActorKind, e.Actor = p.Actor.Kind.String(), p.Actor.Subject
	}
	if p.GUID != [16]byte{} {
		e.ObjectGUID = reset.FormatGUID(p.GUID)
	}
	e.Source, e.Address = p.Source, p.Address
	var controllers []string
	for _, w := range p.Witnesses {
		controllers = append(controllers, w.DC)
	}
	e.DC = strings.Join(controllers, " ")
	e.Facts = append(e.Facts, details(p.Details)...)
	if !p.Applied.IsZero() {
		e.Facts = append(e.Facts, Fact{"answered", p.Applied.Format(time.RFC3339Nano)})
	}
}

func (r Reader) event(e *Entry, ev *envelope.Event) {
	publisher, consumer := r.Verifier.Signed(ev.Writer.Key, ev.Time, seal.KindEvent, ev.Signed(), ev.Sig)
	e.writer(ev.Writer, ev.Time, publisher, consumer)
	e.Kind, e.Facts = ev.Fact.Kind().String(), facts(ev.Fact)
	e.private(audit.PrivateEvent(r.Months, audit.Entry{Event: ev}))
}
