// Package directorytest is the conformance suite of package directory: what
// must be true on every directory that tests use, the fake and the real one,
// so that each keeps the other honest.
package directorytest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
)

// A Fixture is a domain whose policy is that of a new one: seven characters,
// complexity, a history, but no minimum age.
type Fixture struct {
	Config directory.Config

	// NewUser adds a user with a password that meets the policy.
	NewUser func(t testing.TB, spec User) testkit.User
	// NewComputer adds the account of a machine.
	NewComputer func(t testing.TB) testkit.User
	// Bind returns nil if password opens the account with this name.
	Bind func(dn, password string) error
	// Wrong returns how many wrong passwords the domain controller counts for a
	// user, at least where there is a lockout threshold.
	Wrong func(t testing.TB, u testkit.User) int
	// NewGroup adds a group of users and other groups, by their sAMAccountName.
	NewGroup func(t testing.TB, members ...string) Group
	// Join puts a member into a group that there is, both by their
	// sAMAccountName.
	Join func(t testing.TB, group, member string)
	// Under adds a user to whom a policy of its own applies, and whose
	// password was set just now.
	Under func(t testing.TB, p Policy) testkit.User
	// UnderThree adds a user to whom three policies apply: one of 20 characters
	// with precedence 1 by a group, and by themselves one of 9 with
	// precedence 5 and one of 30 with precedence 7.
	UnderThree func(t testing.TB) testkit.User
	// Admin is a Config of somebody who may read such a policy. The service
	// account may not.
	Admin directory.Config
	// Without adds a user on which the service account has every right but
	// one, which is called as the codes do. Nobody has "Change Password".
	Without func(t testing.TB, right string) testkit.User
	// Lock locks a user out.
	Lock func(t testing.TB, u testkit.User)
}

// A User says what user a test needs.
type User struct {
	ConsistencyGUID []byte // none by default
	Outside         bool   // of what the service account may reset
	Disabled        bool
	Smartcard       bool                // signs in with a smartcard only
	NotRequired     bool                // needs no password
	Attributes      map[string][]string // anything else
}

// A Policy is what [Fixture.Under] applies to a user.
type Policy struct {
	MinLength        int
	Complexity       bool
	History          int
	MinAge           time.Duration
	LockoutThreshold int
}

// A Group is one that a test made.
type Group struct{ DN, SAMAccountName string }

