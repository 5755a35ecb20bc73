package reset

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

const (
	immutable = "F39SWQrM2EidaboN8UC8Ww=="
	guid      = "59527f17-cc0a-48d8-9d69-ba0df140bc5b"
	sid       = "S-1-5-21-1004336348-1177238915-682003330-512"
)

func TestNewAccount(t *testing.T) {
	tests := []struct {
		name  string
		kind  NameKind
		value string
		ok    bool
	}{
		{"immutable id", ImmutableID, immutable, true},
		{"no padding", ImmutableID, strings.TrimRight(immutable, "="), false},
		{"URL alphabet", ImmutableID, "_-" + immutable[2:], false},
		{"15 bytes", ImmutableID, "F39SWQrM2EidaboN8UC8", false},
		{"17 bytes", ImmutableID, "F39SWQrM2EidaboN8UC8W1s=", false},
		{"bits beyond the 16 bytes", ImmutableID, "F39SWQrM2EidaboN8UC8Wx==", false},
		{"line feed at the end", ImmutableID, immutable + "\n", false},
		{"line feed inside", ImmutableID, immutable[:8] + "\r\n" + immutable[8:], false},
		{"empty immutable id", ImmutableID, "", false},
		{"GUID as immutable id", ImmutableID, guid, false},

		{"GUID", ObjectGUID, guid, true},
		{"GUID in capitals", ObjectGUID, strings.ToUpper(guid), true},
		{"GUID in braces", ObjectGUID, "{" + guid + "}", false},
		{"GUID without dashes", ObjectGUID, strings.ReplaceAll(guid, "-", ""), false},
		{"GUID with a dash moved", ObjectGUID, "59527f1-7cc0a-48d8-9d69-ba0df140bc5b", false},
		{"GUID with a dash too many", ObjectGUID, "59527f17-cc0a-48d8-9d69-ba0-f140bc5b", false},
		{"GUID with a letter beyond f", ObjectGUID, "g" + guid[1:], false},
		{"empty GUID", ObjectGUID, "", false},

		{"SID", SID, sid, true},
		{"one sub-authority", SID, "S-1-1-0", true},
		{"15 sub-authorities", SID, "S-1-5" + strings.Repeat("-1", 15), true},
		{"16 sub-authorities", SID, "S-1-5" + strings.Repeat("-1", 16), false},
		{"no sub-authority", SID, "S-1-5", false},
		{"largest numbers", SID, "S-1-281474976710655-4294967295", true},
		{"authority of 49 bits", SID, "S-1-281474976710656-1", false},
		{"sub-authority of 33 bits", SID, "S-1-5-4294967296", false},
		{"leading zero", SID, "S-1-5-21-01", false},
		{"plus sign", SID, "S-1-5-21-+1", false},
		{"empty part", SID, "S-1-5--1", false},
		{"small s", SID, "s-1-5-21-1", false},
		{"another revision", SID, "S-2-5-21-1", false},
		{"hexadecimal authority", SID, "S-1-0x5-21-1", false},
		{"line feed after a SID", SID, sid + "\n", false},
		{"NUL after a SID", SID, sid + "\x00", false},
		{"empty SID", SID, "", false},

		{"UPN", UPN, "ada@corp.example.com", true},
		{"UPN with filter and DN characters", UPN, `a*d(a)\,=+"<>#;@corp`, true},
		{"UPN of other scripts", UPN, "Анна.Ö@corp.example.com", true},
		{"longest UPN", UPN, strings.Repeat("u", 1024), true},
		{"UPN too long", UPN, strings.Repeat("u", 1025), false},
		{"empty UPN", UPN, "", false},
		{"NUL", UPN, "ada\x00@corp", false},
		{"line feed", UPN, "ada@corp\n", false},
		{"tabulator", UPN, "a\tda@corp", false},
		{"delete", UPN, "ada\x7f@corp", false},
		{"C1 control", UPN, "ada\u0085@corp", false},
		{"byte that is no UTF-8", UPN, "ada\xff@corp", false},
		{"lone surrogate", UPN, "ada\xed\xa0\x80@corp", false},
		{"over-long encoding", UPN, "ada\xc0\xaf@corp", false},

		{"sAMAccountName", SAMAccountName, "ada", true},
		{"longest sAMAccountName", SAMAccountName, strings.Repeat("s", 256), true},
		{"sAMAccountName too long", SAMAccountName, strings.Repeat("s", 257), false},
		{"too long in bytes only", SAMAccountName, strings.Repeat("ß", 129), false},
		{"empty sAMAccountName", SAMAccountName, "", false},
		{"escape character", SAMAccountName, "a\x1b[2J", false},

		{"no kind", 0, "ada", false},
		{"unknown kind", SID + 1, "ada", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := NewAccount(tt.kind, tt.value)
			if (err == nil) != tt.ok {
				t.Fatalf("NewAccount(%s, %q) gives error %v, want ok %t", tt.kind, tt.value, err, tt.ok)
			}
			if err == nil && (a.Kind != tt.kind || a.Value != tt.value) {
				t.Errorf("NewAccount(%s, %q) = %+v", tt.kind, tt.value, a)
			}
			if err != nil && len(tt.value) > len("S-1-5") && strings.Contains(err.Error(), tt.value) {
				t.Errorf("the error repeats the value: %v", err)
			}
		})
	}
}

