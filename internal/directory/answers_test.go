package directory

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"writeback/internal/reset"
)

func TestRefused(t *testing.T) {
	tests := []struct {
		name   string
		op     operation
		result uint16
		text   string
		code   reset.Code // empty: ErrDirectoryUnavailable
		detail string     // Result, Right
	}{
		{"policy, Windows", setting, 53, "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n\x00", reset.PasswordRefused, ""},
		{"policy, Samba", setting, 53, "0000052D: Unwilling to perform - check_password_restrictions: the password is too short.", reset.PasswordRefused, ""},
		{"policy, lower case", setting, 53, "0000052d: SvcErr", reset.PasswordRefused, ""},
		{"policy, before Samba 4.24", setting, 19, "0000052D: Constraint violation - check_password_restrictions", reset.PasswordRefused, ""},
		{"policy, text without code", setting, 53, "the password is too short", reset.DirectoryError, "53"},
		{"not encrypted", setting, 53, "0000001F: SvcErr: DSID-031A1262, problem 5003", reset.DirectoryError, "53 0000001F"},
		{"constraint of another kind", setting, 19, "0000202F: AtrErr", reset.DirectoryError, "19 0000202F"},
		{"wrong old password, which a reset has not", setting, 19, "00000056: AtrErr", reset.DirectoryError, "19 00000056"},
		{"no right, Windows", setting, 50, "00000005: SecErr: DSID-031A11B9, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0", reset.NotPermitted, "Reset Password"},
		{"no right to write", setting, 50, "00002098: SecErr: DSID-0315130F", reset.NotPermitted, "Reset Password"},
		{"no right, Samba", setting, 50, "error in module acl: insufficient access rights during LDB_MODIFY (50)", reset.NotPermitted, "Reset Password"},
		{"no right, no text", setting, 50, "", reset.NotPermitted, "Reset Password"},
		{"no right, for another reason", setting, 50, "00002024: SecErr", reset.DirectoryError, "50 00002024"},
		{"gone, Windows", setting, 32, "0000208D: NameErr: DSID-0310028B, problem 2001 (NO_OBJECT)", reset.AccountNotFound, ""},
		{"gone, Samba", setting, 32, "Base-DN '<GUID=59527f17>' not found", reset.AccountNotFound, ""},
		{"control refused", setting, 12, "00002040: SvcErr: DSID-031401E7, problem 5010 (UNAVAIL_EXTENSION)", reset.DirectoryError, "12 00002040"},
		{"read-only domain controller", setting, 10, "0000202B: RefErr: DSID-0310082F", reset.DirectoryError, "10 0000202B"},
		{"busy", setting, 51, "", "", ""},
		{"unavailable", setting, 52, "00000000: LdapErr", "", ""},
		{"trouble of its own", setting, 1, "00002020: Operation unavailable", "", ""},
		{"not signed in", setting, 1, "000004DC: LdapErr: DSID-0C090A5C, comment: a successful bind must be completed", reset.DirectoryError, "1 000004DC"},
		{"never seen", setting, 123, "xyz", reset.DirectoryError, "123"},
		{"seven digits", setting, 53, "000052D: SvcErr", reset.DirectoryError, "53"},
		{"eight digits and no more", setting, 53, "0000052D", reset.PasswordRefused, ""},
		{"nine digits", setting, 53, "0000052D0", reset.PasswordRefused, ""},
		{"policy, a change on Windows", changing, 19, "0000052D: AtrErr: DSID-03190F80, #1:", reset.PasswordRefused, ""},
		{"policy, a change in other words", changing, 53, "0000052D: SvcErr", reset.PasswordRefused, ""},
		{"wrong old password", changing, 19, "00000056: AtrErr: DSID-03190F80, #1:", reset.WrongPassword, ""},
		{"a change while locked", changing, 19, "00000775: Password change not permitted, account locked out!", reset.AccountLocked, ""},
		{"user cannot change password", changing, 19, "00000005: AtrErr: DSID-03191083", reset.NotPermitted, "Change Password"},
		{"user cannot change password, Samba", changing, 19, "error in module acl: Constraint violation during LDB_MODIFY (19)", reset.NotPermitted, "Change Password"},
		{"constraint without a code, which is a reset's", setting, 19, "error in module acl: Constraint violation during LDB_MODIFY (19)", reset.DirectoryError, "19"},
		{"no right to change", changing, 50, "00000005: SecErr", reset.NotPermitted, "Change Password"},
		{"constraint of another kind, change", changing, 19, "0000202F: AtrErr", reset.DirectoryError, "19 0000202F"},
		{"busy, change", changing, 51, "", "", ""},
		{"no right to unlock", unlocking, 50, "00002098: SecErr: DSID-03150F94", reset.NotPermitted, "Write lockoutTime"},
		{"no right to unlock, no text", unlocking, 50, "", reset.NotPermitted, "Write lockoutTime"},
		{"no right to expire", expiring, 50, "00002098: SecErr: DSID-03150F94", reset.NotPermitted, "Write pwdLastSet"},
		{"gone, unlock", unlocking, 32, "0000208D: NameErr", reset.AccountNotFound, ""},
		{"policy has no say", unlocking, 53, "0000052D: SvcErr", reset.DirectoryError, "53 0000052D"},
		{"no such value", expiring, 80, "00000057: SysErr", reset.DirectoryError, "80 00000057"},
		{"access denied, not of a password", expiring, 19, "00000005: AtrErr", reset.DirectoryError, "19 00000005"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := refused(tt.op, newAnswer(tt.result, tt.text))
			if tt.code == "" {
				if !errors.Is(err, reset.ErrDirectoryUnavailable) {
					t.Errorf("got %v, want %q", err, reset.ErrDirectoryUnavailable)
				}
				return
			}
			o, _ := reset.OutcomeOf(err)
			if o.Code != tt.code || o.Details.Result+o.Details.Right != tt.detail {
				t.Errorf("got %s with %+v, want %s with %q", o.Code, o.Details, tt.code, tt.detail)
			}
		})
	}
}

