package directorytest

import (
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/testkit"
)

// probe asks what a reset of an account would meet.
func (s *suite) probe(t *testing.T, u testkit.User) error {
	t.Helper()
	return s.with(t, u, func(session *directory.Session, e reset.Entry) error { return session.Probe(t.Context(), e) })
}

// probes: what a probe says is what a reset meets, and a probe changes nothing.
func (s *suite) probes(t *testing.T) {
	u := s.NewUser(t, User{})
	before := s.find(t, reset.UPN, u.UPN).Witness
	for range 2 {
		if err := s.probe(t, u); err != nil {
			t.Errorf("an account that may be reset: %v", err)
		}
	}
	if after := s.find(t, reset.UPN, u.UPN).Witness; after != before {
		t.Errorf("a probe changed the account from %+v to %+v", before, after)
	}
	wantRight(t, s.probe(t, s.NewUser(t, User{Outside: true})), "Reset Password")

	session := s.begin(t)
	if err := session.Probe(t.Context(), reset.Entry{GUID: [16]byte(randomGUID())}); err == nil {
		t.Error("an account was probed that was not found")
	}

	const age = time.Hour
	under, young := s.under(t, Policy{MinLength: 4, History: 3, MinAge: age})
	o := wantCode(t, under.probe(t, young), reset.PasswordTooRecent)
	if left := time.Until(o.Details.Earliest); left < age-time.Minute || left > age+time.Minute {
		t.Errorf("it may be tried in %s, want %s", left, age)
	}
	if err := under.with(t, young, func(session *directory.Session, e reset.Entry) error { return session.MustChange(t.Context(), e) }); err != nil {
		t.Fatal(err)
	}
	if err := under.probe(t, young); err != nil {
		t.Errorf("whoever must change may, but: %v", err)
	}
}
