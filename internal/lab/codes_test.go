package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

// TestEveryAnswerOfTheDirectory provokes each code that the directory and the
// policy file can end a request with, through the whole system, and prints how.
// What a real domain controller answers is the conformance suite's, in package
// directorytest.
func TestEveryAnswerOfTheDirectory(t *testing.T) {
	l := startLab(t, "fake")
	e, ad := l.endpoints(t), l.fake
	const fresh, current = "Granite-Ladder-42", "Velvet-Anchor-17"
	next := 0
	// account makes an account with the current password.
	account := func(spec fakead.UserSpec) testkit.User {
		t.Helper()
		next++
		spec.SAMAccountName = fmt.Sprintf("code%02d", next)
		spec.Password = current
		u, err := ad.NewUser(spec)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := func() testkit.User { return account(fakead.UserSpec{}) }
	strict := fakead.Policy{MinLength: 7, Complexity: true, History: 5, MinAge: 24 * time.Hour}
	policy := func(u testkit.User, p fakead.Policy) testkit.User {
		t.Helper()
		_, err := ad.NewPolicy(fakead.PolicySpec{Name: "for " + u.SAMAccountName, Precedence: 1, Policy: p, AppliesTo: []string{u.SAMAccountName}})
		do(err)
		do(ad.LetReadPolicies("svc-writeback"))
		return u
	}
	locked := func() testkit.User { u := plain(); do(ad.Lock(u.SAMAccountName)); return u }

	tests := []struct {
		how    string
		path   string
		who    func() testkit.User
		fields string // of the body, beside the account
		status int
		code   string
		want   string // in the answer's body
		after  string // the password that must hold afterwards; current if empty
	}{
		{"a reset", "resets", plain, `"password":"` + fresh + `"`, 200, "applied", "", fresh},
		{"a reset of a locked account unlocks it", "resets", locked, `"password":"` + fresh + `"`, 200, "applied", "", fresh},
		{"a reset by an administrator that must be changed", "resets", plain, `"password":"` + fresh + `","options":{"must_change":true}`, 200, "applied", "", fresh},
		{"a reset of a locked account without the right to unlock", "resets", func() testkit.User {
			u := locked()
			ad.TakeAway(fakead.WriteLockoutTime)
			return u
		}, `"password":"` + fresh + `"`, 200, "applied_partly", `"right":"Write lockoutTime"`, fresh},
		{"too short", "resets", plain, `"password":"Ab1-x"`, 422, "password_too_short", `"min_length":7`, ""},
		{"one category", "resets", plain, `"password":"granite"`, 422, "password_too_simple", `"categories":["lower"]`, ""},
		{"a token of the display name", "resets", func() testkit.User { return account(fakead.UserSpec{DisplayName: "Ada Lovelace"}) },
			`"password":"Xy7-lovelace-Q"`, 422, "password_contains_name", "", ""},
		{"within the minimum age", "resets", func() testkit.User {
			u := policy(plain(), strict)
			do(ad.SetPassword(u.SAMAccountName, current))
			return u
		}, `"password":"` + fresh + `"`, 422, "password_too_recent", `"earliest":"`, ""},
		{"the same password again", "resets", plain, `"password":"` + current + `"`, 422, "password_refused", `"candidates":["history","filter"]`, ""},
		{"a fine-grained policy", "resets", func() testkit.User {
			return policy(plain(), fakead.Policy{MinLength: 30, Complexity: true})
		}, `"password":"` + fresh + `"`, 422, "password_too_short", `"min_length":30`, ""},
		{"a change", "changes", plain, `"current_password":"` + current + `","password":"` + fresh + `"`, 200, "applied", "", fresh},
		{"a change to the present password", "changes", plain, `"current_password":"` + current + `","password":"` + current + `"`, 422, "password_in_history", "", ""},
		{"a wrong current password", "changes", plain, `"current_password":"Wrong-Anchor-1","password":"` + fresh + `"`, 422, "wrong_password", "", ""},
		{"a change while locked", "changes", locked, `"current_password":"` + current + `","password":"` + fresh + `"`, 423, "account_locked", "", "-"},
		{"an unlock", "unlocks", locked, ``, 200, "applied", "", ""},
		{"nobody has that name", "resets", func() testkit.User { return testkit.User{UPN: "nobody@corp.example.com"} },
			`"password":"` + fresh + `"`, 404, "account_not_found", "", "-"},
		{"outside the bases", "resets", func() testkit.User { return account(fakead.UserSpec{Parent: "CN=Users,DC=corp,DC=example,DC=com"}) },
			`"password":"` + fresh + `"`, 404, "account_not_found", "", ""},
		{"two accounts with one name", "resets", func() testkit.User {
			u := plain()
			account(fakead.UserSpec{UPN: u.UPN})
			return u
		}, `"password":"` + fresh + `"`, 409, "account_ambiguous", "", ""},
		{"disabled", "resets", func() testkit.User { u := plain(); do(ad.Disable(u.SAMAccountName)); return u },
			`"password":"` + fresh + `"`, 403, "account_disabled", "", "-"},
		{"its end date has passed", "resets", func() testkit.User { u := plain(); do(ad.Expire(u.SAMAccountName)); return u },
			`"password":"` + fresh + `"`, 403, "account_disabled", "", "-"},
		{"adminCount", "resets", func() testkit.User { u := plain(); do(ad.Protect(u.SAMAccountName)); return u },
			`"password":"` + fresh + `"`, 403, "account_protected", "", ""},
		{"a servicePrincipalName", "resets", func() testkit.User {
			return account(fakead.UserSpec{Attributes: map[string][]string{"servicePrincipalName": {"HTTP/web.corp.example.com"}}})
		}, `"password":"` + fresh + `"`, 403, "account_protected", "", ""},
		{"no right to reset", "resets", func() testkit.User {
			u := plain()
			do(ad.StopInheritance(u.DN))
			return u
		}, `"password":"` + fresh + `"`, 403, "not_permitted", `"right":"Reset Password"`, ""},
		{"an answer that nobody knows", "resets", func() testkit.User {
			ad.Inject(fakead.Modify, fakead.Refuse(80, "000003E8: a text that says c4nary"))
			return plain()
		}, `"password":"` + fresh + `"`, 502, "directory_error", `"result":"80 000003E8"`, ""},
	}
	var table strings.Builder
	for _, tt := range tests {
		t.Run(tt.how, func(t *testing.T) {
			u := tt.who()
			defer ad.GiveBack(fakead.Rights()...)
			fields := tt.fields
			if fields != "" {
				fields = "," + fields
			}
			body := fmt.Sprintf(`{"account":{"upn":%q}%s}`, u.UPN, fields)
			r, err := e.do(t.Context(), "POST", "/v1/"+tt.path, strings.NewReader(body), "Content-Type: application/json")
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != tt.status || r.Code != tt.code || !strings.Contains(r.Body, tt.want) {
				t.Errorf("answered %d %s, want %d %s with %q:\n%s", r.Status, r.Code, tt.status, tt.code, tt.want, r.Body)
			}
			if strings.Contains(r.Body, "c4nary") {
				t.Error("the directory's text has reached the cloud")
			}
			if !json.Valid([]byte(r.Body)) {
				t.Errorf("not JSON: %s", r.Body)
			}
			holds := tt.after
			if holds == "" {
				holds = current
			}
			if holds != "-" && !ad.Check(u.SAMAccountName, holds) {
				t.Error("another password holds afterwards")
			}
			fmt.Fprintf(&table, "%-24s %-8s %s\n", tt.code, tt.path, tt.how)
		})
	}
	t.Logf("\n%s", table.String())
}
