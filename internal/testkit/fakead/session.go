package fakead

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Controls that are understood. The policy hints are MS-ADTS 3.1.1.3.4.1.27,
// under their present and their first number.
const (
	policyHints    = "1.2.840.113556.1.4.2239"
	policyHintsOld = "1.2.840.113556.1.4.2066"
	domainScope    = "1.2.840.113556.1.4.1339" // no referrals
)

func (s *Server) supportedControls() []string {
	if s.noHints {
		return []string{domainScope, sdFlags}
	}
	return []string{policyHints, policyHintsOld, domainScope, sdFlags}
}

// startTLS is the only extended request that is understood.
const startTLS = "1.3.6.1.4.1.1466.20037"

// A session is one connection. It answers one request after the other.
type session struct {
	s    *Server
	raw  net.Conn // TCP
	conn net.Conn // TLS on raw, or raw
	r    *bufio.Reader
	who  *entry // nil while nobody is bound

	token    []string // the SIDs of who, as of the bind
	secure   bool     // conn is TLS
	starting bool     // TLS comes after the answer
}

func newSession(s *Server, raw net.Conn, secure bool) *session {
	c := &session{s: s, raw: raw, conn: raw, r: bufio.NewReader(raw)}
	if secure {
		c.startTLS()
	}
	return c
}

// startTLS goes on in TLS, whose handshake is done by the first read. What the
// client sent too early is not part of it, and is lost.
func (c *session) startTLS() {
	c.conn, c.secure, c.starting = tls.Server(c.raw, c.s.tls.Load()), true, false
	c.r = bufio.NewReader(c.conn)
}

// errOver ends a session that did nothing wrong.
var errOver = errors.New("session is over")

// serve runs until the client leaves, says something that is not LDAP, or the
// server stops. The caller closes the TCP connection.
func (c *session) serve() {
	if err := c.connect(); err != nil {
		return
	}
	for {
		m, err := readMessage(c.r)
		if err != nil {
			return
		}
		if err := c.handle(m); err != nil {
			return
		}
		if c.starting {
			c.startTLS()
		}
	}
}

// connect is the fault's place before TLS, whose handshake is done by the
// first read.
func (c *session) connect() error {
	i := c.s.meet(Connect)
	if i == nil {
		return nil
	}
	if err := c.hold(i); err != nil {
		return err
	}
	if i.fault.Reply == Answer {
		close(i.done)
		return nil
	}
	return c.misbehave(i, c.raw)
}

func (c *session) handle(m *message) error {
	switch m.op.Tag {
	case ldap.ApplicationUnbindRequest:
		return errOver
	case ldap.ApplicationAbandonRequest: // everything before it is answered
		return nil
	case ldap.ApplicationBindRequest:
		req, err := parseBind(m.op)
		if err != nil {
			return err
		}
		return c.perform(Bind, m, func() []byte { return c.bind(req).encode(m) })
	case ldap.ApplicationSearchRequest:
		req, err := parseSearch(m.op)
		if err != nil {
			return err
		}
		return c.perform(Search, m, func() []byte { return c.search(m, req) })
	case ldap.ApplicationModifyRequest:
		req, err := parseModify(m)
		if err != nil {
			return err
		}
		c.s.noteModify(req)
		return c.perform(Modify, m, func() []byte { return c.modify(req).encode(m) })
	case ldap.ApplicationExtendedRequest:
		if oid, _ := octets(child(m.op, 0)); oid == startTLS {
			return c.perform(StartTLS, m, func() []byte { return c.agree().encode(m) })
		}
		_, err := c.conn.Write(svcErr(unwilling).encode(m))
		return err
	case ldap.ApplicationAddRequest, ldap.ApplicationDelRequest, ldap.ApplicationModifyDNRequest,
		ldap.ApplicationCompareRequest:
		_, err := c.conn.Write(svcErr(unwilling).encode(m))
		return err
	}
	return errMalformed
}

// agree answers StartTLS (RFC 4511 4.14). Whoever was bound is not any more.
func (c *session) agree() result {
	if c.secure {
		return secureAlready()
	}
	c.starting, c.who, c.token = true, nil, nil
	return result{}
}

// perform carries out a request and answers it, unless a fault says otherwise.
func (c *session) perform(op Op, m *message, work func() []byte) error {
	if i := c.s.meet(op); i != nil {
		return c.suffer(i, m, work)
	}
	_, err := c.conn.Write(work())
	return err
}

func (c *session) suffer(i *Injection, m *message, work func() []byte) error {
	if err := c.hold(i); err != nil {
		return err
	}
	answer := result{code: i.fault.Code, text: i.fault.Text, referral: i.fault.Referral}.encode(m)
	if !i.fault.Skip {
		answer = work()
	}
	if i.fault.Reply != Answer {
		return c.misbehave(i, c.conn)
	}
	defer close(i.done)
	_, err := c.conn.Write(answer)
	return err
}

func (c *session) hold(i *Injection) error {
	if !i.fault.Hold {
		return nil
	}
	select {
	case <-i.released:
		return nil
	case <-c.s.stopping:
		return errOver
	}
}

// misbehave treats the client on conn as the fault says.
func (c *session) misbehave(i *Injection, conn net.Conn) error {
	switch i.fault.Reply {
	case Cut:
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			tcp.SetLinger(0) // closing then sends a reset
		}
		c.raw.Close()
		close(i.done)
	case Garbage:
		// No BER length begins with 0xFF, so no client waits for the rest.
		conn.Write([]byte("\x30\xff garbage"))
		close(i.done)
		io.Copy(io.Discard, conn)
	case Silence:
		close(i.done)
		io.Copy(io.Discard, conn) // until the client leaves
	}
	return errOver
}

// delay waits for the latency of the directory. It is false if the server
// stopped meanwhile.
func (s *Server) delay() bool {
	if s.latency <= 0 {
		return true
	}
	timer := time.NewTimer(s.latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stopping:
		return false
	}
}

// criticalUnknown says whether a request must be refused for one of its
// controls.
func (s *Server) criticalUnknown(controls []Control) bool {
	return slices.ContainsFunc(controls, func(c Control) bool {
		return c.critical() && !slices.Contains(s.supportedControls(), c.OID)
	})
}
