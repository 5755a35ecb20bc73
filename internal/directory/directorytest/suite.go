package directorytest

import (
	"context"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
)

func (s *suite) begin(t *testing.T) *directory.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	session, err := s.client.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.End)
	return session
}

// find finds an account that must be there, in a session of its own.
func (s *suite) find(t *testing.T, kind reset.NameKind, value string) reset.Entry {
	t.Helper()
	session := s.begin(t)
	defer session.End()
	e, err := session.Find(t.Context(), account(t, kind, value))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// set finds the user and sets a password, in one session.
func (s *suite) set(t *testing.T, u testkit.User, password string) error {
	t.Helper()
	return s.with(t, u, func(session *directory.Session, e reset.Entry) error {
		return session.SetPassword(t.Context(), e, secret.New([]byte(password)))
	})
}

func (s *suite) opens(t *testing.T, u testkit.User, password string) {
	t.Helper()
	if err := s.Bind(u.DN, password); err != nil {
		t.Errorf("the password does not open %s: %v", u.DN, err)
	}
}

func account(t *testing.T, kind reset.NameKind, value string) reset.Account {
	t.Helper()
	a, err := reset.NewAccount(kind, value)
	if err != nil {
		t.Fatalf("%s %q: %v", kind, value, err)
	}
	return a
}

func wantCode(t *testing.T, err error, want reset.Code) reset.Outcome {
	t.Helper()
	o, ok := reset.OutcomeOf(err)
	if !ok || o.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
	return o
}

// wantCandidates wants a refusal for the policy of which only this is known.
func wantCandidates(t *testing.T, err error, want ...string) {
	t.Helper()
	o := wantCode(t, err, reset.PasswordRefused)
	if !slices.Equal(o.Details.Candidates, want) {
		t.Errorf("candidates are %q, want %q", o.Details.Candidates, want)
	}
}

func wantRight(t *testing.T, err error, right string) {
	t.Helper()
	if o := wantCode(t, err, reset.NotPermitted); o.Details.Right != right {
		t.Errorf("the right is %q, want %q", o.Details.Right, right)
	}
}

// with finds the user and does something, in one session.
func (s *suite) with(t *testing.T, u testkit.User, do func(*directory.Session, reset.Entry) error) error {
	t.Helper()
	session := s.begin(t)
	defer session.End()
	e, err := session.Find(t.Context(), account(t, reset.ObjectGUID, u.ObjectGUID))
	if err != nil {
		t.Fatal(err)
	}
	return do(session, e)
}

// changeTo finds the user and changes the password, in one session.
func (s *suite) changeTo(t *testing.T, u testkit.User, current, next string) error {
	t.Helper()
	return s.with(t, u, func(session *directory.Session, e reset.Entry) error {
		return session.Change(t.Context(), e, secret.New([]byte(current)), secret.New([]byte(next)))
	})
}

// under returns a suite whose client reaches, and may read, a user's policy p.
func (s *suite) under(t *testing.T, p Policy) (*suite, testkit.User) {
	t.Helper()
	return s.asAdmin(t), s.Under(t, p)
}

// asAdmin returns a suite whose client may read every policy.
func (s *suite) asAdmin(t *testing.T) *suite {
	t.Helper()
	f := s.Fixture
	f.Config = s.Admin
	return start(t, f)
}

// name returns how u is called by names of one kind.
func name(u testkit.User, kind reset.NameKind) string {
	return map[reset.NameKind]string{
		reset.ImmutableID: u.ImmutableID, reset.ObjectGUID: u.ObjectGUID, reset.UPN: u.UPN,
		reset.SAMAccountName: u.SAMAccountName, reset.SID: u.SID,
	}[kind]
}

// newPassword returns one that nobody had and every policy here takes.
func newPassword() string { return "Pw1-" + rand.Text() }

func randomGUID() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	return b
}
