package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"writeback/internal/secret"
)

// Config says which domain controller to use and as whom.
type Config struct {
	// URL is ldaps://host[:port], or ldap://host[:port] with StartTLS. The
	// certificate of the domain controller must be valid for host.
	URL string `yaml:"url"`
	// StartTLS begins TLS on a plain connection, before anything else is said.
	StartTLS bool `yaml:"start_tls"`
	// CAFile holds the certificates (PEM) of the authorities that sign domain
	// controllers. No other is trusted, the system's roots least of all. It is
	// read once.
	CAFile string `yaml:"ca_file"`
	// BindDN is the service account: a distinguished name or a UPN.
	BindDN string `yaml:"bind_dn"`
	// PasswordFile holds its password. It is read for every new connection, so
	// that a changed password needs no restart.
	PasswordFile string `yaml:"password_file"`
	// Connections is how many connections are used at once, and so how many
	// requests, and how many are kept open: 1 to 64, default 4.
	Connections int `yaml:"connections"`
	// AllowWithoutHistoryCheck permits a domain controller that offers no
	// policy-hints control. It then accepts any earlier password, and a
	// second reset within the minimum age, as it does from an administrator.
	AllowWithoutHistoryCheck bool `yaml:"allow_without_history_check"`
	// DialTimeout bounds connecting and the TLS handshake: 100 ms to 1 min,
	// default 5 s.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// BindTimeout bounds the bind: 100 ms to 1 min, default 5 s.
	BindTimeout time.Duration `yaml:"bind_timeout"`
	// SearchTimeout bounds every search: 100 ms to 1 min, default 5 s.
	SearchTimeout time.Duration `yaml:"search_timeout"`

	// ReadSecret reads PasswordFile: it refuses a file that others can read,
	// and returns its content without the newline at its end. What it
	// returns is wiped after use.
	ReadSecret func(path string) (secret.Value, error) `yaml:"-"`
}

const (
	defaultConnections = 4
	maxConnections     = 64
	defaultTimeout     = 5 * time.Second
	minTimeout         = 100 * time.Millisecond
	maxTimeout         = time.Minute
)

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
	if _, err := c.address(); err != nil {
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
	host     string // what its certificate must be valid for
	hostport string
}

func (c Config) address() (address, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		// The parser's error repeats the value in a form of its own.
		return address{}, fmt.Errorf("url: %q is not a URL", c.URL)
	case u.Scheme == "ldap" && !c.StartTLS:
		return address{}, fmt.Errorf("url: %q is not encrypted; it must begin with ldaps://, or start_tls must be true", c.URL)
	case u.Scheme == "ldaps" && c.StartTLS:
		return address{}, fmt.Errorf("url: %q is encrypted from the start; with start_tls it must begin with ldap://", c.URL)
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return address{}, fmt.Errorf("url: %q must begin with ldaps://", c.URL)
	case u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, fmt.Errorf("url: %q must be ldaps://host[:port] and nothing more", c.URL)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return address{}, fmt.Errorf("url: the port of %q must be 1 to 65535", c.URL)
	}
	return address{host: u.Hostname(), hostport: net.JoinHostPort(u.Hostname(), port)}, nil
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

// transport checks c and returns where to connect and how to trust.
func (c Config) transport() (address, *tls.Config, error) {
	if err := c.Validate(); err != nil {
		return address{}, nil, err
	}
	if c.ReadSecret == nil {
		return address{}, nil, errors.New("directory: ReadSecret is missing")
	}
	addr, err := c.address()
	if err != nil {
		return address{}, nil, err
	}
	pool, err := c.roots()
	if err != nil {
		return address{}, nil, err
	}
	return addr, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: addr.host}, nil
}
