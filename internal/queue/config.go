package queue

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Config says how to reach the broker.
type Config struct {
	URL      string `yaml:"url"`       // tls://host:port, TLS from the first byte, or wss://host:port. The ports are 4222 and 443 if they are left out. Of a cluster all, with commas between them. It must be there
	CAFile   string `yaml:"ca_file"`   // PEM; the broker's certificate is verified against it, and against nothing else; must be there
	NKeyFile string `yaml:"nkey_file"` // seed of our NATS user, as `init` makes it, or its credentials, as `publisher tenant` does; never a signing key. It must be there
	CertFile string `yaml:"cert_file"` // PEM; our own certificate, for a broker that asks for one
	KeyFile  string `yaml:"key_file"`  // PEM; the key of cert_file

	Proxy             string `yaml:"proxy"`               // http://user@host:port or http://host:port, asked with CONNECT; if left out, what HTTPS_PROXY and NO_PROXY say
	ProxyPasswordFile string `yaml:"proxy_password_file"` // the password of the user in proxy, one line, mode 0600

	// SigningKey is the raw public half of the program's signing key, nil if it
	// has none. The broker chooses what an nkey signs, so the two must differ.
	SigningKey []byte `yaml:"-"`

	// Credentials is what would be in NKeyFile, of a user that is made for one
	// connection; nil if there is a file.
	Credentials []byte `yaml:"-"`
}

// Validate checks the configuration without reading a file or connecting.
func (c Config) Validate() error {
	scheme := ""
	for _, server := range c.servers() {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.Host == "":
			return errors.New("broker.url: must have the form tls://host:port or wss://host:port; several have commas between them")
		case u.Scheme != "tls" && u.Scheme != "wss":
			return fmt.Errorf("broker.url: scheme %q is not possible; the broker is reached over tls:// or wss:// only", u.Scheme)
		case scheme != "" && u.Scheme != scheme:
			return errors.New("broker.url: all addresses must have tls://, or all wss://")
		case u.User != nil:
			return errors.New("broker.url: must not hold credentials; they are in nkey_file")
		}
		scheme = u.Scheme
		if _, err := c.proxyFor(u.Host); err != nil {
			return err
		}
	}
	switch {
	case c.CAFile == "":
		return errors.New("broker.ca_file: is missing")
	case c.NKeyFile == "" && c.Credentials == nil:
		return errors.New("broker.nkey_file: is missing")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("broker.cert_file and broker.key_file: one is missing")
	case c.Proxy == "" && c.ProxyPasswordFile != "":
		return errors.New("broker.proxy_password_file: needs broker.proxy")
	}
	return nil
}

// Check validates the configuration and reads the files that it names, as
// [Connect] does, and connects to nothing.
func (c Config) Check() error {
	if err := c.Validate(); err != nil {
		return err
	}
	f, err := c.read()
	if err != nil {
		return err
	}
	f.key.Wipe()
	return nil
}

// Way says in words how the broker is reached.
func (c Config) Way() string {
	for _, server := range c.servers() {
		u, err := url.Parse(server)
		if err != nil {
			break
		}
		if proxy, err := c.proxyFor(u.Host); err == nil && proxy != nil {
			return c.URL + " through the proxy " + proxy.Host
		}
	}
	return c.URL
}

func (c Config) servers() []string {
	servers := strings.Split(c.URL, ",")
	for i := range servers {
		servers[i] = strings.TrimSpace(servers[i])
	}
	return servers
}

// webSocket reports whether the broker is reached over WebSocket.
func (c Config) webSocket() bool { return strings.HasPrefix(c.servers()[0], "wss:") }

// proxyFor returns the proxy for a server, nil if it is reached directly. An
// error does not show what the address holds, which may be a password.
func (c Config) proxyFor(server string) (*url.URL, error) {
	key, u := "broker.proxy", (*url.URL)(nil)
	var err error
	if c.Proxy != "" {
		u, err = url.Parse(c.Proxy)
	} else {
		key = "HTTPS_PROXY"
		u, err = http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: server}})
	}
	if err == nil && u == nil {
		return nil, nil
	}
	// A path is what net/http makes of an address that it cannot read.
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%s: must have the form http://host:port", key)
	}
	_, password := u.User.Password()
	switch {
	case password:
		return nil, fmt.Errorf("%s: must not hold a password; use broker.proxy: http://user@host:port, and broker.proxy_password_file", key)
	case c.Proxy == "" && u.User != nil:
		return nil, errors.New("HTTPS_PROXY: must not hold a user; use broker.proxy: http://user@host:port, and broker.proxy_password_file")
	case (u.User.Username() == "") != (c.ProxyPasswordFile == ""):
		return nil, errors.New("broker.proxy: a user, as in http://user@host:port, and broker.proxy_password_file need each other")
	case strings.Contains(u.User.Username(), ":"):
		return nil, errors.New("broker.proxy: a user cannot have a colon in it")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "80")
	}
	return u, nil
}
