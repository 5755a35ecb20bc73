package portal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
)

// certificate makes one, signed by itself; what matters here is what it says.
func certificate(t *testing.T, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// grant is what certificates are good for in these tests.
func grant() Grant {
	return Grant{Tenant: "corp", Source: "portal", Operations: []reset.Operation{reset.Reset}, Names: reset.NameKinds(), NotAfter: time.Now().Add(time.Hour)}
}

// trust puts a certificate into the file, and returns its id.
func (b *bench) trust(t *testing.T, cert *x509.Certificate, g Grant) string {
	t.Helper()
	e, err := NewCertificate(g, cert, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToken(b.file, e); err != nil {
		t.Fatal(err)
	}
	return e.ID
}

// show posts a reset over a connection that cert was shown for; verified says
// whether TLS believed it.
func (b *bench) show(cert *x509.Certificate, verified bool, headers ...string) *http.Response {
	r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody))
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	if verified {
		r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
	}
	return b.do(r, append([]string{"Authorization", ""}, headers...)...)
}

func TestNewCertificate(t *testing.T) {
	soon := time.Now().Add(30 * time.Minute)
	e, err := NewCertificate(grant(), certificate(t, func(c *x509.Certificate) { c.NotAfter = soon }), time.Now())
	if err != nil || !e.NotAfter.Equal(soon.UTC().Truncate(time.Second)) || e.Kind() != "certificate" || e.Rate != DefaultRate {
		t.Errorf("got %+v, %v; want the end of the certificate, %s", e, err, soon)
	}
	if _, err := NewCertificate(grant(), certificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), time.Now()); err != nil {
		t.Errorf("one for everything: %v", err)
	}
	for name, edit := range map[string]func(*x509.Certificate){
		"is an authority's":                        func(c *x509.Certificate) { c.IsCA = true },
		"is not for the authentication of clients": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"has ended on":                             func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) },
	} {
		if _, err := NewCertificate(grant(), certificate(t, edit), time.Now()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want that it %s", err, name)
		}
	}
	bad := grant()
	bad.Tenant = ""
	if _, err := NewCertificate(bad, certificate(t, nil), time.Now()); err == nil {
		t.Error("one without a tenant was made")
	}
}

// A certificate that was verified and is in the file is as good as a token, with
// the same bounds, until it is removed or has ended.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		known, other, away := certificate(t, nil), certificate(t, nil), certificate(t, nil)
		id := b.trust(t, known, grant())
		g := grant()
		g.Addresses = prefixes(t, "198.51.100.0/24")
		b.trust(t, away, g)
		b.reload(t)
		wantStatus(t, "the one in the file", b.show(known, true), 200)
		if s := b.publisher.got[0]; s.Tenant != "corp" || s.Source != "portal" {
			t.Errorf("submitted was %+v", s)
		}
		wantStatus(t, "one that is not in the file", b.show(other, true), 401)
		wantStatus(t, "one that TLS did not verify", b.show(known, false), 401)
		wantStatus(t, "with a wrong token besides", b.show(known, true, "Authorization", "Bearer wbk_x"), 401)
		wantStatus(t, "with a right token besides", b.show(other, true, "Authorization", "Bearer "+b.token), 200)
		wantStatus(t, "no TLS", b.post(goodBody, "Authorization", ""), 401)
		res := b.show(away, true)
		if m := read(t, res); res.StatusCode != 403 || m["detail"] != "address is not one from which this certificate may be used" {
			t.Errorf("from elsewhere: got %v", m)
		}
		r := httptest.NewRequest("POST", "/v1/probes", strings.NewReader(goodName))
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{known}}}
		res = b.do(r, "Authorization", "")
		if m := read(t, res); res.StatusCode != 403 || m["detail"] != "operation probe is not allowed by this certificate" {
			t.Errorf("another operation: got %v", m)
		}

		if err := RemoveToken(b.file, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		wantStatus(t, "after it was removed", b.show(known, true), 401)
		b.trust(t, known, grant())
		time.Sleep(recheck)
		wantStatus(t, "when it is back", b.show(known, true), 200)
		time.Sleep(time.Hour)
		wantStatus(t, "at its end", b.show(known, true), 401)
	})
}

func TestCertificateTwice(t *testing.T) {
	b := setup(t)
	cert := certificate(t, nil)
	id := b.trust(t, cert, grant())
	e, err := NewCertificate(grant(), cert, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToken(b.file, e); err == nil || !strings.Contains(err.Error(), "the certificate is there already, with id "+id) {
		t.Errorf("got %v", err)
	}
	if entries, err := ReadTokens(b.file); err != nil || len(entries) != 2 || !entries[1].Certificate || entries[1].Hash != sha256.Sum256(cert.Raw) {
		t.Errorf("got %+v, %v", entries, err)
	}
}

// A hash that is a token's opens nothing as a certificate's, nor the other way round.
func TestHashOfOtherKind(t *testing.T) {
	b := setup(t)
	entries, err := ReadTokens(b.file)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := OpenTokens(b.file, b.config.Log)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := tokens.find(entries[0].Hash, false); !ok {
		t.Error("the token is not found")
	}
	if _, ok := tokens.find(entries[0].Hash, true); ok {
		t.Error("the token is found as a certificate")
	}
}

// What is compared with every entry, in constant time, is a hash of all that was
// presented; never the token, and no fewer entries once one is equal.
func TestWhatIsCompared(t *testing.T) {
	b := setup(t)
	first := b.token
	for range 3 {
		b.add(t, Grant{})
	}
	last := b.add(t, Grant{})
	b.reload(t)
	entries, err := ReadTokens(b.file)
	if err != nil {
		t.Fatal(err)
	}
	compare := b.config.Tokens.equal
	// One that differs from a known token in its last character only.
	almost := first[:len(first)-1] + map[bool]string{true: "B", false: "A"}[first[len(first)-1] != 'B']
	for name, token := range map[string]string{"the first": first, "the last": last, "almost the first": almost, "none of them": tokenPrefix + strings.Repeat("A", 43)} {
		var compared [][2][]byte
		b.config.Tokens.equal = func(x, y []byte) int {
			compared = append(compared, [2][]byte{bytes.Clone(x), bytes.Clone(y)})
			return compare(x, y)
		}
		want := 401
		if token == first || token == last {
			want = 200
		}
		b.token = token
		wantStatus(t, name, b.post(goodBody), want)
		if len(compared) != len(entries) {
			t.Errorf("%s: %d comparisons, want one with each of %d", name, len(compared), len(entries))
		}
		hash := sha256.Sum256([]byte(token))
		for i, c := range compared {
			if !bytes.Equal(c[0], hash[:]) || !bytes.Equal(c[1], entries[i].Hash[:]) {
				t.Errorf("%s: compared were %x and %x", name, c[0], c[1])
			}
		}
	}
	// And it is the standard library that compares.
	if reflect.ValueOf(compare).Pointer() != reflect.ValueOf(subtle.ConstantTimeCompare).Pointer() {
		t.Error("something else than subtle.ConstantTimeCompare compares")
	}
}
