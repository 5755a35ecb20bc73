package obs

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// forgotten is how long after its end a thing still counts that nobody has taken
// away: the end may not have been meant. Later it would only hide what ends next.
const forgotten = 7 * 24 * time.Hour

// EarliestEnd returns the first of the times at which something ends. Zero is what
// never ends.
func EarliestEnd(now time.Time, ends []time.Time) (first time.Time) {
	for _, end := range ends {
		if !end.IsZero() && now.Sub(end) < forgotten && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// ChainEnd returns when the first certificate of a chain ends: with any of them
// the whole chain is of no use. It is zero where there is none.
func ChainEnd(chain []*x509.Certificate) (first time.Time) {
	for _, c := range chain {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// CertificateEnd is [ChainEnd] of a certificate that was loaded.
func CertificateEnd(cert tls.Certificate) time.Time {
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil { // else nobody accepts it anyway
			chain = append(chain, c)
		}
	}
	return ChainEnd(chain)
}
