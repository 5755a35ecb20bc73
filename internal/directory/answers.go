package directory

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

// invalidCredentials is the result of every bind that is refused for the
// account or its password.
const invalidCredentials = ldap.LDAPResultInvalidCredentials

// An answer is a refusal by a domain controller. Its Error has the codes that
// are contract, and not the text.
type answer struct {
	result uint16 // RFC 4511 section 4.1.9
	win32  string // what the text begins with, eight upper-case hexadecimal digits, or empty
	data   string // why a bind was refused, in hexadecimal digits, or empty
	text   string // as it came
}

// newAnswer reads the codes from a refusal's text. MS-ADTS 3.1.1.1.14: the
// first eight characters are a Win32 code, what follows is for debugging. Only
// of a bind more is known: the code after "data" (MS-ERREF 2.2).
func newAnswer(result uint16, text string) *answer {
	a := &answer{result: result, text: text}
	if len(text) >= 8 && hexDigits(text) >= 8 {
		a.win32 = strings.ToUpper(text[:8])
	}
	if _, after, ok := strings.Cut(text, ", data "); ok && result == invalidCredentials {
		a.data = after[:min(hexDigits(after), 8)]
	}
	return a
}

// hexDigits returns how many hexadecimal digits s begins with.
func hexDigits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789abcdefABCDEF"))
}

// code is the form of [reset.Details.Result]: "53 0000052D", or "53" where no
// Win32 code was given.
func (a *answer) code() string {
	if a.win32 == "" {
		return fmt.Sprint(a.result)
	}
	return fmt.Sprintf("%d %s", a.result, a.win32)
}

func (a *answer) Error() string {
	if a.data != "" {
		return "the directory answered " + a.code() + " data " + a.data
	}
	return "the directory answered " + a.code()
}

// resetRight is User-Force-Change-Password as administrators know it.
const resetRight = "Reset Password"

// anyWin32 matches every Win32 code, and none.
const anyWin32 = "any"

// refusals says what the answers to a reset mean. What is not here is
// directory_error. Every refused modify changed nothing (RFC 4511 section 4.6:
// a modify is atomic), which is why busy may be tried again.
var refusals = []struct {
	result uint16
	win32  string
	code   reset.Code // empty: reset.ErrDirectoryUnavailable
}{
	// ERROR_PASSWORD_RESTRICTION. Windows and Samba from 4.24 answer a reset
	// with 53, a change and one check of Samba's with 19.
	{ldap.LDAPResultUnwillingToPerform, "0000052D", reset.PasswordRefused},
	{ldap.LDAPResultConstraintViolation, "0000052D", reset.PasswordRefused},
	// ERROR_ACCESS_DENIED, ERROR_DS_INSUFF_ACCESS_RIGHTS, and Samba's refusal
	// of a control right, which has no code.
	{ldap.LDAPResultInsufficientAccessRights, "00000005", reset.NotPermitted},
	{ldap.LDAPResultInsufficientAccessRights, "00002098", reset.NotPermitted},
	{ldap.LDAPResultInsufficientAccessRights, "", reset.NotPermitted},
	// It was there when it was found, and was deleted since: a modify by GUID
	// does not miss an object that was moved.
	{ldap.LDAPResultNoSuchObject, anyWin32, reset.AccountNotFound},
	{ldap.LDAPResultBusy, anyWin32, ""},
	{ldap.LDAPResultUnavailable, anyWin32, ""},
}

// refused returns the error for a reset that was answered with a.
func refused(a *answer) error {
	for _, r := range refusals {
		if r.result != a.result || r.win32 != anyWin32 && r.win32 != a.win32 {
			continue
		}
		e := &reset.Error{Code: r.code, Err: a}
		switch r.code {
		case "":
			return unavailable("setting the password", a)
		case reset.PasswordRefused:
			e.Details.Candidates = []string{"length", "complexity", "history", "minimum_age", "filter"}
		case reset.NotPermitted:
			e.Details.Right = resetRight
		}
		return e
	}
	return unknown(a)
}

// unfound returns the error for a search that was answered with a.
func unfound(a *answer) error {
	switch a.result {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultTimeLimitExceeded:
		return unavailable("finding the account", a)
	}
	return unknown(a)
}

func unknown(a *answer) error {
	return &reset.Error{Code: reset.DirectoryError, Details: reset.Details{Result: a.code()}, Err: a}
}

// maxText is how much of a domain controller's text is logged, in bytes.
const maxText = 512

// printable returns text fit for a log: without control characters, cut to
// maxText, and not at all if it repeats one of the values that were sent.
func printable(text string, sent ...[]byte) string {
	for _, value := range sent {
		if len(value) > 0 && bytes.Contains([]byte(text), value) {
			return "(withheld: it repeats what was sent)"
		}
	}
	text = strings.TrimRight(text, "\n\x00")
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text[:min(len(text), maxText)])
	return text
}
