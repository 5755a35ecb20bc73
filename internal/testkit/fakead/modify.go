package fakead

import (
	"crypto/rand"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

type change struct {
	op     int64
	attr   string // in lower case
	values []string
}

type modifyRequest struct {
	dn       string
	changes  []change
	controls []Control
}

func parseModify(m *message) (modifyRequest, error) {
	dn, ok := octets(child(m.op, 0))
	list := child(m.op, 1)
	if !ok || list == nil {
		return modifyRequest{}, errMalformed
	}
	req := modifyRequest{dn: dn, controls: m.controls}
	for _, p := range list.Children {
		op, ok := integer(child(p, 0))
		attr, okAttr := octets(child(child(p, 1), 0))
		set := child(child(p, 1), 1)
		if !ok || !okAttr || set == nil {
			return modifyRequest{}, errMalformed
		}
		c := change{op: op, attr: strings.ToLower(attr)}
		for _, v := range set.Children {
			value, ok := octets(v)
			if !ok {
				return modifyRequest{}, errMalformed
			}
			c.values = append(c.values, value)
		}
		req.changes = append(req.changes, c)
	}
	return req, nil
}

// only returns the value of a replace by one value.
func (c change) only() (string, bool) {
	if c.op != ldap.ReplaceAttribute || len(c.values) != 1 {
		return "", false
	}
	return c.values[0], true
}

// modify carries out a modify as a whole or not at all.
func (c *session) modify(req modifyRequest) (res result) {
	if !c.s.delay() {
		return result{code: ldap.LDAPResultUnavailable}
	}
	hints, ok := c.s.enforcesHints(req.controls)
	switch {
	case c.who == nil:
		return notBound()
	case c.s.criticalUnknown(req.controls):
		return unknownCritical()
	case !ok:
		return badControl()
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	defer func() { c.s.keep(req, res) }()
	d := c.s.domain
	e, refused := d.find(req.dn)
	if refused != nil {
		return *refused
	}
	if c.s.readOnly {
		return elsewhere(d.pdc.host(), e.dn)
	}
	if refused := d.forbids(c.token, e, req.changes); refused != nil {
		return *refused
	}
	if e.account == nil {
		return svcErr(unwilling) // only accounts can be modified here
	}
	if refused := d.apply(c.token, e, req.changes, hints); refused != nil {
		return *refused
	}
	e.account.counts.Applied++
	return result{}
}

// enforcesHints says whether a policy-hints control asks for a reset to be
// judged like a change: if its value is 1 (MS-ADTS 3.1.1.3.4.1.27). It works
// whether it is critical or not. It is false, false for a value that cannot be
// read.
func (s *Server) enforcesHints(controls []Control) (enforces, ok bool) {
	for _, c := range controls {
		if s.noHints || c.OID != policyHints && c.OID != policyHintsOld {
			continue
		}
		p, err := ber.DecodePacketErr(c.Value)
		if err != nil {
			return false, false
		}
		flags, ok := integer(child(p, 0))
		if !ok {
			return false, false
		}
		enforces = enforces || flags == 1
	}
	return enforces, true
}

// forbids returns the refusal if a caller must not make one of the changes.
func (d *domain) forbids(token []string, e *entry, changes []change) *result {
	for _, c := range changes {
		var res result
		switch {
		case c.attr != "unicodepwd":
			if d.allows(token, e, writeProperty, d.schema.objects(c.attr)...) {
				continue
			}
			res = noWriteRight()
		case c.op == ldap.ReplaceAttribute:
			if d.may(token, e, ResetPassword) {
				continue
			}
			res = noResetRight()
		default: // a change, or half of one, which is refused later
			if d.may(token, e, ChangePassword) {
				continue
			}
			res = atrErr(accessDenied)
		}
		return &res
	}
	return nil
}

// objects returns the GUIDs under which rights can speak of an attribute: its
// own, and that of the set it belongs to. There are none here for attributes
// that nobody is delegated.
func (sc schema) objects(attr string) []string {
	switch attr {
	case "lockouttime":
		return []string{WriteLockoutTime.object()}
	case "pwdlastset":
		return []string{WritePwdLastSet.object(), guid(accountRestrictions)}
	}
	return nil
}

// apply makes the changes in a copy, which replaces the original if none is
// refused. The password comes first, wherever it stands, or it would undo
// pwdLastSet. uSNChanged moves only if something did.
func (d *domain) apply(token []string, e *entry, changes []change, hints bool) *result {
	now := d.now()
	next, attrs := e.account.state, maps.Clone(e.attrs)
	var passwords, others []change
	for _, c := range changes {
		if c.attr == "unicodepwd" {
			passwords = append(passwords, c)
		} else {
			others = append(others, c)
		}
	}
	if len(passwords) > 0 {
		if refused := d.writePassword(e, &next, passwords, hints, now); refused != nil {
			return refused
		}
		// Without this right on the domain the new password is expired at once
		// (MS-SAMR 3.1.1.8.7).
		if !d.may(token, d.root, UnexpirePassword) {
			next.pwdLastSet = 0
		}
	}
	for _, c := range others {
		a, ok := d.schema[c.attr]
		if !ok {
			res := noSuchAttribute()
			return &res
		}
		if refused := next.write(a, c, attrs, now); refused != nil {
			return refused
		}
	}
	moved := next.differs(e.account.state) || !maps.EqualFunc(attrs, e.attrs, slices.Equal)
	e.account.state, e.attrs = next, attrs
	if moved {
		d.changed(e)
	}
	if len(passwords) > 0 {
		e.account.counts.Passwords++
	}
	return nil
}

// writePassword carries out the changes of unicodePwd (MS-ADTS 3.1.1.3.1.5):
// one replace is a reset, a delete and an add are a change. A wrong old
// password counts in the present state, as in a bind.
func (d *domain) writePassword(e *entry, next *state, changes []change, hints bool, now time.Time) *result {
	refuse := func(r result) *result { return &r }
	present, policy := &e.account.state, d.policyOf(e)
	for _, c := range changes {
		if len(c.values) != 1 {
			return refuse(svcErr(illegalModify))
		}
		if _, ok := unquote(c.values[0]); !ok {
			return refuse(svcErr(generalFailure))
		}
	}
	first, _ := unquote(changes[0].values[0])
	switch {
	case len(changes) == 1 && changes[0].op == ldap.ReplaceAttribute:
		if !d.allowsText(e, policy, first, true) || hints && !policy.allowsNext(next, first, now) {
			return refuse(svcErr(passwordRestriction))
		}
		if d.isKrbtgt(e) { // its password is nobody's to choose (MS-SAMR 3.1.1.7.2)
			first = encodeUTF16(rand.Text())
		}
		next.setPassword(first, now)
		return nil
	case len(changes) == 2 && changes[0].op == ldap.DeleteAttribute && changes[1].op == ldap.AddAttribute:
		second, _ := unquote(changes[1].values[0])
		switch {
		case d.isKrbtgt(e):
			return refuse(svcErr(unwilling)) // the wording of Windows is not known
		case present.locked(policy, now):
			return refuse(atrErr(changeWhileLocked))
		case !present.has(first):
			before := present.lockoutTime
			if present.miss(policy, now); present.lockoutTime != before {
				d.changed(e)
			}
			return refuse(atrErr(invalidPassword))
		case !d.allowsText(e, policy, second, false) || !policy.allowsNext(next, second, now):
			return refuse(atrErr(passwordRestriction))
		}
		next.setPassword(second, now)
		return nil
	}
	return refuse(svcErr(illegalModify))
}

// write carries out a change of any other attribute. All it knows is to
// replace.
func (s *state) write(a attribute, c change, attrs map[string][]string, now time.Time) *result {
	refuse := func(r result) *result { return &r }
	if a.fixed {
		return refuse(svcErr(ownedBySAM))
	}
	if c.op != ldap.ReplaceAttribute {
		return refuse(svcErr(unwilling))
	}
	if !a.computed {
		if len(c.values) == 0 {
			delete(attrs, a.name)
		} else {
			attrs[a.name] = c.values
		}
		return nil
	}
	v, ok := c.only()
	n, err := strconv.ParseInt(v, 10, 64)
	if !ok || err != nil {
		return refuse(invalidArgument())
	}
	switch {
	case a.name == "lockoutTime" && n == 0:
		s.lockoutTime, s.badPwdCount = 0, 0
	case a.name == "pwdLastSet" && n == 0:
		s.pwdLastSet = 0
	case a.name == "pwdLastSet" && n == -1: // only ends "must change"
		if s.pwdLastSet == 0 {
			s.pwdLastSet = filetime(now)
		}
	case a.name == "userAccountControl":
		s.flags = n
	case a.name == "accountExpires":
		s.accountExpires = n
	default:
		return refuse(invalidArgument())
	}
	return nil
}

// differs compares what a modify can change.
func (s state) differs(o state) bool {
	return s.sets != o.sets || s.pwdLastSet != o.pwdLastSet || s.lockoutTime != o.lockoutTime || s.badPwdCount != o.badPwdCount ||
		s.flags != o.flags || s.accountExpires != o.accountExpires
}
