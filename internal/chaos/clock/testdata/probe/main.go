// Probe says how the standard library sees the clock, as JSON: what
// writeback/internal/chaos/clock's test builds with the overlay. Its arguments
// are the address of a TLS server that never speaks, and the file of the
// authority that signed the server's certificate.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	now := time.Now()
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	var invalid x509.CertificateInvalidError
	conn, err := tls.Dial("tcp", os.Args[1], &tls.Config{RootCAs: pool})
	expired := errors.As(err, &invalid) && invalid.Reason == x509.Expired
	if err != nil && !expired {
		return err
	}
	var waited time.Duration
	if err == nil {
		defer conn.Close()
		begun := time.Now()
		conn.SetReadDeadline(begun.Add(100 * time.Millisecond).Round(0)) // by the wall clock
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("reading: %v", err)
		}
		waited = time.Since(begun)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"now": now, "invalid": expired, "waited": waited, "took": time.Since(now), "until": time.Until(now.Round(0)),
	})
}
