package changepage

import (
	"encoding/json"
	"fmt"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"writeback/internal/reset"
)

// The account is the session's, whatever a form says, and so is the actor.
func TestOnlyOnesOwn(t *testing.T) {
	b := setup(t)
	b.outcome = reset.Applied
	ada := b.window(t, "ada")
	form := ada.form(t)
	for name, value := range map[string]string{
		"account": bobSID, "sid": bobSID, "account.sid": bobSID, "upn": "bob@corp", "tenant": "other", "subject": "bob", "actor.kind": "admin",
	} {
		form.Set(name, value)
	}
	if status := ada.post(t, form); status != 200 || !strings.Contains(ada.page, "The new password is set") {
		t.Fatalf("%d %s", status, ada.page)
	}
	s := b.got[0]
	want := reset.Submission{
		Tenant: "corp", Source: source, Address: "127.0.0.1", IdempotencyKey: form.Get("ticket"), Operation: reset.Change,
		Account: reset.Account{Kind: reset.SID, Value: adaSID}, Actor: reset.Actor{Kind: reset.Self, Subject: "ada"},
	}
	if s != want {
		t.Errorf("asked for %+v, want %+v", s, want)
	}
	if got := fmt.Sprint(b.said); got != "[New-c4nary-2 Old-c4nary-1]" {
		t.Errorf("with the passwords %s", got)
	}

	// The publisher has taken them over, and may be at work with them still.
	for i, v := range b.kept {
		v.Reveal(func(got []byte) error {
			if string(got) != b.said[i] {
				t.Error("the page has wiped a password of the publisher's")
			}
			return nil
		})
	}

	// What became of it is for her alone, in this browser.
	bob := b.window(t, "bob")
	if strings.Contains(bob.page, "is set") || !strings.Contains(bob.page, "Current password") {
		t.Errorf("another user sees %s", bob.page)
	}
	if ada.get(t, path); !strings.Contains(ada.page, "The new password is set") {
		t.Errorf("a reload shows %s", ada.page)
	}
	if strings.Contains(b.log.String()+ada.page, "c4nary") || strings.Contains(b.log.String(), adaSID) {
		t.Errorf("a password or the account is in the log or on the page:\n%s", b.log)
	}
}

// Who has no account, or a malformed one, can change nothing.
func TestNobody(t *testing.T) {
	b := setup(t)
	form := b.window(t, "ada").form(t)
	eve := b.window(t, "eve")
	if !strings.Contains(eve.page, "Your account is not known here") || !strings.Contains(eve.page, `action="/sign-out"`) {
		t.Errorf("the page shows %s", eve.page)
	}
	if status := eve.post(t, form); status != 403 || b.submissions() != 0 {
		t.Errorf("%d, %d were asked for", status, b.submissions())
	}
}

func TestFormsThatAreNotTaken(t *testing.T) {
	b := setup(t)
	ada := b.window(t, "ada")
	good := ada.form(t)
	with := func(name, value string) url.Values {
		form := url.Values{}
		for k, v := range good {
			form[k] = v
		}
		form.Set(name, value)
		return form
	}
	tests := []struct {
		name    string
		form    url.Values
		headers []string
		status  int
		says    string
	}{
		{"of another site", good, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403, "Another website"},
		{"of another site, in an old browser", good, []string{"Origin", "https://evil.example"}, 403, "Another website"},
		{"as JSON", good, []string{"Content-Type", "application/json"}, 415, ""},
		{"no current password", with("current", ""), nil, 422, "Please enter the password that you have now."},
		{"no new password", with("password", ""), nil, 422, "Please enter a new password."},
		{"two new passwords", with("again", "Another-1"), nil, 422, "The two passwords are not the same."},
		{"no Unicode", with("password", "\xff\xfe"), nil, 422, ""},
		{"a password of 10 kB", with("current", strings.Repeat("a", 10_000)), nil, 422, "Please enter the password that you have now."},
		{"endless", with("current", strings.Repeat("a", 100_000)), nil, 413, ""},
		{"no form's name", with("ticket", ""), nil, 400, ""},
		{"a name of somebody's own", with("ticket", "../../x"), nil, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status := ada.post(t, tt.form, tt.headers...); status != tt.status || !strings.Contains(ada.page, tt.says) {
				t.Errorf("%d, want %d and %q: %s", status, tt.status, tt.says, ada.page)
			}
			if n := b.submissions(); n != 0 {
				t.Errorf("%d were asked for", n)
			}
			if strings.Contains(ada.page, "c4nary") {
				t.Error("a password is on the page")
			}
		})
	}
	t.Run("without a session", func(t *testing.T) {
		ada.Jar, _ = cookiejar.New(nil)
		if status := ada.post(t, good); status != 401 || !strings.Contains(ada.page, "Your sign-in has ended") || b.submissions() != 0 {
			t.Errorf("%d %s", status, ada.page)
		}
	})
}

