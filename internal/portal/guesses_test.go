package portal

import (
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
)

func TestGuessesLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 30 * time.Minute
		g := NewGuesses(Limits{WrongPasswords: 3, WrongPasswordWindow: time.Minute})
		rules := reset.Rules{Known: true, LockoutThreshold: 4, LockoutWindow: window} // narrower than the limits
		ada := reset.Submission{Tenant: "corp", Account: reset.Account{Kind: reset.UPN, Value: "ada@corp"}}
		want := func(when string, left int, wait time.Duration) {
			t.Helper()
			if l, w := g.Left(ada, rules); l != left || w != wait {
				t.Errorf("%s: %d left, wait %s; want %d, %s", when, l, w, left, wait)
			}
		}
		begin := func() (release func()) {
			t.Helper()
			wait, release := g.Begin(ada, rules)
			if wait != 0 {
				t.Errorf("refused for %s", wait)
			}
			return release
		}
		want("at first", 2, 0)
		begin()
		want("after a wrong one", 1, 0)
		release := begin()
		want("while one is at work", 0, latest+window)
		release()
		want("when it was right", 1, 0)
		begin()
		time.Sleep(time.Minute)
		want("after two wrong ones", 0, latest+window-time.Minute)
		bob := ada
		bob.Account.Value = "bob@corp"
		if l, _ := g.Left(bob, rules); l != 2 {
			t.Errorf("another account has %d left, want 2", l)
		}
		time.Sleep(latest + window - time.Minute)
		want("when they are forgotten", 2, 0)
		begin()
		want("after another", 1, 0)
	})
}

// The API takes from the budget that it is given.
func TestSharedGuesses(t *testing.T) {
	b := setup(t)
	b.config.Limits.WrongPasswords = 3
	b.config.Guesses = NewGuesses(b.config.Limits)
	b.reload(t)
	b.publisher.submit = ends(reset.Outcome{Code: reset.WrongPassword})
	wantStatus(t, "a change", b.postTo("/v1/changes", goodChange), 422)
	s := b.publisher.got[0]
	if left, _ := b.config.Guesses.Left(s, reset.Rules{}); left != 2 {
		t.Errorf("%d left, want 2", left)
	}
}
