package envelope

import (
	"slices"
	"time"

	"writeback/internal/reset"
)

// A Kind says what a record means. Its number is on the wire: add at the end.
type Kind uint8

const (
	Accepted  Kind = 1 // publisher: on disk before the request is published
	Claimed   Kind = 2 // consumer: I alone may send one modify in the next 3 s
	Released  Kind = 3 // consumer: nothing was sent under my claim, and nothing will be
	Settled   Kind = 4 // consumer: the outcome; publisher: unconfirmed, after the request's life
	Cancelled Kind = 5 // publisher: final, for certain nothing was sent
	Corrected Kind = 6 // consumer: the truth about an unconfirmed
)

var kindNames = [...]string{"", "accepted", "claimed", "released", "settled", "cancelled", "corrected"}

// String returns the kind's name, for logs.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// MaxRecord is the largest record in bytes.
const MaxRecord = 16 << 10

// A Record is one link of a request's chain: what is in clear, an encrypted
// private part, and the signature of whoever wrote it.
type Record struct {
	Kind      Kind
	Tenant    string
	Publisher string // the instance that accepted the request
	ID        reset.ID
	Operation reset.Operation
	Code      reset.Code // of settled, cancelled and corrected; else empty
	Time      time.Time  // the writer's clock, to the microsecond
	Writer    Writer
	Parent    [32]byte // SHA-256 of the record before this one; zero for the first
	ParentSeq uint64   // its sequence in RECORDS; zero for the first
	Request   [32]byte // SHA-256 of the request; zero where its writer never saw it
	Doubt     bool     // an earlier claim, or our own modify, may have had an effect
	Asked     bool     // the directory was, or is about to be, asked by a bind
	Month     uint32   // of the record key
	Private   []byte   // encrypted; empty where its writer had no key
	Sig       []byte

	clear []byte // as it was received
}

// A Writer names who wrote a record. Run and Number together are unique, so
// that a writer knows its own record again.
type Writer struct {
	Key    [16]byte // id of the signing key
	Name   string   // publisher instance or consumer replica
	Run    [16]byte // random, one for each run of the program
	Number uint64   // 1 for the run's first record
}

func (w *writer) writer(by Writer) {
	w.fixed(by.Key[:])
	w.str(by.Name)
	w.fixed(by.Run[:])
	w.u64(by.Number)
}

func (r *reader) writer() (by Writer) {
	r.fixed(by.Key[:])
	by.Name = r.name()
	r.fixed(by.Run[:])
	by.Number = r.u64()
	return by
}

// withPrivate returns what is signed of a message whose private part is bound to
// the bytes before it, which stay as they are.
func withPrivate(clear, private []byte) []byte {
	w := writer{slices.Clone(clear)}
	w.bytes(private)
	return w.b
}

// Clear returns the bytes that the private part is bound to: all that is before
// it.
func (rec *Record) Clear() []byte {
	if rec.clear != nil {
		return rec.clear
	}
	w := writer{make([]byte, 0, 512)}
	w.u8(version)
	w.u8(uint8(rec.Kind))
	w.str(rec.Tenant)
	w.str(rec.Publisher)
	w.fixed(rec.ID[:])
	w.u8(uint8(rec.Operation))
	w.u8(rec.Code.Number())
	w.i64(rec.Time.UnixMicro())
	w.writer(rec.Writer)
	w.fixed(rec.Parent[:])
	w.u64(rec.ParentSeq)
	w.fixed(rec.Request[:])
	w.bool(rec.Doubt)
	w.bool(rec.Asked)
	w.u32(rec.Month)
	return w.b
}

// Signed returns the bytes that the signature covers: everything before it.
func (rec *Record) Signed() []byte { return withPrivate(rec.Clear(), rec.Private) }

// Encode returns the record with its signature.
func (rec *Record) Encode() []byte { return append(rec.Signed(), rec.Sig...) }

