// Package secret holds a password while it is in memory. A [Value] cannot be
// printed, compared or marshalled, whatever it sits in; its bytes are lent to
// a function and never leave otherwise.
//
// Zeroing is best effort: what net/http, TLS or an LDAP library copied before
// or after cannot be reached from here.
package secret

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

const redacted = "[secret]"

// A Value is a password or a key. The zero Value is empty.
type Value struct {
	// A closure, because fmt ignores our methods on unexported fields and
	// would print a slice, or a pointer to one, that it finds there. It
	// also makes values incomparable.
	bytes func() []byte
}

// New returns the value of b, which belongs to the Value from now on.
func New(b []byte) Value {
	return Value{bytes: func() []byte { return b }}
}

// Reveal lends the bytes to f, which must not keep them, and returns f's error.
func (v Value) Reveal(f func([]byte) error) error {
	if v.bytes == nil {
		return f(nil)
	}
	return f(v.bytes())
}

// Wipe overwrites the bytes. A Value and its copies are zeros afterwards.
func (v Value) Wipe() {
	if v.bytes != nil {
		clear(v.bytes())
	}
}

// Empty reports whether there are no bytes.
func (v Value) Empty() bool { return v.bytes == nil || len(v.bytes()) == 0 }

// MaxUnits is the longest password, in UTF-16 units (MS-SAMR 3.1.1.7.2).
const MaxUnits = 256

// CheckPassword returns an error that names the limit if v cannot be a
// password: empty, not UTF-8, or over [MaxUnits]. It says nothing of the
// directory's policy, and nothing of what v holds.
func CheckPassword(v Value) error {
	return v.Reveal(func(b []byte) error {
		switch {
		case len(b) == 0:
			return errors.New("must not be empty")
		case !utf8.Valid(b):
			return errors.New("must be valid Unicode")
		case Units(b) > MaxUnits:
			return fmt.Errorf("must have at most %d UTF-16 units", MaxUnits)
		}
		return nil
	})
}

// Units returns how many UTF-16 units the UTF-8 text b has.
func Units(b []byte) int {
	n := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		n += utf16.RuneLen(r)
		b = b[size:]
	}
	return n
}

// Format writes "[secret]" for every verb.
func (v Value) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// String returns "[secret]".
func (v Value) String() string { return redacted }

// errMarshal is what every marshalling method returns.
var errMarshal = errors.New("secret: a secret is never marshalled")

// MarshalJSON refuses.
func (v Value) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalText refuses.
func (v Value) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary refuses.
func (v Value) MarshalBinary() ([]byte, error) { return nil, errMarshal }

// GobEncode refuses.
func (v Value) GobEncode() ([]byte, error) { return nil, errMarshal }
