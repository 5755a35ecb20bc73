package directory_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/directory/directorytest"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

// TestDifferences names where the fake, which has the rules of Windows, and
// Samba answer otherwise. What is not here is the conformance suite's, in which
// both answer the same.
func TestDifferences(t *testing.T) {
	fake := startFake(t, fakead.Options{})
	shared, stop, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	tests := []struct {
		name        string
		fake, samba string
		observe     func(t *testing.T, d domain) string
	}{
		{"the name rule, which Samba does not have", "password_contains_name", "applied", func(t *testing.T, d domain) string {
			u := d.NewUser(t, directorytest.User{})
			return d.set(t, u, "1-"+u.SAMAccountName)
		}},
		{"a short password where none is required, from which Samba spares nobody", "applied", "password_refused", func(t *testing.T, d domain) string {
			return d.set(t, d.NewUser(t, directorytest.User{NotRequired: true}), "Aa1-xy")
		}},
		{"a euro sign, which is in a category on Samba only", "password_too_simple", "applied", func(t *testing.T, d domain) string {
			return d.set(t, d.NewUser(t, directorytest.User{}), "abcd12€€")
		}},
		{"what the answer to a change says where the user cannot change the password", "19 00000005", "19", func(t *testing.T, d domain) string {
			u := d.Without(t, "Change Password")
			_, err := d.do(t, u, func(s *directory.Session, e reset.Entry) error {
				return s.Change(t.Context(), e, secret.New([]byte(u.Password)), secret.New([]byte(newPassword)))
			})
			return strings.TrimPrefix(errors.Unwrap(err).Error(), "the directory answered ")
		}},
		{"what the answer says where the right to reset is missing", "50 00000005", "50", func(t *testing.T, d domain) string {
			u := d.NewUser(t, directorytest.User{Outside: true})
			_, err := d.do(t, u, func(s *directory.Session, e reset.Entry) error {
				return s.SetPassword(t.Context(), e, secret.New([]byte(newPassword)))
			})
			return strings.TrimPrefix(errors.Unwrap(err).Error(), "the directory answered ")
		}},
		{"how many accounts a search without the accents of their names finds", "1", "0", func(t *testing.T, d domain) string {
			u := d.NewUser(t, directorytest.User{})
			return strconv.Itoa(d.count(t, "(sAMAccountName="+strings.Replace(u.SAMAccountName, "u", "ú", 1)+")"))
		}},
		{"a UPN that two accounts have, which Samba does not let happen", "account_ambiguous", "one account", func(t *testing.T, d domain) string {
			u := d.NewUser(t, directorytest.User{})
			if d.second(t, u.UPN) != nil {
				return "one account"
			}
			s := open(t, d.dir)
			_, err := s.Find(t.Context(), account(t, reset.UPN, u.UPN))
			o, _ := reset.OutcomeOf(err)
			return string(o.Code)
		}},
	}
	domains := []domain{
		{Fixture: fakeFixture(t, fake), dir: fake.Directory(), second: func(t *testing.T, upn string) error {
			_, err := fake.NewUser(fakead.UserSpec{UPN: upn})
			return err
		}},
		{Fixture: sambaFixture(t, shared), dir: shared, second: func(t *testing.T, upn string) (err error) {
			u := newUser(t, shared, samba.UserSpec{})
			asAdmin(t, shared, func(conn *ldap.Conn) error {
				m := ldap.NewModifyRequest(u.DN, nil)
				m.Replace("userPrincipalName", []string{upn})
				err = conn.Modify(m)
				return nil
			})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range []string{tt.fake, tt.samba} {
				if got := tt.observe(t, domains[i]); got != want {
					t.Errorf("%s: %s, want %s", domains[i].dir.Kind, got, want)
				}
			}
		})
	}
}

// A domain is one of the two.
type domain struct {
	directorytest.Fixture
	dir    testkit.Directory
	second func(t *testing.T, upn string) error // adds an account
}

// do does something with the user's account and returns the code that it ends
// as, too.
func (d domain) do(t *testing.T, u testkit.User, do func(*directory.Session, reset.Entry) error) (string, error) {
	t.Helper()
	client, err := directory.New(d.Config, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
	if err != nil {
		t.Fatal(err)
	}
	err = do(s, e)
	o, _ := reset.OutcomeOf(err)
	return string(o.Code), err
}

// set resets a password and returns the code that it ends as.
func (d domain) set(t *testing.T, u testkit.User, password string) string {
	t.Helper()
	code, _ := d.do(t, u, func(s *directory.Session, e reset.Entry) error {
		return s.SetPassword(t.Context(), e, secret.New([]byte(password)))
	})
	return code
}

// count returns how many accounts a filter finds.
func (d domain) count(t *testing.T, filter string) (n int) {
	t.Helper()
	asAdmin(t, d.dir, func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(d.dir.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, []string{"cn"}, nil))
		if err == nil {
			n = len(res.Entries)
		}
		return err
	})
	return n
}
