package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"writeback/internal/secret"
)

// Config says which domain controllers to use and as whom. Either URLs or Domain
// names them.
type Config struct {
	// URLs is one to 16 of ldaps://host[:port], or ldap://host[:port] with
	// StartTLS, each of one domain controller, whose certificate must be valid
	// for host. They are preferred in this order.
	URLs []string `yaml:"urls"`
	// Domain is the DNS name of a domain whose domain controllers are those
	// that DNS names, the first 16 of _ldap._tcp.pdc._msdcs.DOMAIN and
	// _ldap._tcp.dc._msdcs.DOMAIN. Port 636 is used, or with StartTLS the port
	// that DNS says. Whoever can forge DNS and has a certificate that CAFile
	// vouches for, of any host, is then believed.
	Domain string `yaml:"domain"`
	// StartTLS begins TLS on a plain connection, before anything else is said.
	StartTLS bool `yaml:"start_tls"`
	// CAFile holds the certificates (PEM) of the authorities that sign domain
	// controllers. No other is trusted, the system's roots least of all. It is
	// read once. It must be there.
	CAFile string `yaml:"ca_file"`
	// BindDN is the service account: a distinguished name or a UPN. It must be
	// there.
	BindDN string `yaml:"bind_dn"`
	// PasswordFile holds its password. It is read for every new connection, so
	// that a changed password needs no restart. It must be there.
	PasswordFile string `yaml:"password_file"`
	// Connections is how many connections are used at once, and so how many
	// requests, and how many are kept open: 1 to 64.
	Connections int `yaml:"connections"`
	// AllowWithoutHistoryCheck permits a domain controller that offers no
	// policy-hints control. It then accepts any earlier password, and a
	// second reset within the minimum age, as it does from an administrator.
	AllowWithoutHistoryCheck bool `yaml:"allow_without_history_check"`
	// DialTimeout bounds connecting and the TLS handshake: 100 ms to 1 min.
	// All of it and signing in get 2 s while there is another
	// domain controller to try.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// BindTimeout bounds the bind: 100 ms to 1 min.
	BindTimeout time.Duration `yaml:"bind_timeout"`
	// SearchTimeout bounds every search: 100 ms to 1 min.
	SearchTimeout time.Duration `yaml:"search_timeout"`

	// ReadSecret reads PasswordFile: it refuses a file that others can read,
	// and returns its content without the newline at its end. What it
	// returns is wiped after use.
	ReadSecret func(path string) (secret.Value, error) `yaml:"-"`
	// Resolver is asked for names; the default is the system's.
	Resolver *net.Resolver `yaml:"-"`
}

const (
	maxControllers     = 16
	defaultConnections = 4
	maxConnections     = 64
	defaultTimeout     = 5 * time.Second
	minTimeout         = 100 * time.Millisecond
	maxTimeout         = time.Minute
)

// DefaultConfig is what holds where nothing is said.
func DefaultConfig() Config { return Config{}.withDefaults() }

// withDefaults returns c with what was left out.
func (c Config) withDefaults() Config {
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	for _, d := range []*time.Duration{&c.DialTimeout, &c.BindTimeout, &c.SearchTimeout} {
		if *d == 0 {
			*d = defaultTimeout
		}
	}
	return c
}

// Validate returns an error that names the key, its value and the limit, if
// something in c cannot work. It opens no file but CAFile.
func (c Config) Validate() error {
	c = c.withDefaults()
	if _, err := c.addresses(); err != nil {
		return err
	}
	for _, k := range []struct{ key, value string }{
		{"ca_file", c.CAFile}, {"bind_dn", c.BindDN}, {"password_file", c.PasswordFile},
	} {
		if k.value == "" {
			return fmt.Errorf("%s: must not be empty", k.key)
		}
	}
	if c.Connections < 1 || c.Connections > maxConnections {
		return fmt.Errorf("connections: is %d, must be 1 to %d", c.Connections, maxConnections)
	}
	for _, k := range []struct {
		key   string
		value time.Duration
	}{{"dial_timeout", c.DialTimeout}, {"bind_timeout", c.BindTimeout}, {"search_timeout", c.SearchTimeout}} {
		if k.value < minTimeout || k.value > maxTimeout {
			return fmt.Errorf("%s: is %s, must be %s to %s", k.key, k.value, minTimeout, maxTimeout)
		}
	}
	_, err := c.roots()
	return err
}

// An address is where a domain controller listens.
type address struct {
	url      string // for people
	host     string // what its certificate must be valid for
	hostport string
}

// addresses returns those of URLs; there are none if Domain is set.
func (c Config) addresses() ([]address, error) {
	switch {
	case c.Domain != "" && len(c.URLs) > 0:
		return nil, fmt.Errorf("domain: is %q, and there are urls; only one of them can be", c.Domain)
	case c.Domain != "" && !isDomain(c.Domain):
		return nil, fmt.Errorf("domain: %q must be the DNS name of a domain, like corp.example.com", c.Domain)
	case c.Domain != "":
		return nil, nil
	case len(c.URLs) < 1 || len(c.URLs) > maxControllers:
		return nil, fmt.Errorf("urls: there are %d, must be 1 to %d, like ldaps://dc1.corp.example.com, unless domain is set", len(c.URLs), maxControllers)
	}
	var all []address
	for _, text := range c.URLs {
		a, err := c.address(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o address) bool { return o.hostport == a.hostport }) {
			return nil, fmt.Errorf("urls: %q is there twice", text)
		}
		all = append(all, a)
	}
	return all, nil
}

// isDomain reports whether name has two or more labels of letters, digits,
// hyphens and underscores, which Microsoft permits.
func isDomain(name string) bool {
	labels := strings.Split(name, ".")
	return len(name) <= 200 && len(labels) > 1 && net.ParseIP(name) == nil && !slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || len(l) > 63 || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-_") != ""
	})
}

func (c Config) address(text string) (address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error repeats the value in a form of its own.
		return address{}, fmt.Errorf("urls: %q is not a URL", text)
	case u.Scheme == "ldap" && !c.StartTLS:
		return address{}, fmt.Errorf("urls: %q is not encrypted; it must begin with ldaps://, or start_tls must be true", text)
	case u.Scheme == "ldaps" && c.StartTLS:
		return address{}, fmt.Errorf("urls: %q is encrypted from the start; with start_tls it must begin with ldap://", text)
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return address{}, fmt.Errorf("urls: %q must begin with ldaps://", text)
	case u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, fmt.Errorf("urls: %q must be ldaps://host[:port] and nothing more", text)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return address{}, fmt.Errorf("urls: the port of %q must be 1 to 65535", text)
	}
	return address{text, u.Hostname(), net.JoinHostPort(u.Hostname(), port)}, nil
}

// roots reads CAFile.
func (c Config) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s has no PEM certificate", c.CAFile)
	}
	return pool, nil
}

// trust checks c and returns whom to trust. The name to verify is left out.
func (c Config) trust() (*tls.Config, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.ReadSecret == nil {
		return nil, errors.New("directory: ReadSecret is missing")
	}
	pool, err := c.roots()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}
