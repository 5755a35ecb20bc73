package fakead

import (
	"encoding/binary"
	"slices"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// sdFlags is the control that says which parts of nTSecurityDescriptor a search
// is to return (MS-ADTS 3.1.1.3.4.1.11).
const sdFlags = "1.2.840.113556.1.4.801"

// Parts of a security descriptor, in that control.
const (
	ownerPart = 1 << iota
	groupPart
	daclPart
	saclPart
	allParts = ownerPart | groupPart | daclPart | saclPart
)

// wantedParts reads the control: the value is SEQUENCE { INTEGER }, and 0 or no
// control asks for everything. given is whether there is one, ok whether it
// could be read.
func wantedParts(controls []Control) (parts int64, given, ok bool) {
	for _, c := range controls {
		if c.OID != sdFlags {
			continue
		}
		p, err := ber.DecodePacketErr(c.Value)
		if err != nil {
			return 0, true, false
		}
		n, ok := integer(child(p, 0))
		if n &= allParts; n == 0 {
			n = allParts
		}
		return n, true, ok
	}
	return allParts, false, true
}

// descriptor returns nTSecurityDescriptor as the caller may read it, nil if it
// may not read all that it asks for: Windows then leaves the attribute out.
// Only administrators read the part about auditing, so whoever else sends no
// control gets nothing.
func (d *domain) descriptor(token []string, e *entry, parts int64) []string {
	if !d.allows(token, e, readControl) ||
		parts&saclPart != 0 && !slices.Contains(token, string(sidBytes(sidAdmins))) {
		return nil
	}
	return []string{string(d.encodeDescriptor(e, parts))}
}

// encodeDescriptor writes the self-relative form (MS-DTYP 2.4.6). The owner and
// group of everything are the domain's administrators; nothing is audited.
func (d *domain) encodeDescriptor(e *entry, parts int64) []byte {
	const (
		daclPresent   = 0x4
		autoInherited = 0x400
		isProtected   = 0x1000
		selfRelative  = 0x8000
	)
	var control uint16 = selfRelative
	out := make([]byte, 20)
	admins := sidBytes(d.admins())
	place := func(offset int, part []byte) {
		binary.LittleEndian.PutUint32(out[offset:], uint32(len(out)))
		out = append(out, part...)
	}
	out[0] = 1
	if parts&daclPart != 0 {
		control |= daclPresent | autoInherited
		if e.kept || e.alone {
			control |= isProtected
		}
		place(16, encodeACL(d.dacl(e)))
	}
	if parts&ownerPart != 0 {
		place(4, admins)
	}
	if parts&groupPart != 0 {
		place(8, admins)
	}
	binary.LittleEndian.PutUint16(out[2:], control)
	return out
}

// encodeACL is MS-DTYP 2.4.5.
func encodeACL(list []ace) []byte {
	out := []byte{4, 0, 0, 0, byte(len(list)), byte(len(list) >> 8), 0, 0}
	for _, a := range list {
		out = append(out, a.encode()...)
	}
	binary.LittleEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}

// encode is MS-DTYP 2.4.4: the object form where there is a GUID.
func (a ace) encode() []byte {
	const (
		objectForm    = 5
		objectPresent = 1
		classPresent  = 2
	)
	var kind byte
	if a.deny {
		kind = 1
	}
	body := binary.LittleEndian.AppendUint32(nil, a.mask)
	if a.object != "" || a.class != "" {
		kind += objectForm
		var present uint32
		if a.object != "" {
			present |= objectPresent
		}
		if a.class != "" {
			present |= classPresent
		}
		body = binary.LittleEndian.AppendUint32(body, present)
		body = append(body, a.object+a.class...)
	}
	body = append(body, a.sid...)
	head := []byte{kind, a.flags, 0, 0}
	binary.LittleEndian.PutUint16(head[2:], uint16(len(head)+len(body)))
	return append(head, body...)
}
