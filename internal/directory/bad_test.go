package directory_test

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/pki"
)

// A certificate with a negative serial number, as every second one that Samba
// makes for itself, is refused, and the log says for what.
func TestNegativeSerial(t *testing.T) {
	t.Parallel()
	f := &front{
		certOpts: []pki.Option{func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x7f11223344556677) }},
		certDER: func(der []byte) []byte {
			return bytes.Replace(der, []byte("\x7f\x11\x22\x33"), []byte("\xff\x11\x22\x33"), 1)
		},
	}
	b := setup(t, f, nil)
	_, err := b.client.Begin(within(t, time.Second))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	for what, text := range map[string]string{"error": err.Error(), "log": b.log.String()} {
		if !strings.Contains(text, "negative serial number") {
			t.Errorf("the %s does not say it: %s", what, text)
		}
	}
	if n := f.count(bindTag); n != 0 {
		t.Errorf("%d binds", n)
	}
}

// A referral is an answer that is not known, and is not followed.
func TestReferral(t *testing.T) {
	t.Parallel()
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan struct{})
	go func() {
		if conn, err := elsewhere.Accept(); err == nil {
			conn.Close()
			close(followed)
		}
	}()
	url := "ldap://" + elsewhere.Addr().String() + "/DC=corp"
	b := setup(t, nil, nil)
	s, e := b.found(t)
	b.fake.Inject(fakead.Search, fakead.Refer(url))
	_, err = s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
	if o := wantCode(t, err, reset.DirectoryError); o.Details.Result != "10 0000202B" {
		t.Errorf("the result is %q", o.Details.Result)
	}
	b.fake.Inject(fakead.Modify, fakead.Refer(url))
	err = s.SetPassword(t.Context(), e, secret.New([]byte(newPassword)))
	if o := wantCode(t, err, reset.DirectoryError); o.Details.Result != "10 0000202B" || strings.Contains(err.Error(), "ldap://") {
		t.Errorf("%v, result %q", err, o.Details.Result)
	}
	if err := b.reset(t, newPassword); err != nil {
		t.Errorf("the next reset: %v", err)
	}
	elsewhere.Close()
	select {
	case <-followed:
		t.Error("the referral was followed")
	default:
	}
}
