package fakead

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

func addDC(t *testing.T, s *Server, opts DCOptions) *Server {
	t.Helper()
	dc, err := s.AddDC(opts)
	must(t, err)
	t.Cleanup(func() { dc.Close() })
	return dc
}

// rootAttr returns one attribute of the rootDSE.
func rootAttr(t *testing.T, conn *ldap.Conn, attr string) []string {
	t.Helper()
	res, err := conn.Search(&ldap.SearchRequest{Filter: "(objectClass=*)", Attributes: []string{attr}})
	must(t, err)
	return res.Entries[0].GetAttributeValues(attr)
}

func TestTwoControllers(t *testing.T) {
	s := start(t, Options{Users: 2})
	_, err := s.NewGroup("g", "", "user01")
	must(t, err)
	must(t, s.Protect("user02"))
	other := addDC(t, s, DCOptions{})
	u := s.Directory().Users[0]
	here, there := asService(t, s), asService(t, other)
	if got := rootAttr(t, there, "dnsHostName"); !slices.Equal(got, []string{"dc2.corp.example.com"}) || other.HostName() != got[0] {
		t.Errorf("the second is %q", got)
	}
	conn, err := ldap.DialURL(other.Directory().URL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool(t, s), ServerName: other.HostName()}))
	must(t, err)
	conn.Close()

	for _, attr := range []string{"objectGUID", "objectSid", "memberOf", "pwdLastSet"} {
		if !slices.Equal(get(t, here, u.DN, attr), get(t, there, u.DN, attr)) {
			t.Errorf("%s differs", attr)
		}
	}
	says(t, reset(there, s.Directory().Users[1].DN, "Another-Pass-1"), 50, noRightReset)
	usn := get(t, here, u.DN, "uSNChanged")[0]
	must(t, reset(there, u.DN, "Another-Pass-1"))
	if !s.Check("user01", "Another-Pass-1") || get(t, here, u.DN, "uSNChanged")[0] == usn {
		t.Error("the reset did not replicate")
	}
	if a, b := s.Counts("user01"), other.Counts("user01"); a.Passwords != 0 || b.Passwords != 1 {
		t.Errorf("counts are %+v and %+v, want the second to have done it", a, b)
	}

	// Faults are each one's own, and one goes on without the other.
	i := s.Inject(Modify, Refuse(51, "busy"))
	must(t, reset(there, u.DN, "Another-Pass-2"))
	says(t, reset(here, u.DN, "Another-Pass-3"), 51, "busy")
	wait(t, i.Done(), "the fault")
	must(t, s.Close())
	must(t, reset(there, u.DN, "Another-Pass-3"))
	late := newUser(t, other, UserSpec{})
	must(t, reset(there, late.DN, "Another-Pass-1"))
	if !s.Check(late.SAMAccountName, "Another-Pass-1") {
		t.Error("what is made at one is not at the other")
	}
}

func TestHeldReplication(t *testing.T) {
	s := start(t, Options{Users: 2})
	other := addDC(t, s, DCOptions{Name: "branch"})
	u, second := s.Directory().Users[0], s.Directory().Users[1]
	here, there := asService(t, s), asService(t, other)
	s.HoldReplication()
	if _, err := s.AddDC(DCOptions{}); err == nil {
		t.Error("joining while replication is held is no error")
	}
	set := get(t, here, u.DN, "pwdLastSet")[0]
	must(t, reset(there, u.DN, "There-Pass-1"))
	must(t, setAttr(there, second.DN, "pwdLastSet", "0"))
	if s.Check("user01", "There-Pass-1") || get(t, here, u.DN, "pwdLastSet")[0] != set {
		t.Error("a held write replicated")
	}
	says(t, dial(t, s).Bind(u.DN, "There-Pass-1"), 49, "80090308: ")
	must(t, dial(t, other).Bind(u.DN, "There-Pass-1"))
	must(t, reset(here, u.DN, "Here-Pass-2")) // the later wins
	other.ReleaseReplication()
	for _, dc := range []*Server{s, other} {
		if !dc.Check("user01", "Here-Pass-2") || get(t, asService(t, dc), second.DN, "pwdLastSet")[0] != "0" {
			t.Errorf("%s is not as after both writes", dc.HostName())
		}
	}
	must(t, reset(here, u.DN, "Here-Pass-3"))
	if !other.Check("user01", "Here-Pass-3") {
		t.Error("replication is still held")
	}
}

