package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/config"
	"writeback/internal/obs"
	"writeback/internal/seal"
)

// tlsFiles is the section tls. The files are read again when they change, see
// [certificates].
type tlsFiles struct {
	CertFile string `yaml:"cert_file"` // PEM: the certificate and those between it and its authority; must be there
	KeyFile  string `yaml:"key_file"`  // PEM: its key; must be there
	// ClientCAFile has the authorities (PEM) of client certificates, with
	// which callers can authenticate that `publisher token` was told of. None
	// are asked for if it is left out.
	ClientCAFile string `yaml:"client_ca_file"`
}

// load reads the files.
func (t *tlsFiles) load() (*tls.Config, error) {
	cert, err := keyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file and key_file: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if t.ClientCAFile == "" {
		return cfg, nil
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	if cfg.ClientCAs, err = config.TrustedAuthorities(t.ClientCAFile); err != nil {
		return nil, fmt.Errorf("client_ca_file: %w", err)
	}
	return cfg, nil
}

// keyPair loads a certificate and its key, which others must not be able to read.
func keyPair(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := seal.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer key.Wipe()
	var cert tls.Certificate
	err = key.Reveal(func(b []byte) (err error) {
		cert, err = tls.X509KeyPair(chain, b)
		return err
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	return cert, nil
}

// recheck is how often the files of TLS are looked at, at most.
const recheck = time.Second

// certificates are the files of TLS as they are. When one changed, all are read
// again at the next connection. While they cannot be used together, which is
// logged once, what was in force stays so: a certificate and its key are
// replaced one after the other.
type certificates struct {
	files tlsFiles
	log   zerolog.Logger

	mu      sync.Mutex // guards what follows
	config  *tls.Config
	checked time.Time
	seen    []os.FileInfo // of the files that config, or the last complaint, came from
	broken  string        // the last complaint
}

func openCertificates(files tlsFiles, log zerolog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log, checked: time.Now()}
	return c, c.load()
}

// current is GetConfigForClient of a [tls.Config]. It never fails.
func (c *certificates) current(*tls.ClientHelloInfo) (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= recheck {
		c.checked = now
		if err := c.load(); err != nil && err.Error() != c.broken {
			c.broken = err.Error()
			c.log.Error().Err(err).Msg("the files of TLS cannot be used, those before them stay in force")
		}
	}
	return c.config, nil
}

// end returns when the certificate in force ends.
func (c *certificates) end() time.Time {
	cfg, _ := c.current(nil)
	return obs.CertificateEnd(cfg.Certificates[0])
}

func (c *certificates) load() error {
	// Looked at before they are read, so that a change in between shows as one
	// the next time.
	var seen []os.FileInfo
	for _, path := range []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		seen = append(seen, info)
	}
	if slices.EqualFunc(seen, c.seen, same) {
		return nil
	}
	c.seen = seen
	cfg, err := c.files.load()
	if err != nil {
		return err
	}
	if c.config != nil {
		c.log.Info().Msg("the files of TLS were read again")
	}
	c.config, c.broken = cfg, ""
	return nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
