package consumer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// An accountSession is a replica's connection to one domain controller of the
// model.
type accountSession struct {
	a           *account
	dc, replica string
}

func (s *accountSession) Find(ctx context.Context, _ reset.Account) (reset.Entry, error) {
	s.a.at("find")
	e, err := s.read()
	if err := s.a.wait(ctx, func() time.Duration { return s.a.delay }); err != nil {
		return reset.Entry{}, err
	}
	s.a.at("found")
	return e, err
}

func (s *accountSession) read() (reset.Entry, error) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	on := s.a.dcs[s.dc]
	switch {
	case s.a.down[s.dc]:
		return reset.Entry{}, reset.ErrDirectoryUnavailable
	case on.deleted.value:
		return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound}
	}
	return reset.Entry{DN: "CN=Ada," + staff, GUID: [16]byte{1}, Locked: on.locked.value,
		Witness: reset.Witness{DC: s.dc, USNChanged: on.usn, PwdLastSet: on.pwdLastSet.value}}, nil
}

func (s *accountSession) Groups(context.Context, reset.Entry) ([]string, error) { return nil, nil }

func (s *accountSession) SetPassword(ctx context.Context, _ reset.Entry, pw secret.Value) error {
	return s.modify(ctx, "send", "answer", s.setting(text(pw)))
}

func (s *accountSession) Change(ctx context.Context, _ reset.Entry, current, pw secret.Value) error {
	was, set := text(current), s.setting(text(pw))
	return s.modify(ctx, "send", "answer", func() error {
		if s.a.dcs[s.dc].password.value != was {
			s.a.attempts++
			return &reset.Error{Code: reset.WrongPassword}
		}
		return set()
	})
}

func (s *accountSession) setting(password string) func() error {
	return func() error {
		on := s.a.dcs[s.dc]
		switch {
		case s.a.refuses[s.dc] != nil:
			return s.a.refuses[s.dc]
		case !s.a.noHistory && slices.Contains(on.history, password):
			return &reset.Error{Code: reset.PasswordInHistory}
		}
		s.a.write(s.dc, func(on *state) { s.a.store(on, password) })
		s.a.executed++
		return nil
	}
}

func (s *accountSession) Unlock(ctx context.Context, _ reset.Entry) error {
	return s.modify(ctx, "unlock", "unlocked", func() error {
		if !s.a.mayUnlock {
			return &reset.Error{Code: reset.NotPermitted}
		}
		if s.a.dcs[s.dc].locked.value {
			s.a.write(s.dc, func(on *state) { on.locked = versioned[bool]{false, s.a.writes} })
			s.a.unlocked++
		}
		return nil
	})
}

func (s *accountSession) MustChange(ctx context.Context, _ reset.Entry) error {
	return s.modify(ctx, "must", "musted", func() error {
		if !s.a.mayMust {
			return &reset.Error{Code: reset.NotPermitted}
		}
		s.a.write(s.dc, func(on *state) { on.pwdLastSet = versioned[int64]{0, s.a.writes} })
		s.a.must++
		return nil
	})
}

func (s *accountSession) Probe(ctx context.Context, _ reset.Entry) error {
	s.a.at("probe")
	return s.a.wait(ctx, func() time.Duration { return s.a.delay })
}

func (s *accountSession) Ask(_ context.Context, _ reset.Entry, pw secret.Value) (right bool, err error) {
	s.a.at("ask")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	on := s.a.dcs[s.dc]
	switch {
	case s.a.down[s.dc]:
		return false, reset.ErrDirectoryUnavailable
	case s.a.bind != nil:
		return false, s.a.bind
	case on.locked.value:
		return false, reset.ErrNotAsked
	}
	s.a.binds++
	if right = text(pw) == on.password.value; right {
		s.a.followsUp[s.claim()] = true
	}
	return right, nil
}

func (s *accountSession) End() {}

func text(pw secret.Value) (password string) {
	pw.Reveal(func(b []byte) error { password = string(b); return nil })
	return password
}

// claim names the newest claim, if it is this replica's.
func (s *accountSession) claim() claimID {
	if rec := s.a.newest(); rec != nil && rec.Kind == envelope.Claimed && rec.Writer.Name == s.replica {
		return claimID{s.replica, rec.Writer.Number}
	}
	return claimID{}
}

// modify sends a modify. The domain controller executes it, at once or later,
// and what is between us and it may lose the answer.
func (s *accountSession) modify(ctx context.Context, before, after string, execute func() error) error {
	a := s.a
	m := a.note(s, before)
	a.at(before)
	if a.away(s.dc) {
		return reset.ErrDirectoryUnavailable
	}
	a.mu.Lock()
	m.reached = true
	slow := a.slow
	executed := func() error {
		// What stays in the system's hands for longer, nobody can promise anything for.
		writes, err := a.writes, execute()
		if a.freed && a.writes > writes && time.Since(m.at) <= reset.ModifyTimeout+reset.Grace {
			a.problems = append(a.problems, before+" took effect after the slot was freed")
		}
		return err
	}
	if slow > 0 {
		a.mu.Unlock()
		time.AfterFunc(slow, func() { a.locked(func() { executed() }) })
		ctx, cancel := context.WithTimeout(ctx, reset.ModifyTimeout)
		defer cancel()
		a.wait(ctx, func() time.Duration { return slow + time.Millisecond }) // not at one time with the execution
		return reset.ErrUnanswered
	}
	err := executed()
	a.mu.Unlock()
	a.at(after)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost {
		a.lost = false
		return reset.ErrUnanswered
	}
	if err == nil && before == "send" {
		a.followsUp[m.claim] = true
	}
	return err
}

// note holds the promises against a modify at the moment when it is sent.
func (a *account) note(s *accountSession, what string) *sent {
	rec := a.newest()
	a.mu.Lock()
	defer a.mu.Unlock()
	m := &sent{what: what, at: time.Now(), claim: s.claim()}
	bad := func(format string, args ...any) {
		a.problems = append(a.problems, what+" of "+s.replica+" "+fmt.Sprintf(format, args...))
	}
	m.follows = what != "send" && a.followsUp[m.claim]
	allowed := reset.Window
	if m.follows {
		allowed += reset.ModifyTimeout
	}
	switch {
	case m.claim == claimID{}:
		bad("without the newest claim")
	case m.at.Sub(rec.Time) >= allowed:
		bad("%s after its claim", m.at.Sub(rec.Time))
	case !m.follows && m.at.After(a.accepted.Add(reset.Deadline)):
		bad("%s after the deadline", m.at.Sub(a.accepted.Add(reset.Deadline)))
	}
	for _, other := range a.sent {
		if !m.follows && !other.follows && other.claim == m.claim && what != "must" {
			bad("after another under the same claim")
		}
	}
	if what == "must" && !m.follows {
		bad("before the password was set")
	}
	a.sent = append(a.sent, m)
	return m
}
