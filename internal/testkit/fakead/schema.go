package fakead

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A syntax says how values of an attribute are compared.
type syntax int

const (
	asText   syntax = iota // folded
	asOctets               // byte by byte
	asNumber               // 64 bits, in decimal
	asDN                   // folded, and however it is spaced and escaped
	asSID                  // byte by byte; a filter may have the text form
)

// An attribute is what the schema knows of one. Those that are computed follow
// from the state of the object; those that are fixed nobody writes over LDAP.
type attribute struct {
	name     string
	syntax   syntax
	computed bool
	fixed    bool

	// Those that are constructed come only if a search asks for them by name.
	constructed bool
}

// A schema has the attributes by their names in lower case. Writing needs more
// than it says: see [state.write].
type schema map[string]attribute

func newSchema() schema {
	s := make(schema)
	for _, a := range []attribute{
		{name: "accountExpires", syntax: asNumber, computed: true},
		{name: "adminCount", syntax: asNumber},
		{name: "badPasswordTime", syntax: asNumber, computed: true, fixed: true},
		{name: "badPwdCount", syntax: asNumber, computed: true, fixed: true},
		{name: "cn", fixed: true},
		{name: "description"},
		{name: "dNSHostName"},
		{name: "displayName"},
		{name: "distinguishedName", syntax: asDN, computed: true, fixed: true},
		{name: "fSMORoleOwner", syntax: asDN, fixed: true},
		{name: "groupType", syntax: asNumber, fixed: true},
		{name: "isCriticalSystemObject"},
		{name: "lockoutDuration", syntax: asNumber, computed: true, fixed: true},
		{name: "lockOutObservationWindow", syntax: asNumber, computed: true, fixed: true},
		{name: "lockoutThreshold", syntax: asNumber, computed: true, fixed: true},
		{name: "lockoutTime", syntax: asNumber, computed: true},
		{name: "maxPwdAge", syntax: asNumber, computed: true, fixed: true},
		{name: "member", syntax: asDN, computed: true, fixed: true},
		{name: "memberOf", syntax: asDN, fixed: true},
		{name: "minPwdAge", syntax: asNumber, computed: true, fixed: true},
		{name: "minPwdLength", syntax: asNumber, computed: true, fixed: true},
		{name: "mS-DS-ConsistencyGuid", syntax: asOctets},
		{name: "msDS-isRODC", fixed: true, constructed: true},
		{name: "msDS-LockoutDuration", syntax: asNumber, fixed: true},
		{name: "msDS-LockoutObservationWindow", syntax: asNumber, fixed: true},
		{name: "msDS-LockoutThreshold", syntax: asNumber, fixed: true},
		{name: "msDS-MaximumPasswordAge", syntax: asNumber, fixed: true},
		{name: "msDS-MinimumPasswordAge", syntax: asNumber, fixed: true},
		{name: "msDS-MinimumPasswordLength", syntax: asNumber, fixed: true},
		{name: "msDS-PasswordComplexityEnabled", fixed: true},
		{name: "msDS-PasswordHistoryLength", syntax: asNumber, fixed: true},
		{name: "msDS-PasswordReversibleEncryptionEnabled", fixed: true},
		{name: "msDS-PasswordSettingsPrecedence", syntax: asNumber, fixed: true},
		{name: "msDS-PSOAppliesTo", syntax: asDN, fixed: true},
		{name: "msDS-ResultantPSO", syntax: asDN, computed: true, fixed: true, constructed: true},
		{name: "msDS-User-Account-Control-Computed", syntax: asNumber, computed: true, fixed: true, constructed: true},
		{name: "msDS-UserPasswordExpiryTimeComputed", syntax: asNumber, computed: true, fixed: true, constructed: true},
		{name: "nTSecurityDescriptor", syntax: asOctets, computed: true, fixed: true, constructed: true},
		{name: "objectClass", fixed: true},
		{name: "objectGUID", syntax: asOctets, fixed: true},
		{name: "objectSid", syntax: asSID, fixed: true},
		{name: "primaryGroupID", syntax: asNumber},
		{name: "pwdHistoryLength", syntax: asNumber, computed: true, fixed: true},
		{name: "pwdLastSet", syntax: asNumber, computed: true},
		{name: "pwdProperties", syntax: asNumber, computed: true, fixed: true},
		{name: "sAMAccountName", fixed: true},
		{name: "sAMAccountType", syntax: asNumber, fixed: true},
		{name: "serverReference", syntax: asDN, fixed: true},
		{name: "servicePrincipalName"},
		{name: "tokenGroups", syntax: asSID, computed: true, fixed: true, constructed: true},
		{name: "unicodePwd", syntax: asOctets, computed: true}, // and never read
		{name: "userAccountControl", syntax: asNumber, computed: true},
		{name: "userPrincipalName"},
		{name: "uSNChanged", syntax: asNumber, computed: true, fixed: true},
	} {
		s[strings.ToLower(a.name)] = a
	}
	return s
}