// suite is one run on one directory.
type suite struct {
	Fixture
	client *directory.Client
}

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	s := start(t, f)
	t.Run("Check", func(t *testing.T) {
		if err := s.client.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("Names", s.names)
	t.Run("Unknown", s.unknown)
	t.Run("Ambiguous", s.ambiguous)
	t.Run("Metacharacters", s.metacharacters)
	t.Run("Refused", s.refused)
	t.Run("History", s.history)
	t.Run("NotPermitted", s.notPermitted)
	t.Run("Probe", s.probes)
	t.Run("Gone", s.gone)
	t.Run("Unicode", s.unicode)
	t.Run("NoPassword", s.noPassword)
	t.Run("Rules", s.rules)
	t.Run("Change", s.change)
	t.Run("Unlock", s.unlock)
	t.Run("MustChange", s.mustChange)
	t.Run("State", s.state)
	t.Run("Privileges", s.privileges)
	t.Run("PrivilegedGroup", s.privilegedGroup)
	t.Run("Groups", s.groups)
	t.Run("MinAge", s.minAge)
	t.Run("Policy", s.policy)
	t.Run("HiddenPolicy", s.hiddenPolicy)
	t.Run("Guesses", s.guesses)
	t.Run("Lockout", s.lockout)
	t.Run("Ask", s.ask)
	t.Run("AskNearLockout", s.askNearLockout)
	t.Run("Denied", s.denied)
	t.Run("CannotChange", s.cannotChange)
	t.Run("Smartcard", s.smartcard)
	t.Run("Krbtgt", s.krbtgt)
	t.Run("LookAlikes", s.lookAlikes)
	t.Run("Disabled", s.disabled)
	t.Run("SignIn", s.signIn)
	t.Run("Precedence", s.precedence)
	t.Run("Complexity", s.complexity)
}

// start returns a suite with a client that is closed with the test.
func start(t *testing.T, f Fixture) *suite {
	t.Helper()
	client, err := directory.New(f.Config, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &suite{f, client}
}

func (s *suite) refused(t *testing.T) {
	for name, tt := range map[string]struct {
		password string
		code     reset.Code
		details  reset.Details
	}{
		"too short":       {"Aa1-xy", reset.PasswordTooShort, reset.Details{MinLength: 7}},
		"too short, pair": {"Aa1-\U0001F511", reset.PasswordTooShort, reset.Details{MinLength: 7}},
		"too simple":      {"alllowercaseletters", reset.PasswordTooSimple, reset.Details{Categories: []string{"lower"}}},
	} {
		t.Run(name, func(t *testing.T) {
			u := s.NewUser(t, User{})
			before := s.find(t, reset.UPN, u.UPN).Witness
			o := wantCode(t, s.set(t, u, tt.password), tt.code)
			if !reflect.DeepEqual(o.Details, tt.details) {
				t.Errorf("details are %+v, want %+v", o.Details, tt.details)
			}
			// Before the bind: an account's first one moves uSNChanged.
			if after := s.find(t, reset.UPN, u.UPN).Witness; after != before {
				t.Errorf("the witness went from %+v to %+v, want it unchanged", before, after)
			}
			s.opens(t, u, u.Password)
		})
	}
}

func (s *suite) history(t *testing.T) {
	u := s.NewUser(t, User{})
	first, second := newPassword(), newPassword()
	if err := s.set(t, u, first); err != nil {
		t.Fatal(err)
	}
	wantCandidates(t, s.set(t, u, first), "history", "filter")
	if err := s.set(t, u, second); err != nil {
		t.Fatalf("a second new password: %v", err)
	}
	wantCandidates(t, s.set(t, u, first), "history", "filter")
	s.opens(t, u, second)
	if s.Bind(u.DN, first) == nil {
		t.Error("the password before opens the account too")
	}
}

func (s *suite) notPermitted(t *testing.T) {
	u := s.NewUser(t, User{Outside: true})
	o := wantCode(t, s.set(t, u, newPassword()), reset.NotPermitted)
	if o.Details.Right != "Reset Password" {
		t.Errorf("the right is %q", o.Details.Right)
	}
	s.opens(t, u, u.Password)
}

func (s *suite) gone(t *testing.T) {
	session := s.begin(t)
	err := session.SetPassword(t.Context(), reset.Entry{GUID: [16]byte(randomGUID())}, secret.New([]byte(newPassword())))
	wantCode(t, err, reset.AccountNotFound)
}

func (s *suite) unicode(t *testing.T) {
	u := s.NewUser(t, User{})
	for name, password := range map[string]string{
		"umlauts":        "Grüße-Äpfel1",
		"surrogate pair": "Aa1-\U0001F511\U0001F600",
		"quotes":         `Aa1"quoted"x`,
		"spaces":         " Aa1 with spaces ",
		"longest":        "Aa1-" + strings.Repeat("x", secret.MaxUnits-4),
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.set(t, u, password); err != nil {
				t.Fatal(err)
			}
			s.opens(t, u, password)
		})
	}
}

// noPassword never reaches a directory, which might take "" from a privileged
// caller.
func (s *suite) noPassword(t *testing.T) {
	u := s.NewUser(t, User{})
	for _, password := range []string{"", "\xff", strings.Repeat("x", secret.MaxUnits+1)} {
		o := wantCode(t, s.set(t, u, password), reset.Invalid)
		if o.Details.Field != "password" {
			t.Errorf("the field is %q", o.Details.Field)
		}
	}
	session := s.begin(t)
	_, err := session.Find(t.Context(), reset.Account{})
	wantCode(t, err, reset.Invalid)
	if errors.Is(err, reset.ErrDirectoryUnavailable) {
		t.Error("no account is no reason to hand the request back")
	}
}
