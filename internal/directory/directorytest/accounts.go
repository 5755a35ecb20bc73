package directorytest

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

func (s *suite) state(t *testing.T) {
	filetime := func(at time.Time) []string {
		return []string{strconv.FormatInt((at.Unix()+11_644_473_600)*10_000_000, 10)}
	}
	for name, tt := range map[string]struct {
		user              User
		disabled, expired bool
	}{
		"ordinary":      {},
		"disabled":      {user: User{Disabled: true}, disabled: true},
		"expired":       {user: User{Attributes: map[string][]string{"accountExpires": filetime(time.Now().Add(-time.Hour))}}, expired: true},
		"expires":       {user: User{Attributes: map[string][]string{"accountExpires": filetime(time.Now().Add(time.Hour))}}},
		"never expires": {user: User{Attributes: map[string][]string{"accountExpires": {"0"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := s.find(t, reset.UPN, s.NewUser(t, tt.user).UPN)
			if e.Disabled != tt.disabled || e.Expired != tt.expired || e.Locked {
				t.Errorf("disabled %t, expired %t, locked %t", e.Disabled, e.Expired, e.Locked)
			}
		})
	}
}

func (s *suite) privileges(t *testing.T) {
	u := s.NewUser(t, User{})
	ordinary := s.find(t, reset.UPN, u.UPN).Privileges
	rid, err := strconv.ParseUint(u.SID[strings.LastIndexByte(u.SID, '-')+1:], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if want := (reset.Privileges{RID: uint32(rid), PrimaryGroup: 513}); ordinary != want {
		t.Errorf("an ordinary user has %+v, want %+v", ordinary, want)
	}
	for attribute, value := range map[string]string{"adminCount": "1", "servicePrincipalName": "http/" + u.SAMAccountName} {
		u := s.NewUser(t, User{Attributes: map[string][]string{attribute: {value}}})
		p := s.find(t, reset.SAMAccountName, u.SAMAccountName).Privileges
		if p.AdminCount != (attribute == "adminCount") || p.ServicePrincipal != (attribute == "servicePrincipalName") || p.NotAUser {
			t.Errorf("with %s: %+v", attribute, p)
		}
	}
	if p := s.find(t, reset.SAMAccountName, "Administrator").Privileges; !p.Critical || !p.AdminCount || p.RID != 500 || p.Ourselves {
		t.Errorf("the administrator has %+v", p)
	}
	if p := s.find(t, reset.SAMAccountName, "svc-writeback").Privileges; !p.Ourselves || p.NotAUser {
		t.Errorf("the service account has %+v", p)
	}
	computer := s.NewComputer(t)
	for _, kind := range []reset.NameKind{reset.SAMAccountName, reset.ObjectGUID, reset.SID} {
		if p := s.find(t, kind, name(computer, kind)).Privileges; !p.NotAUser || p.Ourselves {
			t.Errorf("a computer by %s has %+v", kind, p)
		}
	}
}

// privilegedGroup: who administers is told from the first minute on, also where
// nothing says so on the account itself.
func (s *suite) privilegedGroup(t *testing.T) {
	u := s.NewUser(t, User{})
	s.Join(t, "Backup Operators", s.NewGroup(t, u.SAMAccountName).SAMAccountName)
	fresh := start(t, s.Fixture) // which has read nothing yet
	if p := fresh.find(t, reset.UPN, u.UPN).Privileges; !p.Group {
		t.Errorf("a member of a member of Backup Operators has %+v", p)
	}
	if p := fresh.find(t, reset.UPN, s.NewUser(t, User{}).UPN).Privileges; p.Group {
		t.Errorf("an ordinary user has %+v", p)
	}
	if p := fresh.find(t, reset.SAMAccountName, "Administrator").Privileges; !p.Group {
		t.Errorf("the administrator has %+v", p)
	}
}

// groups: direct, nested and by the primary group, and nobody else's.
func (s *suite) groups(t *testing.T) {
	u := s.NewUser(t, User{})
	direct := s.NewGroup(t, u.SAMAccountName)
	nested := s.NewGroup(t, direct.SAMAccountName)
	byPrimary := s.NewGroup(t, "Domain Users")
	others := s.NewGroup(t, s.NewUser(t, User{}).SAMAccountName)

	session := s.begin(t)
	e, err := session.Find(t.Context(), account(t, reset.UPN, u.UPN))
	if err != nil {
		t.Fatal(err)
	}
	got, err := session.Groups(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	in := func(dn string) bool {
		return slices.ContainsFunc(got, func(s string) bool { return strings.EqualFold(s, dn) })
	}
	base := e.DN[strings.Index(e.DN, "DC="):]
	for _, dn := range []string{direct.DN, nested.DN, byPrimary.DN, "CN=Domain Users,CN=Users," + base, "CN=Users,CN=Builtin," + base} {
		if !in(dn) {
			t.Errorf("%s is missing in %q", dn, got)
		}
	}
	if in(others.DN) || in(e.DN) || in("CN=Domain Admins,CN=Users,"+base) {
		t.Errorf("got %q", got)
	}
	moved, other := e, e
	moved.DN = "CN=elsewhere," + base
	other.GUID[0]++
	for what, e := range map[string]reset.Entry{"moved meanwhile": moved, "not found": other} {
		if groups, err := session.Groups(t.Context(), e); !errors.Is(err, reset.ErrDirectoryUnavailable) {
			t.Errorf("%s: %q, %v", what, groups, err)
		}
	}
}
