package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A conn is one bound connection to a domain controller. It does one thing at
// a time.
type conn struct {
	wire   *wire
	ldap   *ldap.Conn
	broken bool // something went wrong that may concern what follows
	used   time.Time

	// What the rootDSE said.
	dc    string // dnsHostName
	base  string // defaultNamingContext
	hints string // OID of the policy-hints control; empty if there is none
	samba bool   // vendorName; Windows has none

	token [][]byte // SIDs with which it acts; nil until somebody needs them
	self  [][]byte // SIDs of the account it is bound as; none if that is of another domain
}

// do runs one call of the LDAP library. When ctx or timeout ends first the
// connection is dropped hard, which ends the call. The library's own timeout
// is not used: it begins after the request was written, so that it does not
// bound the writing, and leaves the connection open for the answer to another
// request. A deadline on the socket would have to be taken back in time.
//
// The returned error is nil, an [*answer] if the domain controller refused, or
// else says that there was no answer that could be understood.
func (c *conn) do(ctx context.Context, timeout time.Duration, call func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer in %s", timeout))
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.wire.left.Store(maxAnswer)
	stop := context.AfterFunc(ctx, func() { c.wire.Close() })
	err := call()
	dropped := !stop()
	c.used = time.Now()
	var said *ldap.Error
	switch {
	case err == nil:
		c.broken = c.broken || dropped
		return nil
	case errors.As(err, &said) && (said.ResultCode < ldap.ErrorNetwork || said.ResultCode > ldap.ErrorMalformedPacket):
		// Those between are the library's own. A server that uses one of
		// their numbers is not understood, which is the safe reading.
		c.broken = c.broken || dropped
		return newAnswer(said.ResultCode, said.Err.Error())
	}
	c.broken = true
	c.close() // before the caller concludes anything from what was sent
	if dropped {
		return context.Cause(ctx)
	}
	return err
}

// close drops the connection: first TCP, so that nothing in the library can
// block on it or still be sent.
func (c *conn) close() {
	c.wire.Close()
	c.ldap.Close()
}

// alive reports whether the connection may be used for another request.
func (c *conn) alive() bool { return !c.broken && !c.ldap.IsClosing() }

// open connects to the domain controller and verifies its certificate; nothing
// is said before that.
func (c *Client) open(ctx context.Context) (*conn, error) {
	dialCtx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, fmt.Errorf("no connection in %s", c.cfg.DialTimeout))
	defer cancel()
	w, err := dial(dialCtx, c.addr.hostport)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if c.cfg.StartTLS {
		cn := &conn{wire: w, ldap: ldap.NewConn(w, false)}
		cn.ldap.Start()
		if err := cn.do(dialCtx, c.cfg.DialTimeout, func() error { return cn.ldap.StartTLS(c.tls.Clone()) }); err != nil {
			cn.close()
			return nil, fmt.Errorf("starting TLS: %w", err)
		}
		return cn, nil
	}
	t := tls.Client(w, c.tls.Clone())
	if err := t.HandshakeContext(dialCtx); err != nil {
		w.Close()
		return nil, fmt.Errorf("starting TLS: %w", err)
	}
	cn := &conn{wire: w, ldap: ldap.NewConn(t, true)}
	cn.ldap.Start()
	return cn, nil
}

// bind proves the service account.
func (c *Client) bind(ctx context.Context, cn *conn, password secret.Value) error {
	return password.Reveal(func(b []byte) error {
		// The library wants a string. It, and what the library builds of
		// it, cannot be wiped.
		err := cn.do(ctx, c.cfg.BindTimeout, func() error { return cn.ldap.Bind(c.cfg.BindDN, string(b)) })
		c.logText(err, b)
		return err
	})
}

// inspect reads the rootDSE and refuses a domain controller that must not be
// used.
func (c *Client) inspect(ctx context.Context, cn *conn) error {
	before := time.Now()
	entries, err := c.search(ctx, cn, object("", "currentTime", "defaultNamingContext", "dnsHostName", "supportedControl", "vendorName"))
	if err != nil {
		return fmt.Errorf("reading the rootDSE: %w", err)
	}
	// The domain controller looked at its clock between before and now.
	ours := before.Add(time.Since(before) / 2)
	if len(entries) != 1 {
		return fmt.Errorf("reading the rootDSE: there are %d", len(entries))
	}
	root := entries[0]
	cn.samba = strings.Contains(root.GetEqualFoldAttributeValue("vendorName"), "Samba")
	cn.dc = root.GetEqualFoldAttributeValue("dnsHostName")
	cn.base = root.GetEqualFoldAttributeValue("defaultNamingContext")
	if cn.dc == "" || cn.base == "" {
		return errors.New("reading the rootDSE: dnsHostName or defaultNamingContext is missing: not a domain controller")
	}
	if err := checkClock(root.GetEqualFoldAttributeValue("currentTime"), ours); err != nil {
		return fmt.Errorf("%s: %w", cn.dc, err)
	}
	controls := root.GetEqualFoldAttributeValues("supportedControl")
	cn.hints = ""
	for _, oid := range []string{policyHintsOld, policyHints} { // the last one wins
		if slices.Contains(controls, oid) {
			cn.hints = oid
		}
	}
	if cn.hints == "" && !c.cfg.AllowWithoutHistoryCheck {
		return fmt.Errorf("%s offers neither %s nor %s (policy hints), so that resets would bypass "+
			"password history and minimum age; allow_without_history_check: true permits that", cn.dc, policyHints, policyHintsOld)
	}
	return nil
}

// checkClock compares currentTime (GeneralizedTime, whole seconds) with our
// clock, to about half a second.
func checkClock(currentTime string, ours time.Time) error {
	theirs, err := time.Parse("20060102150405.0Z", currentTime)
	if err != nil {
		return errors.New("reading the clock: currentTime is missing or malformed")
	}
	ahead := theirs.Add(time.Second / 2).Sub(ours).Round(time.Second / 10)
	if ahead.Abs() <= reset.ClockSkew {
		return nil
	}
	way := "ahead of"
	if ahead < 0 {
		way = "behind"
	}
	return fmt.Errorf("the domain controller's clock is %s %s this machine's, at most %s is allowed",
		ahead.Abs(), way, reset.ClockSkew)
}

// seconds rounds up to what LDAP's time limits count in.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
