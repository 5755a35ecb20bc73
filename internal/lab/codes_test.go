package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

const (
	fresh   = "Granite-Ladder-42" // a password that nobody has
	current = "Velvet-Anchor-17"  // everybody's
)

// Parts of a request's body.
const (
	withFresh    = `"password":"` + fresh + `"`
	withChange   = `"current_password":"` + current + `",` + withFresh
	withMust     = withFresh + `,"options":{"must_change":true}`
	withFiltered = `"password":"Granite-` + filtered + `-42"`
)

// A situation is how a code is provoked.
type situation struct {
	how    string
	path   string
	who    func(testing.TB, stage) testkit.User
	fields string // of the body, beside the account
	status int
	code   reset.Code
	want   string // in the answer's body
	after  string // the password that must hold afterwards; current if empty, "-" if none does
	cannot string // why Samba cannot show it
}

// elsewhere has the codes that say nothing of Active Directory, and why.
var elsewhere = map[reset.Code]string{
	reset.OperationOff: "said before the directory is asked: switches, the policy file, its limits",
	reset.InProgress:   "said by the queue",
	reset.Invalid:      "said of the request itself",
	reset.Unreadable:   "said of the sealing",
	reset.Expired:      "said when the directory was not asked in time",
	reset.Unconfirmed:  "said when the directory's answer is missing, whatever it was",
}

