package directory_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory"
	"writeback/internal/directory/directorytest"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

// config returns how the service account reaches dir, with its password in a
// file.
func config(t testing.TB, dir testkit.Directory) directory.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(dir.ServicePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	return directory.Config{
		URLs: []string{dir.URL}, CAFile: dir.CAFile, BindDN: dir.ServiceDN, PasswordFile: path,
		ReadSecret: func(path string) (secret.Value, error) {
			b, err := os.ReadFile(path)
			return secret.New(b), err
		},
	}
}

func bind(dir testkit.Directory) func(dn, password string) error {
	return func(dn, password string) error {
		conn, err := samba.Bind(dir, dn, password)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func startFake(t testing.TB, opts fakead.Options) *fakead.Server {
	t.Helper()
	opts.Dir = t.TempDir()
	fake, err := fakead.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fake.Close() })
	return fake
}

func TestFake(t *testing.T) {
	directorytest.Run(t, fakeFixture(t, startFake(t, fakead.Options{})))
}

func TestFakeFilter(t *testing.T) {
	t.Parallel()
	fake := startFake(t, fakead.Options{})
	fake.SetFilter(func(_, _, password string, _ bool) bool { return !strings.Contains(password, "zebra") })
	directorytest.Filter(t, fakeFixture(t, fake), "Granite-zebra-42")
}

// withoutHints stands before a directory that then knows no policy hints.
func withoutHints(t *testing.T, dir testkit.Directory) testkit.Directory {
	return startFront(t, dir, &front{change: []string{
		"1.2.840.113556.1.4.2239", "1.2.840.113556.1.9.2239", "1.2.840.113556.1.4.2066", "1.2.840.113556.1.9.2066",
	}}).dir
}

func TestFakeWithoutHints(t *testing.T) {
	t.Parallel()
	fake := startFake(t, fakead.Options{})
	f := fakeFixture(t, fake)
	f.Config = config(t, withoutHints(t, fake.Directory()))
	directorytest.WithoutHints(t, f)
}

