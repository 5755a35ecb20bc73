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

	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A conn is one bound connection to a domain controller. It does one thing at
// a time.
type conn struct {
	from   *controller
	wire   *wire
	ldap   *ldap.Conn
	broken bool  // something went wrong that may concern what follows
	fault  error // what the domain controller did to break it, if it did
	used   time.Time

	// What the rootDSE said.
	dc       string // dnsHostName
	base     string // defaultNamingContext
	settings string // dsServiceName: the object that has the roles
	hints    string // OID of the policy-hints control; empty if there is none
	samba    bool   // vendorName; Windows has none

	token [][]byte // SIDs with which it acts
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
func (c *conn) do(caller context.Context, timeout time.Duration, call func() error) error {
	ctx, cancel := context.WithTimeoutCause(caller, timeout, fmt.Errorf("no answer in %s", timeout))
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.wire.left.Store(maxAnswer)
	began := time.Now()
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
		err = context.Cause(ctx)
	}
	// A caller who goes away, or who had little time left, blames nobody.
	hurried := time.Since(began) < attemptLimit
	if e := caller.Err(); e == nil || errors.Is(e, context.DeadlineExceeded) && !hurried {
		c.fault = err
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

// open connects to a domain controller and verifies its certificate; nothing is
// said before that.
func (c *Client) open(ctx context.Context, d *controller) (_ *conn, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, fmt.Errorf("no connection in %s", c.cfg.DialTimeout))
	defer cancel()
	doing := "connecting"
	defer func() {
		switch {
		case err != nil && ctx.Err() != nil:
			err = fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		case err != nil:
			err = fmt.Errorf("%s: %w", doing, err)
		}
	}()
	w, err := dial(ctx, c.cfg.Resolver, d.addr.hostport)
	if err != nil {
		return nil, err
	}
	doing = "starting TLS"
	config := c.tls.Clone()
	config.ServerName = d.addr.host
	config.VerifyConnection = func(s tls.ConnectionState) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		d.ends = obs.ChainEnd(s.PeerCertificates)
		return nil
	}
	if c.cfg.StartTLS {
		cn := &conn{from: d, wire: w, ldap: ldap.NewConn(w, false)}
		cn.ldap.Start()
		if err := cn.do(ctx, c.cfg.DialTimeout, func() error { return cn.ldap.StartTLS(config) }); err != nil {
			cn.close()
			return nil, err
		}
		return cn, nil
	}
	t := tls.Client(w, config)
	if err := t.HandshakeContext(ctx); err != nil {
		w.Close()
		return nil, err
	}
	cn := &conn{from: d, wire: w, ldap: ldap.NewConn(t, true)}
	cn.ldap.Start()
	return cn, nil
}

// bind proves the service account.
func (c *Client) bind(ctx context.Context, cn *conn, password secret.Value) error {
	return password.Reveal(func(b []byte) error {
		// The library wants a string. It, and what the library builds of
		// it, cannot be wiped.
		err := cn.do(ctx, c.cfg.BindTimeout, func() error { return cn.ldap.Bind(c.cfg.BindDN, string(b)) })
		cn.logText(err, b)
		return err
	})
}

// partialSecrets is the capability of a domain controller that holds no
// secrets and takes no writes (MS-ADTS 3.1.1.3.4.3).
const partialSecrets = "1.2.840.113556.1.4.1920"

// inspect reads the rootDSE and refuses a domain controller that must not be
// used.
func (c *Client) inspect(ctx context.Context, cn *conn) error {
	before := time.Now()
	entries, err := c.search(ctx, cn, object("", "currentTime", "defaultNamingContext", "dnsHostName",
		"dsServiceName", "supportedCapabilities", "supportedControl", "vendorName"))
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
	name, base := root.GetEqualFoldAttributeValue("dnsHostName"), root.GetEqualFoldAttributeValue("defaultNamingContext")
	switch {
	case name == "" || base == "":
		return errors.New("reading the rootDSE: dnsHostName or defaultNamingContext is missing: not a domain controller")
	case !isDomain(name):
		// Errors and announcements have this name, and must not have what else it may be.
		return errors.New("reading the rootDSE: dnsHostName is not the name of a host in a domain")
	}
	cn.dc, cn.base = name, base
	cn.settings = root.GetEqualFoldAttributeValue("dsServiceName")
	readOnly := slices.Contains(root.GetEqualFoldAttributeValues("supportedCapabilities"), partialSecrets)
	c.note(cn, readOnly)
	if readOnly {
		return fmt.Errorf("%s is a read-only domain controller", cn.dc)
	}
	clock := root.GetEqualFoldAttributeValue("currentTime")
	if ahead, err := clockAhead(clock, ours); err == nil {
		c.noteClock(ahead)
	}
	if err := checkClock(clock, ours); err != nil {
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

// checkClock returns an error if a domain controller's clock differs too much
// from ours.
func checkClock(currentTime string, ours time.Time) error {
	ahead, err := clockAhead(currentTime, ours)
	if err != nil || ahead.Abs() <= reset.ClockSkew {
		return err
	}
	return fmt.Errorf("the domain controller's clock is %s this machine's, at most %s is allowed",
		aheadOf(ahead), reset.ClockSkew)
}

// clockAhead compares currentTime (GeneralizedTime, whole seconds) with our
// clock, to about half a second.
func clockAhead(currentTime string, ours time.Time) (time.Duration, error) {
	theirs, err := time.Parse("20060102150405.0Z", currentTime)
	if err != nil {
		return 0, errors.New("reading the clock: currentTime is missing or malformed")
	}
	return theirs.Add(time.Second / 2).Sub(ours).Round(time.Second / 10), nil
}

func aheadOf(d time.Duration) string {
	if d < 0 {
		return d.Abs().String() + " behind"
	}
	return d.String() + " ahead of"
}

// logText logs what the domain controller said beside its codes, unless it
// repeats one of the values that it was sent. No error has that text.
func (c *conn) logText(err error, sent ...[]byte) {
	if e, ok := errors.AsType[*answer](err); ok {
		c.from.log.Debug().Str(obs.Result, e.code()).Str(obs.Text, printable(e.text, sent...)).Msg("directory refused")
	}
}

// seconds rounds up to what LDAP's time limits count in.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
