package directory

import (
	"crypto/x509"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestTierZero(t *testing.T) {
	sid := func(subs ...uint32) []byte {
		b := []byte{1, byte(len(subs)), 0, 0, 0, 0, 0, 5}
		for _, s := range subs {
			b = binary.LittleEndian.AppendUint32(b, s)
		}
		return b
	}
	x := &examination{conn: &conn{self: [][]byte{sid(21, 1, 2, 3, 1103)}}}
	for name, tt := range map[string]struct {
		sid  []byte
		want bool
	}{
		"itself":                          {sid(21, 1, 2, 3, 1103), true},
		"somebody else":                   {sid(21, 1, 2, 3, 1104), false},
		"SYSTEM":                          {sid(18), true},
		"SELF":                            {sid(10), true},
		"Authenticated Users":             {sid(11), false},
		"Administrators":                  {sid(32, 544), true},
		"Account Operators":               {sid(32, 548), false},
		"Domain Admins":                   {sid(21, 1, 2, 3, 512), true},
		"Domain Admins of another domain": {sid(21, 1, 2, 4, 512), false},
		"Enterprise Admins":               {sid(21, 9, 9, 9, 519), true},
		"Domain Users":                    {sid(21, 1, 2, 3, 513), false},
		"a short SID that ends as theirs": {sid(21, 512), false},
	} {
		if got := x.tierZero(tt.sid); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

// The reason of a refused bind is a number, in whatever case.
func TestUnbound(t *testing.T) {
	for _, data := range []string{"52e", "52E"} {
		err := unbound(newAnswer(invalidCredentials, "80090308: LdapErr: DSID-0C09056D, comment: AcceptSecurityContext error, data "+data+", v4563"))
		if !strings.HasPrefix(err.Error(), "directory.bind_dn or the password") {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// The words name the setting that is there.
func TestUntrustedSetting(t *testing.T) {
	for domain, urls := range map[string]bool{"": true, "corp.example.com": false} {
		c := &Client{cfg: Config{Domain: domain}}
		err := c.untrusted(t.Context(), x509.HostnameError{Certificate: &x509.Certificate{}}, "dc1")
		if strings.Contains(err.Error(), "directory.urls") != urls {
			t.Errorf("with the domain %q: %v", domain, err)
		}
	}
}

func TestParentOf(t *testing.T) {
	const base = "DC=corp,DC=com"
	for dn, want := range map[string]string{
		`CN=a\,b,OU=Staff,DC=corp,DC=com`: "OU=Staff,DC=corp,DC=com",
		`OU=Staff,DC=corp,DC=com`:         base,
		base:                              "",
		"DC=com":                          "",
		`CN=a\`:                           "",
	} {
		if got := parentOf(dn, base); got != want {
			t.Errorf("above %s is %q, want %q", dn, got, want)
		}
	}
}

func TestWithin(t *testing.T) {
	bases := []string{"OU=Staff,DC=corp,DC=com", "bad"}
	for dn, want := range map[string]bool{
		"ou=staff, dc=CORP,dc=com": true, "OU=x,OU=Staff,DC=corp,DC=com": true, "DC=corp,DC=com": false,
		"OU=Staff2,DC=corp,DC=com": false, "bad": false,
	} {
		if got := within(dn, bases); got != want {
			t.Errorf("%s: %t, want %t", dn, got, want)
		}
	}
}

// Of an account of another domain nothing is known, which is said.
func TestSafetyElsewhere(t *testing.T) {
	x := &examination{conn: &conn{ldap: &ldap.Conn{}}}
	x.safety(t.Context(), nil)
	if len(x.found) != 1 || !x.found[0].Advice || !strings.Contains(x.found[0].Err.Error(), "unknown") {
		t.Errorf("found %+v", x.found)
	}
}
