package directory_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/pki"
)

const (
	bindTag   = ldap.ApplicationBindRequest
	searchTag = ldap.ApplicationSearchRequest
	modifyTag = ldap.ApplicationModifyRequest
)

func TestOneSearchOneModifyOneBind(t *testing.T) {
	t.Parallel()
	f := &front{}
	b := setup(t, f, nil)
	for n := 1; n <= 3; n++ {
		if err := b.reset(t, newPassword+strings.Repeat("x", n)); err != nil {
			t.Fatal(err)
		}
		// The first searches are the connection's: the rootDSE, the service
		// account, the rules of the domain, its groups, and two of the
		// minute: the privileged groups and who is in them.
		if binds, searches, modifies := f.count(bindTag), f.count(searchTag), f.count(modifyTag); binds != 1 || searches != 6+n || modifies != n {
			t.Errorf("after %d resets: %d binds, %d searches, %d modifies", n, binds, searches, modifies)
		}
	}
	if open, accepted := b.fake.Connections(); open != 1 || accepted != 1 {
		t.Errorf("%d connections, %d accepted, want 1 and 1", open, accepted)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	const hints, hintsOld = "1.2.840.113556.1.4.2239", "1.2.840.113556.1.4.2066"
	const other, otherOld = "1.2.840.113556.1.9.2239", "1.2.840.113556.1.9.2066"
	allow := func(c *directory.Config) { c.AllowWithoutHistoryCheck = true }
	tests := []struct {
		name  string
		front *front
		cfg   func(*directory.Config)
		want  string
	}{
		{"both offered", nil, nil, hints},
		{"the old one only", &front{change: []string{hints, other}}, nil, hintsOld},
		{"none, allowed", &front{change: []string{hints, other, hintsOld, otherOld}}, allow, ""},
		{"offered, need not be", nil, allow, hints},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, tt.front, tt.cfg)
			if err := b.reset(t, newPassword); err != nil {
				t.Fatal(err)
			}
			controls := b.fake.Controls(b.user.SAMAccountName)
			if tt.want == "" {
				if len(controls) != 0 {
					t.Errorf("controls %v were sent to a server that knows none", controls)
				}
				if !strings.Contains(b.log.String(), `"level":"warn"`) {
					t.Errorf("no warning in the log:\n%s", b.log)
				}
				return
			}
			if len(controls) != 1 {
				t.Fatalf("%d controls were sent, want 1", len(controls))
			}
			c := controls[0]
			if c.OID != tt.want || c.Criticality != 0xFF || string(c.Value) != "\x30\x03\x02\x01\x01" {
				t.Errorf("sent %s, criticality %#x, value %x", c.OID, c.Criticality, c.Value)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		b := setup(t, &front{change: []string{hints, other, hintsOld, otherOld}}, nil)
		err := b.client.Check(within(t, 10*time.Second))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		for _, want := range []string{hints, "allow_without_history_check", "dc1.corp.example.com"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		}
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	for off, want := range map[time.Duration]string{
		6 * time.Second: "ahead of this machine's", -6 * time.Second: "behind this machine's",
		4 * time.Second: "", -4 * time.Second: "",
	} {
		b := setupWith(t, fakead.Options{Now: func() time.Time { return time.Now().Add(off) }}, nil, nil)
		err := b.client.Check(within(t, 10*time.Second))
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", off, err)
			}
			continue
		}
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", off, err, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		b.log.onLine("domain controller is left alone", cancel)
		_, err = b.client.Begin(ctx)
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Begin: %v, want %q in it", off, err, want)
		}
	}
}

