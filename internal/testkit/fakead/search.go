package fakead

import (
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

type searchRequest struct {
	base      string
	scope     int64
	sizeLimit int64 // 0 is none
	typesOnly bool
	filter    *ber.Packet
	attrs     []string
}

func parseSearch(op *ber.Packet) (searchRequest, error) {
	base, ok := octets(child(op, 0))
	scope, okScope := integer(child(op, 1))
	limit, okLimit := integer(child(op, 3))
	attrs := child(op, 7)
	if !ok || !okScope || !okLimit || attrs == nil {
		return searchRequest{}, errMalformed
	}
	req := searchRequest{base: base, scope: scope, sizeLimit: limit, filter: child(op, 6)}
	req.typesOnly, _ = child(op, 5).Value.(bool)
	for _, a := range attrs.Children {
		attr, ok := octets(a)
		if !ok {
			return searchRequest{}, errMalformed
		}
		req.attrs = append(req.attrs, attr)
	}
	return req, nil
}

// search returns all messages of the answer.
func (c *session) search(m *message, req searchRequest) []byte {
	if req.base == "" && req.scope == ldap.ScopeBaseObject {
		return append(c.rootDSE(m, req), result{}.encode(m)...)
	}
	parts, given, ok := wantedParts(m.controls)
	switch {
	case c.who == nil:
		return notBound().encode(m)
	case c.s.criticalUnknown(m.controls):
		return unknownCritical().encode(m)
	case !ok:
		return badControl().encode(m)
	case req.scope != ldap.ScopeBaseObject && req.asks("tokenGroups"):
		return notBase().encode(m)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	d := c.s.domain
	matches, err := d.schema.matcher(req.filter)
	if err != nil {
		return protocolError().encode(m)
	}
	base, refused := d.find(req.base)
	if refused != nil {
		return refused.encode(m)
	}
	var out []byte
	var found int64
	for _, e := range d.entries {
		if !base.reaches(e, req.scope) {
			continue
		}
		values := func(attr string) []string {
			switch attr {
			case "nTSecurityDescriptor":
				return d.descriptor(c.token, e, parts)
			case "tokenGroups":
				return d.tokenGroups(e)
			}
			return d.values(e, attr)
		}
		if matches(values) != yes || d.hides(e, c.token) {
			continue
		}
		if found++; req.sizeLimit > 0 && found > req.sizeLimit {
			return append(out, result{code: ldap.LDAPResultSizeLimitExceeded}.encode(m)...)
		}
		out = append(out, req.entry(m, e.dn, d.selected(req, given), values)...)
	}
	if base.dn == baseDN && req.scope == ldap.ScopeWholeSubtree && !slices.ContainsFunc(m.controls,
		func(c Control) bool { return c.OID == domainScope }) {
		out = append(out, references(m)...)
	}
	return append(out, result{}.encode(m)...)
}

// reaches says whether e is in the scope of a search from base.
func (base *entry) reaches(e *entry, scope int64) bool {
	switch scope {
	case ldap.ScopeBaseObject:
		return e == base
	case ldap.ScopeSingleLevel:
		return e.parent == base
	case ldap.ScopeWholeSubtree:
		return e == base || e.below(base)
	}
	return false
}

// asks says whether a search asks for an attribute by its name.
func (req searchRequest) asks(attr string) bool {
	return slices.ContainsFunc(req.attrs, func(a string) bool { return strings.EqualFold(a, attr) })
}

// selected returns the attributes that a search asks for, spelled as in the
// schema: by default all but those that MS-ADTS calls constructed. The
// descriptor is among them if its control was given.
func (d *domain) selected(req searchRequest, descriptor bool) []string {
	var attrs []string
	if len(req.attrs) == 0 || slices.Contains(req.attrs, "*") {
		for _, a := range d.schema {
			if !a.constructed || descriptor && a.name == "nTSecurityDescriptor" {
				attrs = append(attrs, a.name)
			}
		}
		slices.Sort(attrs)
	}
	for _, name := range req.attrs {
		if a, ok := d.schema[strings.ToLower(name)]; ok && !slices.Contains(attrs, a.name) {
			attrs = append(attrs, a.name)
		}
	}
	return attrs
}

// entry returns a SearchResultEntry with those of attrs that have values.
func (req searchRequest) entry(m *message, dn string, attrs []string, values func(string) []string) []byte {
	list := ber.NewSequence("")
	for _, attr := range attrs {
		vs := values(attr)
		if len(vs) == 0 {
			continue
		}
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range vs {
			if !req.typesOnly {
				set.AppendChild(octetString(v))
			}
		}
		pair := ber.NewSequence("")
		pair.AppendChild(octetString(attr))
		pair.AppendChild(set)
		list.AppendChild(pair)
	}
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	op.AppendChild(octetString(dn))
	op.AppendChild(list)
	return envelope(m.id, op)
}

// references returns the SearchResultReferences to the partitions below the
// domain, which Windows adds to a search of the whole domain.
func references(m *message) []byte {
	var out []byte
	for _, url := range []string{
		"ldap://ForestDnsZones." + dnsDomain + "/DC=ForestDnsZones," + baseDN,
		"ldap://DomainDnsZones." + dnsDomain + "/DC=DomainDnsZones," + baseDN,
		"ldap://" + dnsDomain + "/CN=Configuration," + baseDN,
	} {
		op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultReference, nil, "")
		op.AppendChild(octetString(url))
		out = append(out, envelope(m.id, op)...)
	}
	return out
}
