// Package proxy stands between a program and a server in tests that break the
// line between them. It passes on whole messages, one after the other, and a
// [Fault] says what becomes of those it meets: held, delayed, dropped, torn,
// or cut off before or after they are delivered.
//
// What a message is depends on the [Protocol]. TLS is either passed through,
// and a message is a record of it that nobody can read, or ended here, and a
// message is one of LDAP or NATS; the client then verifies a certificate of the
// proxy's own authority, and the proxy that of the server.
//
// A message that has not come as a whole is not passed on. What has come is
// delivered in its order, also after its sender has gone, as a network would.
package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"writeback/internal/testkit/pki"
)

// Options say what to stand before.
type Options struct {
	Target   string // host:port
	Protocol Protocol

	// Where TLS ends at the proxy:
	CAFile string // PEM; verifies the target's certificate
	Dir    string // for the files of the proxy's certificate authority

	// Seen, if it is not nil, is told of every message and what becomes of it,
	// just before that, by one goroutine for each direction of each connection.
	Seen func(Message, Action)
}

// A Direction is the way that a message goes.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// A Message is what a proxy passes on.
type Message struct {
	Conn      int // the connection, 1 for the proxy's first
	Direction Direction
	Number    int // of those that went this way on this connection, 1 for the first
	Before    int // bytes of them before this one
	Size      int // bytes

	// Verb is what it is: of LDAP the operation, as "modify"; of NATS the first
	// word, as "HPUB"; of TLS "handshake", "data", "alert" or
	// "change_cipher_spec"; of bytes nothing. A connection that a client has
	// made, and that is not made to the server yet, is "connect".
	Verb    string
	Subject string   // of NATS; of an LDAP request the DN
	Request *Message // what this is the answer to, in LDAP and NATS

	// Body is the LDAP message, or the payload of a NATS message without its
	// headers. It may hold a password.
	Body []byte
	tag  string // matches a request and its answer
	raw  []byte
}

// dialTimeout bounds a connection to the target, with TLS.
const dialTimeout = 10 * time.Second

// A Proxy listens on a port of 127.0.0.1. Its methods may be called by any
// goroutine.
type Proxy struct {
	opts    Options
	near    *tls.Config // to clients; nil where TLS is passed through
	far     *tls.Config // to the target
	caFile  string
	ln      net.Listener
	running sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{}
	count  int
	faults []*Injection
	met    map[string]int
	closed bool
}

// Start starts a proxy.
func Start(opts Options) (*Proxy, error) {
	p := &Proxy{opts: opts, links: make(map[*link]struct{}), met: make(map[string]int)}
	if opts.Protocol.endsTLS() {
		if err := p.prepareTLS(); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	var err error
	if p.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.running.Go(p.accept)
	return p, nil
}

func (p *Proxy) prepareTLS() error {
	pem, err := os.ReadFile(p.opts.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", p.opts.CAFile)
	}
	host, _, err := net.SplitHostPort(p.opts.Target)
	if err != nil {
		return err
	}
	p.far = &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}
	ca, err := pki.New(p.opts.Dir)
	if err != nil {
		return err
	}
	cert, err := ca.Server("proxy", []string{"127.0.0.1", "localhost"})
	if err != nil {
		return err
	}
	p.near = &tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS12}
	p.caFile = ca.CAFile
	return nil
}

// Addr is what clients dial instead of the target.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// CAFile is what clients verify the proxy's certificate with: the target's own
// authority where TLS is passed through.
func (p *Proxy) CAFile() string {
	if p.near == nil {
		return p.opts.CAFile
	}
	return p.caFile
}

// Cut resets all connections (TCP RST), at both ends. What is held on them is
// lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Close cuts everything and returns when nothing of the proxy runs any more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.ln.Close()
	p.Cut()
	p.running.Wait()
	return err
}

// Met says how many messages each fault has met, by its name.
func (p *Proxy) Met() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.met)
}

func (p *Proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.count++
		l := &link{p: p, number: p.count, near: conn.(*net.TCPConn), gone: make(chan struct{}), asked: make(map[string]*Message)}
		if p.closed {
			l.cut()
		}
		p.links[l] = struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			l.serve()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, l)
		})
	}
}