// ParseRecord decodes a record. It checks the form only.
func ParseRecord(b []byte) (*Record, error) {
	if len(b) > MaxRecord {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	rec := &Record{Kind: Kind(r.u8())}
	r.bad = r.bad || rec.Kind < Accepted || rec.Kind > Corrected
	rec.Tenant = r.name()
	rec.Publisher = r.name()
	r.fixed(rec.ID[:])
	rec.Operation = r.operation()
	if n := r.u8(); n != 0 {
		code, err := reset.CodeNumbered(n)
		r.bad = r.bad || err != nil
		rec.Code = code
	}
	rec.Time = time.UnixMicro(r.i64()).UTC()
	rec.Writer = r.writer()
	r.fixed(rec.Parent[:])
	rec.ParentSeq = r.u64()
	r.fixed(rec.Request[:])
	rec.Doubt = r.bool()
	rec.Asked = r.bool()
	rec.Month = r.u32()
	rec.clear = b[:len(b)-len(r.b)]
	rec.Private = r.bytes()
	rec.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return rec, nil
}

// MaxWitnesses is how many domain controllers one request may be sent to.
const MaxWitnesses = 4

// A Private is the part of a record that only holders of its key read. Every
// kind of record has all of it; what it does not say is zero.
type Private struct {
	Account     reset.Account // as it was asked for
	Actor       reset.Actor
	Source      string
	Address     string
	Fingerprint [16]byte        // of the submission, to compare uses of one idempotency key
	GUID        [16]byte        // objectGUID of the account that was found
	Witnesses   []reset.Witness // of a claim: one for each domain controller that a modify may have been sent to
	Details     reset.Details   // of an outcome
	Applied     time.Time       // when the directory answered, to the microsecond
}

// privateBlock is what private parts are padded to a multiple of, so that
// their size hardly tells one account from another.
const privateBlock = 512

// Encode returns the padded private part.
func (p *Private) Encode() []byte {
	w := writer{make([]byte, 0, privateBlock)}
	w.u8(version)
	w.account(p.Account)
	w.actor(p.Actor)
	w.text(p.Source, maxText)
	w.text(p.Address, maxText)
	w.fixed(p.Fingerprint[:])
	w.fixed(p.GUID[:])
	w.u8(uint8(len(p.Witnesses)))
	for _, witness := range p.Witnesses {
		w.text(witness.DC, maxText)
		w.u64(witness.USNChanged)
		w.i64(witness.PwdLastSet)
	}
	w.details(p.Details)
	w.i64(micros(p.Applied))
	return pad(w.b, privateBlock)
}

// ParsePrivate decodes a private part that was opened.
func ParsePrivate(b []byte) (*Private, error) {
	if len(b) == 0 || len(b)%privateBlock != 0 {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	p := &Private{Account: r.account(), Actor: r.actor(), Source: r.text(maxText), Address: r.text(maxText)}
	r.fixed(p.Fingerprint[:])
	r.fixed(p.GUID[:])
	n := int(r.u8())
	if n > MaxWitnesses {
		r.bad = true
	}
	for range n {
		if r.bad {
			break
		}
		p.Witnesses = append(p.Witnesses, reset.Witness{DC: r.text(maxText), USNChanged: r.u64(), PwdLastSet: r.i64()})
	}
	p.Details = r.details()
	p.Applied = r.when()
	r.bad = r.bad || len(r.b) >= privateBlock
	r.padding()
	if err := r.end(); err != nil {
		return nil, err
	}
	return p, nil
}

func (w *writer) details(d reset.Details) {
	for _, s := range []string{d.Field, d.Reason, d.Result, d.Right} {
		w.text(s, maxText)
	}
	w.u16(d.MinLength)
	w.i64(micros(d.Earliest))
	w.strs(d.Categories)
	w.strs(d.Candidates)
	followUps := d.FollowUps[:min(len(d.FollowUps), maxList)]
	w.u8(uint8(len(followUps)))
	for _, f := range followUps {
		w.text(f.What, maxItem)
		w.text(f.Right, maxItem)
	}
}

func (r *reader) details() (d reset.Details) {
	for _, s := range []*string{&d.Field, &d.Reason, &d.Result, &d.Right} {
		*s = r.text(maxText)
	}
	d.MinLength = r.u16()
	d.Earliest = r.when()
	d.Categories = r.strs()
	d.Candidates = r.strs()
	n := int(r.u8())
	if n > maxList {
		r.bad = true
	}
	for range n {
		if r.bad {
			break
		}
		d.FollowUps = append(d.FollowUps, reset.FollowUp{What: r.text(maxItem), Right: r.text(maxItem)})
	}
	return d
}

// micros and when keep the zero time, which is far outside Unix time, as 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func (r *reader) when() time.Time {
	us := r.i64()
	if us == 0 {
		return time.Time{}
	}
	t := time.UnixMicro(us).UTC()
	r.bad = r.bad || t.IsZero()
	return t
}
