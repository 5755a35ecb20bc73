// Package guard is the company's own policy: which accounts the cloud may ask
// for at all. It is decided on premises, from a file that only the company
// writes, after a request was opened and before anything is modified; nobody
// in the cloud can widen it.
//
// It judges names and numbers that others read from the directory. It does not
// talk to the directory, and does not replace the delegation there, which is
// the second fence.
package guard

import (
	"fmt"

	"writeback/internal/config"
)

const (
	maxBases = 64
	// maxBase is the longest base, in bytes: far more than a domain's
	// deepest organisational unit needs.
	maxBase = 1024
	// maxFile is the largest policy file, in bytes: maxBases of maxBase,
	// and room for comments.
	maxFile = 128 << 10
)

// file is policy.yaml.
type file struct {
	// Bases are the distinguished names in or below which an account must
	// be. There is no default: not saying it is an error, not "everywhere".
	Bases []string `yaml:"bases"`
	// AllowDomainRoot must be true when a base is a domain itself. Every
	// account of the domain, administrators included, is then in reach of
	// the cloud as far as the service account's rights go.
	AllowDomainRoot bool `yaml:"allow_domain_root"`
}

// A Policy says who may be reset. It does not change; a changed file is a new
// Policy.
type Policy struct {
	bases []dn
}

// Parse reads a policy from YAML. A key that a policy does not have is an
// error, so that a misspelt limit cannot pass for its default.
func Parse(data []byte) (*Policy, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("a policy has at most %d bytes", maxFile)
	}
	var f file
	if err := config.Parse(data, &f); err != nil {
		return nil, err
	}
	if n := len(f.Bases); n < 1 || n > maxBases {
		return nil, fmt.Errorf("bases: has %d entries, must have 1 to %d", n, maxBases)
	}
	p := &Policy{}
	for i, s := range f.Bases {
		if len(s) > maxBase {
			return nil, fmt.Errorf("bases[%d]: has %d bytes, must have at most %d", i, len(s), maxBase)
		}
		base, err := parseDN(s)
		if err != nil {
			return nil, fmt.Errorf("bases[%d]: %q is not a distinguished name: %w", i, s, err)
		}
		if base.domainRoot() && !f.AllowDomainRoot {
			return nil, fmt.Errorf("bases[%d]: %q is a whole domain; this needs allow_domain_root: true", i, s)
		}
		p.bases = append(p.bases, base)
	}
	return p, nil
}

// Permits reports whether the account with this distinguished name is in or
// below one of the bases. Names are compared component by component, without
// regard to case; one that is malformed is never permitted.
func (p *Policy) Permits(name string) bool {
	d, err := parseDN(name)
	if err != nil {
		return false
	}
	for _, base := range p.bases {
		if d.within(base) {
			return true
		}
	}
	return false
}
