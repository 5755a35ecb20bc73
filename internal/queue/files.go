package queue

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nkeys"

	"writeback/internal/config"
	"writeback/internal/obs"
)

// files is what a connection needs from files. They are read again for each
// connection, so that they can be replaced without a restart.
type files struct {
	roots *x509.CertPool
	cert  tls.Certificate // empty is none
	key   nkeys.KeyPair
	user  string // public half of key
	token string // that an operator signed for user; empty where the broker knows the key itself
	ends  Ends   // of cert and token
}

// read reads the files that c names. An error names the key and the file, and
// shows nothing of what is in it.
func (c Config) read() (*files, error) {
	var f files
	var err error
	if f.roots, err = config.Authorities(c.CAFile); err != nil {
		return nil, fmt.Errorf("broker.ca_file: %w", err)
	}
	if c.CertFile != "" {
		if f.cert, err = loadPair(c.CertFile, c.KeyFile); err != nil {
			return nil, err
		}
		f.ends.Client = obs.CertificateEnd(f.cert)
	}
	if c.ProxyPasswordFile != "" {
		password, err := readPassword(c.ProxyPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("broker.proxy_password_file: %w", err)
		}
		clear(password) // it is read again for each connection
	}
	if f.key, f.token, err = c.credentials(); err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	if f.user, err = f.key.PublicKey(); err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	if f.ends.User, err = tokenEnd(f.token); err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(f.user))
	if err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	if bytes.Equal(raw, c.SigningKey) {
		return nil, errors.New("broker.nkey_file: is the signing key; the broker could make it sign anything")
	}
	return &f, nil
}

// credentials returns the key of our user, and what an operator signed for it if
// that is there too.
func (c Config) credentials() (key nkeys.KeyPair, token string, err error) {
	if c.Credentials != nil {
		return parseCredentials(c.Credentials)
	}
	text, err := readPrivate(c.NKeyFile)
	if err != nil {
		return nil, "", err
	}
	defer clear(text)
	if key, token, err = parseCredentials(text); err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.NKeyFile, err)
	}
	return key, token, nil
}

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker.cert_file: %w", err)
	}
	key, err := readPrivate(keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker.key_file: %w", err)
	}
	defer clear(key)
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("broker.cert_file %s and broker.key_file %s: %w", certFile, keyFile, err)
	}
	return cert, nil
}

// readPassword returns the line of a file. The caller clears it.
func readPassword(path string) ([]byte, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if len(line) == 0 || bytes.ContainsFunc(line, control) {
		clear(text)
		return nil, fmt.Errorf("%s: must hold one line, the password", path)
	}
	return line, nil
}
