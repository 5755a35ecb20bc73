package directory

import (
	"bytes"
	"fmt"
	"slices"
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

// password reports what the refusal of a bind says of the password; known is
// false if that is nothing. A domain controller looks at the password before
// it looks at what else is in the way, but for a lockout. The known lists of
// the codes of Windows say so of each; of Samba all but 525 were measured:
//
//	52e  wrong; or there is no such account (any more, by that name)
//	530  right, but not at this hour
//	531  right, but not from this machine
//	532  right, but expired
//	533  right, but the account is disabled
//	701  right, but the account has expired
//	773  right, but it must be changed
//	525  nothing: no such account
//	775  nothing: the account is locked
//
// Neither does any other, such as 52f, some restriction of the account.
func (a *answer) password() (right, known bool) {
	switch strings.ToLower(a.data) {
	case "52e":
		return false, true
	case "530", "531", "532", "533", "701", "773":
		return true, true
	}
	return false, false
}

// anyWin32 matches every Win32 code, and none.
const anyWin32 = "any"

// A meaning is what a refusal says.
type meaning struct {
	result uint16
	win32  string
	code   reset.Code // empty: reset.ErrDirectoryUnavailable
}

// An operation is one kind of modify. What its refusals mean is in meanings,
// then in refusals.
type operation struct {
	doing    string
	right    string // what it takes, as administrators know it
	meanings []meaning
}

// The operations. 0000052D is ERROR_PASSWORD_RESTRICTION: Windows and Samba
// from 4.24 answer a reset with 53, a change and one check of Samba's with 19.
var (
	setting = operation{"setting the password", "Reset Password", []meaning{
		{ldap.LDAPResultUnwillingToPerform, "0000052D", reset.PasswordRefused},
		{ldap.LDAPResultConstraintViolation, "0000052D", reset.PasswordRefused},
	}}
	changing = operation{"changing the password", "Change Password", []meaning{
		{ldap.LDAPResultConstraintViolation, "0000052D", reset.PasswordRefused},
		{ldap.LDAPResultUnwillingToPerform, "0000052D", reset.PasswordRefused},
		{ldap.LDAPResultConstraintViolation, "00000056", reset.WrongPassword}, // ERROR_INVALID_PASSWORD
		{ldap.LDAPResultConstraintViolation, "00000775", reset.AccountLocked}, // ERROR_ACCOUNT_LOCKED_OUT
		// ERROR_ACCESS_DENIED: "User cannot change password" takes the
		// right away from the account itself. Samba's answer has no code.
		{ldap.LDAPResultConstraintViolation, "00000005", reset.NotPermitted},
		{ldap.LDAPResultConstraintViolation, "", reset.NotPermitted},
	}}
	unlocking = operation{"unlocking the account", "Write lockoutTime", nil}
	expiring  = operation{"expiring the password", "Write pwdLastSet", nil}
)

// refusals says what the answers to every modify mean. What is neither here nor
// with its operation is directory_error. Every refused modify changed nothing
// (RFC 4511 section 4.6: a modify is atomic), which is why the last three may be
// tried again.
var refusals = []meaning{
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
	// ERROR_DS_OPERATIONS_ERROR, trouble of the domain controller's own: Samba
	// says so when it has waited in vain for its database.
	{ldap.LDAPResultOperationsError, "00002020", ""},
}

func (m meaning) fits(a *answer) bool {
	return m.result == a.result && (m.win32 == anyWin32 || m.win32 == a.win32)
}

// refused returns the error for a modify that was answered with a. Of a
// password that was refused it does not say why.
func refused(op operation, a *answer) error {
	for _, m := range slices.Concat(op.meanings, refusals) {
		if !m.fits(a) {
			continue
		}
		switch m.code {
		case "":
			return unavailable(op.doing, a)
		case reset.NotPermitted:
			return &reset.Error{Code: m.code, Details: reset.Details{Right: op.right}, Err: a}
		}
		return &reset.Error{Code: m.code, Err: a}
	}
	return unknown(a)
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
