package rights

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"writeback/internal/reset"
)

// userClass is the schemaIDGUID of the class user (MS-ADSC).
const userClass = "bf967aba-0de6-11d0-a285-00aa003049e2"

// Grant returns the commands that grant r to the account with a SID: on the
// object dn itself and all below it for UnexpirePassword, else on the users
// below dn. The first is for Windows, the second for Samba. If dn is a name that
// is unsafe in a shell, there are words instead.
func (r Right) Grant(dn, sid string) []string {
	want := r.need()
	what := strings.TrimPrefix(want.name, "Write ")
	short, sddl := "CA", "CR"
	switch want.mask {
	case writeProperty:
		short, sddl = "WP", "WP"
	case readProperty:
		short, sddl, what = "RP", "RP", ""
	case readControl:
		short, sddl, what = "RC", "RC", ""
	}
	to, flags, scope, class := ";user", "CIIO", "S", userClass
	if r == UnexpirePassword {
		to, flags, scope, class = "", "CI", "T", ""
	}
	guid := ""
	if len(want.objects) > 0 {
		guid = reset.FormatGUID(want.objects[0])
	}
	return commands(dn, fmt.Sprintf(`dsacls "%s" /I:%s /G "%s:%s;%s%s"`, dn, scope, sid, short, what, to),
		fmt.Sprintf("samba-tool dsacl set --action=allow --objectdn=%s --sddl='(OA;%s;%s;%s;%s;%s)'",
			quote(dn), flags, sddl, guid, class, sid))
}

// GrantRead returns the commands that let the account with a SID read the object
// dn, and if so wanted all below it; see [Right.Grant].
func GrantRead(dn, sid string, below bool) []string {
	scope, flags := "", ""
	if below {
		scope, flags = " /I:T", "CI"
	}
	return commands(dn, fmt.Sprintf(`dsacls "%s"%s /G "%s:GR"`, dn, scope, sid),
		fmt.Sprintf("samba-tool dsacl set --action=allow --objectdn=%s --sddl='(A;%s;RPLCLORC;;;%s)'", quote(dn), flags, sid))
}

// commands returns those for dn, or words if dn is a name that a shell or a
// terminal takes for more than a name. Who may create a container chooses its
// name; an administrator pastes what is printed.
func commands(dn, dsacls, sambaTool string) []string {
	// PowerShell takes the curly quotes for straight ones. Format characters
	// make a line look like another.
	if strings.ContainsAny(dn, "\"\u201c\u201d\u201e$%`") || !utf8.ValidString(dn) ||
		strings.ContainsFunc(dn, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return []string{"# its name is unusual: do it by hand"}
	}
	return []string{dsacls, sambaTool}
}

// quote returns s as one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// FormatSID returns a SID as text (MS-DTYP 2.4.2.1), "" if it is none.
func FormatSID(sid []byte) string {
	if len(sid) < sidHead || sid[0] != 1 || len(sid) != sidHead+4*int(sid[1]) {
		return ""
	}
	var authority [8]byte
	copy(authority[2:], sid[2:8])
	s := fmt.Sprintf("S-1-%d", binary.BigEndian.Uint64(authority[:]))
	for b := sid[sidHead:]; len(b) > 0; b = b[4:] {
		s += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(b))
	}
	return s
}
