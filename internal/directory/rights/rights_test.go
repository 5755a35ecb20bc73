package rights

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// SIDs: an account, a group that it is in, another account.
var (
	me    = sid(21, 1, 2, 3, 1103)
	group = sid(32, 548)
	other = sid(21, 1, 2, 3, 1104)
	token = [][]byte{me, group}
)

func sid(subs ...uint32) []byte {
	b := []byte{1, byte(len(subs)), 0, 0, 0, 0, 0, 5}
	for _, s := range subs {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

// guid returns the bytes of a GUID in text, of which the first three parts are
// numbers (MS-DTYP 2.3.4.2).
func guid(s string) []byte {
	b, _ := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	slices.Reverse(b[:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return b
}

// ace builds an entry; object and class are GUIDs in text or empty, and only
// the object forms have them.
func ace(kind, flags byte, mask uint32, object, class string, sid []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{kind, flags, 0, 0}, mask)
	if kind == allowedObject || kind == deniedObject || kind == deniedCallbackObjects || kind == 0xB {
		var present uint32
		var guids []byte
		for i, g := range []string{object, class} {
			if g != "" {
				present |= 1 << i
				guids = append(guids, guid(g)...)
			}
		}
		b = append(binary.LittleEndian.AppendUint32(b, present), guids...)
	}
	b = append(b, sid...)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func descriptor(aces ...[]byte) []byte {
	b := []byte{1, 0, 0x04, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, descriptorHead, 0, 0, 0, 4, 0, 0, 0, byte(len(aces)), 0, 0, 0}
	for _, a := range aces {
		b = append(b, a...)
	}
	binary.LittleEndian.PutUint16(b[descriptorHead+2:], uint16(len(b)-descriptorHead))
	return b
}

// What the GUIDs are called: those of MS-ADTS and MS-ADA in text.
const (
	resetPassword    = "00299570-246d-11d0-a768-00aa006e0529"
	changePassword   = "ab721a53-1e2f-11d0-9819-00aa0040529b"
	lockoutTime      = "28630ebf-41d5-11d1-a9c1-0000f80367c1"
	pwdLastSet       = "bf967a0a-0de6-11d0-a285-00aa003049e2"
	restrictions     = "4c164200-20c0-11d0-a768-00aa006e0529"
	unexpirePassword = "ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501"
	user             = "bf967aba-0de6-11d0-a285-00aa003049e2"
)

func TestAllows(t *testing.T) {
	const full = 0xF01FF
	all := []Right{ResetPassword, WriteLockoutTime, WritePwdLastSet, ReadPermissions, UnexpirePassword}
	tests := []struct {
		name string
		aces [][]byte
		want []Right
	}{
		{"nothing", nil, nil},
		{"full control", [][]byte{ace(0, 0, full, "", "", me)}, all},
		{"full control through a group", [][]byte{ace(0, 0, full, "", "", group)}, all},
		{"full control of somebody else", [][]byte{ace(0, 0, full, "", "", other)}, nil},
		{"all extended rights", [][]byte{ace(0, 0, controlAccess, "", "", me)}, []Right{ResetPassword, UnexpirePassword}},
		{"all extended rights, object form", [][]byte{ace(5, 0, controlAccess, "", user, me)}, []Right{ResetPassword, UnexpirePassword}},
		{"write all properties", [][]byte{ace(0, 0, writeProperty, "", "", me)}, []Right{WriteLockoutTime, WritePwdLastSet}},
		{"read all properties", [][]byte{ace(0, 0, 0x10, "", "", me)}, nil},
		{"read permissions", [][]byte{ace(0, 0, readControl, "", "", me)}, []Right{ReadPermissions}},
		{"generic read", [][]byte{ace(0, 0, genericRead, "", "", me)}, []Right{ReadPermissions}},
		{"generic all", [][]byte{ace(0, 0, genericAll, "", "", me)}, all},
		{"generic write", [][]byte{ace(0, 0, genericWrite, "", "", me)}, []Right{WriteLockoutTime, WritePwdLastSet, ReadPermissions}},
		{"reset", [][]byte{ace(5, 0, controlAccess, resetPassword, "", me)}, []Right{ResetPassword}},
		{"reset, inherited", [][]byte{ace(5, 0x12, controlAccess, resetPassword, user, me)}, []Right{ResetPassword}},
		{"reset, inherited for others only", [][]byte{ace(5, 0x1A, controlAccess, resetPassword, user, me)}, nil},
		{"reset, the wrong access", [][]byte{ace(5, 0, writeProperty, resetPassword, "", me)}, nil},
		{"change", [][]byte{ace(5, 0, controlAccess, changePassword, "", me)}, nil},
		{"lockoutTime", [][]byte{ace(5, 0, writeProperty, lockoutTime, "", me)}, []Right{WriteLockoutTime}},
		{"lockoutTime, read", [][]byte{ace(5, 0, 0x10, lockoutTime, "", me)}, nil},
		{"pwdLastSet", [][]byte{ace(5, 0, writeProperty, pwdLastSet, "", me)}, []Right{WritePwdLastSet}},
		{"account restrictions", [][]byte{ace(5, 0, writeProperty, restrictions, "", me)}, []Right{WritePwdLastSet}},
		{"unexpire", [][]byte{ace(5, 0, controlAccess, unexpirePassword, "", me)}, []Right{UnexpirePassword}},
		{"denied first", [][]byte{ace(6, 0, controlAccess, resetPassword, "", me), ace(0, 0, full, "", "", me)},
			[]Right{WriteLockoutTime, WritePwdLastSet, UnexpirePassword, ReadPermissions}},
		{"denied later", [][]byte{ace(0, 0, full, "", "", me), ace(1, 0x10, full, "", "", me)}, all},
		{"denied to a group", [][]byte{ace(1, 0, writeProperty, "", "", group), ace(0, 0, full, "", "", me)},
			[]Right{ResetPassword, UnexpirePassword, ReadPermissions}},
		{"denied to somebody else", [][]byte{ace(1, 0, full, "", "", other), ace(0, 0, full, "", "", me)}, all},
		{"denied below only", [][]byte{ace(1, inheritOnly, full, "", "", me), ace(0, 0, full, "", "", me)}, all},
		{"denied the property set", [][]byte{ace(6, 0, writeProperty, restrictions, "", me), ace(5, 0, writeProperty, pwdLastSet, "", me)}, nil},
		{"denied another property", [][]byte{ace(6, 0, writeProperty, lockoutTime, "", me), ace(5, 0, writeProperty, pwdLastSet, "", me)},
			[]Right{WritePwdLastSet}},
		{"granted under a condition", [][]byte{ace(9, 0, full, "", "", me), ace(0xB, 0, full, "", "", me)}, nil},
		{"denied under a condition", [][]byte{ace(0xC, 0, controlAccess, resetPassword, "", me), ace(0xA, 0, writeProperty, "", "", me),
			ace(0, 0, full, "", "", me)}, []Right{UnexpirePassword, ReadPermissions}},
		{"audited", [][]byte{ace(2, 0, full, "", "", me), {7, 0, 4, 0}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Parse(descriptor(tt.aces...))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range all {
				if got, want := l.Allows(token, r), slices.Contains(tt.want, r); got != want {
					t.Errorf("%s is %t, want %t", r, got, want)
				}
			}
			if l.Allows(nil, ResetPassword) || l.Allows(token, Right(99)) {
				t.Error("something is granted to nobody, or nothing to somebody")
			}
		})
	}
}

func TestDenied(t *testing.T) {
	deny := func(flags byte, sid []byte) []byte { return ace(6, flags, controlAccess, resetPassword, "", sid) }
	grant := ace(0, 0, controlAccess, "", "", me)
	for name, tt := range map[string]struct {
		aces      [][]byte
		sid       []byte
		inherited bool
	}{
		"nothing":         {nil, nil, false},
		"granted":         {[][]byte{grant}, nil, false},
		"denied":          {[][]byte{deny(0, group), grant}, group, false},
		"inherited":       {[][]byte{deny(0x12, me)}, me, true},
		"granted before":  {[][]byte{grant, deny(0x12, me)}, nil, false},
		"for those below": {[][]byte{deny(0xA, me)}, nil, false},
		"somebody else":   {[][]byte{deny(0, other)}, nil, false},
	} {
		if sid, inherited := parse(t, tt.aces...).Denied(token, ResetPassword); string(sid) != string(tt.sid) || inherited != tt.inherited {
			t.Errorf("%s: %x, %t", name, sid, inherited)
		}
	}
}

func TestNames(t *testing.T) {
	for r, want := range map[Right]string{
		ResetPassword: "Reset Password", WriteLockoutTime: "Write lockoutTime", WritePwdLastSet: "Write pwdLastSet",
		UnexpirePassword: "Unexpire Password", ReadPermissions: "Read Permissions", ReadProperties: "Read all properties", ModifyPermissions: "Modify Permissions",
		ModifyOwner: "Modify Owner", WriteKeys: "Write msDS-KeyCredentialLink", ReplicateSecrets: "Replicating Directory Changes All",
		endOfRights: "no right",
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestGrant(t *testing.T) {
	for r, want := range map[Right][2]string{
		ResetPassword: {`dsacls "OU=a'b" /I:S /G "S-1-5-21-1-2-3-1103:CA;Reset Password;user"`,
			"(OA;CIIO;CR;" + resetPassword + ";" + user + ";S-1-5-21-1-2-3-1103)"},
		WriteLockoutTime: {`dsacls "OU=a'b" /I:S /G "S-1-5-21-1-2-3-1103:WP;lockoutTime;user"`,
			"(OA;CIIO;WP;" + lockoutTime + ";" + user + ";S-1-5-21-1-2-3-1103)"},
		WritePwdLastSet: {`dsacls "OU=a'b" /I:S /G "S-1-5-21-1-2-3-1103:WP;pwdLastSet;user"`,
			"(OA;CIIO;WP;" + pwdLastSet + ";" + user + ";S-1-5-21-1-2-3-1103)"},
		UnexpirePassword: {`dsacls "OU=a'b" /I:T /G "S-1-5-21-1-2-3-1103:CA;Unexpire Password"`,
			"(OA;CI;CR;" + unexpirePassword + ";;S-1-5-21-1-2-3-1103)"},
	} {
		tool := `samba-tool dsacl set --action=allow --objectdn='OU=a'\''b' --sddl='` + want[1] + "'"
		if got := r.Grant("OU=a'b", FormatSID(me)); !slices.Equal(got, []string{want[0], tool}) {
			t.Errorf("got\n%q\nwant\n%s\n%s", got, want[0], tool)
		}
	}
	for _, b := range [][]byte{nil, me[:10], append(slices.Clone(me), 0), {2, 0, 0, 0, 0, 0, 0, 5}} {
		if s := FormatSID(b); s != "" {
			t.Errorf("%x is %s", b, s)
		}
	}
}

func TestParse(t *testing.T) {
	good := descriptor(ace(0, 0, genericAll, "", "", me), ace(5, 0, controlAccess, resetPassword, user, me))
	change := func(f func(b []byte)) []byte {
		b := slices.Clone(good)
		f(b)
		return b
	}
	const first = descriptorHead + listHead
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "not a security descriptor"},
		{"another revision", change(func(b []byte) { b[0] = 2 }), "not a security descriptor"},
		{"absolute form", change(func(b []byte) { b[3] = 0 }), "without an access control list"},
		{"no list", change(func(b []byte) { b[2] = 0 }), "without an access control list"},
		{"list in the head", change(func(b []byte) { b[16] = 4 }), "outside"},
		{"list behind the end", change(func(b []byte) { b[16] = byte(len(good) - 4) }), "outside"},
		{"list far behind the end", change(func(b []byte) { b[19] = 0xFF }), "outside"},
		{"list smaller than its head", change(func(b []byte) { b[descriptorHead+2], b[descriptorHead+3] = 7, 0 }), "cut off"},
		{"list cut off", good[:len(good)-1], "cut off"},
		{"too many entries", change(func(b []byte) { b[descriptorHead+4] = 3 }), "entry 3 of 3 is missing"},
		{"entry smaller than its head", change(func(b []byte) { b[first+2] = 3 }), "entry 1 of 2 is cut off"},
		{"entry larger than the list", change(func(b []byte) { b[first+3] = 1 }), "entry 1 of 2 is cut off"},
		{"no mask", descriptor([]byte{0, 0, 6, 0, 0, 0}), "access mask"},
		{"no flags of the object", descriptor([]byte{5, 0, 8, 0, 0, 0, 0, 0}), "flags"},
		{"GUID cut off", descriptor([]byte{5, 0, 14, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 9}), "GUID"},
		{"no SID", descriptor([]byte{0, 0, 8, 0, 0, 0, 0, 0}), "SID"},
		{"SID of another revision", change(func(b []byte) { b[first+8] = 2 }), "SID"},
		{"SID with too many parts", change(func(b []byte) { b[first+9] = 16 }), "SID"},
		{"SID longer than its entry", change(func(b []byte) { b[first+9] = 6 }), "SID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if l, err := Parse(tt.b); err == nil || !strings.Contains(err.Error(), tt.want) || l.Allows(token, ResetPassword) {
				t.Errorf("got %+v, %v; want an error with %q", l, err, tt.want)
			}
		})
	}
	if l, err := Parse(change(func(b []byte) { b[16] = 0 })); err != nil || !l.Allows(nil, ResetPassword) {
		t.Errorf("a descriptor whose list is null: %v, and grants nothing", err)
	}
	if l, err := Parse(good); err != nil || !l.Inherits() {
		t.Errorf("an ordinary descriptor: %v, or inherits nothing", err)
	}
	if l, err := Parse(change(func(b []byte) { b[3] |= 0x10 })); err != nil || l.Inherits() {
		t.Errorf("a protected descriptor: %v, or inherits", err)
	}
	// What follows a SID in its entry is not part of it.
	longer := append(ace(0, 0, genericAll, "", "", me), 1, 2, 3, 4)
	longer[2] += 4
	if l, err := Parse(descriptor(longer)); err != nil || !l.Allows(token, ResetPassword) {
		t.Errorf("an entry with something after its SID: %v, or grants nothing", err)
	}
}

// FuzzParse: no bytes make it read outside of them, and what has no entry for
// one of the token's SIDs grants nothing, unless its list is null.
func FuzzParse(f *testing.F) {
	f.Add(descriptor())
	f.Add(descriptor(ace(0, 0, genericAll, "", "", me), ace(6, 2, controlAccess, resetPassword, user, group)))
	f.Add(descriptor(ace(0xC, 0, controlAccess, "", user, other), []byte{7, 0, 4, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(slices.Clip(b))
		if err != nil {
			if l.everyone || l.entries != nil {
				t.Errorf("%x: an error and a list", b)
			}
			return
		}
		for r := ResetPassword; r < endOfRights; r++ {
			named := slices.ContainsFunc(token, func(s []byte) bool { return strings.Contains(string(b), string(s)) })
			if l.Allows(token, r) && !named && !l.everyone {
				t.Errorf("%x grants %s to somebody that it does not name", b, r)
			}
		}
	})
}
