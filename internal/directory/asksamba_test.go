package directory_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory"
	"writeback/internal/directory/directorytest"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// TestAskSamba is what Samba does and the fake has not, and what moves the
// witness.
func TestAskSamba(t *testing.T) {
	dir, stop, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	modify := func(t *testing.T, dn, attribute string, values ...string) {
		t.Helper()
		asAdmin(t, dir, func(conn *ldap.Conn) error {
			m := ldap.NewModifyRequest(dn, nil)
			m.Replace(attribute, values)
			return conn.Modify(m)
		})
	}
	// look finds the account again, as whoever takes a request over does.
	look := func(t *testing.T, s *directory.Session, u testkit.User) reset.Entry {
		t.Helper()
		e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	ask := func(t *testing.T, s *directory.Session, e reset.Entry, password string, want bool) {
		t.Helper()
		if right, err := s.Ask(t.Context(), e, secret.New([]byte(password))); right != want || err != nil {
			t.Errorf("got %t, %v, want %t", right, err, want)
		}
	}
	for name, values := range map[string][2]string{
		"logonHours": {"logonHours", strings.Repeat("\x00", 21)}, "userWorkstations": {"userWorkstations", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			u, s := newUser(t, dir, samba.UserSpec{}), open(t, dir)
			modify(t, u.DN, values[0], values[1])
			e := look(t, s, u)
			ask(t, s, e, "wrong", false)
			ask(t, s, e, u.Password, true)
			if bind(dir)(u.DN, u.Password) == nil {
				t.Error("the account opens, so that this tests nothing")
			}
		})
	}
	t.Run("Password expired", func(t *testing.T) {
		u, s := newUser(t, dir, samba.UserSpec{}), open(t, asAdministrator(dir))
		if err := samba.NewPolicy(t.Context(), dir, samba.PolicySpec{AppliesTo: []string{u.DN}, MaxAge: time.Microsecond}); err != nil {
			t.Fatal(err)
		}
		e := look(t, s, u)
		ask(t, s, e, "wrong", false)
		ask(t, s, e, u.Password, true)
		if bind(dir)(u.DN, u.Password) == nil {
			t.Error("the account opens, so that this tests nothing")
		}
	})
	t.Run("Smartcard", func(t *testing.T) {
		u, s := newUser(t, dir, samba.UserSpec{}), open(t, dir)
		modify(t, u.DN, "userAccountControl", "262656") // and Samba makes the password a random one
		_, err := s.Ask(t.Context(), look(t, s, u), secret.New([]byte(u.Password)))
		wantIs(t, err, reset.ErrNotAsked)
	})
	t.Run("Witness", func(t *testing.T) {
		// No history and no age, so that the same password again is taken.
		u, s := under(t, dir, directorytest.Policy{MinLength: 4, LockoutThreshold: 10}), open(t, asAdministrator(dir))
		for _, step := range []struct {
			name     string
			do       func(e reset.Entry)
			usn, set bool // which move
		}{
			{"wrong", func(e reset.Entry) { ask(t, s, e, "wrong", false) }, false, false},
			{"first right", func(e reset.Entry) { ask(t, s, e, u.Password, true) }, true, false}, // lastLogonTimestamp
			{"right", func(e reset.Entry) { ask(t, s, e, u.Password, true) }, false, false},
			{"description", func(reset.Entry) { modify(t, u.DN, "description", "x") }, true, false},
			{"first unlock, not locked", func(e reset.Entry) { s.Unlock(t.Context(), e) }, true, false}, // lockoutTime
			{"unlock, not locked", func(e reset.Entry) { s.Unlock(t.Context(), e) }, false, false},
			{"password", func(e reset.Entry) { s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))) }, true, true},
			{"the same password", func(e reset.Entry) { s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))) }, true, true},
			{"somebody else's", func(reset.Entry) { modify(t, u.DN, "unicodePwd", samba.UnicodePwd("Aa1-"+rand.Text())) }, true, true},
			{"lockout", func(reset.Entry) {
				for range 10 {
					bind(dir)(u.DN, "wrong")
				}
			}, true, false},
		} {
			before := look(t, s, u)
			step.do(before)
			after := look(t, s, u).Witness
			if usn, set := after.USNChanged != before.Witness.USNChanged, after.PwdLastSet != before.Witness.PwdLastSet; usn != step.usn || set != step.set {
				t.Errorf("%s: uSNChanged moved: %t, pwdLastSet moved: %t, want %t and %t", step.name, usn, set, step.usn, step.set)
			}
		}
	})
	t.Run("Moved", func(t *testing.T) {
		u, s := newUser(t, dir, samba.UserSpec{}), open(t, dir)
		before := look(t, s, u)
		asAdmin(t, dir, func(conn *ldap.Conn) error {
			return conn.ModifyDN(ldap.NewModifyDNRequest(u.DN, "CN=moved-"+u.SAMAccountName, true, "CN=Users,"+dir.BaseDN))
		})
		ask(t, s, before, u.Password, true)
		after := look(t, s, u)
		if after.DN == before.DN || after.Witness.PwdLastSet != before.Witness.PwdLastSet || after.Witness.USNChanged == before.Witness.USNChanged {
			t.Errorf("a move led from %+v to %+v", before, after)
		}
		asAdmin(t, dir, func(conn *ldap.Conn) error { return conn.Del(ldap.NewDelRequest(after.DN, nil)) })
		_, err := s.Ask(t.Context(), after, secret.New([]byte(u.Password)))
		wantIs(t, err, reset.ErrNotAsked)
		_, err = s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
		wantCode(t, err, reset.AccountNotFound)
	})
}
