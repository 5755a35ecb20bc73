package reset

import (
	"errors"
	"fmt"
	"time"
)

// A Code says what became of a request. The set is closed: both sides switch
// over it, users are shown one fixed sentence for each, metrics use it as a
// label. Add codes at the end of codes; their place there is their number on
// the wire.
type Code string

const (
	Applied              Code = "applied"                // the directory confirmed it
	AppliedPartly        Code = "applied_partly"         // the password is set, a follow-up was refused
	PasswordTooShort     Code = "password_too_short"     // refused by the minimum length
	PasswordTooSimple    Code = "password_too_simple"    // refused by complexity
	PasswordContainsName Code = "password_contains_name" // refused by the name rule
	PasswordInHistory    Code = "password_in_history"    // refused by history
	PasswordTooRecent    Code = "password_too_recent"    // refused by the minimum age
	PasswordRefused      Code = "password_refused"       // refused, the rule is not known
	WrongPassword        Code = "wrong_password"         // a change whose current password is wrong
	AccountNotFound      Code = "account_not_found"      // not in this directory, or not in its bases
	AccountAmbiguous     Code = "account_ambiguous"      // more than one match; none is touched
	AccountDisabled      Code = "account_disabled"       // disabled or expired
	AccountLocked        Code = "account_locked"         // a change while locked
	AccountProtected     Code = "account_protected"      // privileged
	NotPermitted         Code = "not_permitted"          // the service account lacks a right
	OperationOff         Code = "operation_off"          // switched off, or against the company's policy
	InProgress           Code = "in_progress"            // another request for the account has not ended
	Invalid              Code = "invalid"                // malformed in a way only the consumer can see
	Unreadable           Code = "unreadable"             // no living consumer can open it
	DirectoryError       Code = "directory_error"        // the directory answered something unknown
	Expired              Code = "expired"                // the deadline passed first; nothing was changed
	Unconfirmed          Code = "unconfirmed"            // not known (yet) whether it was applied
)

var codes = []Code{
	Applied, AppliedPartly, PasswordTooShort, PasswordTooSimple, PasswordContainsName,
	PasswordInHistory, PasswordTooRecent, PasswordRefused, WrongPassword, AccountNotFound,
	AccountAmbiguous, AccountDisabled, AccountLocked, AccountProtected, NotPermitted,
	OperationOff, InProgress, Invalid, Unreadable, DirectoryError, Expired, Unconfirmed,
}

// Codes returns the closed set, in the order of its numbers on the wire.
func Codes() []Code { return append([]Code(nil), codes...) }

// Number returns the code's number on the wire, 1 for the first; 0 for what is
// not a code.
func (c Code) Number() uint8 {
	for i, known := range codes {
		if c == known {
			return uint8(i + 1)
		}
	}
	return 0
}

// CodeNumbered is the inverse of [Code.Number].
func CodeNumbered(n uint8) (Code, error) {
	if n == 0 || int(n) > len(codes) {
		return "", fmt.Errorf("there is no code with number %d", n)
	}
	return codes[n-1], nil
}

// Details are the facts behind a code that its reader can use. What does not
// belong to the code is zero. They never hold a password, nor text that a
// directory wrote.
type Details struct {
	Field      string     // invalid: the field of the request
	Reason     string     // operation_off: switch, policy, rate, stopped; expired: superseded
	Result     string     // directory_error: LDAP result code and Win32 code, as "53 0000052D"
	Right      string     // not_permitted: the right that the service account lacks
	MinLength  uint16     // password_too_short: in UTF-16 units
	Earliest   time.Time  // password_too_recent: when it may be tried again
	Categories []string   // password_too_simple: the categories that are present
	Candidates []string   // password_refused: the rules that could not be ruled out
	FollowUps  []FollowUp // applied_partly: what may not have been done after the password was set
}

// A FollowUp is a part of a request that was refused, or not answered, after its
// password was set.
type FollowUp struct {
	What  string // "unlock" or "must_change"
	Right string // the right that is missing; empty if that is not the reason
}

// An Outcome is the end of a request.
type Outcome struct {
	Code    Code
	Details Details
}

// An Error is an outcome on its way through functions that return errors. The
// code and details may leave this machine; Err stays in its log.
type Error struct {
	Code    Code
	Details Details
	Err     error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// These are not outcomes but what happens to a request on its way to one.
var (
	// ErrDirectoryUnavailable says that no domain controller could be
	// asked. Nothing was sent; the request is handed back to the queue.
	ErrDirectoryUnavailable = errors.New("directory unavailable")

	// ErrUnanswered says that a modify was sent and its answer never came:
	// whether it was applied is in doubt. Or the directory was asked whether
	// a password is right, and what came says neither yes nor no.
	ErrUnanswered = errors.New("the directory was asked and did not answer")

	// ErrNotAsked says that the directory was not asked whether a password is
	// right, since a wrong one might lock its account or the answer would
	// mean nothing. Nothing was sent.
	ErrNotAsked = errors.New("the directory must not be asked")
)

// OutcomeOf returns the outcome that err carries; nil is [Applied]. ok is false
// for an error that nobody classified: what became of the request is then not
// known, and must not be guessed.
func OutcomeOf(err error) (o Outcome, ok bool) {
	if err == nil {
		return Outcome{Code: Applied}, true
	}
	var e *Error
	if errors.As(err, &e) {
		return Outcome{Code: e.Code, Details: e.Details}, true
	}
	return Outcome{}, false
}

// These are what a write to the broker can end in, other than being stored.
// Every other error of a write means that nothing was stored.
var (
	// ErrConflict: somebody else wrote first; nothing of ours was stored.
	ErrConflict = errors.New("somebody else has written first")
	// ErrSlotTaken: another request for the account is in the queue.
	ErrSlotTaken = errors.New("the account's slot is taken")
	// ErrUnknown: whether it was stored is not known; it may still be.
	ErrUnknown = errors.New("the broker did not say whether it has stored the message")
	// ErrUnavailable: the broker cannot be reached; nothing was stored.
	ErrUnavailable = errors.New("the broker cannot be reached")
)
