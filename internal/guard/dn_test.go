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
			if got := parse(t, tt.base).permits(tt.dn); got != tt.allow {
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
		if got := p.permits(dn); got != want {
			t.Errorf("permits %q = %t, want %t", dn, got, want)
		}
	}
	if new(Policy).permits("OU=One,DC=corp") {
		t.Error("the zero policy permits something")
	}
}

// What is escaped throughout means what it meant, and putting anything in
// front of a name as its own component keeps it below the base.
func FuzzPermits(f *testing.F) {
	const base = "OU=Staff,DC=corp"
	for _, s := range []string{"", "Ada", `x\`, ",", `\2C`, " a ", "#1", "a+b=c", "Büro", "\xff", `",;<>=`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p := parse(t, base)
		p.permits(value) // must not panic
		if p.permits(value) {
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
		if p.permits(base + ",CN=" + escaped.String()) {
			t.Errorf("%q below the base is the base", value)
		}
	})
}
