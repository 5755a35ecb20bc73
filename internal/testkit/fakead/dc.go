package fakead

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"writeback/internal/testkit/pki"
)

// Names that tell domain controllers from each other.
const (
	configDN      = "CN=Configuration," + baseDN
	sitesDN       = "CN=Sites," + configDN
	siteDN        = "CN=Default-First-Site-Name," + sitesDN
	serversDN     = "CN=Servers," + siteDN
	controllersDN = "OU=Domain Controllers," + baseDN
)

// DCOptions say how a further domain controller is. All have defaults.
type DCOptions struct {
	Name      string // in front of the domain's name; default dc2, dc3, …
	Addr      string // default "127.0.0.1:0"
	PlainAddr string // of the port without TLS; default a free one of the same address
	ReadOnly  bool   // answers writes with a referral to the PDC emulator
	Latency   time.Duration

	NoPolicyHints bool // as in Options
}

// AddDC starts another domain controller of the domain of s, trusted by the
// same certificate authority. Each has faults, connections, latency and counts
// of its own, and counts uSNChanged for itself. It is closed for itself.
func (s *Server) AddDC(opts DCOptions) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opts.Name == "" {
		opts.Name = fmt.Sprintf("dc%d", len(s.shared.dcs)+1)
	}
	if s.shared.held {
		return nil, errors.New("fakead: a domain controller cannot join while replication is held")
	}
	old := len(s.domain.entries)
	if err := s.domain.addDC(opts.Name, opts.ReadOnly); err != nil {
		return nil, fmt.Errorf("fakead: %w", err)
	}
	s.domain.publish(s.domain.entries[old:]...)
	fresh := newReplica(s.shared)
	fresh.copy(s.domain.entries)
	dc := &Server{
		shared: s.shared, mu: s.mu, domain: fresh, ca: s.ca, directory: s.directory,
		name: opts.Name, readOnly: opts.ReadOnly, noHints: opts.NoPolicyHints, latency: opts.Latency,
	}
	if err := dc.listen(opts.Addr, opts.PlainAddr); err != nil {
		return nil, err
	}
	return dc, nil
}

// addDC makes the objects that stand for a domain controller (MS-ADTS 6.1.1.2,
// 6.1.1.3).
func (d *domain) addDC(name string, readOnly bool) error {
	label, group, flags, class := strings.ToUpper(name), int64(ridControllers), int64(0x82000), "nTDSDSA"
	isRODC := []string{"FALSE"}
	if readOnly {
		group, flags, class, isRODC = ridReadOnly, 0x5001000, "nTDSDSARO", []string{"TRUE"}
	}
	host := []string{name + "." + dnsDomain}
	user, err := d.addUser(UserSpec{SAMAccountName: label + "$", Parent: controllersDN, Kind: Computer,
		Attributes: map[string][]string{"primaryGroupID": number64(group), "isCriticalSystemObject": {"TRUE"},
			"dNSHostName": host, "servicePrincipalName": {"ldap/" + host[0], "HOST/" + host[0]}}}, d.nextRID())
	if err != nil {
		return err
	}
	computer := d.named(label + "$")
	computer.account.flags, computer.attrs["msDS-isRODC"] = flags, isRODC
	server := d.addContainer("CN="+label+","+serversDN, "server")
	server.attrs["dNSHostName"], server.attrs["serverReference"] = host, []string{user.DN}
	server.attrs["msDS-isRODC"] = isRODC
	d.addContainer(settingsDN(name), class).attrs["msDS-isRODC"] = isRODC
	return nil
}

// settingsDN names the object that stands for a domain controller where one is
// pointed to.
func settingsDN(name string) string {
	return "CN=NTDS Settings,CN=" + strings.ToUpper(name) + "," + serversDN
}

func (s *Server) host() string { return s.name + "." + dnsDomain }

// MakePDC moves the role of the PDC emulator to this domain controller, for all
// to see at once. The first one has it at first.
func (s *Server) MakePDC() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.pdc = s
	for _, d := range s.shared.replicas {
		d.root.attrs["fSMORoleOwner"] = []string{settingsDN(s.name)}
		d.root.usn = d.nextUSN()
	}
}

// listen fills the rest of a Server in and starts it.
func (s *Server) listen(addr, plainAddr string) error {
	if err := s.Certify(); err != nil {
		return err
	}
	s.faults = make(map[Op][]*Injection)
	s.conns = make(map[net.Conn]struct{})
	if err := s.open(addr, plainAddr); err != nil {
		return err
	}
	s.directory.Kind, s.directory.CAFile = "fake", s.ca.CAFile
	s.directory.URL = "ldaps://" + s.ln.Addr().String()
	s.plainURL = "ldap://" + s.plain.Addr().String()
	s.shared.dcs = append(s.shared.dcs, s)
	return nil
}

// open opens both ports.
func (s *Server) open(addr, plainAddr string) (err error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if s.ln, err = net.Listen("tcp", addr); err != nil {
		return fmt.Errorf("fakead: %w", err)
	}
	if plainAddr == "" {
		host, _, _ := net.SplitHostPort(s.ln.Addr().String())
		plainAddr = net.JoinHostPort(host, "0")
	}
	if s.plain, err = net.Listen("tcp", plainAddr); err != nil {
		s.ln.Close()
		return fmt.Errorf("fakead: %w", err)
	}
	s.stopping, s.closed = make(chan struct{}), false
	s.running.Add(2)
	go s.accept(s.ln, true)
	go s.accept(s.plain, false)
	return nil
}

// Restart starts a domain controller again that was closed, on the same
// addresses; Close must have returned. It knows what happened meanwhile, and faults that wait still do.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		return errors.New("fakead: it is running")
	}
	return s.open(s.ln.Addr().String(), s.plain.Addr().String())
}

// PlainURL is where the server expects StartTLS before a bind.
func (s *Server) PlainURL() string { return s.plainURL }

// HostName is the name that the domain controller has in DNS, which its
// certificate is also good for.
func (s *Server) HostName() string { return s.host() }

// newCA makes the certificate authority of a domain.
func newCA(dir string) (*pki.Authority, error) {
	if dir == "" {
		return nil, errors.New("fakead: Dir must name a directory for the certificates")
	}
	ca, err := pki.New(dir)
	if err != nil {
		return nil, fmt.Errorf("fakead: making a certificate authority: %w", err)
	}
	return ca, nil
}

// Certify gives the domain controller another certificate of the same authority,
// for the handshakes to come.
func (s *Server) Certify(opts ...pki.Option) error {
	cert, err := s.ca.Server("fakead-"+s.name, []string{"127.0.0.1", "localhost", s.host()}, opts...)
	if err != nil {
		return fmt.Errorf("fakead: %w", err)
	}
	s.tls.Store(&tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS12})
	return nil
}
