package fakead

import (
	"fmt"
	"slices"

	"writeback/internal/testkit"
)

// Counts say what an account has seen since the start, on one domain
// controller.
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
	d := s.domain
	user, err := d.addUser(spec, d.nextRID())
	if err != nil {
		return user, fmt.Errorf("fakead: %w", err)
	}
	d.publish(d.entries[len(d.entries)-1])
	return user, nil
}

// Delete deletes an account or group that no other object is below. Windows
// keeps what is left of it where only a control shows it; here it is gone.
func (s *Server) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.everywhere(name, func(d *domain, e *entry) error {
		d.remove(e)
		return nil
	})
}

// SetPolicy replaces the policy of the domain.
func (s *Server) SetPolicy(p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.policy = p
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

// Enable undoes Disable.
func (s *Server) Enable(name string) error {
	return s.change(name, func(a *account) { a.flags &^= flagDisabled })
}

// NeverExpire lets the password never expire.
func (s *Server) NeverExpire(name string) error {
	return s.change(name, func(a *account) { a.flags |= flagNeverExpires })
}

// NotRequire lets the account have a password of any length.
func (s *Server) NotRequire(name string) error {
	return s.change(name, func(a *account) { a.flags |= flagNotRequired })
}

// RequireSmartcard lets nobody sign in with the password.
func (s *Server) RequireSmartcard(name string) error {
	return s.change(name, func(a *account) { a.flags |= flagSmartcard })
}

// DenyChange is "user cannot change password": on Windows too that is no flag
// but two denials.
func (s *Server) DenyChange(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.everywhere(name, func(_ *domain, e *entry) error {
		for _, sid := range []string{sidEveryone, sidSelf} {
			a := ChangePassword.entry(e, string(sidBytes(sid)))
			a.deny = true
			e.acl = append([]ace{a}, e.acl...)
		}
		return nil
	})
}

// change does something to an account that moves its uSNChanged, on this
// domain controller.
func (s *Server) change(name string, do func(*account)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.domain.named(name)
	if e == nil || e.account == nil {
		return fmt.Errorf("fakead: no account %s", name)
	}
	do(e.account)
	s.domain.changed(e)
	return nil
}

// everywhere does something to an account or group on all domain controllers.
func (s *Server) everywhere(name string, do func(*domain, *entry) error) error {
	for _, d := range s.shared.replicas {
		e := d.named(name)
		if e == nil {
			return fmt.Errorf("fakead: no account %s", name)
		}
		if err := do(d, e); err != nil {
			return err
		}
		e.usn = d.nextUSN()
	}
	return nil
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
