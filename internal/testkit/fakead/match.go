package fakead

import (
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// A verdict is true, false or undefined (RFC 4511 4.5.1.7), in an order in
// which "and" is the least and "or" the greatest.
type verdict int

const (
	no verdict = iota
	undefined
	yes
)

// A matcher decides about an object whose values it can ask for.
type matcher func(values func(attr string) []string) verdict

// Matching rules for bits, and for what follows from a chain of memberships
// (MS-ADTS 3.1.1.3.4.4).
const (
	bitAnd  = "1.2.840.113556.1.4.803"
	bitOr   = "1.2.840.113556.1.4.804"
	inChain = "1.2.840.113556.1.4.1941"
)

// matcher reads a filter. It works on the BER form, so that a value is what
// was sent, whatever bytes it has. Attributes and matching rules that are not
// known make undefined, as does an approximate match.
func (sc schema) matcher(p *ber.Packet) (matcher, error) {
	if p == nil || p.ClassType != ber.ClassContext {
		return nil, errMalformed
	}
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr:
		return sc.set(p)
	case ldap.FilterNot:
		inner, err := sc.matcher(child(p, 0))
		if err != nil {
			return nil, err
		}
		return func(v func(string) []string) verdict { return yes - inner(v) }, nil
	case ldap.FilterPresent:
		name, ok := octets(p)
		if !ok {
			return nil, errMalformed
		}
		return sc.test(name, func(attribute) func(string) bool {
			return func(string) bool { return true }
		}), nil
	case ldap.FilterSubstrings:
		return sc.substrings(p)
	case ldap.FilterExtensibleMatch:
		return sc.extensible(p)
	case ldap.FilterEqualityMatch, ldap.FilterGreaterOrEqual, ldap.FilterLessOrEqual, ldap.FilterApproxMatch:
		name, ok := octets(child(p, 0))
		value, okValue := octets(child(p, 1))
		if !ok || !okValue {
			return nil, errMalformed
		}
		return sc.test(name, func(a attribute) func(string) bool { return a.comparison(p.Tag, value) }), nil
	}
	return nil, errMalformed
}

func (sc schema) set(p *ber.Packet) (matcher, error) {
	var parts []matcher
	for _, c := range p.Children {
		m, err := sc.matcher(c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, m)
	}
	all := p.Tag == ldap.FilterAnd
	return func(v func(string) []string) verdict {
		if all {
			sum := yes
			for _, m := range parts {
				sum = min(sum, m(v))
			}
			return sum
		}
		sum := no
		for _, m := range parts {
			sum = max(sum, m(v))
		}
		return sum
	}, nil
}

// test makes a matcher of a comparison that one value must meet. The
// comparison is made once a filter; a nil one is undefined.
func (sc schema) test(name string, with func(attribute) func(value string) bool) matcher {
	a, ok := sc[strings.ToLower(name)]
	var meets func(string) bool
	if ok {
		meets = with(a)
	}
	return func(values func(string) []string) verdict {
		if meets == nil {
			return undefined
		}
		for _, v := range values(a.name) {
			if meets(v) {
				return yes
			}
		}
		return no
	}
}

// comparison returns the test of one kind against an assertion, nil if the
// attribute's syntax has none.
func (a attribute) comparison(kind ber.Tag, assertion string) func(string) bool {
	if a.syntax == asNumber && kind != ldap.FilterApproxMatch {
		want, err := strconv.ParseInt(assertion, 10, 64)
		if err != nil {
			return nil
		}
		return func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && (kind == ldap.FilterEqualityMatch && n == want ||
				kind == ldap.FilterGreaterOrEqual && n >= want || kind == ldap.FilterLessOrEqual && n <= want)
		}
	}
	want, ok := a.normal(assertion)
	if !ok {
		return nil
	}
	compare := func(v string) int {
		n, _ := a.normal(v)
		return strings.Compare(n, want)
	}
	switch kind {
	case ldap.FilterEqualityMatch:
		return func(v string) bool { return compare(v) == 0 }
	case ldap.FilterGreaterOrEqual:
		return func(v string) bool { return compare(v) >= 0 }
	case ldap.FilterLessOrEqual:
		return func(v string) bool { return compare(v) <= 0 }
	}
	return nil
}

// normal returns a form of value that is equal for values that match.
func (a attribute) normal(value string) (string, bool) {
	switch a.syntax {
	case asText:
		return fold(value), true
	case asDN:
		dn, err := ldap.ParseDN(value)
		if err != nil {
			return "", false
		}
		return dnKey(dn), true
	case asSID: // a filter may have the text form, MS-ADTS 3.1.1.3.1.3.1
		if raw := sidBytes(value); raw != nil {
			return string(raw), true
		}
	}
	return value, true
}

func (sc schema) substrings(p *ber.Packet) (matcher, error) {
	attr, ok := octets(child(p, 0))
	list := child(p, 1)
	if !ok || list == nil || len(list.Children) == 0 {
		return nil, errMalformed
	}
	for _, part := range list.Children {
		if _, ok := octets(part); !ok {
			return nil, errMalformed
		}
	}
	return sc.test(attr, func(a attribute) func(string) bool {
		if a.syntax != asText && a.syntax != asOctets {
			return nil
		}
		return func(v string) bool { return a.hasParts(v, list.Children) }
	}), nil
}

func (a attribute) hasParts(value string, parts []*ber.Packet) bool {
	rest, _ := a.normal(value)
	for _, p := range parts {
		part, _ := a.normal(p.Data.String())
		ok := false
		switch p.Tag {
		case ldap.FilterSubstringsInitial:
			rest, ok = strings.CutPrefix(rest, part)
		case ldap.FilterSubstringsFinal:
			rest, ok = strings.CutSuffix(rest, part)
		default:
			_, rest, ok = strings.Cut(rest, part)
		}
		if !ok {
			return false
		}
	}
	return true
}

func (sc schema) extensible(p *ber.Packet) (matcher, error) {
	var rule, attr, value string
	for _, c := range p.Children {
		s, ok := octets(c)
		if !ok {
			return nil, errMalformed
		}
		switch c.Tag {
		case ldap.MatchingRuleAssertionMatchingRule:
			rule = s
		case ldap.MatchingRuleAssertionType:
			attr = s
		case ldap.MatchingRuleAssertionMatchValue:
			value = s
		}
	}
	if a := sc[strings.ToLower(attr)]; rule == inChain && (a.name == "member" || a.name == "memberOf") {
		m := sc.test(attr, func(a attribute) func(string) bool { return a.comparison(ldap.FilterEqualityMatch, value) })
		return func(values func(string) []string) verdict {
			return m(func(attr string) []string { return values(inChain + attr) })
		}, nil
	}
	mask, err := strconv.ParseInt(value, 10, 64)
	return sc.test(attr, func(a attribute) func(string) bool {
		if err != nil || a.syntax != asNumber || rule != bitAnd && rule != bitOr {
			return nil
		}
		return func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && (rule == bitAnd && n&mask == mask || rule == bitOr && n&mask != 0)
		}
	}), nil
}
