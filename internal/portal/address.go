package portal

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ParsePrefix parses addresses such as "192.0.2.0/24", or one as "192.0.2.7/32".
// Its errors do not repeat what it was given.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("must have the form 192.0.2.0/24; one address is 192.0.2.7/32")
	}
	if p != p.Masked() {
		return netip.Prefix{}, errors.New("must have no bits after its length, as in 192.0.2.0/24")
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("must be written as IPv4, as in 192.0.2.0/24")
	}
	return p, nil
}

// within reports whether one of prefixes has the address.
func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// CallerAddress returns the address that a request counts for: the one that
// opened the connection or, if that is a trusted proxy, the last one in
// X-Forwarded-For that is not. What stands before it there is the caller's own
// word. The zero address is returned where it cannot be told: a trusted proxy
// that names nobody, or with something that is no address.
func CallerAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := plain(peer.Addr())
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; within(trusted, a); i-- {
		if i < 0 {
			return netip.Addr{} // proxies only
		}
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return netip.Addr{}
		}
		a = plain(hop)
	}
	return a
}

// plain returns the one form of an address: IPv4 as such, and no zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// AddressText is an address as the audit has it, empty if it is not known.
func AddressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