func TestBinary(t *testing.T) {
	tests := []struct {
		a    Account
		want string
	}{
		// The worked example of a real event: one account, two ways to name it.
		{Account{ImmutableID, immutable}, "177f52590accd8489d69ba0df140bc5b"},
		{Account{ObjectGUID, guid}, "177f52590accd8489d69ba0df140bc5b"},
		{Account{ObjectGUID, strings.ToUpper(guid)}, "177f52590accd8489d69ba0df140bc5b"},
		// BUILTIN\Administrators and a domain's Domain Admins.
		{Account{SID, "S-1-5-32-544"}, "01020000000000052000000020020000"},
		{Account{SID, sid}, "010500000000000515000000dcf4dc3b833d2b46828ba62800020000"},
		{Account{SID, "S-1-281474976710655-4294967295"}, "0101ffffffffffffffffffff"},
		{Account{UPN, "ada@corp"}, ""},
		{Account{SAMAccountName, "ada"}, ""},
		{Account{}, ""},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(tt.a.Binary()); got != tt.want {
			t.Errorf("%s %s has bytes %s, want %s", tt.a.Kind, tt.a.Value, got, tt.want)
		}
	}
	raw := Account{ObjectGUID, guid}.Binary()
	if got := FormatGUID([16]byte(raw)); got != guid {
		t.Errorf("FormatGUID(%x) = %s, want %s", raw, got, guid)
	}
	if !bytes.Equal(raw, Account{ImmutableID, immutable}.Binary()) {
		t.Error("the immutable id and the GUID of one account differ")
	}
}

func TestFold(t *testing.T) {
	tests := []struct {
		name string
		a, b string
		same bool
	}{
		{"case", "Ada@Corp", "aDA@cORP", true},
		{"Kelvin sign", "\u212A", "k", true},
		{"Kelvin sign and K", "\u212A", "K", true},
		{"long s", "ſ", "s", true},
		{"long s and S", "ſ", "S", true},
		{"Angstrom sign", "\u212B", "å", true},
		{"final sigma", "ς", "Σ", true},
		{"Cyrillic", "АННА", "анна", true},
		{"beyond the first plane", "\U00010400", "\U00010428", true},
		{"sharp s is not ss", "ß", "ss", false},
		{"capital sharp s", "ẞ", "ß", true},
		{"dotless i", "ı", "i", false},
		{"dotted I", "İ", "i", false},
		{"dotted and dotless", "İ", "ı", false},
		{"accent", "josé", "jose", false},
		{"composed and decomposed", "é", "e\u0301", false},
		{"full width", "ａ", "a", false},
		{"ligature", "ﬁ", "fi", false},
		{"Cyrillic a", "а", "a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if same := Fold(tt.a) == Fold(tt.b); same != tt.same {
				t.Errorf("Fold(%q) = %q, Fold(%q) = %q: same %t, want %t", tt.a, Fold(tt.a), tt.b, Fold(tt.b), same, tt.same)
			}
			if Fold(Fold(tt.a)) != Fold(tt.a) {
				t.Errorf("Fold(Fold(%q)) differs from Fold of it", tt.a)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	tests := []struct {
		name string
		a, b Account
		same bool
	}{
		{"GUID in two cases", Account{ObjectGUID, guid}, Account{ObjectGUID, strings.ToUpper(guid)}, true},
		{"UPN in two cases", Account{UPN, "Ada@Corp"}, Account{UPN, "ada@corp"}, true},
		{"UPN with an accent", Account{UPN, "josé@corp"}, Account{UPN, "jose@corp"}, false},
		{"immutable ids in two cases", Account{ImmutableID, immutable}, Account{ImmutableID, "f39SWQrM2EidaboN8UC8Ww=="}, false},
		{"two SIDs", Account{SID, "S-1-5-21-1"}, Account{SID, "S-1-5-21-10"}, false},
	}
	for _, tt := range tests {
		if same := tt.a.Canonical() == tt.b.Canonical(); same != tt.same {
			t.Errorf("%s: %q and %q: same %t, want %t", tt.name, tt.a.Canonical(), tt.b.Canonical(), same, tt.same)
		}
	}
}
