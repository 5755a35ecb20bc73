// Package policy explains why Active Directory refused a password. AD says
// "policy" and not which rule; knowing the rules in force, the password and
// the account, this package names the rule that was certainly broken, or
// lists those that cannot be ruled out.
//
// It replaces no check of AD's: it is asked after a refusal, and what AD
// accepts is accepted. Where the sources disagree (MS-SAMR 3.1.1.7.2, the
// text of Windows' own policy editor, Samba), a rule is proven broken only if
// it is by every reading, and ruled out only if it is kept by every reading.
//
// Passwords are read where they lie or from a copy that is wiped.
package policy

import (
	"bytes"
	"time"
	"unicode/utf8"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// Rules are what a domain, or a fine-grained policy, asks of passwords.
type Rules struct {
	// Known is false if the rules could not be read: the rest is then zero
	// and means nothing. Unknown is not none.
	Known bool

	MinLength  int // UTF-16 units
	Complexity bool
	History    int           // how many passwords are remembered, the present one among them
	MinAge     time.Duration // before a password may be replaced

	LockoutThreshold int           // bad passwords in a row; 0 is no lockout
	LockoutWindow    time.Duration // in which they count
	LockoutDuration  time.Duration // 0 or the longest: until somebody unlocks

	// Samba says that the domain controller is one of Samba's, whose rules
	// are others than those of Windows: it has no name rule, and every
	// character beyond ASCII is in a category.
	Samba bool
}

// An Account is what the rules look at beside the password, as it was just
// before the attempt.
type Account struct {
	SAM         string // sAMAccountName
	DisplayName string
	PwdLastSet  int64 // FILETIME; 0: the password must be changed
	NotRequired bool  // userAccountControl, PASSWD_NOTREQD: most rules are skipped
}

// An Attempt is a password that AD refused for its policy.
type Attempt struct {
	Account  Account
	Password secret.Value
	// Current is the password before, which AD has found to be right. It is
	// empty in a reset.
	Current secret.Value
	// FullPolicy says that AD was asked to look at history and minimum age
	// too: in every change, and in a reset with the policy-hints control.
	FullPolicy bool
	At         time.Time
}

// The rules as [reset.Details.Candidates] calls them. A filter is a program on
// the domain controller; that there is none is never known.
const (
	length     = "length"
	complexity = "complexity"
	name       = "name"
	history    = "history"
	minimumAge = "minimum_age"
	filter     = "filter"
)

// A verdict is whether a password keeps a rule.
type verdict int

const (
	kept   verdict = iota
	unsure         // not known, or the sources disagree
	broken
)

// Explain returns the code and details of a refused password. If several rules
// are certainly broken it names the minimum age first, since no other password
// would help, and then the first in the order in which MS-SAMR has them.
//
// [reset.PasswordInHistory] is said only of a change to the present password.
// Nothing but the directory knows the older ones, and what is left after
// every other rule was ruled out is still history or a filter.
func (r Rules) Explain(a Attempt) reset.Outcome {
	text := decode(a.Password)
	defer clear(text)
	age, earliest := r.age(a)
	simple, present := r.simple(text)
	rules := []struct {
		name    string
		verdict verdict
		code    reset.Code
		details reset.Details
	}{
		{length, r.short(text), reset.PasswordTooShort, reset.Details{MinLength: uint16(r.MinLength)}},
		{complexity, simple, reset.PasswordTooSimple, reset.Details{Categories: present.names()}},
		{name, r.named(text, a.Account), reset.PasswordContainsName, reset.Details{}},
		{history, r.used(a), reset.PasswordInHistory, reset.Details{}},
		{minimumAge, age, reset.PasswordTooRecent, reset.Details{Earliest: earliest}},
	}
	if age == broken {
		last := rules[len(rules)-1]
		return reset.Outcome{Code: last.code, Details: last.details}
	}
	var candidates []string
	for _, rule := range rules {
		checked := a.FullPolicy || rule.name != history && rule.name != minimumAge
		switch {
		case !checked:
		case !r.Known || rule.verdict == unsure || rule.verdict == broken && a.Account.NotRequired:
			// MS-SAMR 3.1.1.7.1 and 3.1.1.7.2 exempt accounts that need
			// no password; Samba does not exempt them from all of it.
			candidates = append(candidates, rule.name)
		case rule.verdict == broken:
			return reset.Outcome{Code: rule.code, Details: rule.details}
		}
	}
	return reset.Outcome{Code: reset.PasswordRefused, Details: reset.Details{Candidates: append(candidates, filter)}}
}

// short is the minimum password length constraint of MS-SAMR 3.1.1.7.2. Its
// characters are UTF-16 units, since the value is a UTF-16 string.
func (r Rules) short(text []rune) verdict {
	if units(text) < r.MinLength {
		return broken
	}
	return kept
}

// used is the history of MS-SAMR 3.1.1.7.1.
func (r Rules) used(a Attempt) verdict {
	switch {
	case r.History == 0:
		return kept
	case !a.Current.Empty() && same(a.Current, a.Password):
		return broken
	}
	return unsure
}

// age is the minimum age of MS-SAMR 3.1.1.7.1, and when it will have passed,
// on a whole second. The domain controller's clock may differ from ours.
func (r Rules) age(a Attempt) (verdict, time.Time) {
	if !r.Known || !a.FullPolicy || r.MinAge == 0 || a.Account.PwdLastSet == 0 {
		return kept, time.Time{}
	}
	earliest := reset.FileTime(a.Account.PwdLastSet).Add(r.MinAge)
	if earliest.Nanosecond() > 0 {
		earliest = earliest.Truncate(time.Second).Add(time.Second)
	}
	switch {
	case earliest.Year() > 9999: // a forced value; no format has such a time
		return unsure, time.Time{}
	case !a.At.Add(reset.ClockSkew).Before(earliest) && a.At.Add(-reset.ClockSkew).After(earliest):
		return kept, time.Time{}
	case a.At.Add(reset.ClockSkew).Before(earliest) && !a.Account.NotRequired:
		return broken, earliest
	}
	return unsure, time.Time{}
}

// TooRecent returns when the minimum age will have passed, if it is certain
// that until then no password is accepted. Of the attempt's password it needs
// nothing.
func (r Rules) TooRecent(a Attempt) (earliest time.Time, certain bool) {
	v, earliest := r.age(a)
	return earliest, v == broken
}

// decode returns the characters of a password. The caller wipes them.
func decode(v secret.Value) (text []rune) {
	v.Reveal(func(b []byte) error {
		text = make([]rune, 0, utf8.RuneCount(b)) // never grown: no copies
		for len(b) > 0 {
			r, size := utf8.DecodeRune(b)
			text = append(text, r)
			b = b[size:]
		}
		return nil
	})
	return text
}

// same compares two passwords byte by byte. How long it takes is seen by
// nobody who does not know both.
func same(a, b secret.Value) (equal bool) {
	a.Reveal(func(x []byte) error {
		return b.Reveal(func(y []byte) error {
			equal = bytes.Equal(x, y)
			return nil
		})
	})
	return equal
}
