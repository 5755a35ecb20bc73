package directory_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/testkit/fakead"
)

// What a domain controller shows of its clock and its certificate is known as soon
// as one was connected to, also if it cannot be used for that.
func TestState(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"right": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			fake := startFake(t, fakead.Options{Now: func() time.Time { return time.Now().Add(ahead) }})
			dir := fake.Directory()
			client, err := directory.New(config(t, dir), zerolog.New(zerolog.NewTestWriter(t)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			if _, known := client.Skew(); known || !client.CertificateEnd().IsZero() {
				t.Error("something is known before there was a connection")
			}
			if err := client.Check(within(t, 30*time.Second)); (err == nil) != (ahead == 0) {
				t.Errorf("Check = %v", err)
			}
			if skew, known := client.Skew(); !known || (skew+ahead).Abs() > time.Minute {
				t.Errorf("our clock is %s ahead of one that is %s ahead of ours; known: %t", skew, ahead, known)
			}
			if got, latest := client.CertificateEnd(), authorityEnd(t, dir.CAFile); got.Before(time.Now()) || got.After(latest.Add(time.Minute)) {
				t.Errorf("the certificate ends at %s, its authority's at %s", got, latest)
			}
		})
	}
}

func authorityEnd(t *testing.T, file string) time.Time {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert.NotAfter
}
