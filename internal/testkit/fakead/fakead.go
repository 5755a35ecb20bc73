// Package fakead is a small Active Directory domain controller for tests, for
// the demo where no Samba can be had, and for benchmarks that need a directory
// that answers at once. It speaks LDAPS, refuses in the words of Windows, and
// can be told to hang, to cut a connection, or to apply a modify and then not
// say so.
//
// It knows StartTLS, bind (simple), unbind, search and modify; the domain's
// policy and fine-grained ones of length, complexity, history, age and lockout,
// and a password filter; groups; access control lists for the rights that
// password writeback needs, AdminSDHolder's among them; and several domain
// controllers, between which writes replicate at once or when told to. A new
// domain has an administrator, and a service account that may reset, unlock and
// expire passwords below one organisational unit. All of it is in memory and is
// gone with it. It promises nothing about security, or any behaviour of a domain
// controller that is not tested here; where its sources are silent about Windows
// a comment says so.
//
// Access is checked for writes only; whoever is bound may read everything but
// security descriptors and fine-grained policies.
//
// MS-ADTS and MS-SAMR are Microsoft's open specifications.
package fakead

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// Names of the one domain there is.
const (
	baseDN    = "DC=corp,DC=example,DC=com"
	staffDN   = "OU=Staff," + baseDN
	usersDN   = "CN=Users," + baseDN
	builtinDN = "CN=Builtin," + baseDN
	systemDN  = "CN=System," + baseDN
	holderDN  = "CN=AdminSDHolder," + systemDN
	foreignDN = "CN=ForeignSecurityPrincipals," + baseDN
	dnsDomain = "corp.example.com"
	netBIOS   = "CORP"

	serviceName = "svc-writeback"
)

// Options say what to start. Only Dir has no default.
type Options struct {
	Addr string // default "127.0.0.1:0"
	// PlainAddr is where StartTLS is expected; default a free port of the same
	// address.
	PlainAddr string
	Dir       string // for the files of the certificate authority, ca.pem and others
	Users     int    // accounts user01, user02, … below the staff unit; default 24

	// Policy of the domain; the zero Policy stands for DefaultPolicy. For a
	// domain without any rule call SetPolicy(Policy{}) afterwards.
	Policy Policy

	// Latency is waited for before every modify is carried out, each on its own.
	Latency time.Duration

	// NoPolicyHints is a domain controller before Windows Server 2008 R2: a
	// reset obeys neither history nor minimum age.
	NoPolicyHints bool

	// Now is the domain's clock, by default time.Now. It must be safe for
	// concurrent use.
	Now func() time.Time
}

// A Server is a running domain controller. Its methods may be called at any
// time by any goroutine, also after Close. Those that name an account do so by
// its sAMAccountName.
type Server struct {
	shared    *shared
	name      string // of the host, without the domain
	readOnly  bool
	noHints   bool
	latency   time.Duration
	ca        *pki.Authority
	ln, plain net.Listener
	plainURL  string
	tls       atomic.Pointer[tls.Config]
	directory testkit.Directory
	running   sync.WaitGroup
	stopping  chan struct{} // closed by Close

	mu       *sync.Mutex // the domain's; guards what follows
	domain   *domain
	faults   map[Op][]*Injection
	conns    map[net.Conn]struct{}
	accepted int
	closed   bool
}

// Start starts a domain with one domain controller, with a certificate
// authority of its own.
func Start(opts Options) (*Server, error) {
	if opts.Users == 0 {
		opts.Users = 24
	}
	if opts.Policy == (Policy{}) {
		opts.Policy = DefaultPolicy()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	ca, err := newCA(opts.Dir)
	if err != nil {
		return nil, err
	}
	domain := newShared(opts.Policy, opts.Now)
	s := &Server{
		shared: domain, mu: &domain.mu, domain: newReplica(domain),
		name: "dc1", latency: opts.Latency, noHints: opts.NoPolicyHints, ca: ca,
	}
	if err := s.populate(opts.Users); err != nil {
		return nil, fmt.Errorf("fakead: %w", err)
	}
	s.MakePDC()
	if err := s.listen(opts.Addr, opts.PlainAddr); err != nil {
		return nil, err
	}
	return s, nil
}

// populate makes the objects that every domain here has.
func (s *Server) populate(users int) error {
	d := s.domain
	d.addContainer(baseDN, "domainDNS").acl = d.rootACL()
	for _, c := range []struct{ dn, class string }{
		{usersDN, "container"}, {builtinDN, "builtinDomain"}, {systemDN, "container"}, {holderDN, "container"},
		{policiesDN, "msDS-PasswordSettingsContainer"}, {foreignDN, "container"},
		{controllersDN, "organizationalUnit"}, {staffDN, "organizationalUnit"},
		{configDN, "configuration"}, {sitesDN, "sitesContainer"}, {siteDN, "site"}, {serversDN, "serversContainer"},
	} {
		d.addContainer(c.dn, c.class)
	}
	d.holder.kept, d.holder.acl = true, d.holderACL()
	d.policies.acl = d.full(d.admins(), sidSystem)
	if err := d.addGroups(); err != nil {
		return err
	}
	critical := map[string][]string{"isCriticalSystemObject": {"TRUE"}}
	admin, err := d.addUser(UserSpec{SAMAccountName: "Administrator", Parent: usersDN, Attributes: critical}, ridAdministrator)
	if err != nil {
		return err
	}
	for _, g := range []string{"Domain Admins", "Enterprise Admins", "Schema Admins", "Administrators"} {
		d.named(g).join(d.named(admin.SAMAccountName))
	}
	if _, err := d.addUser(UserSpec{SAMAccountName: "krbtgt", Parent: usersDN, Attributes: critical}, ridKrbtgt); err != nil {
		return err
	}
	d.account("krbtgt").flags |= flagDisabled
	d.named("krbtgt").attrs["servicePrincipalName"] = []string{"kadmin/changepw"}
	service, err := d.addUser(UserSpec{SAMAccountName: serviceName, Parent: usersDN}, d.nextRID())
	if err != nil {
		return err
	}
	d.protectMembers()
	staff, _ := d.find(staffDN)
	for _, r := range []Right{ResetPassword, WriteLockoutTime, WritePwdLastSet} {
		staff.acl = append(staff.acl, r.entry(staff, string(sidBytes(service.SID))))
	}
	if err := d.addDC(s.name, false); err != nil {
		return err
	}
	s.directory = testkit.Directory{
		BaseDN:  baseDN,
		AdminDN: admin.DN, AdminPassword: admin.Password,
		ServiceDN: service.DN, ServicePassword: service.Password,
		StaffDN: staffDN,
	}
	for n := 1; n <= users; n++ {
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
	err := errors.Join(s.ln.Close(), s.plain.Close())
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
func (s *Server) accept(ln net.Listener, secure bool) {
	defer s.running.Done()
	for {
		conn, err := ln.Accept()
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
			newSession(s, conn, secure).serve()
			conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
		}()
	}
}
