package fakead

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// patience bounds what a test waits for; nothing takes that long.
const patience = 10 * time.Second

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t testing.TB, opts Options) *Server {
	t.Helper()
	opts.Dir = t.TempDir()
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pool trusts the server's authority.
func pool(t testing.TB, s *Server) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.Directory().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// dial connects without a bind.
func dial(t testing.TB, s *Server) *ldap.Conn {
	t.Helper()
	conn, err := ldap.DialURL(s.Directory().URL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool(t, s)}))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetTimeout(patience)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func bound(t testing.TB, s *Server, name, password string) *ldap.Conn {
	t.Helper()
	conn := dial(t, s)
	if err := conn.Bind(name, password); err != nil {
		t.Fatalf("binding as %s: %v", name, err)
	}
	return conn
}

func asService(t testing.TB, s *Server) *ldap.Conn {
	t.Helper()
	return bound(t, s, s.Directory().ServiceDN, s.Directory().ServicePassword)
}

func asAdmin(t testing.TB, s *Server) *ldap.Conn {
	t.Helper()
	return bound(t, s, s.Directory().AdminDN, s.Directory().AdminPassword)
}

func newUser(t testing.TB, s *Server, spec UserSpec) testkit.User {
	t.Helper()
	u, err := s.NewUser(spec)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A control whose boolean is any byte; go-ldap's own write 0x01.
type control struct {
	oid         string
	criticality byte
	value       []byte
}

func (c control) GetControlType() string { return c.oid }
func (c control) String() string         { return c.oid }

func (c control) Encode() *ber.Packet {
	p := ber.NewSequence("")
	p.AppendChild(octetString(c.oid))
	b := ber.Encode(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, nil, "")
	b.Data.WriteByte(c.criticality)
	p.AppendChild(b)
	if c.value != nil {
		p.AppendChild(octetString(string(c.value)))
	}
	return p
}

func hints() control { return control{policyHints, 0xFF, []byte{0x30, 3, 2, 1, 1}} }

// says checks the result code and the beginning of the text; code 0 is
// success.
func says(t testing.TB, err error, code uint16, text string) {
	t.Helper()
	if code == 0 {
		if err != nil {
			t.Errorf("got %v, want success", err)
		}
		return
	}
	var refusal *ldap.Error
	if !errors.As(err, &refusal) || refusal.ResultCode != code || !strings.HasPrefix(refusal.Err.Error(), text) {
		t.Errorf("got %v, want result %d and %q", err, code, text)
	}
}

// wait returns when c is closed.
func wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waiting for: %s", what)
	}
}

// get returns the values of one attribute.
func get(t testing.TB, conn *ldap.Conn, dn, attr string) []string {
	t.Helper()
	res, err := conn.Search(&ldap.SearchRequest{BaseDN: dn, Filter: "(objectClass=*)", Attributes: []string{attr}})
	if err != nil || len(res.Entries) != 1 {
		t.Fatalf("reading %s of %s: %v", attr, dn, err)
	}
	return res.Entries[0].GetEqualFoldAttributeValues(attr)
}

func TestStart(t *testing.T) {
	if _, err := Start(Options{}); err == nil {
		t.Error("Start without Dir is no error")
	}
	s := start(t, Options{})
	d := s.Directory()
	if len(d.Users) != 24 || d.Kind != "fake" || !strings.HasPrefix(d.URL, "ldaps://127.0.0.1:") {
		t.Errorf("directory has %d users, kind %s, URL %s", len(d.Users), d.Kind, d.URL)
	}
	for i, u := range d.Users {
		conn := bound(t, s, u.UPN, u.Password)
		conn.Close()
		if own := get(t, asService(t, s), u.DN, "mS-DS-ConsistencyGuid"); (len(own) == 1) != (i%2 == 1) {
			t.Errorf("%s has %d ConsistencyGuids", u.SAMAccountName, len(own))
		}
	}
	if _, err := s.NewUser(UserSpec{SAMAccountName: "USER01"}); err == nil {
		t.Error("a second user01 is no error")
	}
	if _, err := s.NewUser(UserSpec{SAMAccountName: "x", Parent: "OU=None," + baseDN}); err == nil {
		t.Error("a user below nothing is no error")
	}
	if err := s.Lock("nobody"); err == nil {
		t.Error("locking nobody is no error")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := start(t, Options{})
	idle, held := asService(t, s), asService(t, s)
	u := s.Directory().Users[0]
	i := s.Inject(Modify, Fault{Hold: true})
	refused := make(chan error, 1)
	go func() { refused <- reset(held, u.DN, "Other-Pass-1") }()
	wait(t, i.Met(), "the modify")
	must(t, s.Close())
	must(t, s.Close())
	if err := <-refused; err == nil {
		t.Error("held modify was answered")
	}
	if !s.Check("user01", u.Password) {
		t.Error("held modify was carried out")
	}
	if _, err := idle.Search(&ldap.SearchRequest{Filter: "(objectClass=*)"}); err == nil {
		t.Error("an idle connection still works")
	}
	if open, accepted := s.Connections(); open != 0 || accepted != 2 {
		t.Errorf("%d connections are open of %d, want 0 of 2", open, accepted)
	}
}