// What a domain controller calls itself is in errors and announcements.
func TestHostName(t *testing.T) {
	t.Parallel()
	const name = "dc1.corp.example.com"
	for _, odd := range []string{"dc1.corp.example.c\n\x1b", "dc1 <b>canary</b>com", "dc1_corp_example_com"} {
		b := setup(t, &front{change: []string{name, odd}}, nil)
		err := b.client.Check(within(t, 10*time.Second))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if err == nil || !strings.Contains(err.Error(), "dnsHostName is not the name of a host") || strings.Contains(err.Error(), odd) {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		front *front
		cfg   func(t *testing.T, c *directory.Config)
		want  any
	}{
		{"another authority", &front{}, func(t *testing.T, c *directory.Config) {
			c.CAFile = startFront(t, testkit.Directory{}, &front{}).dir.CAFile
		}, new(x509.UnknownAuthorityError)},
		{"another name", &front{certHost: "dc2.corp.example.com"}, nil, new(x509.HostnameError)},
		{"expired", &front{certOpts: []pki.Option{func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}}}, nil, new(x509.CertificateInvalidError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, tt.front, func(c *directory.Config) {
				if tt.cfg != nil {
					tt.cfg(t, c)
				}
			})
			err := b.client.Check(within(t, 10*time.Second))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
			if !errors.As(err, tt.want) {
				t.Errorf("got %v, want %T", err, tt.want)
			}
			if n := tt.front.count(bindTag); n != 0 {
				t.Errorf("%d binds", n)
			}
		})
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	b := setup(t, &front{startTLS: true}, func(c *directory.Config) { c.StartTLS = true })
	if err := b.reset(t, newPassword); err != nil {
		t.Error(err)
	}
	b = setup(t, &front{startTLS: true, certHost: "dc2.corp.example.com"}, func(c *directory.Config) { c.StartTLS = true })
	wantIs(t, b.client.Check(within(t, 10*time.Second)), reset.ErrDirectoryUnavailable)
	if c := b.fake.Counts("svc-writeback"); c.Binds != 0 {
		t.Error("bound to a server with another's certificate")
	}
}

func TestWrongServicePassword(t *testing.T) {
	t.Parallel()
	var path string
	b := setup(t, nil, func(c *directory.Config) {
		path = c.PasswordFile
		if err := os.WriteFile(path, []byte("wrong"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := b.client.Begin(within(t, 10*time.Second))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
			if !strings.Contains(err.Error(), "refused") {
				t.Errorf("%v, want the reason", err)
			}
		})
	}
	all.Wait()
	wantIs(t, b.client.Check(t.Context()), reset.ErrDirectoryUnavailable)
	if c := b.fake.Counts("svc-writeback"); c.BadBinds != 1 {
		t.Errorf("the service account was refused %d times, want once", c.BadBinds)
	}
	if log := b.log.String(); !strings.Contains(log, "data 52e") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if err := os.WriteFile(path, []byte(b.dir.ServicePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.reset(t, newPassword); err != nil {
		t.Errorf("with the right password: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty password file: %v", err)
	}
}

// A domain controller that comes back is found without a new request.
func TestBeginRetries(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	b.fake.Inject(fakead.Connect, fakead.Fault{Reply: fakead.Cut})
	b.fake.Inject(fakead.Bind, fakead.Refuse(51, "busy"))
	b.fake.Inject(fakead.Bind, fakead.Fault{Reply: fakead.Garbage})
	if err := b.reset(t, newPassword); err != nil {
		t.Error(err)
	}
	if n := strings.Count(b.log.String(), "domain controller is left alone"); n != 3 {
		t.Errorf("%d attempts are logged, want 3:\n%s", n, b.log)
	}
}

// A directory that accepts and says nothing.
func TestConnectTimeouts(t *testing.T) {
	t.Parallel()
	const short = 200 * time.Millisecond
	for name, op := range map[string]fakead.Op{"handshake": fakead.Connect, "bind": fakead.Bind, "rootDSE": fakead.Search} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil, func(c *directory.Config) { c.DialTimeout, c.BindTimeout, c.SearchTimeout = short, short, short })
			b.fake.Inject(op, fakead.Fault{Reply: fakead.Silence})
			start := time.Now()
			wantIs(t, b.client.Check(t.Context()), reset.ErrDirectoryUnavailable)
			if took := time.Since(start); took < short || took > short+2*time.Second {
				t.Errorf("it took %s, want %s", took, short)
			}
		})
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, func(c *directory.Config) { c.Connections = 2 })
	first, _ := b.found(t)
	second, _ := b.found(t)
	if open, _ := b.fake.Connections(); open != 2 {
		t.Errorf("%d connections for two sessions", open)
	}
	_, err := b.client.Begin(within(t, 50*time.Millisecond))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	begun := make(chan error)
	go func() {
		s, err := b.client.Begin(within(t, 10*time.Second))
		if err == nil {
			s.End()
		}
		begun <- err
	}()
	first.End()
	first.End() // safe twice
	if err := <-begun; err != nil {
		t.Errorf("a connection was given back: %v", err)
	}
	b.client.Close()
	second.End()
	if _, err := b.client.Begin(within(t, 10*time.Second)); !errors.Is(err, reset.ErrDirectoryUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if _, accepted := b.fake.Connections(); accepted != 2 {
		t.Errorf("%d connections in all, want 2", accepted)
	}
}
