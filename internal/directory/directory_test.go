package directory_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/directory"
	"writeback/internal/directory/directorytest"
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
		URL: dir.URL, CAFile: dir.CAFile, BindDN: dir.ServiceDN, PasswordFile: path,
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
	fake := startFake(t, fakead.Options{})
	dir := fake.Directory()
	directorytest.Run(t, directorytest.Fixture{
		Config: config(t, dir),
		Bind:   bind(dir),
		NewUser: func(t testing.TB, spec directorytest.User) testkit.User {
			s := fakead.UserSpec{
				SAMAccountName:  "u-" + strings.ToLower(rand.Text()[:12]),
				ConsistencyGUID: spec.ConsistencyGUID,
			}
			if spec.Outside {
				s.Parent = "CN=Users," + dir.BaseDN
			}
			u, err := fake.NewUser(s)
			if err != nil {
				t.Fatal(err)
			}
			return u
		},
	})
}

func TestSamba(t *testing.T) {
	dir, stop, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	newUser := func(t testing.TB, spec directorytest.User) testkit.User {
		s := samba.UserSpec{ConsistencyGUID: spec.ConsistencyGUID}
		if spec.Outside {
			s.ParentDN = "CN=Users," + dir.BaseDN
		}
		u, err := samba.NewUser(t.Context(), dir, s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	f := directorytest.Fixture{Config: config(t, dir), Bind: bind(dir), NewUser: newUser}
	t.Run("LDAPS", func(t *testing.T) { directorytest.Run(t, f) })
	t.Run("StartTLS", func(t *testing.T) {
		f.Config.URL = strings.TrimSuffix(strings.Replace(dir.URL, "ldaps://", "ldap://", 1), ":636")
		f.Config.StartTLS = true
		directorytest.Run(t, f)
	})
}
