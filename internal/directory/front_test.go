package directory_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// A front stands before a directory: it counts the requests by kind, has a
// certificate of its own, can speak StartTLS, and can change what the
// directory says.
type front struct {
	dir      testkit.Directory // as the directory's, but for URL and CAFile
	certOpts []pki.Option
	certHost string // what the certificate is for; 127.0.0.1
	certDER  func([]byte) []byte
	startTLS bool
	change   []string // pairs: what the directory says, what the client reads

	backend testkit.Directory
	tls     *tls.Config

	mu     sync.Mutex
	counts map[ber.Tag]int
}

// startFront starts f before dir.
func startFront(t *testing.T, dir testkit.Directory, f *front) *front {
	t.Helper()
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if f.certHost == "" {
		f.certHost = "127.0.0.1"
	}
	cert, err := ca.Server("front", []string{f.certHost}, f.certOpts...)
	if err != nil {
		t.Fatal(err)
	}
	f.tls = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	if f.certDER != nil {
		f.tls.Certificates[0].Certificate[0] = f.certDER(bytes.Clone(cert.TLS.Certificate[0]))
	}
	f.counts = make(map[ber.Tag]int)
	f.backend, f.dir = dir, dir
	f.dir.CAFile = ca.CAFile
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.dir.URL = "ldaps://" + l.Addr().String()
	if f.startTLS {
		f.dir.URL = "ldap://" + l.Addr().String()
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return f
}

// count returns how many requests of a kind there were.
func (f *front) count(tag ber.Tag) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[tag]
}

func (f *front) serve(client net.Conn) {
	defer client.Close()
	if f.startTLS && !f.answerStartTLS(client) {
		return
	}
	conn := tls.Server(client, f.tls)
	if conn.Handshake() != nil {
		return
	}
	ca, err := os.ReadFile(f.backend.CAFile)
	if err != nil {
		return
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	backend, err := tls.Dial("tcp", f.backend.URL[len("ldaps://"):], &tls.Config{RootCAs: pool})
	if err != nil {
		return
	}
	defer backend.Close()
	var running sync.WaitGroup
	running.Go(func() {
		defer client.Close()
		f.relay(conn, backend, nil)
	})
	f.relay(backend, conn, func(op ber.Tag) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.counts[op]++
	})
	backend.Close()
	running.Wait()
}

func (f *front) answerStartTLS(client net.Conn) bool {
	p, err := ber.ReadPacket(client)
	if err != nil || p.Children[1].Tag != ldap.ApplicationExtendedRequest {
		return false
	}
	_, err = client.Write([]byte("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"))
	return err == nil
}

// relay copies messages, from the client if seen is not nil, else to it.
func (f *front) relay(to io.Writer, from io.Reader, seen func(ber.Tag)) {
	for {
		p, err := ber.ReadPacket(from)
		if err != nil || len(p.Children) < 2 {
			return
		}
		raw := p.Bytes()
		if seen != nil {
			seen(p.Children[1].Tag)
		} else {
			for i := 0; i+1 < len(f.change); i += 2 {
				raw = bytes.ReplaceAll(raw, []byte(f.change[i]), []byte(f.change[i+1]))
			}
		}
		if _, err := to.Write(raw); err != nil {
			return
		}
	}
}
