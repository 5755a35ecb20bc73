package envelope

import "time"

// BoxSize is the size of a sealing key's public half in bytes.
const BoxSize = 1216

// MaxAnnouncement is the largest announcement in bytes.
const MaxAnnouncement = 4 << 10

// An Announcement says that a consumer is alive and what to seal for it. One
// older than [reset.Presence] counts for nothing.
type Announcement struct {
	Tenant  string
	Replica string
	Run     [16]byte  // random, one for each run of the program
	Time    time.Time // the consumer's clock, to the millisecond
	Box     [BoxSize]byte
	BoxMade time.Time // to the millisecond
	Version string    // of the software
	DC      string    // the domain controller it uses; empty while it has none
	Policy  [32]byte  // SHA-256 of the company's policy file
	Rules   Rules
	Signer  [16]byte // id of the consumer's key
	Sig     []byte

	signed []byte // as it was received
}

// Rules are the domain's own rules for passwords, for a page to show before
// somebody types. Known is false where the service account could not read
// them: unknown, never none.
type Rules struct {
	Known      bool
	MinLength  uint16 // UTF-16 units
	Complexity bool
	History    uint16 // how many passwords are remembered
	MinAge     uint32 // seconds

	LockoutThreshold uint16 // wrong passwords in a row that lock an account; 0: never
	LockoutWindow    uint32 // seconds without one before they are forgotten
}

// Signed returns the bytes that the signature covers: everything before it.
func (a *Announcement) Signed() []byte {
	if a.signed != nil {
		return a.signed
	}
	w := writer{make([]byte, 0, 2048)}
	w.u8(version)
	w.str(a.Tenant)
	w.str(a.Replica)
	w.fixed(a.Run[:])
	w.i64(a.Time.UnixMilli())
	w.fixed(a.Box[:])
	w.i64(a.BoxMade.UnixMilli())
	w.text(a.Version, maxText)
	w.text(a.DC, maxText)
	w.fixed(a.Policy[:])
	w.bool(a.Rules.Known)
	w.u16(a.Rules.MinLength)
	w.bool(a.Rules.Complexity)
	w.u16(a.Rules.History)
	w.u32(a.Rules.MinAge)
	w.u16(a.Rules.LockoutThreshold)
	w.u32(a.Rules.LockoutWindow)
	w.fixed(a.Signer[:])
	return w.b
}

// Encode returns the announcement with its signature.
func (a *Announcement) Encode() []byte { return append(append([]byte(nil), a.Signed()...), a.Sig...) }

// ParseAnnouncement decodes an announcement. It checks the form only.
func ParseAnnouncement(b []byte) (*Announcement, error) {
	if len(b) > MaxAnnouncement {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	a := &Announcement{Tenant: r.name(), Replica: r.name()}
	r.fixed(a.Run[:])
	a.Time = time.UnixMilli(r.i64()).UTC()
	r.fixed(a.Box[:])
	a.BoxMade = time.UnixMilli(r.i64()).UTC()
	a.Version = r.text(maxText)
	a.DC = r.text(maxText)
	r.fixed(a.Policy[:])
	a.Rules = Rules{
		Known: r.bool(), MinLength: r.u16(), Complexity: r.bool(), History: r.u16(), MinAge: r.u32(),
		LockoutThreshold: r.u16(), LockoutWindow: r.u32(),
	}
	r.fixed(a.Signer[:])
	a.signed = b[:len(b)-len(r.b)]
	a.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return a, nil
}