func TestSearchAnswer(t *testing.T) {
	for _, tt := range []struct {
		result uint16
		text   string
		later  bool
	}{
		{1, "00002020: Operation unavailable", true},
		{1, "000004DC: LdapErr: DSID-0C090A5C", false},
		{3, "", true},
		{51, "", true},
		{52, "00000000: LdapErr", true},
		{50, "00002098: SecErr", false},
	} {
		err := unfound("searching", newAnswer(tt.result, tt.text))
		if got := errors.Is(err, reset.ErrDirectoryUnavailable); got != tt.later {
			t.Errorf("%d %s: %v", tt.result, tt.text, err)
		}
	}
}

func TestBindAnswer(t *testing.T) {
	for text, want := range map[string]string{
		"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1\x00": "the directory answered 49 80090308 data 52e",
		"80090308: LdapErr: comment: x, data , v1":                                                    "the directory answered 49 80090308",
		"Simple Bind Failed: NT_STATUS_LOGON_FAILURE":                                                 "the directory answered 49",
		"x, data 52edeadbeefcafe":                                                                     "the directory answered 49 data 52edeadb",
	} {
		if got := newAnswer(invalidCredentials, text).Error(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ text, sent, want string }{
		{"0000052D: fine\n\x00", "secret", "0000052D: fine"},
		{"a\r\nb\tc\x1b[31m\x7f\u202e\xff", "secret", "a??b?c?[31m???"},
		{"bad value: secret!", "secret", "(withheld: it repeats what was sent)"},
		{"nothing was sent", "", "nothing was sent"},
		{strings.Repeat("x", maxText+1), "secret", strings.Repeat("x", maxText)},
	} {
		if got := printable(tt.text, []byte(tt.sent)); got != tt.want {
			t.Errorf("%q is logged as %q, want %q", tt.text, got, tt.want)
		}
	}
}

// FuzzAnswer: whatever a directory says, what becomes of it is in a closed
// set, and nothing of its text but eight hexadecimal digits goes on.
func FuzzAnswer(f *testing.F) {
	for _, m := range slices.Concat(refusals, setting.meanings, changing.meanings) {
		f.Add(m.result, m.win32+": SvcErr")
	}
	f.Add(uint16(49), "80090308: LdapErr, data 52e, v1db1")
	f.Add(uint16(99), "\x00\xff\n")
	f.Fuzz(func(t *testing.T, result uint16, text string) {
		a := newAnswer(result, text)
		for _, code := range []string{a.win32, a.data} {
			if len(code) > 8 || hexDigits(code) != len(code) || !strings.Contains(strings.ToUpper(text), strings.ToUpper(code)) {
				t.Errorf("%d %q: %q was read", result, text, code)
			}
		}
		if a.data != "" && result != invalidCredentials {
			t.Errorf("%d %q: no bind has data %q", result, text, a.data)
		}
		for _, err := range []error{
			refused(setting, a), refused(changing, a), refused(unlocking, a), refused(expiring, a), unfound("finding", a),
		} {
			if errors.Is(err, reset.ErrDirectoryUnavailable) {
				continue
			}
			o, ok := reset.OutcomeOf(err)
			if !ok || !slices.Contains(reset.Codes(), o.Code) || o.Code == reset.Applied {
				t.Fatalf("%d %q became %v", result, text, err)
			}
			if o.Details.Result != "" && (o.Details.Result != a.code() || len(o.Details.Result) > len("65535 0000052D")) {
				t.Errorf("%d %q: the result is %q", result, text, o.Details.Result)
			}
			o.Details.Result, o.Details.Right, o.Details.Candidates = "", "", nil
			if o.Details.Field+o.Details.Reason != "" || o.Details.MinLength != 0 {
				t.Errorf("%d %q: details %+v", result, text, o.Details)
			}
			if len(text) > 16 && strings.Contains(err.Error(), text) {
				t.Errorf("%d %q: the text is in %v", result, text, err)
			}
		}
		if p := printable(text); len(p) > maxText || !utf8.ValidString(p) || strings.ContainsAny(p, "\n\x00\x1b") {
			t.Errorf("%q is logged as %q", text, p)
		}
	})
}
