package directory_test

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/directorytest"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// sambaFixture is how the suite makes what it looks at in a Samba domain.
func sambaFixture(t *testing.T, dir testkit.Directory) directorytest.Fixture {
	service := readUser(t, dir, dir.ServiceDN).SID
	return directorytest.Fixture{
		Config: config(t, dir), Bind: bind(dir), Wrong: wrong(dir),
		NewUser: func(t testing.TB, spec directorytest.User) testkit.User {
			s := samba.UserSpec{ConsistencyGUID: spec.ConsistencyGUID, Disabled: spec.Disabled, Attributes: spec.Attributes}
			if spec.Outside {
				s.ParentDN = "CN=Users," + dir.BaseDN
			}
			u := newUser(t, dir, s)
			if spec.Smartcard {
				replace(t, dir, u.DN, "userAccountControl", "262656")
			}
			if spec.NotRequired {
				replace(t, dir, u.DN, "userAccountControl", "544")
			}
			return u
		},
		NewComputer: func(t testing.TB) testkit.User {
			name := "pc-" + strings.ToLower(rand.Text()[:10]) + "$"
			return readUser(t, dir, add(t, dir, "CN="+name+",CN=Computers,"+dir.BaseDN, map[string][]string{
				"objectClass": {"computer"}, "sAMAccountName": {name}, "userAccountControl": {"4096"},
			}))
		},
		NewGroup: func(t testing.TB, members ...string) directorytest.Group {
			name := "g-" + strings.ToLower(rand.Text()[:10])
			var names []string
			for _, m := range members {
				names = append(names, named(t, dir, m))
			}
			dn := add(t, dir, "CN="+name+" (a*b)\\,c,"+dir.StaffDN, map[string][]string{
				"objectClass": {"group"}, "sAMAccountName": {name}, "groupType": {"-2147483644"}, "member": names, // domain local
			})
			return directorytest.Group{DN: dn, SAMAccountName: name}
		},
		Join: func(t testing.TB, group, member string) {
			asAdmin(t, dir, func(conn *ldap.Conn) error {
				m := ldap.NewModifyRequest(named(t, dir, group), nil)
				m.Add("member", []string{named(t, dir, member)})
				return conn.Modify(m)
			})
		},
		Under: func(t testing.TB, p directorytest.Policy) testkit.User { return under(t, dir, p) },
		UnderThree: func(t testing.TB) testkit.User {
			u := newUser(t, dir, samba.UserSpec{})
			name := "g-" + strings.ToLower(rand.Text()[:10])
			group := add(t, dir, "CN="+name+","+dir.StaffDN, map[string][]string{
				"objectClass": {"group"}, "sAMAccountName": {name}, "groupType": {"-2147483646"}, "member": {u.DN}, // global
			})
			for precedence, p := range map[int]samba.PolicySpec{
				1: {AppliesTo: []string{group}, MinLength: 20}, 5: {AppliesTo: []string{u.DN}, MinLength: 9}, 7: {AppliesTo: []string{u.DN}, MinLength: 30},
			} {
				p.Precedence = precedence
				if err := samba.NewPolicy(t.Context(), dir, p); err != nil {
					t.Fatal(err)
				}
			}
			return u
		},
		Admin:   config(t, asAdministrator(dir)),
		Without: func(t testing.TB, right string) testkit.User { return without(t, dir, service, right) },
		Lock: func(t testing.TB, u testkit.User) {
			replace(t, dir, u.DN, "lockoutTime", strconv.FormatInt((time.Now().Unix()+11_644_473_600)*10_000_000, 10))
		},
	}
}

// without adds a user on which the service account has every right but one. It
// is outside of the delegated unit, of which others look at a sample.
func without(t testing.TB, dir testkit.Directory, service, right string) testkit.User {
	t.Helper()
	u := newUser(t, dir, samba.UserSpec{ParentDN: "CN=Users," + dir.BaseDN})
	for name, r := range map[string]samba.Right{
		"Reset Password": samba.ResetPassword, "Write lockoutTime": samba.WriteLockoutTime, "Write pwdLastSet": samba.WritePwdLastSet,
	} {
		if name != right {
			permit(t, dir, u.DN, r, true, service)
		}
	}
	if right == "Change Password" { // as the tools of Windows do
		permit(t, dir, u.DN, samba.ChangePassword, false, samba.Everyone, samba.Self)
	}
	return u
}

func permit(t testing.TB, dir testkit.Directory, dn string, right samba.Right, grant bool, sids ...string) {
	t.Helper()
	if err := samba.Permit(t.Context(), dir, dn, right, grant, sids...); err != nil {
		t.Fatal(err)
	}
}

// replace sets an attribute as an administrator does.
func replace(t testing.TB, dir testkit.Directory, dn, attribute, value string) {
	t.Helper()
	asAdmin(t, dir, func(conn *ldap.Conn) error {
		m := ldap.NewModifyRequest(dn, nil)
		m.Replace(attribute, []string{value})
		return conn.Modify(m)
	})
}

func newUser(t testing.TB, dir testkit.Directory, spec samba.UserSpec) testkit.User {
	t.Helper()
	u, err := samba.NewUser(t.Context(), dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func under(t testing.TB, dir testkit.Directory, p directorytest.Policy) testkit.User {
	t.Helper()
	u := newUser(t, dir, samba.UserSpec{})
	err := samba.NewPolicy(t.Context(), dir, samba.PolicySpec{
		AppliesTo: []string{u.DN}, MinLength: p.MinLength, Complexity: p.Complexity, History: p.History,
		MinAge: p.MinAge, LockoutThreshold: p.LockoutThreshold,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// asAdministrator returns dir with the administrator for the service account.
func asAdministrator(dir testkit.Directory) testkit.Directory {
	dir.ServiceDN, dir.ServicePassword = dir.AdminDN, dir.AdminPassword
	return dir
}

// named returns the DN of an account or group.
func named(t testing.TB, dir testkit.Directory, sam string) (dn string) {
	t.Helper()
	asAdmin(t, dir, func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(dir.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, 0, false,
			"(sAMAccountName="+ldap.EscapeFilter(sam)+")", []string{"objectGUID"}, nil))
		if err == nil {
			dn = res.Entries[0].DN
		}
		return err
	})
	return dn
}

// add adds an object and returns its name.
func add(t testing.TB, dir testkit.Directory, dn string, attributes map[string][]string) string {
	t.Helper()
	asAdmin(t, dir, func(conn *ldap.Conn) error {
		req := ldap.NewAddRequest(dn, nil)
		for name, values := range attributes {
			req.Attribute(name, values)
		}
		return conn.Add(req)
	})
	return dn
}

// readUser returns the names of an object.
func readUser(t testing.TB, dir testkit.Directory, dn string) (u testkit.User) {
	t.Helper()
	asAdmin(t, dir, func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
			"(objectClass=*)", []string{"objectGUID", "objectSid", "sAMAccountName"}, nil))
		if err != nil {
			return err
		}
		e := res.Entries[0]
		u = testkit.User{
			DN: dn, SAMAccountName: e.GetAttributeValue("sAMAccountName"),
			ObjectGUID: reset.FormatGUID([16]byte(e.GetRawAttributeValue("objectGUID"))),
		}
		if sid := e.GetRawAttributeValue("objectSid"); len(sid) == 28 {
			u.SID = "S-1-5"
			for b := sid[8:]; len(b) > 0; b = b[4:] {
				u.SID += fmt.Sprintf("-%d", uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)
			}
		}
		return nil
	})
	return u
}
