package fakead

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// policiesDN holds the fine-grained policies.
const policiesDN = "CN=Password Settings Container," + systemDN

// A PolicySpec is a fine-grained password policy (MS-ADTS 3.1.1.4.5.36).
type PolicySpec struct {
	Name       string // must be new
	Precedence int    // 1 or more, the lowest wins
	Policy     Policy

	// AppliesTo names users and groups by their sAMAccountName. What applies to
	// a user directly wins over everything that applies to groups.
	AppliesTo []string
}

// A pso is what a fine-grained policy is besides its attributes.
type pso struct {
	policy    Policy
	applies   []string // objectGUIDs
	precedent int
}

// NewPolicy adds a fine-grained policy and returns its DN. As on Windows only
// administrators see it, until LetReadPolicies.
func (s *Server) NewPolicy(spec PolicySpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domain
	if spec.Precedence < 1 {
		return "", errors.New("fakead: a fine-grained policy needs a precedence of 1 or more")
	}
	dn, err := d.free(spec.Name, policiesDN)
	if err != nil {
		return "", fmt.Errorf("fakead: %w", err)
	}
	p := &pso{policy: spec.Policy, precedent: spec.Precedence}
	var targets []*entry
	for _, name := range spec.AppliesTo {
		e := d.named(name)
		if e == nil {
			return "", fmt.Errorf("fakead: no account %s", name)
		}
		targets = append(targets, e)
		p.applies = append(p.applies, e.guid)
	}
	attrs := map[string][]string{
		"objectClass": {"top", "msDS-PasswordSettings"}, "cn": {spec.Name},
		"objectGUID":                      {string(randomBytes(16))},
		"msDS-PasswordSettingsPrecedence": number64(int64(spec.Precedence)),
		"msDS-PSOAppliesTo":               dnsOf(targets),
	}
	maps.Copy(attrs, spec.Policy.psoValues())
	e := &entry{dn: dn, guid: attrs["objectGUID"][0], attrs: attrs, pso: p, acl: d.full(d.admins(), sidSystem)}
	d.enter(e)
	d.publish(e)
	return dn, nil
}

// psoValues are the attributes that hold p in a fine-grained policy (MS-ADSC
// msDS-PasswordSettings).
func (p Policy) psoValues() map[string][]string {
	boolean := "FALSE"
	if p.Complexity {
		boolean = "TRUE"
	}
	return map[string][]string{
		"msDS-MinimumPasswordLength":               p.values("minPwdLength"),
		"msDS-PasswordComplexityEnabled":           {boolean},
		"msDS-PasswordHistoryLength":               p.values("pwdHistoryLength"),
		"msDS-MinimumPasswordAge":                  p.values("minPwdAge"),
		"msDS-MaximumPasswordAge":                  p.values("maxPwdAge"),
		"msDS-LockoutThreshold":                    p.values("lockoutThreshold"),
		"msDS-LockoutDuration":                     p.values("lockoutDuration"),
		"msDS-LockoutObservationWindow":            p.values("lockOutObservationWindow"),
		"msDS-PasswordReversibleEncryptionEnabled": {"FALSE"},
	}
}

// LetReadPolicies lets an account or group read the fine-grained policies.
func (s *Server) LetReadPolicies(name string) error {
	return s.edit(policiesDN, name, func(e *entry, sid string) {
		e.acl = append(slices.Clip(e.acl), ace{mask: readAll, flags: containerInherit, sid: sid})
	})
}

// resultantPSO returns the fine-grained policy in force for e, nil if there is
// none (MS-ADTS 3.1.1.4.5.36). Whether groups are global ones is not looked at.
func (d *domain) resultantPSO(e *entry) *entry {
	if len(d.psos) == 0 || e.account == nil || e.account.flags&flagNormal == 0 || d.isKrbtgt(e) {
		return nil
	}
	if p := d.firstPSO(e); p != nil {
		return p
	}
	return d.firstPSO(d.allGroups(e)...)
}

// firstPSO returns the first of the policies that apply to one of targets.
func (d *domain) firstPSO(targets ...*entry) *entry {
	var first *entry
	for _, p := range d.psos {
		applies := slices.ContainsFunc(targets, func(e *entry) bool { return slices.Contains(p.pso.applies, e.guid) })
		if applies && (first == nil || cmp.Or(cmp.Compare(p.pso.precedent, first.pso.precedent),
			cmp.Compare(p.guid, first.guid)) < 0) {
			first = p
		}
	}
	return first
}

// policyOf returns the policy in force for e.
func (d *domain) policyOf(e *entry) Policy {
	if p := d.resultantPSO(e); p != nil {
		return p.pso.policy
	}
	return d.policy
}

func (d *domain) isKrbtgt(e *entry) bool {
	return d.bySID[d.sidOf(ridKrbtgt)] == e
}

// hides says whether e is a fine-grained policy, or their container, that the
// caller must not see. Everything else here may be read by whoever is bound.
func (d *domain) hides(e *entry, token []string) bool {
	return (e == d.policies || e.parent == d.policies) && !d.allows(token, e, readProperty)
}
