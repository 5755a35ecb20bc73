package guard

import (
	"fmt"
	"strings"
	"testing"

	"writeback/internal/reset"
)

func parse(t *testing.T, bases ...string) *Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString("allow_domain_root: true\nbases:\n")
	for _, base := range bases {
		fmt.Fprintf(&b, "  - '%s'\n", base)
	}
	p, err := Parse([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPermits(t *testing.T) {
	const staff = "OU=Staff,DC=corp,DC=example,DC=com"
	tests := []struct {
		name  string
		base  string
		dn    string
		allow bool
	}{
		{"in it", staff, "CN=Ada,OU=Staff,DC=corp,DC=example,DC=com", true},
		{"far below it", staff, "CN=Ada,OU=Berlin,OU=Europe,OU=Staff,DC=corp,DC=example,DC=com", true},
		{"the base itself", staff, staff, true},
		{"another case", staff, "cn=ada,ou=STAFF,dc=Corp,dc=EXAMPLE,dc=com", true},
		{"spaces around separators", staff, "CN = Ada , OU =  Staff , DC=corp, DC=example,DC=com ", true},
		{"beside it", staff, "CN=Ada,OU=Admins,DC=corp,DC=example,DC=com", false},
		{"above it", staff, "DC=corp,DC=example,DC=com", false},
		{"same unit, other domain", staff, "CN=Ada,OU=Staff,DC=evil,DC=example,DC=com", false},
		{"base in the middle of the name", staff, "CN=Ada," + staff + ",DC=evil", false},
		{"longer name of a unit", staff, "CN=Ada,OU=xStaff,DC=corp,DC=example,DC=com", false},
		{"suffix as text only", staff, "CN=Ada,XOU=Staff,DC=corp,DC=example,DC=com", false},
		{"escaped comma before the base", staff, `CN=x\,OU=Staff,DC=corp,DC=example,DC=com`, false},
		{"hex-escaped comma before the base", staff, `CN=x\2COU=Staff,DC=corp,DC=example,DC=com`, false},
		{"backslash, then a real comma", staff, `CN=x\\,OU=Staff,DC=corp,DC=example,DC=com`, true},
		{"comma in the name", staff, `CN=Lovelace\, Ada,` + staff, true},
		{"escape in two forms", `OU=R\,D,DC=corp`, `CN=Ada,OU=r\2cd,DC=corp`, true},
		{"plain character escaped", staff, `CN=Ada,OU=\53taff,DC=corp,DC=example,DC=com`, true},
		{"escaped space at the end counts", staff, `CN=Ada,OU=Staff\ ,DC=corp,DC=example,DC=com`, false},
		{"escaped space at both ends", `OU=\ a\ ,DC=corp`, `CN=Ada,OU= \ A\20 ,DC=corp`, true},
		{"spaces inside count", `OU=a b,DC=corp`, `CN=Ada,OU=a  b,DC=corp`, false},
		{"umlaut and its hex form", "OU=Büro,DC=corp", `CN=Ada,OU=B\C3\9Cro,DC=corp`, true},
		{"accent is another unit", "OU=Buro,DC=corp", "CN=Ada,OU=Büro,DC=corp", false},
		{"equals sign in a value", `OU=a\=b,DC=corp`, "CN=Ada,OU=a=b,DC=corp", true},
		{"line feed of a deleted object", "CN=Deleted Objects,DC=corp", `CN=Ada\0ADEL:1b,CN=Deleted Objects,DC=corp`, true},
		{"domain root", "DC=corp", "CN=Ada,CN=Users,DC=corp", true},

		{"empty", staff, "", false},
		{"no type", staff, "Ada," + staff, false},
		{"empty type", staff, "=Ada," + staff, false},
		{"type with a space", staff, "C N=Ada," + staff, false},
		{"empty value", staff, "CN=," + staff, false},
		{"empty component", staff, "CN=Ada,," + staff, false},
		{"trailing comma", staff, "CN=Ada," + staff + ",", false},
		{"two values in a component", staff, "CN=Ada+OU=x," + staff, false},
		{"semicolon", staff, "CN=Ada;" + staff, false},
		{"quotes", staff, `CN="Ada",` + staff, false},
		{"value in BER", staff, "CN=#0403416461," + staff, false},
		{"escape cut off", staff, staff + `\`, false},
		{"escape with one digit", staff, `CN=\2,` + staff, false},
		{"escape of a letter", staff, `CN=\xda,` + staff, false},
		{"not UTF-8", staff, "CN=\xff," + staff, false},
		{"not UTF-8 by escapes", staff, `CN=\ff,` + staff, false},
		{"NUL", staff, "CN=a\x00," + staff, false},
		{"alternative form", staff, "<GUID=59527f17cc0ad8489d69ba0df140bc5b>", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, tt.base).Permits(tt.dn); got != tt.allow {
				t.Errorf("base %q permits %q = %t, want %t", tt.base, tt.dn, got, tt.allow)
			}
		})
	}
}

func TestPermitsAnyBase(t *testing.T) {
	p := parse(t, "OU=One,DC=corp", "OU=Two,DC=corp")
	for dn, want := range map[string]bool{
		"CN=a,OU=One,DC=corp": true, "CN=a,OU=Two,DC=corp": true, "CN=a,OU=Three,DC=corp": false,
	} {
		if got := p.Permits(dn); got != want {
			t.Errorf("permits %q = %t, want %t", dn, got, want)
		}
	}
	if new(Policy).Permits("OU=One,DC=corp") {
		t.Error("the zero policy permits something")
	}
}

func TestParse(t *testing.T) {
	tests := []struct{ name, policy, want string }{
		{"nothing", "", "is empty"},
		{"no base", "bases: []", "bases: has 0 entries"},
		{"too many", "bases: [" + strings.Repeat("'OU=a,DC=b',", 65) + "]", "bases: has 65 entries, must have 1 to 64"},
		{"misspelt key", "bases: ['OU=a,DC=b']\nallow_domain_rot: true", "allow_domain_rot"},
		{"key twice", "bases: ['OU=a,DC=b']\nbases: ['OU=c,DC=b']", "already defined"},
		{"two documents", "bases: ['OU=a,DC=b']\n---\nbases: ['OU=c,DC=b']", "one YAML document"},
		{"not a name", "bases: ['Staff']", `bases[0]: "Staff" is not a distinguished name`},
		{"second one malformed", `bases: ['OU=a,DC=b', 'OU=a+CN=b']`, `bases[1]: "OU=a+CN=b"`},
		{"empty name", "bases: ['']", `bases[0]: ""`},
		{"long name", "bases: ['OU=" + strings.Repeat("a", 1024) + "']", "has 1027 bytes, must have at most 1024"},
		{"domain root", "bases: ['DC=corp,dc=com']", "needs allow_domain_root: true"},
		{"not YAML", "bases: [", "line 1: did not find expected node"},
		{"too large", strings.Repeat("#", maxFile+1), "at most 131072 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.policy))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q in it", err, tt.want)
			}
			if p != nil {
				t.Error("a policy came with the error")
			}
		})
	}
	if _, err := Parse([]byte("allow_domain_root: true\nbases: ['DC=corp,dc=com']")); err != nil {
		t.Error(err)
	}
}

func FuzzPermits(f *testing.F) {
	const base = "OU=Staff,DC=corp"
	for _, s := range []string{"", "Ada", `x\`, ",", `\2C`, " a ", "#1", "a+b=c", "Büro", "\xff", `",;<>=`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p := parse(t, base)
		p.Permits(value) // must not panic
		if p.Permits(value) {
			d, err := parseDN(value)
			if err != nil || len(d) < 2 || d[len(d)-2] != (rdn{reset.Fold("ou"), reset.Fold("staff")}) {
				t.Errorf("%q is permitted, and is %v", value, d)
			}
		}
		if value == "" {
			return
		}
		var escaped strings.Builder
		for _, c := range []byte(value) {
			fmt.Fprintf(&escaped, `\%02x`, c)
		}
		d, err := parseDN("CN=" + escaped.String() + "," + base)
		if err != nil {
			return // not UTF-8
		}
		if len(d) != 3 || d[0].value != reset.Fold(value) {
			t.Errorf("%q escaped became %q", value, d[0].value)
		}
		// As the last component of all, a value never makes a base.
		if p.Permits(base + ",CN=" + escaped.String()) {
			t.Errorf("%q below the base is the base", value)
		}
	})
}