// values returns what the object has of an attribute, named as in the schema.
func (d *domain) values(e *entry, attr string) []string {
	switch attr {
	case "distinguishedName":
		return []string{e.dn}
	case "uSNChanged":
		return number64(e.usn)
	case "member":
		return dnsOf(e.members)
	case "memberOf": // also what a test set without there being a group
		return slices.Concat(e.attrs[attr], dnsOf(e.groups))
	case inChain + "member":
		return dnsOf(reach(e, membersOf))
	case inChain + "memberOf":
		return slices.Concat(e.attrs["memberOf"], dnsOf(reach(e, groupsOf)))
	}
	if e.account != nil {
		if v := d.accountValues(e, attr); v != nil {
			return v
		}
	}
	if e.dn == baseDN {
		if v := d.policy.values(attr); v != nil {
			return v
		}
	}
	return e.attrs[attr]
}

func (d *domain) accountValues(e *entry, attr string) []string {
	s := &e.account.state
	switch attr {
	case "msDS-ResultantPSO":
		if p := d.resultantPSO(e); p != nil {
			return []string{p.dn}
		}
	case "msDS-UserPasswordExpiryTimeComputed":
		return number64(s.expiry(d.policyOf(e)))
	case "accountExpires":
		return number64(s.accountExpires)
	case "badPwdCount":
		return number64(s.badPwdCount)
	case "badPasswordTime":
		return number64(s.badPasswordAt)
	case "lockoutTime":
		return number64(s.lockoutTime)
	case "pwdLastSet":
		return number64(s.pwdLastSet)
	case "userAccountControl":
		return number64(s.flags)
	case "msDS-User-Account-Control-Computed": // MS-ADTS 3.1.1.4.5.17
		var bits int64
		policy, now := d.policyOf(e), d.now()
		if s.locked(policy, now) {
			bits |= flagLockout
		}
		if s.expired(policy, now) {
			bits |= flagPasswordExpired
		}
		return number64(bits)
	}
	return nil
}

// values returns the attributes of the domain object that hold its policy
// (MS-ADTS 6.1.1.4): lengths of time are negative.
func (p Policy) values(attr string) []string {
	length := func(d time.Duration, zero int64) []string {
		if d == 0 {
			return number64(zero)
		}
		return number64(-int64(d / 100))
	}
	switch attr {
	case "minPwdLength":
		return number64(int64(p.MinLength))
	case "pwdProperties":
		if p.Complexity {
			return number64(1) // DOMAIN_PASSWORD_COMPLEX
		}
		return number64(0)
	case "pwdHistoryLength":
		return number64(int64(p.History))
	case "minPwdAge":
		return length(p.MinAge, 0)
	case "maxPwdAge":
		return length(p.MaxAge, neverLength)
	case "lockoutThreshold":
		return number64(int64(p.LockoutThreshold))
	case "lockoutDuration":
		return length(p.LockoutDuration, neverLength)
	case "lockOutObservationWindow":
		return length(p.LockoutDuration, 0)
	}
	return nil
}

func number64(n int64) []string { return []string{strconv.FormatInt(n, 10)} }
