// Package envelope is the one encoding of everything that crosses the broker:
// the request ([Request]), the records of its life ([Record]), the
// announcements of consumers ([Announcement]) and the tenant's switches
// ([Switch]). It encodes and decodes; sealing and signing are done by others
// over the bytes it returns.
//
// Fields stand in a fixed order, integers are big-endian with a fixed width,
// byte strings have a 16-bit length before them; there are no maps, no optional
// fields and no trailing bytes. What decodes re-encodes to the same bytes, or
// is refused. The vectors in testdata say the same in hexadecimal.
package envelope

import (
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// version is the first byte of every message. Another one is refused.
const version = 1

// MaxRequest is the largest request in bytes: a header of at most 200, 8 wraps
// of 16 + 1168, a body of 4096 + 16, and the signature.
const MaxRequest = 16 << 10

// Sizes that package seal determines; its tests compare them.
const (
	wrapSize = 1168
	sigSize  = 64
)

// A Header is what is in clear in a request. The body is bound to it.
type Header struct {
	Tenant    string
	Publisher string // the instance that accepted the request: a part of its records' subjects
	ID        reset.ID
	Slot      [16]byte // token of the account's slot; the last token of the subject
	Operation reset.Operation
	Accepted  time.Time // to the millisecond
	Deadline  time.Time // to the millisecond
	Parent    [32]byte  // SHA-256 of the accepted record
	ParentSeq uint64    // its sequence in RECORDS
	Signer    [16]byte  // id of the publisher's key
}

// Append appends the header's encoding to b.
func (h Header) Append(b []byte) []byte {
	w := writer{b}
	w.u8(version)
	w.str(h.Tenant)
	w.str(h.Publisher)
	w.fixed(h.ID[:])
	w.fixed(h.Slot[:])
	w.u8(uint8(h.Operation))
	w.i64(h.Accepted.UnixMilli())
	w.i64(h.Deadline.UnixMilli())
	w.fixed(h.Parent[:])
	w.u64(h.ParentSeq)
	w.fixed(h.Signer[:])
	return w.b
}

func (r *reader) header() (h Header) {
	r.version()
	h.Tenant = r.name()
	h.Publisher = r.name()
	r.fixed(h.ID[:])
	r.fixed(h.Slot[:])
	h.Operation = r.operation()
	h.Accepted = time.UnixMilli(r.i64()).UTC()
	h.Deadline = time.UnixMilli(r.i64()).UTC()
	r.fixed(h.Parent[:])
	h.ParentSeq = r.u64()
	r.fixed(h.Signer[:])
	return h
}

func (r *reader) version() { r.bad = r.u8() != version || r.bad }

// name reads a tenant, publisher or replica.
func (r *reader) name() string {
	s := r.str()
	r.bad = r.bad || reset.ValidName(s) != nil
	return s
}

func (r *reader) operation() reset.Operation {
	op := reset.Operation(r.u8())
	r.bad = r.bad || op < reset.Reset || op > reset.Probe
	return op
}

// A Wrap is the content key of a request, sealed for one box.
type Wrap struct {
	Box    [16]byte
	Sealed [wrapSize]byte
}

// maxWraps is how many consumers a request may be sealed for.
const maxWraps = 8

// A Request is the envelope that waits in REQUESTS.
type Request struct {
	Header Header
	Wraps  []Wrap // 1 to 8
	Body   []byte // sealed
	Sig    []byte

	header []byte // as it was received or signed
}

// HeaderBytes returns the encoding that the body is bound to.
func (q *Request) HeaderBytes() []byte {
	if q.header == nil {
		q.header = q.Header.Append(nil)
	}
	return q.header
}

// Signed returns the bytes that the signature covers: everything before it.
func (q *Request) Signed() []byte {
	w := writer{append([]byte(nil), q.HeaderBytes()...)}
	w.u8(uint8(len(q.Wraps)))
	for _, wr := range q.Wraps {
		w.fixed(wr.Box[:])
		w.fixed(wr.Sealed[:])
	}
	w.bytes(q.Body)
	return w.b
}

// Encode returns the request with its signature.
func (q *Request) Encode() []byte { return append(q.Signed(), q.Sig...) }

// ParseRequest decodes a request. It checks the form only: whose it is, and
// whether it still counts, must be checked before anything in it is believed.
func ParseRequest(b []byte) (*Request, error) {
	if len(b) > MaxRequest {
		return nil, errForm
	}
	r := reader{b: b}
	q := &Request{Header: r.header()}
	q.header = b[:len(b)-len(r.b)]
	n := int(r.u8())
	if n < 1 || n > maxWraps {
		r.bad = true
		n = 0
	}
	q.Wraps = make([]Wrap, n)
	for i := range q.Wraps {
		r.fixed(q.Wraps[i].Box[:])
		r.fixed(q.Wraps[i].Sealed[:])
	}
	q.Body = r.bytes()
	q.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return q, nil
}

// A Body is what only a consumer may read of a request.
type Body struct {
	Account    reset.Account
	Password   secret.Value // the new one; empty for an unlock or a probe
	Current    secret.Value // the one in force; only a change has it
	MustChange bool
	Actor      reset.Actor
	Source     string   // the producer, as its credential names it
	Address    string   // where it came from
	Month      uint32   // of the record key, as year*100 + month
	RecordKey  [32]byte // for the private part of this request's records
}

// A body is padded to one of two sizes, so that its size says nothing of what
// is in it but for the rare account name of several hundred bytes.
const (
	smallBody = 1024
	largeBody = 4096
)

// Encode returns the padded body.
func (b *Body) Encode() secret.Value {
	w := writer{make([]byte, 0, largeBody)}
	w.u8(version)
	w.account(b.Account)
	for _, p := range []secret.Value{b.Password, b.Current} {
		p.Reveal(func(p []byte) error {
			w.bytes(p)
			return nil
		})
	}
	w.bool(b.MustChange)
	w.actor(b.Actor)
	w.text(b.Source, maxText)
	w.text(b.Address, maxText)
	w.u32(b.Month)
	w.fixed(b.RecordKey[:])
	if len(w.b) <= smallBody {
		return secret.New(w.b[:smallBody])
	}
	return secret.New(pad(w.b, largeBody))
}

// ParseBody decodes a body that was opened. It takes over b, which the
// passwords of the result share.
func ParseBody(b []byte) (*Body, error) {
	if len(b) != smallBody && len(b) != largeBody {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	body := &Body{Account: r.account()}
	body.Password = secret.New(r.bytes())
	body.Current = secret.New(r.bytes())
	body.MustChange = r.bool()
	body.Actor = r.actor()
	body.Source = r.text(maxText)
	body.Address = r.text(maxText)
	body.Month = r.u32()
	r.fixed(body.RecordKey[:])
	// The larger size is for what does not fit into the smaller one only.
	if used := len(b) - len(r.b); len(b) == largeBody && used <= smallBody {
		return nil, errForm
	}
	r.padding()
	if err := r.end(); err != nil {
		return nil, err
	}
	return body, nil
}

func (w *writer) account(a reset.Account) {
	w.u8(uint8(a.Kind))
	w.str(a.Value)
}

// account reads what names an account, or nothing (kind 0).
func (r *reader) account() reset.Account {
	kind, value := reset.NameKind(r.u8()), r.str()
	if kind == 0 && value == "" {
		return reset.Account{}
	}
	a, err := reset.NewAccount(kind, value)
	if err != nil {
		r.bad = true
	}
	return a
}

func (w *writer) actor(a reset.Actor) {
	w.u8(uint8(a.Kind))
	w.str(a.Subject)
}

func (r *reader) actor() reset.Actor {
	a := reset.Actor{Kind: reset.ActorKind(r.u8()), Subject: r.str()}
	r.bad = r.bad || a.Kind > reset.Admin || len(a.Subject) > reset.MaxSubject
	return a
}