// The PDC emulator is found as on Windows: from the domain's object to the
// server above the settings.
func TestPDC(t *testing.T) {
	s := start(t, Options{Users: 1})
	other := addDC(t, s, DCOptions{})
	conn := asService(t, other)
	pdc := func() string {
		owner := get(t, conn, baseDN, "fsmoRoleOwner")[0]
		return get(t, conn, strings.TrimPrefix(owner, "CN=NTDS Settings,"), "dNSHostName")[0]
	}
	if got := pdc(); got != s.HostName() {
		t.Errorf("the role is %s's at first", got)
	}
	other.MakePDC()
	if got := pdc(); got != other.HostName() {
		t.Errorf("the role is %s's, want %s", got, other.HostName())
	}
	if got := rootAttr(t, conn, "dsServiceName"); !slices.Equal(got, get(t, conn, baseDN, "fsmoRoleOwner")) {
		t.Errorf("dsServiceName is %q", got)
	}
	res, err := conn.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: "(objectClass=server)"})
	if err != nil || len(res.Entries) != 0 {
		t.Errorf("a search of the domain reaches the configuration: %v, %v", res, err)
	}
}

func TestReadOnly(t *testing.T) {
	s := start(t, Options{Users: 1})
	ro := addDC(t, s, DCOptions{ReadOnly: true})
	u := s.Directory().Users[0]
	conn := asService(t, ro)
	const capability = "1.2.840.113556.1.4.1920"
	if !slices.Contains(rootAttr(t, conn, "supportedCapabilities"), capability) ||
		slices.Contains(rootAttr(t, asService(t, s), "supportedCapabilities"), capability) {
		t.Error("supportedCapabilities do not tell them apart")
	}
	for dc, want := range map[*Server]string{s: "FALSE", ro: "TRUE"} {
		settings := rootAttr(t, asService(t, dc), "dsServiceName")[0]
		for _, dn := range []string{settings, strings.TrimPrefix(settings, "CN=NTDS Settings,")} {
			if got := get(t, conn, dn, "msDS-isRODC"); !slices.Equal(got, []string{want}) {
				t.Errorf("msDS-isRODC of %s is %q, want %s", dn, got, want)
			}
		}
	}
	err := reset(conn, u.DN, "Another-Pass-1")
	says(t, err, 10, "0000202B: RefErr: DSID-0310084A, data 0, 1 access points\n\tref 1: 'dc1.corp.example.com'\n")
	if got, want := referrals(t, err), []string{"ldap://dc1.corp.example.com/" + u.DN}; !slices.Equal(got, want) {
		t.Errorf("it refers to %q, want %q", got, want)
	}
	must(t, reset(asService(t, s), u.DN, "Another-Pass-1"))
	must(t, dial(t, ro).Bind(u.DN, "Another-Pass-1"))
}

// referrals returns the URLs of a result.
func referrals(t *testing.T, err error) []string {
	t.Helper()
	var refusal *ldap.Error
	if !errors.As(err, &refusal) || refusal.Packet == nil {
		t.Fatalf("got %v, want a result", err)
	}
	var urls []string
	for _, p := range refusal.Packet.Children[1].Children {
		if p.ClassType == ber.ClassContext && p.Tag == 3 {
			for _, url := range p.Children {
				urls = append(urls, url.Data.String())
			}
		}
	}
	return urls
}

