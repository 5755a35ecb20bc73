package directory_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/directory/directorytest"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

func TestSamba(t *testing.T) {
	dir, stop, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	f := sambaFixture(t, dir)
	t.Run("LDAPS", func(t *testing.T) { directorytest.Run(t, f) })
	t.Run("StartTLS", func(t *testing.T) {
		f := f
		f.Config.URLs = []string{strings.TrimSuffix(strings.Replace(dir.URL, "ldaps://", "ldap://", 1), ":636")}
		f.Config.StartTLS = true
		directorytest.Run(t, f)
	})
	t.Run("WithoutHints", func(t *testing.T) {
		f := f
		f.Config = config(t, withoutHints(t, dir))
		directorytest.WithoutHints(t, f)
	})
	t.Run("Metacharacters", func(t *testing.T) { metacharacters(t, dir, f) })
	t.Run("NotFound", func(t *testing.T) { notFound(t, dir) })
	t.Run("Nobodies", func(t *testing.T) { nobodies(t, dir) })
	t.Run("NameRule", func(t *testing.T) { nameRule(t, dir) })
	t.Run("Searches", func(t *testing.T) { searches(t, dir) })
	t.Run("Examine", func(t *testing.T) { examine(t, dir) })
}

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

// A domain of its own: a filter is everybody's.
func TestSambaFilter(t *testing.T) {
	t.Parallel()
	d, err := samba.Start(t.Context(), samba.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.FilterPasswords(t.Context(), "zebra"); err != nil {
		t.Fatal(err)
	}
	directorytest.Filter(t, sambaFixture(t, d.Directory), "Granite-zebra-42")
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

// open returns a session of a client of its own.
func open(t *testing.T, dir testkit.Directory) *directory.Session {
	t.Helper()
	client, err := directory.New(config(t, dir), zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	session, err := client.Begin(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.End)
	return session
}

func setOf(t *testing.T, s *directory.Session, u testkit.User, password string) error {
	t.Helper()
	e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
	if err != nil {
		t.Fatal(err)
	}
	return s.SetPassword(t.Context(), e, secret.New([]byte(password)))
}

// metacharacters: the groups of an account whose own name needs escaping twice.
func metacharacters(t *testing.T, dir testkit.Directory, f directorytest.Fixture) {
	unit := add(t, dir, "OU="+rand.Text()[:10]+" (a*b)\\, c\\\\d,"+dir.StaffDN, map[string][]string{"objectClass": {"organizationalUnit"}})
	u := newUser(t, dir, samba.UserSpec{ParentDN: unit})
	group := f.NewGroup(t, u.SAMAccountName)
	s := open(t, dir)
	e, err := s.Find(t.Context(), account(t, reset.UPN, u.UPN))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Groups(t.Context(), e)
	if err != nil || !slices.Contains(got, group.DN) {
		t.Errorf("%s is in %q, %v", e.DN, got, err)
	}
}

// notFound: what does not sign in is nobody's account.
func notFound(t *testing.T, dir testkit.Directory) {
	name := strings.ToLower(rand.Text()[:10])
	contact := readUser(t, dir, add(t, dir, "CN=c-"+name+","+dir.StaffDN, map[string][]string{"objectClass": {"contact"}}))
	group := readUser(t, dir, add(t, dir, "CN=g-"+name+","+dir.StaffDN, map[string][]string{
		"objectClass": {"group"}, "sAMAccountName": {"g-" + name},
	}))
	foreign := readUser(t, dir, "CN=S-1-5-11,CN=ForeignSecurityPrincipals,"+dir.BaseDN) // Authenticated Users
	deleted := newUser(t, dir, samba.UserSpec{})
	asAdmin(t, dir, func(conn *ldap.Conn) error { return conn.Del(ldap.NewDelRequest(deleted.DN, nil)) })

	s := open(t, dir)
	for what, u := range map[string]testkit.User{"contact": contact, "group": group, "foreign principal": foreign, "deleted user": deleted} {
		if _, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID)); err == nil {
			t.Errorf("a %s was found", what)
		} else {
			wantCode(t, err, reset.AccountNotFound)
		}
	}
}

// nobodies: what signs in and is nobody is found, to be refused as what it is.
// The account of a trust cannot be added over LDAP.
func nobodies(t *testing.T, dir testkit.Directory) {
	s := open(t, dir)
	for class, more := range map[string]map[string][]string{
		"computer":                        {"userAccountControl": {"4096"}},
		"msDS-ManagedServiceAccount":      {"userAccountControl": {"4096"}},
		"msDS-GroupManagedServiceAccount": {"userAccountControl": {"4096"}, "msDS-ManagedPasswordInterval": {"30"}},
	} {
		name := "n-" + strings.ToLower(rand.Text()[:10])
		more["objectClass"], more["sAMAccountName"] = []string{class}, []string{name + "$"}
		u := readUser(t, dir, add(t, dir, "CN="+name+",CN=Computers,"+dir.BaseDN, more))
		e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
		if err != nil || !e.Privileges.NotAUser {
			t.Errorf("%s: %+v, %v", class, e.Privileges, err)
		}
	}
}

// nameRule: Samba has none, so a name in a password is not why it refused.
func nameRule(t *testing.T, dir testkit.Directory) {
	u := newUser(t, dir, samba.UserSpec{DisplayName: "Ada Lovelace"})
	s := open(t, dir)
	password := "Lovelace-" + rand.Text()
	if err := setOf(t, s, u, password); err != nil {
		t.Fatalf("a password with a name in it: %v", err)
	}
	o := wantCode(t, setOf(t, s, u, password), reset.PasswordRefused)
	if !slices.Equal(o.Details.Candidates, []string{"history", "filter"}) {
		t.Errorf("candidates are %q", o.Details.Candidates)
	}
}

// searches: with a policy of its own too, a reset is one search and one modify
// once that policy has been read, and its groups are one search more.
func searches(t *testing.T, dir testkit.Directory) {
	f := startFront(t, asAdministrator(dir), &front{})
	u := under(t, dir, directorytest.Policy{MinLength: 14})
	s := open(t, f.dir)
	begun := f.count(searchTag)
	for n, want := range []int{2, 3, 4} { // the policy is read once
		if err := setOf(t, s, u, "a password "+rand.Text()); err != nil {
			t.Fatal(err)
		}
		if searches, modifies := f.count(searchTag)-begun, f.count(modifyTag); searches != want || modifies != n+1 {
			t.Errorf("after %d resets: %d searches, %d modifies, want %d and %d", n+1, searches, modifies, want, n+1)
		}
	}
	for _, want := range []int{2, 1} { // the primary group is read once
		e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
		if err != nil {
			t.Fatal(err)
		}
		before := f.count(searchTag)
		if _, err := s.Groups(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if searches := f.count(searchTag) - before; searches != want {
			t.Errorf("%d searches for the groups, want %d", searches, want)
		}
	}
}
