package envelope

import (
	"time"

	"writeback/internal/reset"
)

// MaxSwitch is the largest [Switch] in bytes.
const MaxSwitch = 4 << 10

// A Switch is a tenant's switch as a publisher has set it. Who wanted it so is in
// the private part, with a key of its own: nothing here names a person to a broker.
type Switch struct {
	Tenant  string
	Name    reset.SwitchName
	On      bool
	Number  uint64    // greater than that of every one before it, of this tenant and name
	Time    time.Time // the publisher's clock, to the millisecond
	Signer  [16]byte  // id of the publisher's key
	ID      reset.ID  // random; Private is encrypted as that of a record with this id
	Month   uint32    // of the record key
	Private []byte    // encrypted [Private], of which Actor, Source and Address are set
	Sig     []byte

	clear []byte // as it was received
}

// Clear returns the bytes that the private part is bound to: all that is before it.
func (s *Switch) Clear() []byte {
	if s.clear != nil {
		return s.clear
	}
	w := writer{make([]byte, 0, 128)}
	w.u8(version)
	w.str(s.Tenant)
	w.u8(uint8(s.Name))
	w.bool(s.On)
	w.u64(s.Number)
	w.i64(s.Time.UnixMilli())
	w.fixed(s.Signer[:])
	w.fixed(s.ID[:])
	w.u32(s.Month)
	return w.b
}

// Signed returns the bytes that the signature covers: everything before it.
func (s *Switch) Signed() []byte { return withPrivate(s.Clear(), s.Private) }

// Encode returns the switch with its signature.
func (s *Switch) Encode() []byte { return append(s.Signed(), s.Sig...) }

// ParseSwitch decodes a switch. It checks the form only.
func ParseSwitch(b []byte) (*Switch, error) {
	if len(b) > MaxSwitch {
		return nil, errForm
	}
	r := reader{b: b}
	r.version()
	s := &Switch{Tenant: r.name(), Name: reset.SwitchName(r.u8()), On: r.bool(), Number: r.u64()}
	r.bad = r.bad || s.Name < reset.SwitchWriteback || s.Name > reset.SwitchUnlock
	s.Time = time.UnixMilli(r.i64()).UTC()
	r.fixed(s.Signer[:])
	r.fixed(s.ID[:])
	s.Month = r.u32()
	s.clear = b[:len(b)-len(r.b)]
	s.Private = r.bytes()
	s.Sig = r.take(sigSize)
	if err := r.end(); err != nil {
		return nil, err
	}
	return s, nil
}
