package fakead

import (
	"fmt"
	"slices"

	"writeback/internal/testkit"
)

// Counts say what an account has seen since the start.
type Counts struct {
	Binds, BadBinds int // that were accepted, and refused
	Modifies        int // requests that were read, whatever became of them
	Applied         int // modifies that were carried out
	Passwords       int // passwords written by them
}

// NewUser adds an account.
func (s *Server) NewUser(spec UserSpec) (testkit.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, err := s.domain.addUser(spec, s.domain.nextRID())
	if err != nil {
		return user, fmt.Errorf("fakead: %w", err)
	}
	return user, nil
}

// SetPolicy replaces the policy of the domain.
func (s *Server) SetPolicy(p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domain.policy = p
}

// SetPassword sets a password as an administrator would, but that no rule is
// checked: pwdLastSet and uSNChanged move.
func (s *Server) SetPassword(name, password string) error {
	return s.change(name, func(a *account) { a.setPassword(encodeUTF16(password), s.domain.now()) })
}

// MustChange sets pwdLastSet to 0.
func (s *Server) MustChange(name string) error {
	return s.change(name, func(a *account) { a.pwdLastSet = 0 })
}

// Disable disables the account.
func (s *Server) Disable(name string) error {
	return s.change(name, func(a *account) { a.flags |= flagDisabled })
}

// Expire lets the account expire now.
func (s *Server) Expire(name string) error {
	return s.change(name, func(a *account) { a.accountExpires = filetime(s.domain.now()) })
}

// Lock locks the account out, as too many bad passwords would.
func (s *Server) Lock(name string) error {
	return s.change(name, func(a *account) { a.lockoutTime = filetime(s.domain.now()) })
}

// change does something to an account that moves its uSNChanged.
func (s *Server) change(name string, do func(*account)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.domain.entries {
		if e.account != nil && e.account == s.domain.account(name) {
			do(e.account)
			e.usn = s.domain.nextUSN()
			return nil
		}
	}
	return fmt.Errorf("fakead: no account %s", name)
}

// Counts returns what the account has seen; of one that does not exist, zero.
func (s *Server) Counts(name string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.domain.account(name); a != nil {
		return a.counts
	}
	return Counts{}
}

// Controls returns the controls of the last modify that named the account.
func (s *Server) Controls(name string) []Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.domain.account(name); a != nil {
		return slices.Clone(a.last)
	}
	return nil
}

// noteModify counts a modify that was read.
func (s *Server) noteModify(req modifyRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, refused := s.domain.find(req.dn); refused == nil && e.account != nil {
		e.account.counts.Modifies++
		e.account.last = req.controls
	}
}
