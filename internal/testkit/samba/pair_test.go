package samba

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-ldap/ldap/v3"
	"golang.org/x/sys/unix"

	"writeback/internal/testkit"
)

func startPair(t *testing.T) *Pair {
	t.Helper()
	p, err := StartPair(t.Context(), Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestPair is the life of one pair; each of its steps leaves both running.
func TestPair(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	ways := map[string][2]*Domain{"DC1 to DC2": {p.DC1, p.DC2}, "DC2 to DC1": {p.DC2, p.DC1}}

	t.Run("certificates", func(t *testing.T) {
		for name, way := range ways {
			for host, want := range map[string]bool{way[0].Host: true, way[0].addr: true, way[1].Host: false, way[1].addr: false} {
				if err := handshake(way[0], host); (err == nil) != want {
					t.Errorf("%s: the certificate of %s as that of %s: %v, want it valid: %t", name, way[0].Host, host, err, want)
				}
			}
		}
	})

	t.Run("passwords replicate", func(t *testing.T) {
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				u := pairUser(t, p, way[0])
				password := setPassword(t, way[0], u)
				opens(t, way[1], u, password)
				if err := bindAs(way[1].Directory, u.DN, u.Password); code(err) != ldap.LDAPResultInvalidCredentials {
					t.Errorf("old password: %v, want code 49", err)
				}
			})
		}
	})

	t.Run("one is killed", func(t *testing.T) {
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				alive, dead := way[0], way[1]
				u := pairUser(t, p, alive)
				if err := unix.Kill(dead.PID(), unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				<-dead.Done()
				if err := bindAs(dead.Directory, u.DN, u.Password); code(err) != ldap.ErrorNetwork {
					t.Errorf("binding to the dead controller: %v, want a network error", err)
				}
				password := setPassword(t, alive, u)
				if err := bindAs(alive.Directory, u.DN, password); err != nil {
					t.Error(err)
				}
				if err := dead.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				opens(t, dead, u, password)
				opens(t, alive, u, setPassword(t, dead, u))
			})
		}
	})

	t.Run("one is frozen", func(t *testing.T) {
		if err := p.DC1.Freeze(); err != nil {
			t.Fatal(err)
		}
		signedIn := make(chan error, 1)
		go func() { signedIn <- bindAs(p.DC1.Directory, p.DC1.ServiceDN, p.DC1.ServicePassword) }()
		select {
		case err := <-signedIn:
			t.Errorf("a frozen controller answers: %v", err)
		case <-time.After(time.Second):
		}
		if err := p.DC1.Thaw(); err != nil {
			t.Fatal(err)
		}
		if err := <-signedIn; err != nil {
			t.Errorf("once it goes on: %v", err)
		}
		p.DC2.Kill()
		if err := p.DC2.Freeze(); err == nil {
			t.Error("a killed controller was frozen")
		}
		if err := p.DC2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("the PDC role", func(t *testing.T) {
		owner := func(want *Domain, on ...*Domain) {
			t.Helper()
			for _, d := range on {
				conn, err := Bind(d.Directory, d.ServiceDN, d.ServicePassword)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if got := search(t, conn, baseDN, "fSMORoleOwner").GetAttributeValue("fSMORoleOwner"); !strings.EqualFold(got, want.settingsDN()) {
					t.Errorf("fSMORoleOwner on %s is %q, want %s", d.Host, got, want.Host)
				}
			}
		}
		move := func(to *Domain) {
			t.Helper()
			if err := p.MovePDC(t.Context(), to); err != nil {
				t.Fatal(err)
			}
		}
		sync := func() {
			t.Helper()
			if err := p.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		owner(p.DC1, p.DC1, p.DC2)
		move(p.DC2) // handed over
		sync()
		owner(p.DC2, p.DC1, p.DC2)
		p.DC2.Kill()
		move(p.DC1) // seized
		owner(p.DC1, p.DC1)
		if err := p.DC2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		sync()
		owner(p.DC1, p.DC1, p.DC2)
	})
}

// TestTwoPairs shows that pairs do not meet, though they are copies: neither
// their addresses nor what they replicate. The end of one is not the other's.
func TestTwoPairs(t *testing.T) {
	t.Parallel()
	a, b := startPair(t), startPair(t)
	u := pairUser(t, a, a.DC1)
	for _, d := range b.controllers() {
		if err := bindAs(d.Directory, u.DN, u.Password); code(err) != ldap.LDAPResultInvalidCredentials {
			t.Errorf("binding to %s of the other pair: %v, want code 49", d.Host, err)
		}
	}
	ns := []string{namespace(t, a.DC1.PID()), namespace(t, a.DC2.PID())}
	if ns[0] == ns[1] {
		t.Error("both controllers are in one namespace")
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, ns := range ns {
		nothingLeft(t, a.dir, ns)
	}
	if _, err := os.Stat(a.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of the pair: %v, want it gone", err)
	}
	if err := b.Sync(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSyncTellsWhy shows what an operator sees when replication does not work.
func TestSyncTellsWhy(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	// Without names it does not find the other once it is started anew.
	if err := os.Remove(p.DC2.path(hostsFile)); err != nil {
		t.Fatal(err)
	}
	if err := p.DC2.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := errors.New("it is late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, late)
	defer cancel()
	err := p.Sync(ctx)
	if !errors.Is(err, late) || !strings.Contains(err.Error(), "from dc1.corp.example.com to dc2.corp.example.com") {
		t.Errorf("Sync = %v, want the cause and the direction", err)
	}
}

// pairUser adds a user on d, and waits until both controllers have it.
func pairUser(t *testing.T, p *Pair, d *Domain) testkit.User {
	t.Helper()
	u, err := NewUser(t.Context(), d.Directory, UserSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return u
}

// setPassword resets a password on d, as the service account.
func setPassword(t *testing.T, d *Domain, u testkit.User) string {
	t.Helper()
	conn, err := Bind(d.Directory, d.ServiceDN, d.ServicePassword)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	password := NewPassword()
	if err := reset(conn, u.DN, password); err != nil {
		t.Fatal(err)
	}
	return password
}

// opens waits until d takes the password.
func opens(t *testing.T, d *Domain, u testkit.User, password string) {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), syncTimeout)
	defer cancel()
	err := backoff.Retry(func() error { return bindAs(d.Directory, u.DN, password) },
		backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
	if err != nil {
		t.Fatalf("the new password on %s: %v", d.Host, err)
	}
	t.Logf("%s has it after %s", d.Host, time.Since(start).Round(10*time.Millisecond))
}

// handshake checks the certificate of d as that of host.
func handshake(d *Domain, host string) error {
	pem, err := os.ReadFile(d.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", net.JoinHostPort(d.addr, "636"), &tls.Config{RootCAs: pool, ServerName: host})
	if err != nil {
		return err
	}
	return conn.Close()
}
