package directorytest

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
)

// cannotChange: "user cannot change password" is a denial of the right to
// change, of which a reset takes no notice.
func (s *suite) cannotChange(t *testing.T) {
	u := s.Without(t, "Change Password")
	wantRight(t, s.changeTo(t, u, u.Password, newPassword()), "Change Password")
	s.opens(t, u, u.Password)
	password := newPassword()
	if err := s.set(t, u, password); err != nil {
		t.Errorf("a reset: %v", err)
	}
	s.opens(t, u, password)
}

// smartcard: an account that signs in with a smartcard only shows it.
func (s *suite) smartcard(t *testing.T) {
	u := s.NewUser(t, User{Smartcard: true})
	if e := s.find(t, reset.UPN, u.UPN); !e.SmartcardOnly || e.Privileges.NotAUser {
		t.Errorf("it is %+v", e)
	}
}

// denied: a right that is taken away on one account.
func (s *suite) denied(t *testing.T) {
	unlock := func(session *directory.Session, e reset.Entry) error { return session.Unlock(t.Context(), e) }
	mustChange := func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) }

	u := s.Without(t, "Reset Password")
	wantRight(t, s.set(t, u, newPassword()), "Reset Password")
	wantRight(t, s.probe(t, u), "Reset Password")
	if err := s.changeTo(t, u, u.Password, newPassword()); err != nil {
		t.Errorf("a change: %v", err)
	}

	u = s.Without(t, "Write lockoutTime")
	if err := s.probe(t, u); err != nil {
		t.Errorf("probing an account that is not locked: %v", err)
	}
	s.Lock(t, u)
	if e := s.find(t, reset.UPN, u.UPN); !e.Locked {
		t.Fatal("the account is not locked")
	}
	o := wantCode(t, s.probe(t, u), reset.AppliedPartly)
	if f := o.Details.FollowUps; len(f) != 1 || f[0] != (reset.FollowUp{What: "unlock", Right: "Write lockoutTime"}) {
		t.Errorf("the follow-ups are %+v", f)
	}
	// What the probe said comes true.
	if err := s.set(t, u, newPassword()); err != nil {
		t.Errorf("the reset: %v", err)
	}
	wantRight(t, s.with(t, u, unlock), "Write lockoutTime")

	u = s.Without(t, "Write pwdLastSet")
	if err := s.set(t, u, newPassword()); err != nil {
		t.Errorf("a reset: %v", err)
	}
	wantRight(t, s.with(t, u, mustChange), "Write pwdLastSet")
}

// krbtgt is found, to be refused as what it is.
func (s *suite) krbtgt(t *testing.T) {
	e := s.find(t, reset.SAMAccountName, "krbtgt")
	if p := e.Privileges; !p.Critical || p.RID != 502 || !e.Disabled {
		t.Errorf("it is %+v", e)
	}
}

// lookAlikes: a name that looks like an account's is not the account's,
// whether the directory finds it or not.
// Filter: refused is a password that the domain's filter refuses, and none of
// its rules. The directory says no more than that it refused.
func Filter(t *testing.T, f Fixture, refused string) {
	s, u := start(t, f), f.NewUser(t, User{})
	wantCandidates(t, s.set(t, u, refused), "history", "filter")
	wantCandidates(t, s.changeTo(t, u, u.Password, refused), "history", "filter")
	s.opens(t, u, u.Password)
	password := newPassword()
	if err := s.set(t, u, password); err != nil {
		t.Errorf("another password: %v", err)
	}
	s.opens(t, u, password)
}

// WithoutHints: a directory that does not know the policy-hints control, where
// the configuration permits that, checks what it always does and neither history
// nor minimum age.
func WithoutHints(t *testing.T, f Fixture) {
	f.Config.AllowWithoutHistoryCheck = true
	s, u := start(t, f), f.NewUser(t, User{})
	for range 2 {
		if err := s.set(t, u, u.Password); err != nil {
			t.Errorf("a reset to the present password: %v", err)
		}
	}
	wantCode(t, s.set(t, u, "Aa1-xy"), reset.PasswordTooShort)
	wantCode(t, s.changeTo(t, u, u.Password, u.Password), reset.PasswordInHistory)
	s.opens(t, u, u.Password)
	young := f.Under(t, Policy{MinLength: 4, MinAge: time.Hour})
	if err := s.set(t, young, newPassword()); err != nil {
		t.Errorf("within the minimum age: %v", err)
	}
}

// disabled: the directory itself sets the password of a disabled account. That
// it is refused is ours.
func (s *suite) disabled(t *testing.T) {
	u := s.NewUser(t, User{Disabled: true})
	if err := s.set(t, u, newPassword()); err != nil {
		t.Error(err)
	}
}

// signIn: why a service account cannot sign in is in the error, and its bind is
// not tried again.
func (s *suite) signIn(t *testing.T) {
	ago := strconv.FormatInt((time.Now().Unix()-3600+11_644_473_600)*10_000_000, 10)
	locked, mustChange := s.NewUser(t, User{}), s.NewUser(t, User{})
	s.Lock(t, locked)
	err := s.with(t, mustChange, func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) })
	if err != nil {
		t.Fatal(err)
	}
	for data, u := range map[string]testkit.User{
		"52e": {DN: mustChange.DN, Password: "not " + mustChange.Password},
		"533": s.NewUser(t, User{Disabled: true}),
		"701": s.NewUser(t, User{Attributes: map[string][]string{"accountExpires": {ago}}}),
		"773": mustChange,
		"775": locked,
	} {
		f := s.Fixture
		f.Config.BindDN = u.DN
		f.Config.ReadSecret = func(string) (secret.Value, error) { return secret.New([]byte(u.Password)), nil }
		_, err := start(t, f).client.Begin(t.Context()) // which would try for ever
		if !errors.Is(err, reset.ErrDirectoryUnavailable) || !strings.Contains(err.Error(), "49 80090308 data "+data) {
			t.Errorf("%v, want data %s", err, data)
		}
	}
}

// precedence: of several policies the directory says which one applies: one that
// is the account's own before those of its groups, then the lowest number.
func (s *suite) precedence(t *testing.T) {
	under := s.asAdmin(t)
	u := s.UnderThree(t)
	if o := wantCode(t, under.set(t, u, "Aa1-xyz8"), reset.PasswordTooShort); o.Details.MinLength != 9 {
		t.Errorf("the minimum is %d, want 9", o.Details.MinLength)
	}
	if err := under.set(t, u, "Aa1-xyz89"); err != nil {
		t.Error(err)
	}
}

// complexity: which characters count for a category, as both directories have
// it. Where they differ, see their own tests.
func (s *suite) complexity(t *testing.T) {
	for password, ok := range map[string]bool{
		"abcdEFGH": false, "abcd1234": false, "ABCD1234": false, "abcd----": false, "1234----": false,
		"abcd 123": false, // a space is in no category
		"abcdEF12": true, "abcdEF--": true, "abcd12--": true, "ABCD12`|": true,
		"abcd12日本": true, "abcdEFßß": true,
	} {
		u := s.NewUser(t, User{})
		err := s.set(t, u, password)
		if ok && err != nil {
			t.Errorf("%q: %v", password, err)
		}
		if !ok {
			wantCode(t, err, reset.PasswordTooSimple)
		}
	}
}
