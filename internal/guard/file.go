package guard

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"writeback/internal/config"
	"writeback/internal/reset"
)

const (
	// maxNames is the longest list of distinguished names.
	maxNames = 64
	// maxName is the longest of them, in bytes: far more than a domain's
	// deepest organisational unit needs.
	maxName = 1024
	// maxFile is the largest policy file, in bytes: three lists of maxNames
	// of maxName, and room for comments.
	maxFile = 256 << 10
)

// file is policy.yaml. A key that is left out has its default; one without a
// value is an error, because it could mean the default or nothing.
type file struct {
	// Bases are the distinguished names in or below which an account must
	// be. There is no default: not saying it is an error, not "everywhere".
	Bases []string `yaml:"bases"`
	// AllowDomainRoot must be true when a base is a domain itself. Every
	// account of the domain is then in reach of the cloud as far as the
	// service account's rights and the other rules go.
	AllowDomainRoot bool `yaml:"allow_domain_root"`
	// Operations are those that may be asked for at all: some of reset, change,
	// unlock and probe.
	Operations []string `yaml:"operations"`
	// Actors are who may ask: self and admin, or one of them.
	Actors []string `yaml:"actors"`
	// Names are how accounts may be named: some of immutable_id, object_guid,
	// upn, sam_account_name and sid. Active Directory matches the names that
	// people choose without regard to accents and widths.
	Names []string `yaml:"names"`
	// AllowGroups, where given, are groups in one of which an account must
	// be, directly or not.
	AllowGroups []string `yaml:"allow_groups"`
	// DenyGroups are groups whose members, direct or not, are protected.
	DenyGroups []string `yaml:"deny_groups"`
	// DenySPN protects accounts with a servicePrincipalName: a service runs as
	// them.
	DenySPN bool `yaml:"deny_spn"`
	// PrimaryGroups are the RIDs of the primary groups that are usual here,
	// all of them: 513 is Domain Users, 514 Domain Guests. An account with
	// another one is protected.
	PrimaryGroups []uint32 `yaml:"primary_groups"`
	// Limits bound what one replica lets through.
	Limits limits `yaml:"limits"`
	// StopFile is a path, from the policy file's folder if it is not
	// absolute. While there is something, everything is refused.
	StopFile string `yaml:"stop_file"`
}

// Parse reads a policy from YAML. A key that a policy does not have is an
// error, so that a misspelt limit cannot pass for its default.
func Parse(data []byte) (*Policy, error) {
	f, err := decode(data)
	if err != nil {
		return nil, err
	}
	p := &Policy{denySPN: f.DenySPN, primary: f.PrimaryGroups, limits: f.Limits, stopFile: f.StopFile}
	if n := len(f.Bases); n < 1 || n > maxNames {
		return nil, fmt.Errorf("bases: has %d entries, must have 1 to %d", n, maxNames)
	}
	if p.bases, err = parseEach("bases", f.Bases, parseName); err != nil {
		return nil, err
	}
	for i, base := range p.bases {
		if base.dn.domainRoot() && !f.AllowDomainRoot {
			return nil, fmt.Errorf("bases[%d]: %q is a whole domain; this needs allow_domain_root: true", i, base.text)
		}
	}
	if p.operations, err = parseEach("operations", f.Operations, word(reset.ParseOperation)); err != nil {
		return nil, err
	}
	if p.actors, err = parseEach("actors", f.Actors, word(reset.ParseActorKind)); err != nil {
		return nil, err
	}
	if p.names, err = parseEach("names", f.Names, word(reset.ParseNameKind)); err != nil {
		return nil, err
	}
	if f.AllowGroups != nil {
		if p.allow, err = parseEach("allow_groups", f.AllowGroups, parseName); err != nil {
			return nil, err
		}
	}
	if f.DenyGroups != nil {
		if p.deny, err = parseEach("deny_groups", f.DenyGroups, parseName); err != nil {
			return nil, err
		}
	}
	if len(p.primary) == 0 {
		return nil, errors.New("primary_groups: has no entries; every account would be protected")
	}
	for i, rid := range p.primary {
		if rid < firstOwnRID && rid != domainUsers && rid != domainGuests {
			return nil, fmt.Errorf("primary_groups[%d]: %d is a built-in group other than %d and %d; whoever has it stays protected",
				i, rid, domainUsers, domainGuests)
		}
	}
	if err := p.limits.check(); err != nil {
		return nil, err
	}
	return p, nil
}

// defaults are what holds where a policy says nothing.
func defaults() file {
	return file{
		Operations:    []string{"reset", "change", "unlock", "probe"},
		Actors:        []string{"self", "admin"},
		Names:         []string{"immutable_id", "object_guid"},
		DenySPN:       true,
		PrimaryGroups: []uint32{domainUsers, domainGuests},
		Limits:        limits{PerMinute: 30, PerHour: 300, PerAccountDay: 10, AdminPerHour: 20},
	}
}

func decode(data []byte) (file, error) {
	f := defaults()
	if len(data) > maxFile {
		return f, fmt.Errorf("a policy has at most %d bytes", maxFile)
	}
	if err := config.Parse(data, &f); err != nil {
		return f, err
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return f, err
	}
	if key := valueless(&tree, ""); key != "" {
		return f, fmt.Errorf("%s: has no value, or an entry without one", key)
	}
	return f, nil
}

// valueless returns a key in or below n, which is the value of key, that has no
// value, or a list with an entry that has none; "" if there is no such key. The
// decoder passes over such entries in silence.
func valueless(n *yaml.Node, key string) string {
	if n.ShortTag() == "!!null" {
		return key
	}
	for i, child := range n.Content {
		below := key
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue // a key
			}
			below = n.Content[i-1].Value
		}
		if k := valueless(child, below); k != "" {
			return k
		}
	}
	return ""
}

func parseEach[T any](key string, entries []string, parse func(string) (T, error)) ([]T, error) {
	if n := len(entries); n < 1 || n > maxNames {
		return nil, fmt.Errorf("%s: has %d entries, must have 1 to %d, or be left out", key, n, maxNames)
	}
	var all []T
	for i, s := range entries {
		v, err := parse(s)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %.100q %w", key, i, s, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// word makes the error of a parser of words one that follows the word.
func word[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := parse(s)
		if err != nil {
			err = errors.New("is not a word that is known here")
		}
		return v, err
	}
}

func parseName(s string) (name, error) {
	if len(s) > maxName {
		return name{}, fmt.Errorf("has %d bytes, must have at most %d", len(s), maxName)
	}
	d, err := parseDN(s)
	if err != nil {
		return name{}, fmt.Errorf("is not a distinguished name: %w", err)
	}
	return name{s, d}, nil
}
