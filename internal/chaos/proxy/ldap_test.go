package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/sys/unix"

	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

// directory starts a domain controller and a proxy before it.
func directory(t *testing.T, protocol Protocol, seen func(Message, Action)) (*fakead.Server, *Proxy) {
	t.Helper()
	s, err := fakead.Start(fakead.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, start(t, Options{
		Target: s.Directory().URL[len("ldaps://"):], Protocol: protocol, CAFile: s.Directory().CAFile, Dir: t.TempDir(), Seen: seen,
	})
}

// bind returns a connection through p that is bound as the service account.
func bind(t *testing.T, p *Proxy, dir testkit.Directory) *ldap.Conn {
	t.Helper()
	pem, err := os.ReadFile(p.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := ldap.DialURL("ldaps://"+p.Addr(), ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetTimeout(patience)
	if err := conn.Bind(dir.ServiceDN, dir.ServicePassword); err != nil {
		t.Fatal(err)
	}
	return conn
}

func setPassword(conn *ldap.Conn, dn, password string) error {
	var value []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		value = binary.LittleEndian.AppendUint16(value, u)
	}
	req := ldap.NewModifyRequest(dn, nil)
	req.Replace("unicodePwd", []string{string(value)})
	return conn.Modify(req)
}

// wasReset looks at the text, which is all that the library keeps.
func wasReset(err error) bool {
	return err != nil && strings.Contains(err.Error(), unix.ECONNRESET.Error())
}

func modifies(m Message) bool { return m.Verb == "modify" && m.Direction == ToServer }

func modified(m Message) bool { return m.Verb == "modify" && m.Direction == ToClient }

// The four places of a cut around a modify, and what the directory makes of it.
func TestCutAroundModify(t *testing.T) {
	tests := []struct {
		name    string
		fault   Fault
		applied int
	}{
		{"before the modify", Fault{Match: modifies, Do: Cut}, 0},
		{"in the middle of it", Fault{Match: modifies, Do: Tear}, 0},
		{"after it", Fault{Match: modifies, Do: CutAfter}, 1},
		{"before its answer", Fault{Match: modified, Do: Cut}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, p := directory(t, LDAP, nil)
			user := s.Directory().Users[0]
			conn := bind(t, p, s.Directory())
			met := s.Inject(fakead.Modify, fakead.Fault{})
			p.Inject(tt.fault)
			if err := setPassword(conn, user.DN, "Fresh-1-password"); !wasReset(err) {
				t.Fatalf("the client is told %v, want a reset", err)
			}
			if tt.applied > 0 {
				await(t, "the modify", met.Done())
			}
			p.Close() // after it the directory has read all there was
			s.Close()
			if got := s.Counts(user.SAMAccountName); got.Applied != tt.applied {
				t.Errorf("%d modifies were applied, want %d", got.Applied, tt.applied)
			}
		})
	}
}

// A modify that is held arrives although its client has gone.
func TestLateModify(t *testing.T) {
	s, p := directory(t, LDAP, nil)
	user := s.Directory().Users[0]
	conn := bind(t, p, s.Directory())
	late := p.Inject(Fault{Match: modifies, Hold: true})
	carriedOut := s.Inject(fakead.Modify, fakead.Fault{})
	told := make(chan error)
	go func() { told <- setPassword(conn, user.DN, "Fresh-1-password") }()
	await(t, "the modify", late.Met())
	conn.Close()
	if err := <-told; err == nil {
		t.Fatal("the client is told that it was done")
	}
	late.Lift()
	await(t, "the modify at the directory", carriedOut.Done())
	if got := s.Counts(user.SAMAccountName); got.Applied != 1 {
		t.Errorf("%d modifies were applied, want 1", got.Applied)
	}
}

func TestLDAPMessages(t *testing.T) {
	var mu sync.Mutex
	var seen []Message
	s, p := directory(t, LDAP, func(m Message, _ Action) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, m)
	})
	user := s.Directory().Users[0]
	conn := bind(t, p, s.Directory())
	if _, err := conn.Search(ldap.NewSearchRequest(s.Directory().StaffDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		0, 0, false, "(sAMAccountName="+user.SAMAccountName+")", []string{"cn"}, nil)); err != nil {
		t.Fatal(err)
	}
	if err := setPassword(conn, user.DN, "Fresh-1-pässword"); err != nil {
		t.Fatal(err)
	}
	if err := setPassword(conn, user.DN, "short"); err == nil {
		t.Fatal("a short password is taken")
	}
	change := ldap.NewModifyRequest(user.DN, nil)
	change.Replace("lockoutTime", []string{"0"})
	if err := conn.Modify(change); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []struct {
		verb, subject, password string
		answer                  bool
		code                    int
	}{
		{verb: "connect"},
		{verb: "bind", subject: s.Directory().ServiceDN}, {verb: "bind", subject: s.Directory().ServiceDN, answer: true},
		{verb: "search", subject: s.Directory().StaffDN},
		{verb: "entry", subject: s.Directory().StaffDN, answer: true, code: -1}, {verb: "search", subject: s.Directory().StaffDN, answer: true},
		{verb: "modify", subject: user.DN, password: "Fresh-1-pässword"}, {verb: "modify", subject: user.DN, answer: true},
		{verb: "modify", subject: user.DN, password: "short"},
		{verb: "modify", subject: user.DN, answer: true, code: ldap.LDAPResultUnwillingToPerform},
		{verb: "modify", subject: user.DN}, {verb: "modify", subject: user.DN, answer: true},
	}
	if len(seen) != len(want) {
		t.Fatalf("%d messages were seen, want %d: %+v", len(seen), len(want), seen)
	}
	for i, w := range want {
		m := seen[i]
		subject := m.Subject
		if m.Request != nil {
			subject = m.Request.Subject
		}
		password, _ := m.Password()
		code, _ := m.Result()
		if m.Verb != w.verb || subject != w.subject || password != w.password || (m.Request != nil) != w.answer || code != w.code && w.code >= 0 {
			t.Errorf("message %d is %s about %q, password %q, answer %t, result %d; want %+v", i, m.Verb, subject, password, m.Request != nil, code, w)
		}
	}
}

