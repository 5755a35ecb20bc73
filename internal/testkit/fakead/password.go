package fakead

import (
	"encoding/binary"
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

// allowsText says whether a password, in UTF-16LE, meets the rules that hold
// for every write: length and complexity.
func (p Policy) allowsText(password string) bool {
	units := decodeUTF16(password)
	if len(units) > maxPassword || len(units) < p.MinLength {
		return false
	}
	return !p.Complexity || categories(string(utf16.Decode(units))) >= 3
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
	if slices.Contains(remembered, password) {
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
}

func (s *state) has(password string) bool { return s.passwords[0] == password }

// miss counts a wrong password.
func (s *state) miss(p Policy, now time.Time) {
	s.badPwdCount++
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
	return s.flags&flagNeverExpires == 0 && (s.pwdLastSet == 0 ||
		p.MaxAge > 0 && filetime(now)-s.pwdLastSet > int64(p.MaxAge/100))
}

// unquote returns what is between the quotes of a unicodePwd, in UTF-16LE
// (MS-ADTS 3.1.1.3.1.5).
func unquote(value string) (string, bool) {
	const quote = "\"\x00"
	if len(value) < 2*len(quote) || len(value)%2 != 0 {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimPrefix(value, quote), quote),
		strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote)
}

func encodeUTF16(s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

func decodeUTF16(s string) []uint16 {
	units := make([]uint16, len(s)/2)
	for i := range units {
		units[i] = uint16(s[2*i]) | uint16(s[2*i+1])<<8
	}
	return units
}
