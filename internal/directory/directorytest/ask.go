package directorytest

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
)

// asks finds the user and asks whether password is right, in one session.
func (s *suite) asks(t *testing.T, u testkit.User, password string) (right bool, err error) {
	t.Helper()
	err = s.with(t, u, func(session *directory.Session, e reset.Entry) (err error) {
		right, err = session.Ask(t.Context(), e, secret.New([]byte(password)))
		return err
	})
	return right, err
}

// wantNotAsked wants that a bind was not tried, and does not say who is right.
func (s *suite) wantNotAsked(t *testing.T, u testkit.User, password string) {
	t.Helper()
	before := s.Wrong(t, u)
	right, err := s.asks(t, u, password)
	if right || !errors.Is(err, reset.ErrNotAsked) || errors.Is(err, reset.ErrUnanswered) || errors.Is(err, reset.ErrDirectoryUnavailable) {
		t.Errorf("got %t, %v, want %q", right, err, reset.ErrNotAsked)
	}
	if after := s.Wrong(t, u); after != before {
		t.Errorf("the count of wrong passwords went from %d to %d", before, after)
	}
}

// ask: the right password is right whatever keeps the account from signing in.
func (s *suite) ask(t *testing.T) {
	past := strconv.FormatInt((time.Now().Add(-time.Hour).Unix()+11_644_473_600)*10_000_000, 10)
	for name, tt := range map[string]struct {
		user       User
		mustChange bool
		opens      bool
	}{
		"ordinary":         {opens: true},
		"must change":      {mustChange: true},
		"disabled":         {user: User{Disabled: true}},
		"expired":          {user: User{Attributes: map[string][]string{"accountExpires": {past}}}},
		"another's to set": {user: User{Outside: true}, opens: true},
	} {
		t.Run(name, func(t *testing.T) {
			u := s.NewUser(t, tt.user)
			if tt.mustChange {
				if err := s.with(t, u, func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) }); err != nil {
					t.Fatal(err)
				}
			}
			before := s.find(t, reset.ObjectGUID, u.ObjectGUID).Witness
			if right, err := s.asks(t, u, "not "+u.Password); right || err != nil {
				t.Errorf("a wrong one: %t, %v", right, err)
			}
			if after := s.find(t, reset.ObjectGUID, u.ObjectGUID).Witness; after != before {
				t.Errorf("a wrong one moved the witness from %+v to %+v", before, after)
			}
			if right, err := s.asks(t, u, u.Password); !right || err != nil {
				t.Errorf("the right one: %t, %v", right, err)
			}
			if after := s.find(t, reset.ObjectGUID, u.ObjectGUID).Witness; after.PwdLastSet != before.PwdLastSet {
				t.Errorf("the right one moved pwdLastSet from %+v to %+v", before, after)
			}
			if opens := s.Bind(u.DN, u.Password) == nil; opens != tt.opens {
				t.Errorf("the account opens: %t, want %t, or this tests something else", opens, tt.opens)
			}
		})
	}
	u := s.NewUser(t, User{})
	for _, password := range []string{"", "\x00", u.Password + "\x00", "\xff"} {
		s.wantNotAsked(t, u, password)
	}
	session := s.begin(t)
	for what, tt := range map[string]struct {
		found, asked reset.Entry
	}{
		"another than was found": {s.find(t, reset.ObjectGUID, s.NewUser(t, User{}).ObjectGUID), s.find(t, reset.UPN, u.UPN)},
		"the service account":    {asked: s.find(t, reset.SAMAccountName, "svc-writeback")},
		"a computer":             {asked: s.find(t, reset.ObjectGUID, s.NewComputer(t).ObjectGUID)},
	} {
		e, found := tt.asked, tt.found.GUID
		if tt.found.DN == "" {
			found = e.GUID
		}
		if _, err := session.Find(t.Context(), account(t, reset.ObjectGUID, reset.FormatGUID(found))); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Ask(t.Context(), e, secret.New([]byte(newPassword()))); !errors.Is(err, reset.ErrNotAsked) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// askNearLockout: whoever is asked for has a wrong password left.
func (s *suite) askNearLockout(t *testing.T) {
	under, u := s.under(t, Policy{MinLength: 4, LockoutThreshold: 4})
	s.wantNotAsked(t, u, u.Password) // the service account may not read the policy
	for want := 1; want <= 2; want++ {
		if right, err := under.asks(t, u, "not "+u.Password); right || err != nil {
			t.Errorf("a wrong one: %t, %v", right, err)
		}
		if got := s.Wrong(t, u); got != want {
			t.Errorf("%d wrong passwords are counted, want %d", got, want)
		}
	}
	under.wantNotAsked(t, u, u.Password)
	if s.Bind(u.DN, "wrong") == nil || under.find(t, reset.ObjectGUID, u.ObjectGUID).Locked {
		t.Error("the user had no wrong password left")
	}
	under.wantNotAsked(t, u, u.Password)
	s.opens(t, u, u.Password)
	if right, err := under.asks(t, u, u.Password); !right || err != nil {
		t.Errorf("after a good bind: %t, %v", right, err)
	}
	for range 4 {
		s.Bind(u.DN, "wrong")
	}
	if !under.find(t, reset.ObjectGUID, u.ObjectGUID).Locked {
		t.Fatal("the account is not locked")
	}
	under.wantNotAsked(t, u, u.Password)
	under.wantNotAsked(t, u, "wrong")

	// With a threshold of 2 the first wrong one leaves none.
	under, u = s.under(t, Policy{MinLength: 4, LockoutThreshold: 2})
	under.wantNotAsked(t, u, u.Password)
}
