package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/testkit/pki"
)

// A tlsServer is the listener of the API with files that can be replaced. It says
// who the caller is: the name in a verified certificate, or "nobody".
type tlsServer struct {
	t     *testing.T
	addr  string
	certs *certificates
	files tlsFiles
	log   bytes.Buffer
}

func startTLS(t *testing.T, api *pki.Server, callers *pki.Authority) *tlsServer {
	t.Helper()
	s := &tlsServer{t: t, files: tlsFiles{CertFile: api.CertFile, KeyFile: api.KeyFile, ClientCAFile: callers.CAFile}}
	var err error
	if s.certs, err = openCertificates(s.files, zerolog.New(&s.log)); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: s.certs.current})
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conn := c.(*tls.Conn)
			if conn.Handshake() == nil {
				name := "nobody"
				if chains := conn.ConnectionState().VerifiedChains; len(chains) > 0 {
					name = chains[0][0].Subject.CommonName
				}
				io.WriteString(conn, name)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return s
}

// replace puts another file in the place of path, and has the next connection look.
func (s *tlsServer) replace(path, with string) {
	s.t.Helper()
	text, err := os.ReadFile(with)
	if err == nil {
		err = errors.Join(os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.certs.mu.Lock()
	s.certs.checked = time.Time{}
	s.certs.mu.Unlock()
}

// call returns what the server says the caller is, and the server's certificate.
func (s *tlsServer) call(cfg *tls.Config) (name string, server *x509.Certificate, resumed bool, err error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, cfg)
	text, err := io.ReadAll(c) // with it come the tickets
	if err != nil {
		return "", nil, false, err
	}
	state := c.ConnectionState()
	return string(text), state.PeerCertificates[0], state.DidResume, nil
}

// The files of the API's TLS are replaced while it runs.
func TestCertificatesAreReadAgain(t *testing.T) {
	authority := func() *pki.Authority {
		a, err := pki.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	certify := func(a *pki.Authority, name string, hosts ...string) *pki.Server {
		c, err := a.Server(name, hosts)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ours, before, after := authority(), authority(), authority()
	first, second := certify(ours, "first", "127.0.0.1"), certify(ours, "second", "127.0.0.1")
	s := startTLS(t, first, before)
	of := func(c *pki.Server) *tls.Config {
		return &tls.Config{RootCAs: ours.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{c.TLS},
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	old, fresh := of(certify(before, "ada")), of(certify(after, "grace"))
	is := func(cfg *tls.Config, wantName, wantServer string, wantResumed bool) {
		t.Helper()
		name, server, resumed, err := s.call(cfg)
		if err != nil || name != wantName || server.Subject.CommonName != wantServer || resumed != wantResumed {
			t.Errorf("the caller is %q at %v, resumed %t, %v; want %q at %s, resumed %t", name, server.Subject, resumed, err, wantName, wantServer, wantResumed)
		}
	}
	refused := func(cfg *tls.Config) {
		t.Helper()
		if name, _, resumed, err := s.call(cfg); err == nil {
			t.Errorf("a caller of a strange authority is %q, resumed %t", name, resumed)
		}
	}
	is(old, "ada", "first", false)
	is(old, "ada", "first", true)
	refused(fresh)

	// While certificate and key do not belong together, nothing changes.
	s.replace(s.files.CertFile, second.CertFile)
	is(old, "ada", "first", true)
	s.replace(s.files.KeyFile+".other", second.KeyFile) // which nobody asked for
	is(old, "ada", "first", true)
	if n := strings.Count(s.log.String(), "stay in force"); n != 1 {
		t.Errorf("it is logged %d times, want once: %s", n, s.log.String())
	}
	s.replace(s.files.KeyFile, second.KeyFile)
	is(&tls.Config{RootCAs: ours.Pool(), ServerName: "127.0.0.1"}, "nobody", "second", false)

	// Nobody of the authority before is let in any more, also not by a ticket.
	s.replace(s.files.ClientCAFile, after.CAFile)
	refused(old)
	is(fresh, "grace", "second", false)

	// What is no certificate is not taken for one.
	s.replace(s.files.ClientCAFile, s.files.KeyFile)
	is(fresh, "grace", "second", true)
	if err := os.Remove(s.files.ClientCAFile); err != nil {
		t.Fatal(err)
	}
	s.certs.mu.Lock()
	s.certs.checked = time.Time{}
	s.certs.mu.Unlock()
	is(fresh, "grace", "second", true)
	if n := strings.Count(s.log.String(), "read again"); n != 2 {
		t.Errorf("they were read again %d times, want twice: %s", n, s.log.String())
	}
}