// Where TLS is passed through its records are counted: of TLS 1.3 a client's
// first "data" ends the handshake.
func TestTLSRecords(t *testing.T) {
	s, p := directory(t, TLS, nil)
	user := s.Directory().Users[0]
	// Finished, bind, modify.
	third := func(m Message) bool { return m.Verb == "data" && m.Direction == ToServer }
	fault := p.Inject(Fault{Match: third, Skip: 2, Do: Cut})
	conn := bind(t, p, s.Directory())
	select {
	case <-fault.Met():
		t.Fatal("the bind has met the fault")
	default:
	}
	if err := setPassword(conn, user.DN, "Fresh-1-password"); !wasReset(err) {
		t.Errorf("the client is told %v, want a reset", err)
	}
	await(t, "the fault", fault.Met())
	if got := s.Counts(user.SAMAccountName); got.Modifies != 0 {
		t.Errorf("%d modifies have arrived, want none", got.Modifies)
	}
}

// The client's and the proxy's verification are real ones.
func TestCertificates(t *testing.T) {
	s, p := directory(t, LDAP, nil)
	pem, err := os.ReadFile(s.Directory().CAFile) // of the directory, not of the proxy
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	if conn, err := tls.Dial("tcp", p.Addr(), &tls.Config{RootCAs: pool}); err == nil {
		conn.Close()
		t.Error("a client that trusts only the directory's authority takes the proxy's certificate")
	}
	other := start(t, Options{Target: p.opts.Target, Protocol: LDAP, CAFile: p.CAFile(), Dir: t.TempDir()})
	pem, err = os.ReadFile(other.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pem)
	if conn, err := tls.Dial("tcp", other.Addr(), &tls.Config{RootCAs: pool}); err == nil {
		conn.Close()
		t.Error("the proxy takes a directory's certificate that its authority has not signed")
	}
}
