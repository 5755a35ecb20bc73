package samba

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// A Right is one that [Permit] grants or denies.
type Right int

// The rights.
const (
	ResetPassword Right = iota
	ChangePassword
	WriteLockoutTime
	WritePwdLastSet
	Read // properties, the object itself and its permissions
)

// SIDs of everybody, and of whoever the object is (MS-DTYP 2.4.2.4).
const (
	Everyone = "S-1-1-0"
	Self     = "S-1-5-10"
)

// object returns the access mask of r (MS-ADTS 5.1.3.2) and the GUID that it
// is about, empty for the whole object.
func (r Right) object() (mask uint32, guid string) {
	switch r {
	case ResetPassword:
		return 0x100, "00299570-246d-11d0-a768-00aa006e0529"
	case ChangePassword:
		return 0x100, "ab721a53-1e2f-11d0-9819-00aa0040529b"
	case WriteLockoutTime:
		return 0x20, "28630ebf-41d5-11d1-a9c1-0000f80367c1"
	case WritePwdLastSet:
		return 0x20, "bf967a0a-0de6-11d0-a285-00aa003049e2"
	}
	return 0x20094, "" // generic read
}

// Permit puts an entry for each SID before the others of an object's access
// control list, as the domain's administrator: one that grants the right, or
// that denies it.
func Permit(ctx context.Context, dir testkit.Directory, dn string, right Right, grant bool, sids ...string) error {
	var entries []byte
	for _, sid := range sids {
		entries = append(entries, right.entry(grant, sid)...)
	}
	const dacl = "\x30\x03\x02\x01\x04" // MS-ADTS 3.1.1.3.4.1.11: nothing but the list
	flags := ldap.NewControlString("1.2.840.113556.1.4.801", true, dacl)
	err := asAdmin(ctx, dir, func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
			1, 0, false, "(objectClass=*)", []string{"nTSecurityDescriptor"}, []ldap.Control{flags}))
		if err != nil {
			return err
		}
		sd := res.Entries[0].GetRawAttributeValue("nTSecurityDescriptor")
		at := binary.LittleEndian.Uint32(sd[16:])
		list := sd[at : at+uint32(binary.LittleEndian.Uint16(sd[at+2:]))]
		head := append([]byte(nil), list[:8]...)
		binary.LittleEndian.PutUint16(head[2:], uint16(len(list)+len(entries)))
		binary.LittleEndian.PutUint16(head[4:], binary.LittleEndian.Uint16(list[4:])+uint16(len(sids)))
		next := append([]byte(nil), sd[:16]...)
		next = append(binary.LittleEndian.AppendUint32(next, 20), head...)
		next = append(append(next, entries...), list[8:]...)
		m := ldap.NewModifyRequest(dn, []ldap.Control{flags})
		m.Replace("nTSecurityDescriptor", []string{string(next)})
		return conn.Modify(m)
	})
	if err != nil {
		return fmt.Errorf("changing the access control list of %s: %w", dn, err)
	}
	return nil
}

// entry returns an entry of an access control list (MS-DTYP 2.4.4.2 to 2.4.4.5).
func (r Right) entry(grant bool, sid string) []byte {
	mask, guid := r.object()
	kind, body := byte(0), binary.LittleEndian.AppendUint32(nil, mask)
	if guid != "" {
		kind = 5
		body = binary.LittleEndian.AppendUint32(body, 1) // it has an object's type
		body = append(body, guidBytes(guid)...)
	}
	if !grant {
		kind++
	}
	body = append(body, sidBytes(sid)...)
	return append(binary.LittleEndian.AppendUint16([]byte{kind, 0}, uint16(4+len(body))), body...)
}

// SID returns a binary SID as text.
func SID(b []byte) string { return sidText(b) }

// guidBytes is the inverse of guidText.
func guidBytes(text string) []byte {
	b, _ := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	for _, part := range [][]byte{b[:4], b[4:6], b[6:8]} {
		for i, j := 0, len(part)-1; i < j; i, j = i+1, j-1 {
			part[i], part[j] = part[j], part[i]
		}
	}
	return b
}

// sidBytes is the inverse of sidText.
func sidBytes(text string) []byte {
	parts := strings.Split(text, "-")[2:] // after S-1
	authority, _ := strconv.ParseUint(parts[0], 10, 48)
	b := []byte{1, byte(len(parts) - 1)}
	b = append(b, binary.BigEndian.AppendUint64(nil, authority)[2:]...)
	for _, part := range parts[1:] {
		n, _ := strconv.ParseUint(part, 10, 32)
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}
