package directory

import (
	"fmt"
	"time"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
)

// attempts are the wrong passwords that a domain controller has counted for an
// account. It counts those of everybody: at desktops, and through every publisher.
type attempts struct {
	count int64
	last  time.Time // zero if it does not say
}

// attempts reads badPwdCount, which must be there, and badPasswordTime.
func (r *reader) attempts() attempts {
	a := attempts{count: r.number("badPwdCount")}
	if r.has("badPasswordTime") {
		a.last = reset.FileTime(r.number("badPasswordTime"))
	}
	return a
}

// within returns how many of them count towards a lockout: none if the last one
// was before the window, since the next wrong password is the first again then.
func (a attempts) within(rules policy.Rules, now time.Time) int64 {
	if !a.last.IsZero() && rules.LockoutWindow > 0 && now.Sub(a.last) > rules.LockoutWindow+reset.ClockSkew {
		return 0
	}
	return a.count
}

// near reports whether one more wrong password would leave fewer than two before
// a lockout, whose threshold is known and not 0, and how many count now.
func (a attempts) near(rules policy.Rules, now time.Time) (count int64, near bool) {
	count = a.within(rules, now)
	left := int64(rules.LockoutThreshold) - count - 1
	return count, left < 2
}

// guard returns a [*reset.Error], operation_off for the reason rate, if the
// account's wrong passwords are so many that a change with another one would take
// tries from its user: two are left before a lockout. The first wrong password is
// always let through, also where the threshold is below 3.
func (a attempts) guard(rules policy.Rules, now time.Time) error {
	if !rules.Known || rules.LockoutThreshold == 0 {
		return nil
	}
	if n, near := a.near(rules, now); near && n > 0 {
		return &reset.Error{Code: reset.OperationOff, Details: reset.Details{Reason: "rate"},
			Err: fmt.Errorf("%d wrong passwords of %d that lock the account", n, rules.LockoutThreshold)}
	}
	return nil
}
