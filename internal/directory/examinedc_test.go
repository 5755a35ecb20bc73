package directory_test

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/testkit/fakead"
)

// Every domain controller has its lines, and one that can be used is enough for
// the rest.
func TestExamineSeveral(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, func(s *several, c *directory.Config) {
		s.add(t, fakead.DCOptions{ReadOnly: true})
		c.URLs = s.urls()
	})
	if err := s.fake.Close(); err != nil {
		t.Fatal(err)
	}
	failed, findings := s.examined(t, []string{s.dir.StaffDN}, nil)
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "connection to "+strings.TrimPrefix(s.urls()[0], "ldaps://")+": refused") {
		t.Errorf("failed: %q, want the first domain controller alone", failed)
	}
	// Of the first two lines, of the third five; the second and the rest are
	// what one domain controller has.
	if len(findings) != 18+2+5 || !slices.ContainsFunc(findings, func(f directory.Finding) bool {
		return f.Advice && strings.Contains(f.Err.Error(), "read-only")
	}) {
		t.Errorf("%d lines: %+v", len(findings), findings)
	}
}

// A refused password is tried at one domain controller only.
func TestExamineRefusedOnce(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 3, func(_ *several, c *directory.Config) {
		if err := os.WriteFile(c.PasswordFile, []byte("wrong"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	failed, findings := s.examined(t, []string{s.dir.StaffDN}, nil)
	if len(failed) != 1 || !strings.Contains(failed[0], "password_file is wrong") || len(findings) != 3*4 {
		t.Errorf("failed: %q of %d", failed, len(findings))
	}
	refused := 0
	for _, dc := range s.dcs {
		refused += dc.Counts("svc-writeback").BadBinds
	}
	if refused != 1 {
		t.Errorf("refused %d times, want once", refused)
	}
}

// What DNS says of the domain is a check of its own.
func TestExamineDomain(t *testing.T) {
	t.Parallel()
	dns := &dnsServer{}
	s := setupSeveral(t, 1, func(s *several, c *directory.Config) {
		_, port, err := net.SplitHostPort(strings.TrimPrefix(s.fake.PlainURL(), "ldap://"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		dns.records = []net.SRV{{Target: s.fake.HostName(), Port: uint16(n)}, {Target: "gone.example.net", Port: uint16(n), Priority: 1}}
		c.URLs, c.Domain, c.StartTLS, c.Resolver = nil, "corp.example.com", true, startDNS(t, dns)
	})
	failed, findings := s.examined(t, []string{s.dir.StaffDN}, nil)
	// The second that the records name is gone. No setting of ours has its name.
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "name of gone.example.net: DNS does not know it: look at what DNS says of directory.domain,") ||
		len(findings) != 20 || findings[0].What != "domain controllers of corp.example.com: DNS names 2" ||
		findings[1].What != "name of dc1.corp.example.com: 127.0.0.1" {
		t.Errorf("failed: %q of %+v", failed, findings)
	}
	broken := setupSeveral(t, 1, func(_ *several, c *directory.Config) {
		c.URLs, c.Domain, c.Resolver = nil, "corp.example.com", startDNS(t, &dnsServer{broken: true})
	})
	findings = broken.client.Examine(within(t, 10*time.Second), nil, nil)
	if len(findings) != 1 || findings[0].Err == nil || !strings.Contains(findings[0].Err.Error(), "DNS does not name any") {
		t.Errorf("found %+v", findings)
	}
}
