package fakead

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// maxPassword is the longest password, in UTF-16 units (MS-SAMR 3.1.1.7.2).
const maxPassword = 256

// maxHistory is the longest history that a policy can ask for (MS-ADTS
// 3.1.1.5.3.2).
const maxHistory = 1024

// A Policy is the password policy of the domain. The zero Policy refuses
// nothing.
type Policy struct {
	MinLength  int           // UTF-16 units
	Complexity bool          // three of the five categories
	History    int           // remembered passwords, the present one among them
	MinAge     time.Duration // before a password may be changed again
	MaxAge     time.Duration // after which it must be; 0 is never

	LockoutThreshold int           // bad passwords in a row; 0 is never
	LockoutDuration  time.Duration // 0 is until someone unlocks
}

// DefaultPolicy is that of a new Windows domain, but without a minimum age,
// which Microsoft advises for domains with password writeback, and without a
// maximum age.
func DefaultPolicy() Policy {
	return Policy{MinLength: 7, Complexity: true, History: 24}
}

// A Filter is what a password filter on a domain controller is: it sees every
// new password and may refuse it, without saying why. It must not call the
// Server's methods.
type Filter func(account, displayName, password string, reset bool) bool

// SetFilter makes f the password filter of all domain controllers; nil is none.
func (s *Server) SetFilter(f Filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.filter = f
}

// allowsText says whether e may have a password, in UTF-16LE, by the rules that
// hold for every write: length, complexity, the name rule and the filter.
//
// An account whose password is not required, and krbtgt, may have a short one
// (MS-SAMR 3.1.1.7.2). The name rule holds only where complexity does, as the
// manuals of Windows have it; MS-SAMR does not say so.
func (d *domain) allowsText(e *entry, p Policy, password string, reset bool) bool {
	units := decodeUTF16(password)
	excused := e.account.flags&flagNotRequired != 0 || d.isKrbtgt(e)
	if len(units) > maxPassword || len(units) < p.MinLength && !excused {
		return false
	}
	text := string(utf16.Decode(units))
	name, display := first(e.attrs["sAMAccountName"]), first(e.attrs["displayName"])
	if p.Complexity && (categories(text) < 3 || containsName(text, name, display)) {
		return false
	}
	return d.filter == nil || d.filter(name, display, text, reset)
}

// containsName is the name rule of MS-SAMR 3.1.1.7.2: the account's name as a
// whole, and the parts of the display name, if they are longer than two. That
// lengths are counted in UTF-16 units, and how case is ignored beyond ASCII,
// is a guess.
func containsName(password, name, display string) bool {
	password = strings.ToUpper(password)
	contains := func(part string) bool {
		return len(utf16.Encode([]rune(part))) > 2 && strings.Contains(password, strings.ToUpper(part))
	}
	return contains(name) || slices.ContainsFunc(strings.FieldsFunc(display, func(r rune) bool {
		return strings.ContainsRune(" ,.\t-_#", r)
	}), contains)
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// categories counts the categories of MS-SAMR 3.1.1.7.2 that password has. A
// character counts for the first one that has it, and some, like a space or a
// euro sign, for none.
func categories(password string) int {
	var upper, lower, digit, symbol, letter int
	for _, r := range password {
		switch {
		case r >= 'A' && r <= 'Z':
			upper = 1
		case r >= 'a' && r <= 'z':
			lower = 1
		case r >= '0' && r <= '9':
			digit = 1
		case r > ' ' && r < 0x7F:
			symbol = 1
		case unicode.IsLetter(r):
			letter = 1
		}
	}
	return upper + lower + digit + symbol + letter
}

// allowsNext says whether the account may have this password now by the rules
// that hold for a change, and for a reset with policy hints: history and
// minimum age.
func (p Policy) allowsNext(s *state, password string, now time.Time) bool {
	remembered := s.passwords[:min(p.History, len(s.passwords))]
	if s.flags&flagNotRequired == 0 && slices.Contains(remembered, password) {
		return false
	}
	return s.pwdLastSet == 0 || filetime(now)-s.pwdLastSet >= int64(p.MinAge/100)
}

// setPassword makes password the present one. pwdLastSet moves even if the
// clock did not.
func (s *state) setPassword(password string, now time.Time) {
	s.passwords = append([]string{password}, s.passwords[:min(len(s.passwords), maxHistory-1)]...)
	last := filetime(now)
	if last == s.pwdLastSet {
		last++
	}
	s.pwdLastSet = last
	s.sets++
}

func (s *state) has(password string) bool { return s.passwords[0] == password }

// miss counts a wrong password. What came before the observation window, which
// is as long as a lockout here, does not count any more.
func (s *state) miss(p Policy, now time.Time) {
	if p.LockoutDuration > 0 && filetime(now)-s.badPasswordAt > int64(p.LockoutDuration/100) {
		s.badPwdCount = 0
	}
	s.badPwdCount++
	s.badPasswordAt = filetime(now)
	if p.LockoutThreshold > 0 && s.badPwdCount >= int64(p.LockoutThreshold) {
		s.lockoutTime = filetime(now)
	}
}

// locked says whether the account is locked out now. lockoutTime alone does
// not: it stays when the lockout has ended.
func (s *state) locked(p Policy, now time.Time) bool {
	return s.lockoutTime != 0 &&
		(p.LockoutDuration == 0 || filetime(now)-s.lockoutTime < int64(p.LockoutDuration/100))
}

// expired says whether the password must be changed before signing in.
func (s *state) expired(p Policy, now time.Time) bool {
	return s.expiry(p) <= filetime(now)
}

// expiry returns when the password expires, as
// msDS-UserPasswordExpiryTimeComputed has it (MS-ADTS 3.1.1.4.5.43): 0 for at
// once, never for never.
func (s *state) expiry(p Policy) int64 {
	switch {
	case s.flags&(flagNeverExpires|flagSmartcard|flagTrust|flagWorkstation|flagServer) != 0:
		return never
	case s.pwdLastSet == 0:
		return 0
	case p.MaxAge == 0:
		return never
	}
	return s.pwdLastSet + int64(p.MaxAge/100)
}
