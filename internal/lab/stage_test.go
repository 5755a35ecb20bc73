package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

// filtered is what the stages' password filters refuse in a password.
const filtered = "zebra"

// A person is what account a stage adds. All of it may be left out.
type person struct {
	display, parent string
	anchor          []byte // mS-DS-ConsistencyGuid
	attributes      map[string][]string
}

// A stage sets a directory up for what a request is to meet there.
type stage interface {
	add(person) (testkit.User, error) // with the password current
	lock(testkit.User) error
	disable(testkit.User) error
	expire(testkit.User) error
	delete(testkit.User) error
	smartcard(testkit.User) error
	mustChange(testkit.User) error
	young(testkit.User) error                        // its password was set just now
	deny(u testkit.User, right string) error         // takes it from the service account
	policy(u testkit.User, p samba.PolicySpec) error // one that the service account may read
	filter() error                                   // has a password filter, from now on
	opens(u testkit.User, password string) bool
}

// fakeStage is the fake's.
type fakeStage struct{ *fakead.Server }

func (f *fakeStage) add(p person) (testkit.User, error) {
	return f.NewUser(fakead.UserSpec{Password: current, DisplayName: p.display, Parent: p.parent, ConsistencyGUID: p.anchor, Attributes: p.attributes})
}

func (f *fakeStage) lock(u testkit.User) error       { return f.Lock(u.SAMAccountName) }
func (f *fakeStage) disable(u testkit.User) error    { return f.Disable(u.SAMAccountName) }
func (f *fakeStage) expire(u testkit.User) error     { return f.Expire(u.SAMAccountName) }
func (f *fakeStage) delete(u testkit.User) error     { return f.Delete(u.SAMAccountName) }
func (f *fakeStage) smartcard(u testkit.User) error  { return f.RequireSmartcard(u.SAMAccountName) }
func (f *fakeStage) mustChange(u testkit.User) error { return f.MustChange(u.SAMAccountName) }
func (f *fakeStage) young(u testkit.User) error      { return f.SetPassword(u.SAMAccountName, current) }

func (f *fakeStage) deny(u testkit.User, right string) error {
	switch right {
	case "Change Password":
		return f.DenyChange(u.SAMAccountName)
	case "Reset Password":
		return f.Deny(u.DN, "svc-writeback", fakead.ResetPassword)
	}
	return f.Deny(u.DN, "svc-writeback", fakead.WriteLockoutTime)
}

func (f *fakeStage) policy(u testkit.User, p samba.PolicySpec) error {
	_, err := f.NewPolicy(fakead.PolicySpec{
		Name: "for " + u.SAMAccountName, Precedence: 1, AppliesTo: []string{u.SAMAccountName},
		Policy: fakead.Policy{MinLength: p.MinLength, Complexity: p.Complexity, History: p.History, MinAge: p.MinAge},
	})
	return errors.Join(err, f.LetReadPolicies("svc-writeback"))
}

func (f *fakeStage) filter() error {
	f.SetFilter(func(_, _, password string, _ bool) bool { return !strings.Contains(password, filtered) })
	return nil
}

func (f *fakeStage) opens(u testkit.User, password string) bool {
	return f.Check(u.SAMAccountName, password)
}

// sambaStage is a real domain's.
type sambaStage struct {
	t       *testing.T
	lab     *Lab
	dir     testkit.Directory
	service string // SID of the service account
	filters bool
}

func newSambaStage(t *testing.T, l *Lab) *sambaStage {
	t.Helper()
	s := &sambaStage{t: t, lab: l, dir: l.Directory}
	err := s.admin(func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(s.dir.ServiceDN, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
			1, 0, false, "(objectClass=*)", []string{"objectSid"}, nil))
		if err == nil {
			s.service = samba.SID(res.Entries[0].GetRawAttributeValue("objectSid"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sambaStage) admin(do func(*ldap.Conn) error) error {
	conn, err := samba.Bind(s.dir, s.dir.AdminDN, s.dir.AdminPassword)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(conn)
}

func (s *sambaStage) set(u testkit.User, attribute, value string) error {
	return s.admin(func(conn *ldap.Conn) error {
		m := ldap.NewModifyRequest(u.DN, nil)
		m.Replace(attribute, []string{value})
		return conn.Modify(m)
	})
}

func (s *sambaStage) add(p person) (testkit.User, error) {
	return samba.NewUser(s.t.Context(), s.dir, samba.UserSpec{
		Password: current, DisplayName: p.display, ParentDN: p.parent, ConsistencyGUID: p.anchor, Attributes: p.attributes,
	})
}

// now is the time of day in 100 ns since 1601.
func now() string { return strconv.FormatInt((time.Now().Unix()+11_644_473_600)*10_000_000, 10) }

func (s *sambaStage) lock(u testkit.User) error       { return s.set(u, "lockoutTime", now()) }
func (s *sambaStage) disable(u testkit.User) error    { return s.set(u, "userAccountControl", "514") }
func (s *sambaStage) expire(u testkit.User) error     { return s.set(u, "accountExpires", now()) }
func (s *sambaStage) smartcard(u testkit.User) error  { return s.set(u, "userAccountControl", "262656") }
func (s *sambaStage) mustChange(u testkit.User) error { return s.set(u, "pwdLastSet", "0") }
func (s *sambaStage) young(testkit.User) error        { return nil } // as every account that was just added

func (s *sambaStage) delete(u testkit.User) error {
	return s.admin(func(conn *ldap.Conn) error { return conn.Del(ldap.NewDelRequest(u.DN, nil)) })
}

func (s *sambaStage) deny(u testkit.User, right string) error {
	switch right {
	case "Change Password":
		return samba.Permit(s.t.Context(), s.dir, u.DN, samba.ChangePassword, false, samba.Everyone, samba.Self)
	case "Reset Password":
		return samba.Permit(s.t.Context(), s.dir, u.DN, samba.ResetPassword, false, s.service)
	}
	return samba.Permit(s.t.Context(), s.dir, u.DN, samba.WriteLockoutTime, false, s.service)
}

func (s *sambaStage) policy(u testkit.User, p samba.PolicySpec) error {
	p.Name, p.AppliesTo = "p-"+rand.Text()[:12], []string{u.DN}
	if err := samba.NewPolicy(s.t.Context(), s.dir, p); err != nil {
		return err
	}
	const container = "CN=Password Settings Container,CN=System,"
	return errors.Join(
		samba.Permit(s.t.Context(), s.dir, container+s.dir.BaseDN, samba.Read, true, s.service),
		samba.Permit(s.t.Context(), s.dir, "CN="+p.Name+","+container+s.dir.BaseDN, samba.Read, true, s.service))
}

// filter restarts the domain controller, as the lab does when it dies.
func (s *sambaStage) filter() error {
	if s.filters {
		return nil
	}
	s.filters = true
	if err := samba.FilterPasswords(s.lab.path("samba"), filtered); err != nil {
		return err
	}
	pid := s.lab.endpoints(s.t).pid(s.t, "samba")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	await(s.t, "the domain is back", func() error {
		if alive(pid) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return s.admin(func(*ldap.Conn) error { return nil })
	})
	return nil
}

func (s *sambaStage) opens(u testkit.User, password string) bool {
	conn, err := samba.Bind(s.dir, u.DN, password)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
