package rights

import (
	"bytes"
	"fmt"
	"slices"

	"writeback/internal/reset"
)

// A Holder is somebody to whom a list grants something.
type Holder struct {
	SID       []byte
	Rights    []Right // those that were asked for
	Inherited bool    // something of it was granted above the object

	own  string // the entries on the object itself, in SDDL
	more bool   // it has others there, for anything
}

// Holders returns who has any of some rights on the object, each judged by
// itself: somebody may have more by being in a group that is listed too.
func (l List) Holders(wanted ...Right) []Holder {
	if l.everyone {
		return []Holder{{SID: []byte{1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, Rights: wanted}} // Everyone
	}
	return l.holders(l.Allows, wanted)
}

// HandedDown returns to whom of those in token entries on this very object give
// any of some rights on what is below it.
func (l List) HandedDown(token [][]byte, wanted ...Right) []Holder {
	return slices.DeleteFunc(l.holders(l.HandsDown, wanted), func(h Holder) bool { return !among(token, h.SID) })
}

func (l List) holders(has func([][]byte, Right) bool, wanted []Right) []Holder {
	var found []Holder
	for _, e := range l.entries {
		if e.deny || slices.ContainsFunc(found, func(h Holder) bool { return bytes.Equal(h.SID, e.sid) }) {
			continue
		}
		h := Holder{SID: e.sid}
		for _, r := range wanted {
			if has([][]byte{e.sid}, r) {
				h.Rights = append(h.Rights, r)
			}
		}
		if len(h.Rights) > 0 {
			l.source(&h)
			found = append(found, h)
		}
	}
	return found
}

// source looks up which entries give h its rights, and whether h has others.
func (l List) source(h *Holder) {
	for _, e := range l.entries {
		if !bytes.Equal(e.sid, h.SID) {
			continue
		}
		gives := !e.deny && slices.ContainsFunc(h.Rights, func(r Right) bool { return e.speaks(r.need()) })
		switch inherited := e.flags&inheritedEntry != 0; {
		case gives && inherited:
			h.Inherited = true
		case gives:
			h.own += e.sddl()
		case !inherited:
			h.more = true
		}
	}
}

// Revoke returns the commands that take from h what was granted on the object dn
// itself; none if that is nothing. That for Windows takes everything that h has
// there, and is words where that is more. See [Right.Grant] too.
func (h Holder) Revoke(dn string) []string {
	if h.own == "" {
		return nil
	}
	sid := FormatSID(h.SID)
	dsacls := fmt.Sprintf(`dsacls "%s" /R "%s"`, dn, sid)
	if h.more {
		dsacls = fmt.Sprintf("# on Windows remove %s by hand: dsacls would remove all that %s has there", h.own, sid)
	}
	return commands(dn, dsacls, fmt.Sprintf("samba-tool dsacl delete --objectdn=%s --sddl='%s'", quote(dn), h.own))
}

// sddl writes an entry that grants (MS-DTYP 2.5.1.1).
func (e entry) sddl() string {
	kind, flags := "A", ""
	if e.object != nil || e.class != nil {
		kind = "OA"
	}
	for i, name := range []string{"OI", "CI", "NP", "IO"} {
		if e.flags&(1<<i) != 0 {
			flags += name
		}
	}
	return fmt.Sprintf("(%s;%s;0x%x;%s;%s;%s)", kind, flags, e.raw, guidText(e.object), guidText(e.class), FormatSID(e.sid))
}

func guidText(b []byte) string {
	if b == nil {
		return ""
	}
	return reset.FormatGUID([16]byte(b))
}
