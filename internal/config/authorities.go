package config

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Authorities returns those whose certificates are in a file, as PEM.
func Authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return authorities(path, pem)
}

// TrustedAuthorities is [Authorities] of a file that must be as [ReadTrusted] says.
func TrustedAuthorities(path string) (*x509.CertPool, error) {
	pem, err := ReadTrusted(path)
	if err != nil {
		return nil, err
	}
	return authorities(path, pem)
}

func authorities(path string, pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", path)
	}
	return pool, nil
}
