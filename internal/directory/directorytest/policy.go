package directorytest

import (
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// rules are the domain's own.
func (s *suite) rules(t *testing.T) {
	r := s.client.Rules()
	if !r.Known || r.MinLength != 7 || !r.Complexity || r.History != 24 || r.MinAge != 0 || r.LockoutThreshold != 0 {
		t.Errorf("the domain's rules are %+v", r)
	}
}

func (s *suite) change(t *testing.T) {
	u := s.NewUser(t, User{})
	next := newPassword()
	wantCode(t, s.changeTo(t, u, "not "+u.Password, next), reset.WrongPassword)
	wantCode(t, s.changeTo(t, u, "not "+u.Password, "x"), reset.WrongPassword)
	s.opens(t, u, u.Password)
	wantCode(t, s.changeTo(t, u, u.Password, "Aa1-xy"), reset.PasswordTooShort)
	wantCode(t, s.changeTo(t, u, u.Password, "alllowercaseletters"), reset.PasswordTooSimple)
	wantCode(t, s.changeTo(t, u, u.Password, u.Password), reset.PasswordInHistory)
	s.opens(t, u, u.Password)
	if err := s.changeTo(t, u, u.Password, next); err != nil {
		t.Fatal(err)
	}
	s.opens(t, u, next)
	wantCandidates(t, s.changeTo(t, u, next, u.Password), "history", "filter")
	for field, pair := range map[string][2]string{"current_password": {"", next}, "password": {next, ""}} {
		if o := wantCode(t, s.changeTo(t, u, pair[0], pair[1]), reset.Invalid); o.Details.Field != field {
			t.Errorf("the field is %q, want %q", o.Details.Field, field)
		}
	}
}

func (s *suite) unlock(t *testing.T) {
	unlock := func(session *directory.Session, e reset.Entry) error { return session.Unlock(t.Context(), e) }
	u := s.NewUser(t, User{})
	if err := s.with(t, u, unlock); err != nil {
		t.Errorf("one that is not locked: %v", err)
	}
	wantRight(t, s.with(t, s.NewUser(t, User{Outside: true}), unlock), "Write lockoutTime")
	session := s.begin(t)
	wantCode(t, session.Unlock(t.Context(), reset.Entry{GUID: [16]byte(randomGUID())}), reset.AccountNotFound)
}

func (s *suite) mustChange(t *testing.T) {
	mustChange := func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) }
	u := s.NewUser(t, User{})
	if err := s.with(t, u, mustChange); err != nil {
		t.Fatal(err)
	}
	if e := s.find(t, reset.UPN, u.UPN); e.Witness.PwdLastSet != 0 {
		t.Errorf("pwdLastSet is %d, want 0", e.Witness.PwdLastSet)
	}
	if s.Bind(u.DN, u.Password) == nil {
		t.Error("the password opens the account without a change")
	}
	password := newPassword()
	if err := s.changeTo(t, u, u.Password, password); err != nil {
		t.Errorf("changing it: %v", err)
	}
	s.opens(t, u, password)
	wantRight(t, s.with(t, s.NewUser(t, User{Outside: true}), mustChange), "Write pwdLastSet")
}

func (s *suite) minAge(t *testing.T) {
	const age = time.Hour
	under, u := s.under(t, Policy{MinLength: 4, History: 3, MinAge: age})
	for name, err := range map[string]error{
		"reset":              under.set(t, u, newPassword()),
		"reset, short":       under.set(t, u, "x"),
		"change":             under.changeTo(t, u, u.Password, newPassword()),
		"change to the same": under.changeTo(t, u, u.Password, u.Password),
	} {
		o := wantCode(t, err, reset.PasswordTooRecent)
		if left := time.Until(o.Details.Earliest); left < age-time.Minute || left > age+time.Minute {
			t.Errorf("%s: it may be tried in %s, want %s", name, left, age)
		}
	}
	// Who must change may.
	if err := under.with(t, u, func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) }); err != nil {
		t.Fatal(err)
	}
	if err := under.set(t, u, newPassword()); err != nil {
		t.Errorf("with pwdLastSet 0: %v", err)
	}
}