// TestEveryAnswerOfTheDirectory provokes each code that the directory can end a
// request with, through the whole system, on a real domain and on the fake, and
// prints how. What Samba cannot show says why.
func TestEveryAnswerOfTheDirectory(t *testing.T) {
	tests := situations()
	shown := map[reset.Code]bool{}
	for _, tt := range tests {
		shown[tt.code] = true
	}
	for _, code := range reset.Codes() {
		if shown[code] == (elsewhere[code] != "") {
			t.Errorf("%s: provoked is %t, and that it is no answer of the directory %q", code, shown[code], elsewhere[code])
		}
	}
	met := map[string][]string{} // by directory, what each situation ended as
	t.Run("on", func(t *testing.T) {
		for _, kind := range []string{"samba", "fake"} {
			met[kind] = make([]string, len(tests))
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				l := startLab(t, kind)
				var s stage
				if kind == "fake" {
					s = &fakeStage{l.fake}
				} else {
					s = newSambaStage(t, l)
				}
				e := l.endpoints(t)
				for i, tt := range tests {
					if kind == "samba" && tt.cannot != "" {
						met[kind][i] = "cannot: " + tt.cannot
						continue
					}
					t.Run(tt.how, func(t *testing.T) { met[kind][i] = e.provoke(t, s, tt) })
				}
			})
		}
	})
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "code\toperation\thow it was provoked\tfake\tSamba")
	for i, tt := range tests {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", tt.code, strings.TrimSuffix(tt.path, "s"), tt.how, met["fake"][i], met["samba"][i])
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// request makes the request of tt, and returns whose it was and how it ended.
func (e *Endpoints) request(t *testing.T, s stage, tt situation) (testkit.User, response) {
	t.Helper()
	u := tt.who(t, s)
	name := map[string]string{"upn": u.UPN}
	if u.UPN == "" {
		name = map[string]string{"immutable_id": u.ImmutableID}
	}
	account, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	fields := tt.fields
	if fields != "" {
		fields = "," + fields
	}
	body := fmt.Sprintf(`{"account":%s%s}`, account, fields)
	r, err := e.do(t.Context(), "POST", "/v1/"+tt.path, strings.NewReader(body), "Prefer: wait=60")
	if err != nil {
		t.Fatal(err)
	}
	return u, r
}

// provoke checks how the request of tt ends, and returns that.
func (e *Endpoints) provoke(t *testing.T, s stage, tt situation) string {
	u, r := e.request(t, s, tt)
	if r.Status != tt.status || r.Code != string(tt.code) || !strings.Contains(r.Body, tt.want) {
		t.Errorf("answered %d %s, want %d %s with %q:\n%s", r.Status, r.Code, tt.status, tt.code, tt.want, r.Body)
	}
	for _, text := range []string{"c4nary", "DSID", "check_password", "error in module"} {
		if strings.Contains(r.Body, text) {
			t.Errorf("the directory's text has reached the cloud:\n%s", r.Body)
		}
	}
	holds := tt.after
	if holds == "" {
		holds = current
	}
	if holds != "-" && !s.opens(u, holds) {
		t.Error("another password holds afterwards")
	}
	if t.Failed() {
		return "FAILED"
	}
	return fmt.Sprint(r.Status)
}

// someone returns an account to which each of change was done.
func someone(p person, changes ...func(stage, testkit.User) error) func(testing.TB, stage) testkit.User {
	return func(t testing.TB, s stage) testkit.User {
		t.Helper()
		u, err := s.add(p)
		for _, change := range changes {
			if err == nil {
				err = change(s, u)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
}

func deny(right string) func(stage, testkit.User) error {
	return func(s stage, u testkit.User) error { return s.deny(u, right) }
}

func under(p samba.PolicySpec) func(stage, testkit.User) error {
	return func(s stage, u testkit.User) error { return s.policy(u, p) }
}

// filtering returns an account of a domain with a password filter.
func filtering(t testing.TB, s stage) testkit.User {
	t.Helper()
	if err := s.filter(); err != nil {
		t.Fatal(err)
	}
	return someone(person{})(t, s)
}

// faulty returns an account whose next modify ends in f.
func faulty(f fakead.Fault) func(testing.TB, stage) testkit.User {
	return func(t testing.TB, s stage) testkit.User {
		s.(*fakeStage).Inject(fakead.Modify, f)
		return someone(person{})(t, s)
	}
}

func situations() []situation {
	plain := someone(person{})
	locked := someone(person{}, stage.lock)
	lockedForGood := someone(person{}, stage.lock, deny("Write lockoutTime"))
	anchor := []byte("sixteen of these")
	outside := person{parent: "CN=Users,DC=corp,DC=example,DC=com"}
	service := person{attributes: map[string][]string{"servicePrincipalName": {"HTTP/web.corp.example.com"}}}
	young := someone(person{}, under(samba.PolicySpec{MinLength: 7, Complexity: true, History: 5, MinAge: 24 * time.Hour}), stage.young)
	unlockMissing := `{"what":"unlock","right":"Write lockoutTime"}`

	return []situation{
		{"an ordinary account", "resets", plain, withFresh, 200, reset.Applied, "", fresh, ""},
		{"a locked account, which a reset unlocks", "resets", locked, withFresh, 200, reset.Applied, "", fresh, ""},
		{"by an administrator, to be changed", "resets", plain, withMust, 200, reset.Applied, "", "-", ""},
		{"the user must change the password", "resets", someone(person{}, stage.mustChange), withFresh, 200, reset.Applied, "", fresh, ""},
		{"user cannot change password", "resets", someone(person{}, deny("Change Password")), withFresh, 200, reset.Applied, "", fresh, ""},
		{"a new password", "changes", plain, withChange, 200, reset.Applied, "", fresh, ""},
		{"the user must change the password", "changes", someone(person{}, stage.mustChange), withChange, 200, reset.Applied, "", fresh, ""},
		{"a locked account", "unlocks", locked, "", 200, reset.Applied, "", "", ""},
		{"an ordinary account", "probes", plain, "", 200, reset.Applied, "", "", ""},
		{"a locked account, without the right to unlock", "resets", lockedForGood, withFresh, 200, reset.AppliedPartly, unlockMissing, "-", ""},
		{"a locked account, without the right to unlock", "probes", lockedForGood, "", 200, reset.AppliedPartly, unlockMissing, "-", ""},

		{"too short", "resets", plain, `"password":"Ab1-x"`, 422, reset.PasswordTooShort, `"min_length":7`, "", ""},
		{"too short by a fine-grained policy", "resets", someone(person{}, under(samba.PolicySpec{MinLength: 30, Complexity: true})),
			withFresh, 422, reset.PasswordTooShort, `"min_length":30`, "", ""},
		{"too short", "changes", plain, `"current_password":"` + current + `","password":"Ab1-x"`, 422, reset.PasswordTooShort, `"min_length":7`, "", ""},
		{"one category", "resets", plain, `"password":"granite"`, 422, reset.PasswordTooSimple, `"categories":["lower"]`, "", ""},
		{"a token of the display name", "resets", someone(person{display: "Ada Lovelace"}), `"password":"Xy7-lovelace-Q"`,
			422, reset.PasswordContainsName, "", "", "it has no name rule"},
		{"within the minimum age", "resets", young, withFresh, 422, reset.PasswordTooRecent, `"earliest":"`, "", ""},
		{"within the minimum age", "probes", young, "", 422, reset.PasswordTooRecent, `"earliest":"`, "", ""},
		{"the present password", "changes", plain, `"current_password":"` + current + `","password":"` + current + `"`, 422, reset.PasswordInHistory, "", "", ""},
		{"the present password", "resets", plain, `"password":"` + current + `"`, 422, reset.PasswordRefused, `"candidates":["history","filter"]`, "", ""},
		{"a wrong current password", "changes", plain, `"current_password":"Wrong-Anchor-1",` + withFresh, 422, reset.WrongPassword, "", "", ""},

		{"nobody has that name", "resets", func(testing.TB, stage) testkit.User { return testkit.User{UPN: "nobody@corp.example.com"} },
			withFresh, 404, reset.AccountNotFound, "", "-", ""},
		{"a deleted account", "resets", someone(person{}, stage.delete), withFresh, 404, reset.AccountNotFound, "", "-", ""},
		{"outside of the bases", "resets", someone(outside), withFresh, 404, reset.AccountNotFound, "", "", ""},
		{"two accounts with one anchor", "resets", func(t testing.TB, s stage) testkit.User {
			u := someone(person{anchor: anchor})(t, s)
			someone(person{anchor: anchor})(t, s)
			u.UPN = ""
			return u
		}, withFresh, 409, reset.AccountAmbiguous, "", "", ""},
		{"disabled", "resets", someone(person{}, stage.disable), withFresh, 403, reset.AccountDisabled, "", "-", ""},
		{"its end date has passed", "resets", someone(person{}, stage.expire), withFresh, 403, reset.AccountDisabled, "", "-", ""},
		{"a change while locked", "changes", locked, withChange, 423, reset.AccountLocked, "", "-", ""},
		{"adminCount", "resets", someone(person{attributes: map[string][]string{"adminCount": {"1"}}}), withFresh, 403, reset.AccountProtected, "", "", ""},
		{"a servicePrincipalName", "resets", someone(service), withFresh, 403, reset.AccountProtected, "", "", ""},
		{"signs in with a smartcard only", "resets", someone(person{}, stage.smartcard), withFresh, 403, reset.AccountProtected, "", "-", ""},
		{"no right to reset", "resets", someone(person{}, deny("Reset Password")), withFresh, 403, reset.NotPermitted, `"right":"Reset Password"`, "", ""},
		{"no right to reset", "probes", someone(person{}, deny("Reset Password")), "", 403, reset.NotPermitted, `"right":"Reset Password"`, "", ""},
		{"no right to unlock", "unlocks", lockedForGood, "", 403, reset.NotPermitted, `"right":"Write lockoutTime"`, "-", ""},
		{"user cannot change password", "changes", someone(person{}, deny("Change Password")), withChange, 403, reset.NotPermitted, `"right":"Change Password"`, "", ""},

		{"an answer that nobody knows", "resets", faulty(fakead.Refuse(80, "000003E8: a text that says c4nary")),
			withFresh, 502, reset.DirectoryError, `"result":"80 000003E8"`, "", "a sound domain controller gives none"},
		// The last, since from here on Samba asks the filter instead of
		// looking at complexity.
		{"a password filter", "resets", filtering, withFiltered, 422, reset.PasswordRefused, `"candidates":["history","filter"]`, "", ""},
		{"a password filter", "changes", filtering, `"current_password":"` + current + `",` + withFiltered, 422, reset.PasswordRefused, `"candidates":["history","filter"]`, "", ""},
	}
}
