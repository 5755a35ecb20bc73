package rights

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	keyLink    = "5b47d60f-6090-40b2-9f37-2a4de88f3063"
	getAll     = "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2"
	fullAccess = 0xF01FF
)

func parse(t *testing.T, aces ...[]byte) List {
	t.Helper()
	l, err := Parse(descriptor(aces...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// say writes holders as one line each.
func say(holders []Holder) (lines []string) {
	for _, h := range holders {
		lines = append(lines, fmt.Sprintf("%s %v %t %s", FormatSID(h.SID), h.Rights, h.Inherited, h.own))
	}
	return lines
}

func TestHolders(t *testing.T) {
	takeover := []Right{ResetPassword, ModifyPermissions, ModifyOwner, WriteKeys}
	const m, o = "S-1-5-21-1-2-3-1103", "S-1-5-21-1-2-3-1104"
	tests := []struct {
		name   string
		aces   [][]byte
		wanted []Right
		want   []string
	}{
		{"nobody", [][]byte{ace(0, 0, 0x20014, "", "", me)}, takeover, nil},
		{"full control", [][]byte{ace(0, 0, fullAccess, "", "", me)}, takeover,
			[]string{m + " [Reset Password Modify Permissions Modify Owner Write msDS-KeyCredentialLink] false (A;;0xf01ff;;;" + m + ")"}},
		{"generic all", [][]byte{ace(0, 0, genericAll, "", "", me)}, takeover[1:3],
			[]string{m + " [Modify Permissions Modify Owner] false (A;;0x10000000;;;" + m + ")"}},
		{"generic write", [][]byte{ace(0, 0, genericWrite, "", "", me)}, append(takeover, ReadPermissions),
			[]string{m + " [Write msDS-KeyCredentialLink Read Permissions] false (A;;0x40000000;;;" + m + ")"}},
		{"one right each", [][]byte{ace(5, 0, controlAccess, resetPassword, "", me), ace(0, 0, writeOwner, "", "", other)}, takeover,
			[]string{m + " [Reset Password] false (OA;;0x100;" + resetPassword + ";;" + m + ")", o + " [Modify Owner] false (A;;0x80000;;;" + o + ")"}},
		{"two entries", [][]byte{ace(5, 0, writeProperty, keyLink, "", me), ace(0, 0, writeDAC, "", "", me)}, takeover,
			[]string{m + " [Modify Permissions Write msDS-KeyCredentialLink] false (OA;;0x20;" + keyLink + ";;" + m + ")(A;;0x40000;;;" + m + ")"}},
		{"inherited", [][]byte{ace(5, 0x12, controlAccess, resetPassword, user, me)}, takeover, []string{m + " [Reset Password] true "}},
		{"for those below", [][]byte{ace(5, 0xA, controlAccess, resetPassword, user, me)}, takeover, nil},
		{"denied before", [][]byte{ace(1, 0, controlAccess, "", "", me), ace(0, 0, fullAccess, "", "", me)}, takeover[:1], nil},
		{"secrets", [][]byte{ace(5, 0, controlAccess, getAll, "", me), ace(5, 0, controlAccess, changePassword, "", other)},
			[]Right{ReplicateSecrets}, []string{m + " [Replicating Directory Changes All] false (OA;;0x100;" + getAll + ";;" + m + ")"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := say(parse(t, tt.aces...).Holders(tt.wanted...)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	everyone := List{everyone: true}.Holders(takeover...)
	if len(everyone) != 1 || FormatSID(everyone[0].SID) != "S-1-1-0" || everyone[0].Revoke("DC=x") != nil {
		t.Errorf("without a list: %v", say(everyone))
	}
}

func TestHandedDown(t *testing.T) {
	reset := func(kind, flags byte, sid []byte) []byte {
		return ace(kind, flags, controlAccess, resetPassword, user, sid)
	}
	for name, tt := range map[string]struct {
		aces [][]byte
		want string
	}{
		"to those below":        {[][]byte{reset(5, 0xA, me)}, "(OA;CIIO;0x100;" + resetPassword + ";" + user + ";S-1-5-21-1-2-3-1103)"},
		"to itself and below":   {[][]byte{ace(0, 2, fullAccess, "", "", group)}, "(A;CI;0xf01ff;;;S-1-5-32-548)"},
		"to itself":             {[][]byte{reset(5, 0, me)}, ""},
		"what it was given":     {[][]byte{reset(5, 0x1A, me)}, ""},
		"to somebody else":      {[][]byte{reset(5, 0xA, other)}, ""},
		"denied, then granted":  {[][]byte{reset(6, 0xA, me), reset(5, 0xA, me)}, ""},
		"denied elsewhere only": {[][]byte{reset(6, 0x1A, me), reset(5, 0xA, me)}, "(OA;CIIO;0x100;" + resetPassword + ";" + user + ";S-1-5-21-1-2-3-1103)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, h := range parse(t, tt.aces...).HandedDown(token, ResetPassword) {
				got += h.own
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRevoke(t *testing.T) {
	h := parse(t, ace(5, 0xA, controlAccess, resetPassword, user, me)).HandedDown(token, ResetPassword)[0]
	want := []string{`dsacls "OU=a'b" /R "S-1-5-21-1-2-3-1103"`,
		`samba-tool dsacl delete --objectdn='OU=a'\''b' --sddl='(OA;CIIO;0x100;` + resetPassword + ";" + user + ";S-1-5-21-1-2-3-1103)'"}
	if got := h.Revoke("OU=a'b"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// dsacls removes all that somebody has on the object, so that it is not for who
// has something else there; what is inherited it leaves alone.
func TestRevokeOthers(t *testing.T) {
	const own = "(A;;0x40000;;;S-1-5-21-1-2-3-1103)"
	given := ace(0, 0, writeDAC, "", "", me)
	for name, tt := range map[string]struct {
		other []byte
		words bool
	}{
		"another grant":       {ace(0, 0, 0x20094, "", "", me), true},
		"a denial":            {ace(6, 0, controlAccess, resetPassword, "", me), true},
		"under a condition":   {ace(9, 0, writeDAC, "", "", me), true},
		"one for those below": {ace(5, 0xA, 0x10, "", user, me), true},
		"an inherited one":    {ace(0, 0x10, 0x20094, "", "", me), false},
		"somebody else's":     {ace(0, 0, 0x20094, "", "", other), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(t, tt.other, given).Holders(ModifyPermissions)[0].Revoke("OU=a")
			words := strings.HasPrefix(got[0], "# on Windows remove "+own+" by hand: ")
			if words != tt.words || words == strings.HasPrefix(got[0], "dsacls ") || !strings.HasSuffix(got[1], "--sddl='"+own+"'") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestGrantRead(t *testing.T) {
	for below, want := range map[bool][]string{
		true:  {`dsacls "CN=p" /I:T /G "S-1-5:GR"`, "samba-tool dsacl set --action=allow --objectdn='CN=p' --sddl='(A;CI;RPLCLORC;;;S-1-5)'"},
		false: {`dsacls "CN=p" /G "S-1-5:GR"`, "samba-tool dsacl set --action=allow --objectdn='CN=p' --sddl='(A;;RPLCLORC;;;S-1-5)'"},
	} {
		if got := GrantRead("CN=p", "S-1-5", below); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	got := ReadPermissions.Grant("OU=a", "S-1-5")
	if got[0] != `dsacls "OU=a" /I:S /G "S-1-5:RC;;user"` || !strings.HasSuffix(got[1], "--sddl='(OA;CIIO;RC;;"+user+";S-1-5)'") {
		t.Errorf("got %q", got)
	}
}

// Nothing of a name is run by who pastes a command, or reaches the terminal.
func TestUnusualNames(t *testing.T) {
	h := parse(t, ace(0, 0, writeDAC, "", "", me)).Holders(ModifyPermissions)[0]
	for dn, unusual := range map[string]bool{
		"OU=Ada's & Zoë's\\, (new)!,DC=a": false, // harmless between quotes
		"OU=$(calc),DC=a":                 true,
		"OU=\\\" & calc,DC=a":             true,
		"OU=\u201d; calc #,DC=a":          true,
		"OU=%PATH%,DC=a":                  true,
		"OU=`calc`,DC=a":                  true,
		"OU=a\x1b[2Jb,DC=a":               true,
		"OU=a\nb,DC=a":                    true,
		"OU=a\u202eb,DC=a":                true, // turns what follows round
		"OU=a\x9bb,DC=a":                  true,
	} {
		for _, got := range [][]string{h.Revoke(dn), ResetPassword.Grant(dn, "S-1-5"), GrantRead(dn, "S-1-5", false)} {
			if words := slices.Equal(got, []string{"# its name is unusual: do it by hand"}); words != unusual || !words && len(got) != 2 {
				t.Errorf("%q: got %q", dn, got)
			}
		}
	}
}

func TestOwner(t *testing.T) {
	plain := descriptor(ace(0, 0, fullAccess, "", "", me))
	owned := func(offset int) []byte {
		b := append(slices.Clone(plain), other...)
		binary.LittleEndian.PutUint32(b[4:], uint32(offset))
		return b
	}
	if l, err := Parse(plain); err != nil || l.Owner() != nil {
		t.Errorf("without an owner: %x, %v", l.Owner(), err)
	}
	if l, err := Parse(owned(len(plain))); err != nil || FormatSID(l.Owner()) != FormatSID(other) {
		t.Errorf("with an owner: %x, %v", l.Owner(), err)
	}
	for _, offset := range []int{1, descriptorHead - 1, len(plain) + 4, len(plain) + len(other), len(plain) + len(other) + 1, 1 << 31} {
		if l, err := Parse(owned(offset)); err == nil {
			t.Errorf("an owner at %d is %x", offset, l.Owner())
		}
	}
}
