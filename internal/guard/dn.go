package guard

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"writeback/internal/reset"
)

// An rdn is one component of a distinguished name, folded for comparison.
type rdn struct{ kind, value string }

// A dn is a distinguished name, the leaf first.
type dn []rdn

// parseDN splits a distinguished name as RFC 4514 section 2 writes it. It is
// stricter where a directory never writes what the RFC allows: no components
// of several values ("+"), no values in BER ("#"), no quotes, and ";" separates
// nothing. What it does not understand it refuses, so that two readings of one
// name never decide who may be reset.
func parseDN(s string) (dn, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("must be UTF-8")
	}
	var name dn
	for {
		kind, rest, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("component %d has no attribute type", len(name)+1)
		}
		kind = strings.Trim(kind, " ")
		if !validKind(kind) {
			return nil, fmt.Errorf("component %d has a malformed attribute type", len(name)+1)
		}
		value, rest, more, err := parseValue(rest)
		if err != nil {
			return nil, fmt.Errorf("component %d %w", len(name)+1, err)
		}
		name = append(name, rdn{reset.Fold(kind), reset.Fold(value)})
		if !more {
			return name, nil
		}
		s = rest
	}
}

// validKind reports whether s is a descriptor or a dotted number (RFC 4512
// section 1.4), loosely.
func validKind(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

// parseValue reads the value at the beginning of s up to an unescaped comma;
// more says that there was one, rest is what follows it. Spaces around the
// value do not belong to it unless they are escaped.
func parseValue(s string) (value, rest string, more bool, err error) {
	s = strings.TrimLeft(s, " ")
	if strings.HasPrefix(s, "#") {
		return "", "", false, errors.New("has a value in BER")
	}
	var out []byte
	kept := 0 // how much of out trailing spaces cannot be cut from
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',':
			rest, more = s[i+1:], true
			s = s[:i]
		case '\\':
			b, n, err := unescape(s[i+1:])
			if err != nil {
				return "", "", false, err
			}
			out = append(out, b)
			i += n
			kept = len(out)
		case '"', '+', ';', '<', '>', 0:
			return "", "", false, fmt.Errorf("has an unescaped %q", c)
		default:
			out = append(out, c)
			if c != ' ' {
				kept = len(out)
			}
		}
	}
	out = out[:kept]
	switch {
	case len(out) == 0:
		return "", "", false, errors.New("has no value")
	case !utf8.Valid(out):
		return "", "", false, errors.New("has a value that is not UTF-8")
	}
	return string(out), rest, more, nil
}

// unescape returns the byte that follows a backslash and how long its form is:
// one special character, or two hexadecimal digits.
func unescape(s string) (b byte, n int, err error) {
	if s != "" && strings.IndexByte(` "#+,;<=>\`, s[0]) >= 0 {
		return s[0], 1, nil
	}
	if len(s) >= 2 {
		if raw, err := hex.DecodeString(s[:2]); err == nil {
			return raw[0], 2, nil
		}
	}
	return 0, 0, errors.New("has a malformed escape")
}

// within reports whether d is base or below it.
func (d dn) within(base dn) bool {
	if len(d) < len(base) {
		return false
	}
	for i, c := range d[len(d)-len(base):] {
		if c != base[i] {
			return false
		}
	}
	return true
}

// domainRoot reports whether d has no component but DC.
func (d dn) domainRoot() bool {
	for _, c := range d {
		if c.kind != reset.Fold("dc") {
			return false
		}
	}
	return true
}
