package fakead

import (
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// A Write is a modify of an account that was carried out or refused.
type Write struct {
	At       time.Time // when its verdict was there, by the domain's clock
	DC       string    // the name of the host, without the domain
	Account  string    // sAMAccountName
	Password string    // that it sets; empty if it sets none, or one that cannot be read
	Code     int       // LDAP result
}

// Writes returns all modifies of accounts since the start, by whoever was bound,
// at all domain controllers, in the order in which they took effect.
func (s *Server) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shared.writes)
}

// keep notes what became of a modify. s.mu must be held.
func (s *Server) keep(req modifyRequest, res result) {
	e, refused := s.domain.find(req.dn)
	if refused != nil || e.account == nil {
		return
	}
	w := Write{At: s.domain.now(), DC: s.name, Account: strings.Join(e.attrs["sAMAccountName"], ""), Code: res.code}
	for _, c := range req.changes {
		if c.attr == "unicodepwd" && c.op != ldap.DeleteAttribute && len(c.values) == 1 {
			if b, ok := unquote(c.values[0]); ok {
				w.Password = string(utf16.Decode(decodeUTF16(b)))
			}
		}
	}
	s.shared.writes = append(s.shared.writes, w)
}
