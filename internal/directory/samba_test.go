package directory_test

import (
	"crypto/rand"
	"slices"
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
	for n, want := range []int{4, 5, 6} { // the policy and the privileged groups are read once
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
