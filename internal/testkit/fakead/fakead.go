// Package fakead is a small Active Directory domain controller for tests, for
// the demo where no Samba can be had, and for benchmarks that need a directory
// that answers at once. It speaks LDAPS, refuses in the words of Windows, and
// can be told to hang, to cut a connection, or to apply a modify and then not
// say so.
//
// It knows bind (simple), unbind, search and modify, a domain policy of
// length, complexity, history, age and lockout, and two accounts with rights:
// an administrator, and a service account that may reset, unlock and expire
// passwords below one organisational unit. All it knows is in memory and is
// gone with it. It promises nothing about security, replication, or any
// behaviour of a domain controller that is not tested here; where its sources
// are silent about Windows a comment says so.
//
// MS-ADTS and MS-SAMR are Microsoft's open specifications.
package fakead

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// Names of the one domain there is.
const (
	baseDN    = "DC=corp,DC=example,DC=com"
	staffDN   = "OU=Staff," + baseDN
	usersDN   = "CN=Users," + baseDN
	dnsDomain = "corp.example.com"
	netBIOS   = "CORP"
	hostName  = "dc1." + dnsDomain
)

// Options say what to start. Only Dir has no default.
type Options struct {
	Addr  string // default "127.0.0.1:0"
	Dir   string // for the files of the certificate authority, ca.pem and others
	Users int    // accounts user01, user02, … below the staff unit; default 24

	// Policy of the domain; the zero Policy stands for DefaultPolicy. For a
	// domain without any rule call SetPolicy(Policy{}) afterwards.
	Policy Policy

	// Latency is waited for before every modify is carried out, each on its own.
	Latency time.Duration

	// Now is the domain's clock, by default time.Now. It must be safe for
	// concurrent use.
	Now func() time.Time
}

// A Server is a running domain controller. Its methods may be called at any
// time by any goroutine, also after Close. Those that name an account do so by
// its sAMAccountName.
type Server struct {
	opts      Options
	ln        net.Listener
	tls       *tls.Config
	directory testkit.Directory
	running   sync.WaitGroup
	stopping  chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows
	domain   *domain
	faults   map[Op][]*Injection
	conns    map[net.Conn]struct{}
	accepted int
	closed   bool
}

// Start starts a domain controller with a certificate of its own.
func Start(opts Options) (*Server, error) {
	if opts.Dir == "" {
		return nil, errors.New("fakead: Dir must name a directory for the certificates")
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Users == 0 {
		opts.Users = 24
	}
	if opts.Policy == (Policy{}) {
		opts.Policy = DefaultPolicy()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	ca, err := pki.New(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("fakead: making a certificate authority: %w", err)
	}
	cert, err := ca.Server("fakead", []string{"127.0.0.1", "localhost", hostName})
	if err != nil {
		return nil, fmt.Errorf("fakead: %w", err)
	}
	s := &Server{
		opts:     opts,
		tls:      &tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS12},
		stopping: make(chan struct{}),
		domain:   newDomain(opts.Policy, opts.Now),
		faults:   make(map[Op][]*Injection),
		conns:    make(map[net.Conn]struct{}),
	}
	if err := s.populate(); err != nil {
		return nil, fmt.Errorf("fakead: %w", err)
	}
	if s.ln, err = net.Listen("tcp", opts.Addr); err != nil {
		return nil, fmt.Errorf("fakead: %w", err)
	}
	s.directory.Kind, s.directory.CAFile = "fake", ca.CAFile
	s.directory.URL = "ldaps://" + s.ln.Addr().String()
	s.running.Add(1)
	go s.accept()
	return s, nil
}

// populate makes the objects that every domain here has.
func (s *Server) populate() error {
	d := s.domain
	d.addContainer(baseDN, "domainDNS")
	d.addContainer(usersDN, "container")
	d.staff = d.addContainer(staffDN, "organizationalUnit")

	admin, err := d.addUser(UserSpec{
		SAMAccountName: "Administrator", Parent: usersDN,
		Attributes: map[string][]string{"adminCount": {"1"}, "isCriticalSystemObject": {"TRUE"}},
	}, ridAdministrator)
	if err != nil {
		return err
	}
	service, err := d.addUser(UserSpec{SAMAccountName: "svc-writeback", Parent: usersDN}, d.nextRID())
	if err != nil {
		return err
	}
	d.account(admin.SAMAccountName).rights = administrator
	d.account(service.SAMAccountName).rights = delegate
	s.directory = testkit.Directory{
		BaseDN:  baseDN,
		AdminDN: admin.DN, AdminPassword: admin.Password,
		ServiceDN: service.DN, ServicePassword: service.Password,
		StaffDN: staffDN,
	}
	for n := 1; n <= s.opts.Users; n++ {
		spec := UserSpec{
			SAMAccountName: fmt.Sprintf("user%02d", n),
			DisplayName:    fmt.Sprintf("Staff Member %02d", n),
		}
		if n%2 == 0 { // as after a move from another forest
			spec.ConsistencyGUID = randomBytes(16)
		}
		user, err := d.addUser(spec, d.nextRID())
		if err != nil {
			return err
		}
		s.directory.Users = append(s.directory.Users, user)
	}
	return nil
}

// Directory says how to reach the server and lists the accounts that it was
// started with. Their passwords are the first ones.
func (s *Server) Directory() testkit.Directory {
	d := s.directory
	d.Users = append([]testkit.User(nil), d.Users...)
	return d
}

// Close cuts all connections and returns when nothing of the server runs any
// more. What a request that waits then would have done, held by a fault or for
// the latency, is not done.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stopping)
	err := s.ln.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// Connections returns how many connections are open now, and how many there
// have been.
func (s *Server) Connections() (open, accepted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.accepted
}

// accept runs until the listener is closed.
func (s *Server) accept() {
	defer s.running.Done()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.accepted++
		s.running.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.running.Done()
			newSession(s, conn).serve()
			conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
		}()
	}
}

// randomBytes returns n random bytes. crypto/rand does not return errors.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
