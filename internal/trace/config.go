// Package trace sends traces of requests to a collector, as OTLP over HTTP. It is
// the only package that knows OpenTelemetry, and does nothing at all where no
// collector is configured.
//
// A trace says when which step of a request was taken, by which program, and which
// code it ended in. It never says whose request it was, nor has the text of an
// error: the names of attributes are a closed set, and so are their values, but
// for the names of replicas and domain controllers.
package trace

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"writeback/internal/config"
)

// Config says where traces go.
type Config struct {
	Endpoint string  `yaml:"endpoint"` // https://host:port/v1/traces of an OTLP collector (HTTP, protobuf); http:// only on this machine; must be there
	CAFile   string  `yaml:"ca_file"`  // PEM; the collector's certificate is verified against it; the system's authorities if it is left out
	Sample   float64 `yaml:"sample"`   // the part of requests that are traced, above 0 and at most 1; a caller who sends a traceparent decides for itself; must be there
}

// Check checks the configuration and the file that it names.
func (c *Config) Check() error {
	_, err := c.read()
	return err
}

// read returns what TLS needs.
func (c *Config) read() (*tls.Config, error) {
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path == "" || u.Path == "/":
		return nil, errors.New("tracing.endpoint: must have the form https://host:port/v1/traces")
	case u.Scheme != "https" && (u.Scheme != "http" || !isHere(u.Hostname())):
		return nil, fmt.Errorf("tracing.endpoint: %s is not on this machine, so it must be https", u.Hostname())
	case u.Scheme == "http" && c.CAFile != "":
		return nil, errors.New("tracing.ca_file: is of no use without https")
	case !(c.Sample > 0 && c.Sample <= 1):
		return nil, errors.New("tracing.sample: must be above 0 and at most 1")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return cfg, nil
	}
	if cfg.RootCAs, err = config.Authorities(c.CAFile); err != nil {
		return nil, fmt.Errorf("tracing.ca_file: %w", err)
	}
	return cfg, nil
}

func isHere(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