func TestRestart(t *testing.T) {
	s := start(t, Options{Users: 1})
	other := addDC(t, s, DCOptions{})
	if err := s.Restart(); err == nil {
		t.Error("starting twice is no error")
	}
	must(t, s.Close())
	u := s.Directory().Users[0]
	if _, err := ldap.DialURL(s.Directory().URL); err == nil {
		t.Error("a closed one can be reached")
	}
	must(t, reset(asService(t, other), u.DN, "Another-Pass-1"))
	must(t, s.Restart())
	must(t, dial(t, s).Bind(u.DN, "Another-Pass-1"))
	must(t, reset(asService(t, s), u.DN, "Another-Pass-2"))
}

func TestNoPolicyHints(t *testing.T) {
	s := start(t, Options{Users: 1, NoPolicyHints: true})
	conn, u := asService(t, s), s.Directory().Users[0]
	if slices.Contains(rootAttr(t, conn, "supportedControl"), policyHints) {
		t.Error("the control is announced")
	}
	says(t, reset(conn, u.DN, u.Password, hints()), 12, "00002040: SvcErr: ")
	says(t, reset(conn, u.DN, u.Password, control{policyHints, 0, hints().value}), 0, "")
}

// Results that no program should meet unprepared.
func TestOddResults(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn, dn := asService(t, s), s.Directory().Users[0].DN
	s.Inject(Modify, Refer("ldap://evil.example.com/", "ldaps://evil.example.com/"))
	err := reset(conn, dn, "Another-Pass-1")
	says(t, err, 10, "0000202B: RefErr: ")
	if got := referrals(t, err); len(got) != 2 {
		t.Errorf("it refers to %q", got)
	}
	s.Inject(Search, Refer("ldap://evil.example.com/"))
	_, err = conn.Search(&ldap.SearchRequest{BaseDN: dn, Filter: "(objectClass=*)"})
	says(t, err, 10, "0000202B: RefErr: ")
	s.Inject(Modify, Refuse(4711, "0000052D: \x00\x1b[31m\r\n\u202e"))
	says(t, reset(conn, dn, "Another-Pass-1"), 4711, "0000052D: \x00\x1b[31m\r\n\u202e")
	if s.Counts("user01").Passwords != 0 {
		t.Error("one of them was applied")
	}
}

func TestStartTLS(t *testing.T) {
	s := start(t, Options{Users: 1})
	d := s.Directory()
	plain := func() *ldap.Conn {
		conn, err := ldap.DialURL(s.PlainURL())
		must(t, err)
		conn.SetTimeout(patience)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	cfg := &tls.Config{RootCAs: pool(t, s), ServerName: "127.0.0.1"}
	conn := plain()
	says(t, conn.Bind(d.ServiceDN, d.ServicePassword), 8, "00002028: LdapErr: DSID-0C09023C, comment: The server requires binds "+
		`to turn on integrity checking if SSL\TLS are not already active on the connection, data 0, v4563`)
	if got := rootAttr(t, conn, "supportedExtension"); !slices.Equal(got, []string{startTLS}) {
		t.Errorf("supportedExtension is %q", got)
	}
	must(t, conn.StartTLS(cfg))
	must(t, conn.Bind(d.ServiceDN, d.ServicePassword))
	must(t, reset(conn, d.Users[0].DN, "Another-Pass-1"))
	secure := asService(t, s)
	_, err := secure.Extended(&ldap.ExtendedRequest{Name: startTLS})
	says(t, err, 1, "00000000: LdapErr: DSID-0C090F78, comment: TLS or SSL already in effect")
	must(t, reset(secure, d.Users[0].DN, "Another-Pass-2"))

	s.Inject(StartTLS, Refuse(52, "00002024: not now"))
	conn = plain()
	says(t, conn.StartTLS(cfg), 52, "00002024: not now")
	for _, reply := range []Reply{Cut, Garbage} {
		i := s.Inject(StartTLS, Fault{Reply: reply})
		if err := plain().StartTLS(cfg); err == nil {
			t.Errorf("fault %d gave no error", reply)
		}
		wait(t, i.Met(), "StartTLS")
	}
	conn = plain()
	must(t, conn.StartTLS(cfg))
	must(t, conn.Bind(d.ServiceDN, d.ServicePassword))
}