func fakeFixture(t *testing.T, fake *fakead.Server) directorytest.Fixture {
	dir := fake.Directory()
	newUser := func(t testing.TB, s fakead.UserSpec) testkit.User {
		s.SAMAccountName = "u-" + strings.ToLower(rand.Text()[:12])
		u, err := fake.NewUser(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	return directorytest.Fixture{
		Config: config(t, dir),
		Bind:   bind(dir),
		Wrong:  wrong(dir),
		NewUser: func(t testing.TB, spec directorytest.User) testkit.User {
			s := fakead.UserSpec{ConsistencyGUID: spec.ConsistencyGUID, Attributes: maps.Clone(spec.Attributes)}
			if spec.Outside {
				s.Parent = "CN=Users," + dir.BaseDN
			}
			expires := s.Attributes["accountExpires"]
			delete(s.Attributes, "accountExpires")
			u := newUser(t, s)
			for _, state := range []struct {
				of  bool
				set func(string) error
			}{{spec.Disabled, fake.Disable}, {spec.Smartcard, fake.RequireSmartcard}, {spec.NotRequired, fake.NotRequire}} {
				if !state.of {
					continue
				}
				if err := state.set(u.SAMAccountName); err != nil {
					t.Fatal(err)
				}
			}
			if expires != nil {
				asAdmin(t, dir, func(conn *ldap.Conn) error {
					m := ldap.NewModifyRequest(u.DN, nil)
					m.Replace("accountExpires", expires)
					return conn.Modify(m)
				})
			}
			return u
		},
		NewComputer: func(t testing.TB) testkit.User {
			return newUser(t, fakead.UserSpec{Kind: fakead.Computer})
		},
		NewGroup: func(t testing.TB, members ...string) directorytest.Group {
			g, err := fake.NewGroup("g-"+strings.ToLower(rand.Text()[:12]), "", members...)
			if err != nil {
				t.Fatal(err)
			}
			return directorytest.Group{DN: g.DN, SAMAccountName: g.SAMAccountName}
		},
		Join: func(t testing.TB, group, member string) {
			if err := fake.AddMember(group, member); err != nil {
				t.Fatal(err)
			}
		},
		Under: func(t testing.TB, p directorytest.Policy) testkit.User {
			u := newUser(t, fakead.UserSpec{})
			_, err := fake.NewPolicy(fakead.PolicySpec{
				Name: "p-" + u.SAMAccountName, Precedence: 10, AppliesTo: []string{u.SAMAccountName},
				Policy: fakead.Policy{
					MinLength: p.MinLength, Complexity: p.Complexity, History: p.History, MinAge: p.MinAge, LockoutThreshold: p.LockoutThreshold,
				},
			})
			if err == nil {
				err = fake.SetPassword(u.SAMAccountName, u.Password)
			}
			if err != nil {
				t.Fatal(err)
			}
			return u
		},
		UnderThree: func(t testing.TB) testkit.User {
			u := newUser(t, fakead.UserSpec{})
			group, err := fake.NewGroup("g-"+strings.ToLower(rand.Text()[:12]), "", u.SAMAccountName)
			if err != nil {
				t.Fatal(err)
			}
			for precedence, p := range map[int]struct {
				to     string
				length int
			}{1: {group.SAMAccountName, 20}, 5: {u.SAMAccountName, 9}, 7: {u.SAMAccountName, 30}} {
				_, err := fake.NewPolicy(fakead.PolicySpec{
					Name: fmt.Sprintf("p%d-%s", precedence, u.SAMAccountName), Precedence: precedence,
					AppliesTo: []string{p.to}, Policy: fakead.Policy{MinLength: p.length},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			return u
		},
		Admin: config(t, asAdministrator(dir)),
		Without: func(t testing.TB, right string) testkit.User {
			u := newUser(t, fakead.UserSpec{})
			err := map[string]func() error{
				"Change Password":   func() error { return fake.DenyChange(u.SAMAccountName) },
				"Reset Password":    func() error { return fake.Deny(u.DN, "svc-writeback", fakead.ResetPassword) },
				"Write lockoutTime": func() error { return fake.Deny(u.DN, "svc-writeback", fakead.WriteLockoutTime) },
				"Write pwdLastSet":  func() error { return fake.Deny(u.DN, "svc-writeback", fakead.WritePwdLastSet) },
			}[right]()
			if err != nil {
				t.Fatal(err)
			}
			return u
		},
		Lock: func(t testing.TB, u testkit.User) {
			if err := fake.Lock(u.SAMAccountName); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// What signs in and is nobody is found, to be refused as what it is; what does
// not sign in is not.
func TestKinds(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	s, _ := b.found(t)
	for kind, want := range map[fakead.Kind]struct{ found, user bool }{
		fakead.User: {true, true}, fakead.InetOrgPerson: {true, true},
		fakead.Computer: {true, false}, fakead.Trust: {true, false},
		fakead.ManagedServiceAccount: {true, false}, fakead.GroupManagedServiceAccount: {true, false},
		fakead.Contact: {}, fakead.ForeignSecurityPrincipal: {},
	} {
		spec := fakead.UserSpec{Kind: kind}
		if kind == fakead.ForeignSecurityPrincipal {
			spec.SAMAccountName = "S-1-5-21-1-2-3-1234"
		}
		u, err := b.fake.NewUser(spec)
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
		if want.found && (err != nil || e.Privileges.NotAUser == want.user) {
			t.Errorf("%s: %+v, %v", u.DN, e.Privileges, err)
		}
		if !want.found {
			wantCode(t, err, reset.AccountNotFound)
		}
	}
	if err := b.fake.Delete(b.user.SAMAccountName); err != nil {
		t.Fatal(err)
	}
	_, err := s.Find(t.Context(), account(t, reset.ObjectGUID, b.user.ObjectGUID))
	wantCode(t, err, reset.AccountNotFound)
}

func asAdmin(t testing.TB, dir testkit.Directory, do func(*ldap.Conn) error) {
	t.Helper()
	conn, err := samba.Bind(dir, dir.AdminDN, dir.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := do(conn); err != nil {
		t.Fatal(err)
	}
}