// A form that was sent is not sent again: a double click, or going back, shows
// what became of it.
func TestOneFormOneRequest(t *testing.T) {
	b := setup(t)
	b.outcome = reset.PasswordInHistory
	ada := b.window(t, "ada")
	form := ada.form(t)
	ada.post(t, form)
	ada.post(t, form)
	if n := b.submissions(); n != 1 || !strings.Contains(ada.page, "used before") {
		t.Errorf("%d were asked for; the page shows %s", n, ada.page)
	}
	if next := ada.form(t); next.Get("ticket") == form.Get("ticket") {
		t.Error("the form for another attempt has the same name")
	}
	if ada.post(t, ada.form(t)); b.submissions() != 2 {
		t.Error("another attempt was not taken")
	}
}

// Wrong current passwords use up the budget that the API has too; nothing else
// does, for whatever the answer is about.
func TestBudgetOfThePage(t *testing.T) {
	ada := reset.Submission{Tenant: "corp", Account: reset.Account{Kind: reset.SID, Value: adaSID}}
	tests := []struct {
		name    string
		outcome reset.Code
		refusal error
		left    int
	}{
		{"right", reset.Applied, nil, 3},
		{"refused by policy", reset.PasswordTooShort, nil, 3},
		{"wrong", reset.WrongPassword, nil, 2},
		{"nobody knows", reset.Unconfirmed, nil, 2},
		{"not taken", "", &reset.Refusal{Code: reset.NoConsumer}, 3},
	}
	b := setup(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := b.window(t, "ada")
			before, _ := b.guesses.Left(ada, reset.Rules{})
			b.outcome, b.refusal = tt.outcome, tt.refusal
			w.post(t, w.form(t))
			if tt.refusal == nil {
				<-b.ended
			}
			if got, _ := b.guesses.Left(ada, reset.Rules{}); before-got != 3-tt.left {
				t.Errorf("it used up %d, want %d", before-got, 3-tt.left)
			}
		})
	}
	b.outcome, b.refusal = reset.WrongPassword, nil
	w := b.window(t, "ada")
	w.post(t, w.form(t))
	n := b.submissions()
	if !strings.Contains(w.page, "The current password was wrong too often") {
		t.Errorf("the page shows %s", w.page)
	}
	form := b.window(t, "bob").form(t) // of a page that was open before
	if w.post(t, form); b.submissions() != n {
		t.Error("another one was tried")
	}
	if bob := b.window(t, "bob"); !strings.Contains(bob.page, "After 3 wrong ones") {
		t.Errorf("another user shows %s", bob.page)
	}
}

func TestNote(t *testing.T) {
	ref := reset.Ref{Publisher: "abcdef0123", ID: reset.ID{1}}
	name := newForm()
	if got := parseNote(note{true, name, ref}.String()); got != (note{true, name, ref}) {
		t.Errorf("got %+v", got)
	}
	for _, text := range []string{"", "change", "change " + name, "change " + name + " x", "admin " + name + " " + ref.String()} {
		if got := parseNote(text); got != (note{}) {
			t.Errorf("parseNote(%q) = %+v", text, got)
		}
	}
	text, _ := json.Marshal(name)
	if !isForm(name) || isForm(string(text)) || isForm(name+"=") || isForm(name[:20]) {
		t.Error("isForm")
	}
}
