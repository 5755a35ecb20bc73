package samba

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

func shared(t *testing.T) testkit.Directory {
	t.Helper()
	dir, end, err := Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return dir
}

// TestDomain is what everybody else relies on. One domain serves all of it.
func TestDomain(t *testing.T) {
	t.Parallel()
	dir := shared(t)
	svc, err := Bind(dir, dir.ServiceDN, dir.ServicePassword)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()

	newUser := func(t *testing.T, spec UserSpec) testkit.User {
		t.Helper()
		u, err := NewUser(t.Context(), dir, spec)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}

	t.Run("policy hints are offered", func(t *testing.T) {
		root := search(t, svc, "", "supportedControl")
		if got := root.GetAttributeValues("supportedControl"); !slices.Contains(got, ldap.ControlTypeMicrosoftPolicyHints) {
			t.Errorf("supportedControl is %q, want 2239 in it", got)
		}
	})

	t.Run("users are as described", func(t *testing.T) {
		if len(dir.Users) < 20 {
			t.Fatalf("%d users, want at least 20", len(dir.Users))
		}
		for i, u := range dir.Users[:4] {
			e := search(t, svc, u.DN, "objectGUID", "objectSid", "userPrincipalName", "displayName", "mS-DS-ConsistencyGuid")
			for attr, pair := range map[string][2]string{
				"objectGUID":        {guidText(e.GetRawAttributeValue("objectGUID")), u.ObjectGUID},
				"objectSid":         {sidText(e.GetRawAttributeValue("objectSid")), u.SID},
				"userPrincipalName": {e.GetAttributeValue("userPrincipalName"), u.UPN},
				"displayName":       {e.GetAttributeValue("displayName"), fmt.Sprintf("Staff Member %02d", i+1)},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s of %s is %q, want %q", attr, u.DN, pair[0], pair[1])
				}
			}
			if got, want := len(e.GetRawAttributeValue("mS-DS-ConsistencyGuid")), 16*(i%2); got != want {
				t.Errorf("ConsistencyGuid of %s has %d bytes, want %d", u.DN, got, want)
			}
			if err := bindAs(dir, u.DN, u.Password); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("service account resets a staff user", func(t *testing.T) {
		u := newUser(t, UserSpec{})
		password := NewPassword()
		if err := reset(svc, u.DN, password); err != nil {
			t.Fatal(err)
		}
		if err := bindAs(dir, u.DN, password); err != nil {
			t.Errorf("new password: %v", err)
		}
		if err := bindAs(dir, u.DN, u.Password); code(err) != ldap.LDAPResultInvalidCredentials {
			t.Errorf("old password: %v, want code 49", err)
		}
		// History, which only the policy-hints control has checked.
		if err := reset(svc, u.DN, u.Password); code(err) != ldap.LDAPResultUnwillingToPerform {
			t.Errorf("resetting to the old password: %v, want code 53", err)
		}
	})

	t.Run("reset leaves the password unexpired", func(t *testing.T) {
		u := newUser(t, UserSpec{})
		if err := reset(svc, u.DN, NewPassword()); err != nil {
			t.Fatal(err)
		}
		if got := search(t, svc, u.DN, "pwdLastSet").GetAttributeValue("pwdLastSet"); got == "0" || got == "" {
			t.Errorf("pwdLastSet is %q, want the time of the reset", got)
		}
	})

	t.Run("service account has its rights and no other", func(t *testing.T) {
		u := newUser(t, UserSpec{})
		tests := []struct {
			name            string
			dn, attr, value string
			want            uint16
		}{
			{"unlock", u.DN, "lockoutTime", "0", ldap.LDAPResultSuccess},
			{"must change", u.DN, "pwdLastSet", "0", ldap.LDAPResultSuccess},
			{"another attribute", u.DN, "displayName", "x", ldap.LDAPResultInsufficientAccessRights},
			{"unlock of the administrator", dir.AdminDN, "lockoutTime", "0", ldap.LDAPResultInsufficientAccessRights},
			{"password of the administrator", dir.AdminDN, "unicodePwd", UnicodePwd(NewPassword()), ldap.LDAPResultInsufficientAccessRights},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				m := ldap.NewModifyRequest(tt.dn, nil)
				m.Replace(tt.attr, []string{tt.value})
				if err := svc.Modify(m); code(err) != tt.want {
					t.Errorf("replacing %s of %s: %v, want code %d", tt.attr, tt.dn, err, tt.want)
				}
			})
		}
	})

	t.Run("fine-grained policy", func(t *testing.T) {
		u := newUser(t, UserSpec{})
		err := NewPolicy(t.Context(), dir, PolicySpec{AppliesTo: []string{u.DN}, MinLength: 14, LockoutThreshold: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := reset(svc, u.DN, "Short-Passw0r"); code(err) != ldap.LDAPResultUnwillingToPerform {
			t.Errorf("13 characters: %v, want code 53", err)
		}
		if err := reset(svc, u.DN, "long enough, not complex"); err != nil {
			t.Errorf("long enough: %v", err)
		}
		for range 2 {
			if err := bindAs(dir, u.DN, "wrong"); code(err) != ldap.LDAPResultInvalidCredentials {
				t.Errorf("wrong password: %v, want code 49", err)
			}
		}
		if err := bindAs(dir, u.DN, "long enough, not complex"); err == nil || !strings.Contains(err.Error(), "data 775") {
			t.Errorf("after two wrong passwords: %v, want data 775 (locked)", err)
		}
	})

	t.Run("disabled user", func(t *testing.T) {
		u := newUser(t, UserSpec{Disabled: true, Attributes: map[string][]string{"adminCount": {"1"}}})
		if err := bindAs(dir, u.DN, u.Password); err == nil || !strings.Contains(err.Error(), "data 533") {
			t.Errorf("binding: %v, want data 533 (disabled)", err)
		}
	})
}

// A hints control has criticality 0xFF: go-ldap's own encodes 0x01, which
// Samba reads as false.
type hints struct{}

func (hints) GetControlType() string { return ldap.ControlTypeMicrosoftPolicyHints }
func (hints) String() string         { return "policy hints" }
func (hints) Encode() *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, ldap.ControlTypeMicrosoftPolicyHints, "OID"))
	p.AppendChild(ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "Criticality"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "\x30\x03\x02\x01\x01", "Value"))
	return p
}

func reset(conn *ldap.Conn, dn, password string) error {
	m := ldap.NewModifyRequest(dn, []ldap.Control{hints{}})
	m.Replace("unicodePwd", []string{UnicodePwd(password)})
	return conn.Modify(m)
}

func bindAs(dir testkit.Directory, dn, password string) error {
	conn, err := Bind(dir, dn, password)
	if err != nil {
		return err
	}
	return conn.Close()
}

func search(t *testing.T, conn *ldap.Conn, dn string, attrs ...string) *ldap.Entry {
	t.Helper()
	res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", attrs, nil))
	if err != nil {
		t.Fatalf("reading %q: %v", dn, err)
	}
	return res.Entries[0]
}

func code(err error) uint16 {
	var e *ldap.Error
	switch {
	case err == nil:
		return ldap.LDAPResultSuccess
	case errors.As(err, &e):
		return e.ResultCode
	}
	return ldap.LDAPResultOther
}
