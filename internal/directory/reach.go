package directory

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// certificateReserve is how long before its end a certificate is a failure.
// What renews itself has done so weeks before: Windows six, ACME four.
const certificateReserve = 14 * 24 * time.Hour

// reach looks at the way to a domain controller, up to its certificate. ok is
// whether one gets there; what follows a failure is left out.
func (c *Client) reach(ctx context.Context, at address) (found []Finding, ok bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, fmt.Errorf("no answer in %s", c.cfg.DialTimeout))
	defer cancel()
	what, err := c.addressesOf(ctx, at.host)
	if found = append(found, Finding{What: what, Err: err}); err != nil {
		return found, false
	}
	w, err := dial(ctx, c.cfg.Resolver, at.hostport)
	if found = append(found, Finding{What: "connection to " + at.hostport, Err: unreached(ctx, err)}); err != nil {
		return found, false
	}
	defer w.Close()
	what, err = c.certificate(ctx, w, at.host)
	return append(found, Finding{What: what, Err: err}), err == nil || errors.Is(err, errEndsSoon)
}

func (c *Client) addressesOf(ctx context.Context, host string) (what string, err error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return "name of " + host + ": skipped, it is an address", nil
	}
	addresses, err := c.cfg.Resolver.LookupHost(ctx, host)
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New("DNS does not answer: look at this machine's resolver")
		if e.IsNotFound {
			setting := "directory.urls"
			if c.cfg.Domain != "" {
				setting = "what DNS says of directory.domain"
			}
			err = fmt.Errorf("DNS does not know it: look at %s, and at this machine's resolver", setting)
		}
	}
	if err != nil {
		return "name of " + host, err
	}
	return "name of " + host + ": " + strings.Join(addresses, ", "), nil
}

// unreached says in plain words why there is no connection.
func unreached(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, refusedThere):
		return errors.New("refused: nothing listens there, or a firewall is in the way")
	case errors.Is(err, noWayToHost), errors.Is(err, noWayToNet):
		return errors.New("there is no way to that network: look at routes and firewalls")
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the machine is down, or a firewall drops what is sent to it", context.Cause(ctx))
	}
	return err
}

// errEndsSoon is the error of a certificate that is good still.
var errEndsSoon = errors.New("renew it now, and look why that did not happen by itself")

// certificate makes w a TLS connection and judges the domain controller's
// certificate.
func (c *Client) certificate(ctx context.Context, w *wire, host string) (what string, err error) {
	what = "certificate of " + host
	if c.cfg.StartTLS {
		if err := startTLS(ctx, w); err != nil {
			return what, err
		}
	}
	cfg := c.tls.Clone()
	cfg.ServerName = host
	t := tls.Client(w, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return what, c.untrusted(ctx, err, host)
	}
	chain := t.ConnectionState().VerifiedChains[0]
	ends := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	left := time.Until(ends)
	until := fmt.Sprintf("until %s, %d days from now", ends.UTC().Format(time.DateOnly), left/(24*time.Hour))
	if left < certificateReserve {
		return what, fmt.Errorf("it is good only %s: %w", until, errEndsSoon)
	}
	return what + ": trusted, " + until, nil
}

// startTLS asks for TLS on a plain connection (RFC 4511 section 4.14). That of
// the LDAP library does not let one see what is wrong with a certificate.
func startTLS(ctx context.Context, w *wire) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := w.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := w.Write([]byte("\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037")); err != nil {
		return unreached(ctx, err)
	}
	answer, err := ber.ReadPacket(w)
	if err != nil {
		return errors.New("the domain controller does not answer StartTLS: is this its port for LDAP?")
	}
	if len(answer.Children) > 1 && len(answer.Children[1].Children) > 0 {
		if code, ok := answer.Children[1].Children[0].Value.(int64); ok && code == 0 {
			return nil
		}
	}
	return errors.New("the domain controller refuses StartTLS: has it a certificate?")
}

// untrusted says in plain words why there is no TLS. The names in it are those
// of the certificate, made printable.
func (c *Client) untrusted(ctx context.Context, err error, host string) error {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		names := slices.Clone(e.Certificate.DNSNames)
		for _, ip := range e.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			names = []string{"no name at all"}
		}
		remedy := "use a name that it has in directory.urls, or give the domain controller a certificate for this one"
		if c.cfg.Domain != "" {
			remedy = "give the domain controller a certificate for the name that DNS has"
		}
		return fmt.Errorf("it is for %s and not for %s: %s", printable(strings.Join(names, ", ")), host, remedy)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := "somebody"
		if e.Cert != nil {
			issuer = printable(e.Cert.Issuer.String())
		}
		return fmt.Errorf("it was issued by %s, whom directory.ca_file does not have: put that authority's certificate into the file "+
			"if it is your own", issuer)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired && e.Cert != nil {
		if now := time.Now(); now.Before(e.Cert.NotBefore) {
			return fmt.Errorf("it is good only from %s on: is this machine's clock right?", e.Cert.NotBefore.UTC().Format(time.RFC3339))
		}
		return fmt.Errorf("it has expired, on %s: renew it", e.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return errors.New("what answers there does not speak TLS: LDAPS has port 636, and LDAP with start_tls port 389")
	}
	switch {
	case strings.Contains(err.Error(), "negative serial number"): // crypto/x509 has no type for it
		return errors.New("it has a negative serial number, which RFC 5280 does not allow: issue a new one. " +
			"About every second that Samba makes for itself is like that")
	case errors.Is(err, io.EOF), errors.Is(err, hungUp):
		return errors.New("the domain controller hangs up: it has no certificate for LDAPS, or cannot use it")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return errors.New(printable(err.Error()))
}
