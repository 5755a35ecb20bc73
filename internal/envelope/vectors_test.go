package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew; they are a contract, so this is for a new version only")

// count returns n bytes that count up from first.
func count[T [16]byte | [32]byte](first byte) (b T) {
	for i := range len(b) {
		b[i] = first + byte(i)
	}
	return b
}

func signer(t testing.TB, purpose seal.Purpose) *seal.Signer {
	t.Helper()
	seed := count[[32]byte](purpose[0])
	s, err := seal.NewSigner(purpose, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	at        = time.Date(2026, 11, 5, 12, 34, 56, 789_000_000, time.UTC)
	recordKey = seal.RecordKey(count[[32]byte](0x40))
)

func testPrivate() *Private {
	return &Private{
		Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
		Actor:   reset.Actor{Kind: reset.Admin, Subject: "help desk"},
		Source:  "portal", Address: "192.0.2.7", Fingerprint: count[[16]byte](0x50), GUID: count[[16]byte](0x60),
		Witnesses: []reset.Witness{
			{DC: "dc1.corp.example.com", USNChanged: 12345, PwdLastSet: 134068124967890000}, {DC: "dc2.corp.example.com", USNChanged: 678},
		},
		Details: reset.Details{
			Field: "account", Reason: "policy", Result: "53 0000052D", Right: "Reset Password", MinLength: 14, Earliest: at.Add(time.Hour),
			Categories: []string{"lower", "digits"}, Candidates: []string{"history", "filter"},
			FollowUps: []reset.FollowUp{{What: "unlock", Right: "lockoutTime"}},
		},
		Applied: at.Add(42 * time.Microsecond),
	}
}

func testBody() *Body {
	return &Body{
		Account:  reset.Account{Kind: reset.ImmutableID, Value: "F39SWQrM2EidaboN8UC8Ww=="},
		Password: secret.New([]byte("correct horse ✓")), Current: secret.New([]byte("battery staple")), MustChange: true,
		Actor: reset.Actor{Kind: reset.Self, Subject: "ada"}, Source: "portal", Address: "2001:db8::7",
		Month: 202611, RecordKey: recordKey,
	}
}

func testRequest(t testing.TB) *Request {
	s := signer(t, seal.PurposePublisher)
	q := &Request{
		Header: Header{
			Tenant: "corp", Publisher: "pub_1", ID: count[[16]byte](0x10), Slot: count[[16]byte](0x20), Operation: reset.Reset,
			Accepted: at, Deadline: at.Add(reset.Deadline), Parent: count[[32]byte](0x30), ParentSeq: 7, Signer: s.Public().ID(),
		},
		Wraps: []Wrap{{Box: count[[16]byte](0x70)}, {Box: count[[16]byte](0x80)}},
		Body:  bytes.Repeat([]byte{0xbb}, smallBody+16), // not really sealed: that vector is in package unseal
	}
	for i := range q.Wraps {
		for j := range q.Wraps[i].Sealed {
			q.Wraps[i].Sealed[j] = byte(i + j)
		}
	}
	q.Sig = s.Sign(seal.KindRequest, q.Signed())
	return q
}

func testRecord(t testing.TB, kind Kind) *Record {
	purpose, name := seal.PurposePublisher, "pub_1"
	if kind == Claimed || kind == Released || kind == Settled || kind == Corrected {
		purpose, name = seal.PurposeConsumer, "con_1"
	}
	s := signer(t, purpose)
	rec := &Record{
		Kind: kind, Tenant: "corp", Publisher: "pub_1", ID: count[[16]byte](0x10), Operation: reset.Change, Time: at.Add(123 * time.Microsecond),
		Writer: Writer{Key: s.Public().ID(), Name: name, Run: count[[16]byte](0x90), Number: 3}, Month: 202611,
	}
	if kind != Accepted {
		rec.Parent, rec.ParentSeq = count[[32]byte](0xa0), 8
	}
	if purpose == seal.PurposeConsumer {
		rec.Request, rec.Doubt, rec.Asked = count[[32]byte](0xb0), true, kind == Claimed
	}
	rec.Code = map[Kind]reset.Code{Settled: reset.PasswordTooShort, Cancelled: reset.Expired, Corrected: reset.Applied}[kind]
	rec.Private = encrypt(t, testPrivate(), rec.Clear())
	rec.Sig = s.Sign(seal.KindRecord, rec.Signed())
	return rec
}

// encrypt is as seal.RecordKey.Seal does it, but for the nonce.
func encrypt(t testing.TB, p *Private, clear []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(recordKey[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := bytes.Repeat([]byte{0xc0}, gcm.NonceSize())
	return gcm.Seal(nonce, nonce, p.Encode(), clear)
}

func testSwitch(t testing.TB) *Switch {
	s := signer(t, seal.PurposePublisher)
	w := &Switch{
		Tenant: "corp", Name: reset.SwitchUnlock, On: true, Number: 1_793_882_096_789, Time: at, Signer: s.Public().ID(),
		ID: count[[16]byte](0x10), Month: 202611,
	}
	who := &Private{Actor: reset.Actor{Kind: reset.Admin, Subject: "help desk"}, Source: "portal", Address: "192.0.2.7"}
	w.Private = encrypt(t, who, w.Clear())
	w.Sig = s.Sign(seal.KindSwitch, w.Signed())
	return w
}

// testFacts has one of every kind of event.
func testFacts() []Fact {
	return []Fact{
		Started{Version: "v1.2.3"},
		Stopped{},
		Checkpoint{
			From: 1, To: 1000, Gaps: []Gap{{First: 7, Count: 2}, {First: 10, Count: 1, Uncertain: true}, {First: 1000, Count: 1}},
			Sum: count[[32]byte](0xa0), Previous: count[[32]byte](0xb0), Lost: 3, Final: true,
		},
		SealingKey{Box: count[[16]byte](0x70), Made: at},
		ReplicaSeen{Replica: "con_2", Run: count[[16]byte](0x80), Key: count[[16]byte](0xd0), How: TwoRuns},
		TokenMade{Token: "0a1b2c3d", Certificate: true, Operations: []string{"reset", "unlock"}, Actors: []string{"self"}, Made: at, NotAfter: at.Add(time.Hour)},
		TokenRevoked{Token: "0a1b2c3d"},
		SwitchChanged{Switch: "writeback", On: true, Number: 4},
		NameRevealed{Request: count[[16]byte](0x10)},
		TicketMade{Ticket: count[[16]byte](0x20), Operation: reset.Reset, NotAfter: at.Add(15 * time.Minute)},
		TicketUsed{Ticket: count[[16]byte](0x20), Request: count[[16]byte](0x10)},
	}
}

func testEvent(t testing.TB, f Fact) *Event {
	purpose, name := seal.PurposePublisher, "pub_1"
	if f.Kind() == EventSealingKey {
		purpose, name = seal.PurposeConsumer, "con_1"
	}
	s := signer(t, purpose)
	e := &Event{
		Tenant: "corp", ID: count[[16]byte](0x30), Time: at.Add(123 * time.Microsecond),
		Writer: Writer{Key: s.Public().ID(), Name: name, Run: count[[16]byte](0x90), Number: 1001}, Fact: f,
	}
	if f.Kind() > EventReplicaSeen {
		e.Month, e.Private = 202611, bytes.Repeat([]byte{0xc0}, privateBlock+28) // not really encrypted
	}
	e.Sig = s.Sign(seal.KindEvent, e.Signed())
	return e
}

func testAnnouncement(t testing.TB) *Announcement {
	s := signer(t, seal.PurposeConsumer)
	a := &Announcement{
		Tenant: "corp", Replica: "con_1", Run: count[[16]byte](0x90), Time: at, BoxMade: at.Add(-time.Minute),
		Version: "v1.2.3", DC: "dc1.corp.example.com", Policy: count[[32]byte](0xd0), Signer: s.Public().ID(),
		Rules: Rules{Known: true, MinLength: 8, Complexity: true, History: 24, MinAge: 86400, LockoutThreshold: 5, LockoutWindow: 1800},
	}
	for i := range a.Box {
		a.Box[i] = byte(i)
	}
	a.Sig = s.Sign(seal.KindAnnounce, a.Signed())
	return a
}

func testTicketPrivate() *TicketPrivate {
	return &TicketPrivate{
		Account:    reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
		Operations: []reset.Operation{reset.Reset, reset.Unlock},
		Actor:      reset.Actor{Kind: reset.Self, Subject: "ada"}, Source: "identity provider",
	}
}

func testTicket(t testing.TB) *Ticket {
	s := signer(t, seal.PurposePublisher)
	text := seal.Ticket(count[[32]byte](0xe0))
	ticket := &Ticket{
		Tenant: "corp", ID: text.ID(), Issued: at, Expires: at.Add(15 * time.Minute), Attempts: 2, State: UsedTicket,
		Session: count[[16]byte](0xf0), Request: reset.Ref{Publisher: "pub_1", ID: count[[16]byte](0x10)},
		Changed: at.Add(time.Minute), Signer: s.Public().ID(),
	}
	var err error
	if ticket.Private, err = text.Seal(ticket.Bound(), testTicketPrivate().Encode()); err != nil {
		t.Fatal(err)
	}
	ticket.Sig = s.Sign(seal.KindTicket, ticket.Signed())
	return ticket
}

// A codec encodes a value and decodes it again.
type codec struct {
	value  any
	encode func() []byte
	decode func([]byte) (any, error)
}

func codecs(t testing.TB) map[string]codec {
	body, private, request, announcement, sw := testBody(), testPrivate(), testRequest(t), testAnnouncement(t), testSwitch(t)
	all := map[string]codec{
		"header": {request.Header, func() []byte { return request.Header.Append(nil) }, func(b []byte) (any, error) {
			r := reader{b: b}
			h := r.header()
			return h, r.end()
		}},
		"request":      {request, request.Encode, func(b []byte) (any, error) { return ParseRequest(b) }},
		"body":         {body, func() []byte { return plain(body) }, func(b []byte) (any, error) { return ParseBody(b) }},
		"private":      {private, private.Encode, func(b []byte) (any, error) { return ParsePrivate(b) }},
		"announcement": {announcement, announcement.Encode, func(b []byte) (any, error) { return ParseAnnouncement(b) }},
		"switch":       {sw, sw.Encode, func(b []byte) (any, error) { return ParseSwitch(b) }},
	}
	ticket, ticketPrivate := testTicket(t), testTicketPrivate()
	all["ticket"] = codec{ticket, ticket.Encode, func(b []byte) (any, error) { return ParseTicket(b) }}
	all["ticket-private"] = codec{ticketPrivate, ticketPrivate.Encode, func(b []byte) (any, error) { return ParseTicketPrivate(b) }}
	for k := Accepted; k <= Corrected; k++ {
		rec := testRecord(t, k)
		all["record-"+k.String()] = codec{rec, rec.Encode, func(b []byte) (any, error) { return ParseRecord(b) }}
	}
	for _, f := range testFacts() {
		e := testEvent(t, f)
		all["event-"+f.Kind().String()] = codec{e, e.Encode, func(b []byte) (any, error) { return ParseEvent(b) }}
	}
	return all
}

func plain(b *Body) (out []byte) {
	b.Encode().Reveal(func(p []byte) error {
		out = bytes.Clone(p)
		return nil
	})
	return out
}

// fields returns v for people: bytes in hexadecimal, times in RFC 3339,
// passwords as text (those of the vectors are no secrets).
func fields(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case secret.Value:
		var s string
		x.Reveal(func(b []byte) error { s = string(b); return nil })
		return s
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return fields(v.Elem())
	case reflect.Struct:
		m := make(map[string]any)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				m[v.Type().Field(i).Name] = fields(v.Field(i))
			}
		}
		return m
	case reflect.Slice, reflect.Array:
		if v.Type().Elem() == reflect.TypeFor[byte]() {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return hex.EncodeToString(b)
		}
		list := []any{}
		for i := range v.Len() {
			list = append(list, fields(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}

func vector(t *testing.T, value any, encoded []byte) []byte {
	t.Helper()
	b, err := json.MarshalIndent(map[string]any{"fields": fields(reflect.ValueOf(value)), "hex": hex.EncodeToString(encoded)}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestVectors(t *testing.T) {
	for name, c := range codecs(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, vector(t, c.value, c.encode()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := vector(t, c.value, c.encode()); !bytes.Equal(got, want) {
				t.Errorf("the encoding has changed; it is now\n%s", got)
			}
			var stored struct{ Hex string }
			if err := json.Unmarshal(want, &stored); err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(stored.Hex)
			if err != nil {
				t.Fatal(err)
			}
			value, err := c.decode(raw)
			if err != nil {
				t.Fatalf("the vector does not decode: %v", err)
			}
			if got := vector(t, value, raw); !bytes.Equal(got, want) {
				t.Errorf("the vector decodes to\n%s", got)
			}
		})
	}
}