func (s *suite) policy(t *testing.T) {
	t.Run("strict", func(t *testing.T) {
		under, u := s.under(t, Policy{MinLength: 14, Complexity: true, History: 2})
		if o := wantCode(t, under.set(t, u, "Short-Passw0r"), reset.PasswordTooShort); o.Details.MinLength != 14 {
			t.Errorf("the minimum is %d", o.Details.MinLength)
		}
		wantCode(t, under.set(t, u, "alllowercaseletters"), reset.PasswordTooSimple)
		first, second := newPassword(), newPassword()
		for _, password := range []string{first, second} {
			if err := under.set(t, u, password); err != nil {
				t.Fatal(err)
			}
		}
		wantCandidates(t, under.set(t, u, first), "history", "filter")
		session := under.begin(t)
		if _, err := session.Find(t.Context(), account(t, reset.UPN, u.UPN)); err != nil {
			t.Fatal(err)
		}
		if r := session.Rules(); !r.Known || r.MinLength != 14 || !r.Complexity || r.History != 2 {
			t.Errorf("the rules are %+v", r)
		}
	})
	t.Run("lax", func(t *testing.T) {
		under, u := s.under(t, Policy{MinLength: 1})
		for _, password := range []string{"x", "x", u.SAMAccountName} {
			if err := under.set(t, u, password); err != nil {
				t.Errorf("%q: %v", password, err)
			}
		}
	})
}

// hiddenPolicy: a policy that the service account may not read is not the
// domain's, and not none: nothing is proven by it.
func (s *suite) hiddenPolicy(t *testing.T) {
	u := s.Under(t, Policy{MinLength: 14})
	all := []string{"length", "complexity", "name", "history", "minimum_age", "filter"}
	wantCandidates(t, s.set(t, u, "x"), all...)
	wantCandidates(t, s.set(t, u, "Short-Passw0r"), all...)
	wantCandidates(t, s.changeTo(t, u, u.Password, "x"), all...)
	session := s.begin(t)
	if _, err := session.Find(t.Context(), account(t, reset.UPN, u.UPN)); err != nil {
		t.Fatal(err)
	}
	if r := session.Rules(); r.Known {
		t.Errorf("the rules are %+v, want them unknown", r)
	}
	if err := s.set(t, u, "long enough, not complex"); err != nil {
		t.Errorf("what the policy takes: %v", err)
	}
}

// guesses: changes do not lock an account, whoever tries them and wherever else
// wrong passwords came from.
func (s *suite) guesses(t *testing.T) {
	under, u := s.under(t, Policy{MinLength: 4, LockoutThreshold: 5})
	if under.Bind(u.DN, "not "+u.Password) == nil {
		t.Fatal("a wrong password opens the account")
	}
	for range 2 {
		wantCode(t, under.changeTo(t, u, "not "+u.Password, newPassword()), reset.WrongPassword)
	}
	for _, current := range []string{"not " + u.Password, u.Password} {
		if o := wantCode(t, under.changeTo(t, u, current, newPassword()), reset.OperationOff); o.Details.Reason != "rate" {
			t.Errorf("the reason is %q, want rate", o.Details.Reason)
		}
	}
	if under.find(t, reset.UPN, u.UPN).Locked {
		t.Error("the account is locked")
	}
	under.opens(t, u, u.Password) // which ends the count
	if err := under.changeTo(t, u, u.Password, newPassword()); err != nil {
		t.Errorf("after the right password: %v", err)
	}
}

// lockout: a reset leaves an account locked, and an unlock opens it.
func (s *suite) lockout(t *testing.T) {
	under, u := s.under(t, Policy{MinLength: 4, LockoutThreshold: 2})
	for range 2 {
		if under.Bind(u.DN, "not "+u.Password) == nil {
			t.Fatal("a wrong password opens the account")
		}
	}
	if !under.find(t, reset.UPN, u.UPN).Locked {
		t.Fatal("the account is not locked")
	}
	wantCode(t, under.changeTo(t, u, u.Password, newPassword()), reset.AccountLocked)
	password := newPassword()
	err := under.with(t, u, func(session *directory.Session, e reset.Entry) error {
		if err := session.SetPassword(t.Context(), e, secret.New([]byte(password))); err != nil {
			return err
		}
		if under.Bind(u.DN, password) == nil {
			t.Error("a locked account was opened")
		}
		return session.Unlock(t.Context(), e)
	})
	if err != nil {
		t.Fatal(err)
	}
	under.opens(t, u, password)
	if under.find(t, reset.UPN, u.UPN).Locked {
		t.Error("the account is still locked")
	}
}
