package portal

import (
	"time"

	"writeback/internal/reset"
)

// Guesses are how many wrong current passwords are taken for each account name,
// from whoever asks for changes: the API and the page share one budget. They are
// counted in this process alone.
type Guesses struct {
	limits Limits
	table  *table[owner, guesses]
}

// NewGuesses returns a budget of which nothing is used up.
func NewGuesses(l Limits) *Guesses { return &Guesses{l, newTable[owner, guesses]()} }

// ofAccount is the account of s, whoever asks for it.
func ofAccount(s reset.Submission) owner {
	return owner{tenant: s.Tenant, name: s.Account.Canonical()}
}

// Begin counts a change in a domain with these rules. Unless wait says that it is
// not to be tried, release is called when it is known that its current password was
// not wrong; see [Guessed].
func (g *Guesses) Begin(s reset.Submission, r reset.Rules) (wait time.Duration, release func()) {
	name := ofAccount(s)
	limit, window := g.limits.wrongPasswords(r)
	g.table.with(name, func(p *guesses, now time.Duration) { wait = p.begin(now, limit, window) })
	return wait, func() {
		g.table.with(name, func(p *guesses, _ time.Duration) { p.end() })
	}
}

// Left returns how many changes of the account may still be tried and, if that is
// none, how long it is until they are forgotten.
func (g *Guesses) Left(s reset.Submission, r reset.Rules) (left int, wait time.Duration) {
	limit, _ := g.limits.wrongPasswords(r)
	g.table.with(ofAccount(s), func(p *guesses, now time.Duration) {
		if left = limit; now < p.until {
			left = max(0, limit-p.n)
		}
		if left == 0 {
			wait = p.until - now
		}
	})
	return left, wait
}

// wrongPasswords are WrongPasswords and WrongPasswordWindow as they must be in a
// domain with these rules: two wrong ones remain to an account's owner, if the
// threshold leaves any, and none is forgotten here that the domain remembers.
func (l Limits) wrongPasswords(r reset.Rules) (limit int, window time.Duration) {
	if !r.Known || r.LockoutThreshold == 0 {
		return l.WrongPasswords, l.WrongPasswordWindow
	}
	return min(l.WrongPasswords, max(1, int(r.LockoutThreshold)-2)), max(l.WrongPasswordWindow, r.LockoutWindow)
}

// guesses are the changes of one account name whose current password was wrong,
// or may have been. Active Directory counts wrong passwords in a row, too, and
// forgets them only when none came for a while (lockOutObservationWindow, counted
// from badPasswordTime). So a budget that fills up again bit by bit would lock the
// account in the end: here as well all are forgotten at once.
type guesses struct {
	n     int
	until time.Duration // forgotten from then on
}

// latest is how long after it was taken a change may still be tried.
const latest = reset.Deadline + reset.ModifyTimeout

// begin counts a change as wrong, until end says that it was not. If limit of
// them are counted it returns how long it is until they are forgotten, else 0.
func (g *guesses) begin(now time.Duration, limit int, window time.Duration) time.Duration {
	if now >= g.until {
		g.n = 0
	}
	if g.n >= limit {
		return g.until - now
	}
	g.n++
	g.until = now + latest + window
	return 0
}

// end takes back one change that was counted.
func (g *guesses) end() { g.n = max(g.n-1, 0) }

// Guessed reports whether a change with this outcome counts as a wrong password:
// it is one, or the directory may have been asked and nobody knows its answer, as
// is so before there is an outcome.
func Guessed(c reset.Code) bool {
	switch c {
	case reset.Applied, reset.AppliedPartly, // it was right
		reset.PasswordTooShort, reset.PasswordTooSimple, reset.PasswordContainsName,
		reset.PasswordInHistory, reset.PasswordTooRecent, reset.PasswordRefused, // the new one was at fault
		reset.AccountNotFound, reset.AccountAmbiguous, reset.AccountDisabled, reset.AccountLocked,
		reset.AccountProtected, reset.NotPermitted, reset.OperationOff, reset.InProgress,
		reset.Invalid, reset.Unreadable: // it was not looked at
		return false
	}
	return true
}
