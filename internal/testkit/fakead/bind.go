package fakead

import (
	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

type bindRequest struct {
	version        int64
	name, password string
	simple         bool
}

func parseBind(op *ber.Packet) (bindRequest, error) {
	version, ok := integer(child(op, 0))
	name, okName := octets(child(op, 1))
	auth := child(op, 2)
	if !ok || !okName || auth == nil || auth.ClassType != ber.ClassContext {
		return bindRequest{}, errMalformed
	}
	req := bindRequest{version: version, name: name}
	req.password, req.simple = octets(auth)
	req.simple = req.simple && auth.Tag == 0
	return req, nil
}

// bind answers a bind. Whatever it was before, the connection is nobody's
// after one that is refused (RFC 4511 4.2.1).
func (c *session) bind(req bindRequest) result {
	c.who, c.token = nil, nil
	switch {
	case req.version != 3:
		return protocolError()
	case !c.secure && req.password != "":
		return needsTLS()
	case !req.simple:
		return ldapErr(ldap.LDAPResultAuthMethodNotSupported, 0x2027, "0C0906B5",
			"Invalid Authentication method", 0)
	case req.password == "":
		// An anonymous bind even with a name, as Windows has it: the trap that
		// RFC 4513 5.1.2 warns of.
		return result{}
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	e := c.s.domain.signingIn(req.name)
	if e == nil {
		return bindRefused(badPassword)
	}
	reason := c.s.domain.signIn(e, encodeUTF16(req.password))
	if reason != 0 {
		e.account.counts.BadBinds++
		return bindRefused(reason)
	}
	e.account.counts.Binds++
	c.who, c.token = e, c.s.domain.token(e)
	return result{}
}

// signingIn returns the user that a bind names: by DN, by userPrincipalName,
// or as CORP\name. MS-ADTS 5.1.1.1.1 has more forms.
func (d *domain) signingIn(name string) *entry {
	byDN, _ := d.find(name)
	var named *entry
	if sam, ok := cutAround(name, netBIOS+`\`, ""); ok {
		named = d.named(sam)
	}
	for _, e := range d.entries {
		switch {
		case e.account == nil:
		case e == byDN, e == named:
			return e
		default:
			for _, upn := range e.attrs["userPrincipalName"] {
				if fold(upn) == fold(name) {
					return e
				}
			}
		}
	}
	return nil
}

// signIn returns why the account cannot sign in with password, or 0. A wrong
// password hides all reasons but lockout, which hides the wrong password.
func (d *domain) signIn(e *entry, password string) int {
	a, policy, now := e.account, d.policyOf(e), d.now()
	before := a.lockoutTime
	defer func() {
		if a.lockoutTime != before {
			d.changed(e)
		}
	}()
	switch {
	case a.locked(policy, now):
		return lockedOut
	case !a.has(password):
		a.miss(policy, now)
		return badPassword
	case a.flags&flagDisabled != 0:
		return accountDisabled
	case a.accountExpires != 0 && a.accountExpires <= filetime(now):
		return accountExpired
	case a.flags&flagSmartcard != 0:
		return accountRestricted
	case a.expired(policy, now) && a.pwdLastSet == 0:
		return mustChange
	case a.expired(policy, now):
		return passwordExpired
	}
	a.badPwdCount = 0
	a.lockoutTime = 0 // of a lockout that has ended
	return 0
}

// Check says whether password is the account's, without counting as a bind and
// whatever state the account is in.
func (s *Server) Check(name, password string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.domain.account(name)
	return a != nil && a.has(encodeUTF16(password))
}
