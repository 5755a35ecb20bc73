package directory

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// SetPassword sets the password of an account that was found with one modify,
// which gets [reset.ModifyTimeout] at most and is not repeated. nil says that
// the directory confirmed it. An error is a [*reset.Error] if the directory
// refused, wraps [reset.ErrDirectoryUnavailable] if nothing was sent or the
// directory had no time for it, and else wraps [reset.ErrUnanswered]: the
// modify may have been carried out, or may still be for a while.
//
// A refusal for the policy names the rule, if the account as [Session.Find] read
// it and the rules, which are then read anew in what is left of the time, prove
// it.
func (s *Session) SetPassword(ctx context.Context, e reset.Entry, password secret.Value) error {
	if err := checkPassword("password", password); err != nil {
		return err
	}
	var controls []ldap.Control
	if s.conn.hints != "" {
		controls = append(controls, policyHintsControl{s.conn.hints})
	}
	begun := time.Now()
	err := password.Reveal(func(plain []byte) error {
		value := unicodePwd(plain)
		defer clear(value)
		// The library wants a string and copies it about six times while it
		// builds the message. Those copies cannot be wiped; none is kept.
		return s.modify(ctx, e, setting, controls, func(m *ldap.ModifyRequest) {
			m.Replace("unicodePwd", []string{string(value)})
		}, plain, value[2:len(value)-2])
	})
	return s.explain(ctx, begun, err, e, policy.Attempt{Password: password, FullPolicy: s.conn.hints != ""})
}

// Change replaces the password current by next with one modify, under the
// same terms as [Session.SetPassword]. The directory counts a wrong current
// password like one at a sign-in; near a lockout none is tried, and the error is
// operation_off.
func (s *Session) Change(ctx context.Context, e reset.Entry, current, next secret.Value) error {
	if err := checkPassword("current_password", current); err != nil {
		return err
	}
	if err := checkPassword("password", next); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.found.wrong.guard(s.found.rules, begun); err != nil {
		return err
	}
	err := current.Reveal(func(before []byte) error {
		return next.Reveal(func(after []byte) error {
			from, to := unicodePwd(before), unicodePwd(after)
			defer clear(from)
			defer clear(to)
			// MS-ADTS 3.1.1.3.1.5.1: a delete and then an add is a change.
			return s.modify(ctx, e, changing, nil, func(m *ldap.ModifyRequest) {
				m.Delete("unicodePwd", []string{string(from)})
				m.Add("unicodePwd", []string{string(to)})
			}, before, from[2:len(from)-2], after, to[2:len(to)-2])
		})
	})
	return s.explain(ctx, begun, err, e, policy.Attempt{Password: next, Current: current, FullPolicy: true})
}

// Unlock ends a lockout with one modify, under the same terms as
// [Session.SetPassword]. An account that is not locked stays as it is.
func (s *Session) Unlock(ctx context.Context, e reset.Entry) error {
	return s.modify(ctx, e, unlocking, nil, func(m *ldap.ModifyRequest) {
		m.Replace("lockoutTime", []string{"0"})
	})
}

// MustChange has the account's owner change the password at the next sign-in,
// with one modify, under the same terms as [Session.SetPassword]. It comes
// after the password, which would undo it. Where the password never expires
// the directory stores it and asks nobody for anything.
func (s *Session) MustChange(ctx context.Context, e reset.Entry) error {
	return s.modify(ctx, e, expiring, nil, func(m *ldap.ModifyRequest) {
		m.Replace("pwdLastSet", []string{"0"})
	})
}

// modify carries out one modify of e, of which op says what it does and fill
// adds the changes. What sent has is not logged.
func (s *Session) modify(ctx context.Context, e reset.Entry, op operation, controls []ldap.Control,
	fill func(*ldap.ModifyRequest), sent ...[]byte) error {
	// By GUID, so that a rename or a move meanwhile does not matter, and a
	// new account under the old name is not met.
	req := ldap.NewModifyRequest("<GUID="+hex.EncodeToString(e.GUID[:])+">", controls)
	fill(req)
	s.conn.wire.sent.Store(false)
	err := s.conn.do(ctx, reset.ModifyTimeout, func() error { return s.conn.ldap.Modify(req) })
	s.conn.logText(err, sent...)
	if err == nil {
		return nil
	}
	if a, ok := errors.AsType[*answer](err); ok {
		return refused(op, a)
	}
	if !s.conn.wire.sent.Load() {
		return unavailable(op.doing, err)
	}
	return fmt.Errorf("%s: %w: %w", op.doing, reset.ErrUnanswered, err)
}

// explain returns err, or if the directory refused for the policy, an error
// that says as much of the reason as is certain. By rules that were read before
// they changed, that could be a false reason.
func (s *Session) explain(ctx context.Context, begun time.Time, err error, e reset.Entry, a policy.Attempt) error {
	refusal, ok := errors.AsType[*reset.Error](err)
	if !ok || refusal.Code != reset.PasswordRefused {
		return err
	}
	var rules policy.Rules
	if s.found.guid == e.GUID {
		a.Account = s.found.account
		ctx, cancel := context.WithDeadline(ctx, begun.Add(reset.ModifyTimeout))
		defer cancel()
		rules, err = s.client.rulesAnew(ctx, s.conn, s.found.pso)
		if err != nil {
			rules = policy.Rules{} // unknown
		}
	}
	a.At = time.Now()
	o := rules.Explain(a)
	return &reset.Error{Code: o.Code, Details: o.Details, Err: refusal.Err}
}

func checkPassword(field string, v secret.Value) error {
	if err := secret.CheckPassword(v); err != nil {
		return &reset.Error{Code: reset.Invalid, Details: reset.Details{Field: field}, Err: err}
	}
	return nil
}

// unicodePwd returns the UTF-8 text b in quotes as UTF-16LE (MS-ADTS
// 3.1.1.3.1.5.1).
func unicodePwd(b []byte) []byte {
	out := make([]byte, 0, 2*(secret.Units(b)+2)) // never grown: no copies
	put := func(r rune) {
		var units [2]uint16
		for _, u := range utf16.AppendRune(units[:0], r) {
			out = binary.LittleEndian.AppendUint16(out, u)
		}
	}
	put('"')
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		put(r)
		b = b[size:]
	}
	put('"')
	return out
}
