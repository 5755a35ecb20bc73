package directory_test

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/pki"
)

// The first thing that is wrong has words of its own, and nothing is said of
// what comes after it.
func TestExamineWay(t *testing.T) {
	t.Parallel()
	days := func(n int) []pki.Option {
		return []pki.Option{func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().Add(time.Duration(n)*24*time.Hour+time.Hour)
		}}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	tests := []struct {
		name  string
		front *front
		cfg   func(t *testing.T, c *directory.Config)
		lines int // with the one that failed
		want  string
	}{
		{"no such name", nil, func(t *testing.T, c *directory.Config) { c.URLs = []string{"ldaps://dc1.invalid"} }, 1, "name of dc1.invalid: DNS "},
		{"silence", nil, func(t *testing.T, c *directory.Config) {
			c.URLs, c.DialTimeout = []string{"ldaps://" + listener.Addr().String()}, 200*time.Millisecond
		}, 3, "no answer in 200ms"},
		{"another authority", &front{}, func(t *testing.T, c *directory.Config) {
			c.CAFile = startFront(t, testkit.Directory{}, &front{}).dir.CAFile
		}, 3, "issued by CN=writeback test authority, whom directory.ca_file does not have"},
		{"another name", &front{certHost: "dc2.corp.example.com"}, nil, 3, "it is for dc2.corp.example.com and not for 127.0.0.1: "},
		{"expired", &front{certOpts: days(-3)}, nil, 3, "it has expired, on 20"},
		{"not yet", &front{certOpts: []pki.Option{func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }}}, nil, 3, "this machine's clock"},
		{"negative serial", &front{certOpts: []pki.Option{func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x7766554433221100) }},
			certDER: func(der []byte) []byte {
				return bytes.Replace(der, []byte("\x77\x66\x55\x44"), []byte("\xF7\x66\x55\x44"), 1)
			}}, nil, 3, "a negative serial number"},
		{"ends soon", &front{certOpts: days(9)}, nil, 19, "certificate of 127.0.0.1: it is good only until "},
		{"good for long", &front{certOpts: days(20)}, nil, 19, ""},
		{"no TLS", nil, func(t *testing.T, c *directory.Config) {
			c.URLs[0] = strings.Replace(c.URLs[0], "ldaps", "ldap", 1)
			c.StartTLS = true
		}, 3, "does not answer StartTLS"},
		{"StartTLS", &front{startTLS: true}, func(t *testing.T, c *directory.Config) { c.StartTLS = true }, 19, ""},
		{"StartTLS, another name", &front{startTLS: true, certHost: "dc2.corp.example.com"},
			func(t *testing.T, c *directory.Config) { c.StartTLS = true }, 3, "it is for dc2.corp.example.com and not for 127.0.0.1: "},
		{"password", nil, func(t *testing.T, c *directory.Config) {
			if err := os.WriteFile(c.PasswordFile, []byte("wrong"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 4, "directory.bind_dn or the password in password_file is wrong (the directory answered 49 80090308 data 52e)"},
		{"no password", nil, func(t *testing.T, c *directory.Config) {
			if err := os.WriteFile(c.PasswordFile, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 4, "password_file: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, tt.front, func(c *directory.Config) {
				if tt.cfg != nil {
					tt.cfg(t, c)
				}
			})
			failed, findings := b.examined(t, []string{b.dir.StaffDN}, []string{"CN=Domain Admins,CN=Users," + b.dir.BaseDN})
			switch {
			case len(findings) != tt.lines:
				t.Errorf("%d lines, want %d: %+v", len(findings), tt.lines, findings)
			case tt.want == "" && len(failed) > 0:
				t.Errorf("failed: %q", failed)
			case tt.want != "" && (len(failed) != 1 || !strings.Contains(failed[0], tt.want)):
				t.Errorf("failed: %q, want %q alone", failed, tt.want)
			}
		})
	}
}

// A wrong clock and missing policy hints are told apart, and do not hide the
// rest.
func TestExamineClockAndHints(t *testing.T) {
	t.Parallel()
	b := setupWith(t, fakead.Options{NoPolicyHints: true, Now: func() time.Time { return time.Now().Add(-time.Minute) }}, nil, nil)
	failed, findings := b.examined(t, []string{b.dir.StaffDN}, nil)
	if len(failed) != 2 || len(findings) != 18 || !strings.Contains(failed[0], "behind this machine's, at most 5s is allowed") ||
		!strings.Contains(failed[1], "policy hints of 127.0.0.1: not offered") {
		t.Errorf("failed: %q of %d", failed, len(findings))
	}
	b = setupWith(t, fakead.Options{NoPolicyHints: true}, nil, func(c *directory.Config) { c.AllowWithoutHistoryCheck = true })
	if failed, _ := b.examined(t, []string{b.dir.StaffDN}, nil); len(failed) > 0 {
		t.Errorf("where hints need not be: %q", failed)
	}
}
