package lab

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/samba"
)

// An administrator is somebody with a token for the switches at the page.
type administrator struct {
	*reader
	tab *browser.Tab
}

// operator opens the administration page with a token that may do operations.
func (r *reader) operator(t *testing.T, operations string) *administrator {
	t.Helper()
	token := r.l.grant(t, "operator", "-operations", operations)
	await(t, "the token is known", func() error {
		status, err := r.e.do(t.Context(), http.MethodGet, "/v1/status", nil, "Authorization: Bearer "+token)
		if err == nil && status.Status != http.StatusOK {
			err = errors.New(status.Body)
		}
		return err
	})
	tab := r.open(r.e.APIURL + "/admin")
	if operations == "switches,reset" {
		r.look(t, tab, "admin-sign-in")
		tab.Type("#token", "wbk_"+strings.Repeat("A", 43))
		tab.Click("#sign-in button")
		tab.AwaitText("This token does not open this page")
		r.look(t, tab, "admin-sign-in-wrong")
	}
	tab.Type("#token", token)
	tab.Click("#sign-in button")
	tab.AwaitText("On-premises integration")
	if url := browser.Eval[string](tab, "location.href"); strings.Contains(url, "wbk_") {
		t.Errorf("the token is in the address %s", url)
	}
	return &administrator{r, tab}
}

// reset resets a password by the API and returns the request's id.
func (a *administrator) reset(t *testing.T, u testkit.User, password string) string {
	t.Helper()
	r, err := a.e.post(t.Context(), "upn", u.UPN, password)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// TestAdminPage is a day at the administration page: requests come in while it is
// looked at, the switches are turned, a name is revealed, a password is reset, and the
// consumers go.
func TestAdminPage(t *testing.T) {
	t.Parallel()
	r := newReader(t, "fake")
	a := r.operator(t, "switches,reset")
	tab, users := a.tab, r.l.Directory.Users
	tab.AwaitText("Everything works")
	tab.AwaitText("No request has ended in the last 24 hours")
	r.look(t, tab, "admin-empty")

	first := a.reset(t, users[0], "Str0ng-enough-1")
	tab.Await("#r-" + first) // without a reload
	refused := a.reset(t, users[1], "short")
	tab.Await("#r-" + refused)
	for i := range 12 {
		a.reset(t, users[2+i%3], fmt.Sprintf("Str0ng-enough-%d", i))
	}
	tab.AwaitText("No request is in the queue.")
	tab.Click("#plots-title ~ details summary")
	r.look(t, tab, "admin")
	if text := tab.Text("main"); strings.Contains(text, users[0].UPN) {
		t.Errorf("an account is named: %s", text)
	}
	german := browser.Desk()
	german.Language = "de"
	tab.Look(german)
	tab.Reload()
	tab.AwaitText("Alles arbeitet")
	r.look(t, tab, "admin-german")
	tab.Look(browser.Desk())
	tab.Open(r.e.APIURL + "/admin?code=password_too_short")
	if n := browser.Eval[int](tab, `document.querySelectorAll("#recent a").length`); n != 1 {
		t.Errorf("the filter shows %d requests, want 1", n)
	}
	r.look(t, tab, "admin-filter")

	t.Run("Timeline", func(t *testing.T) { a.timeline(t, refused, users[1]) })
	t.Run("Switches", func(t *testing.T) { a.switches(t, users[3]) })
	t.Run("Temporary password", func(t *testing.T) { a.temporary(t, users[4]) })
	t.Run("Only the switches", func(t *testing.T) { r.operator(t, "switches").noResets(t) })
	t.Run("No scripts", a.noScripts)
	t.Run("No consumer", a.noConsumer)
}

// timeline looks at one request.
func (a *administrator) timeline(t *testing.T, id string, u testkit.User) {
	tab := a.tab
	tab.Open(a.e.APIURL + "/admin/requests/" + id)
	for _, text := range []string{"password_too_short", "Accepted", "Picked up", "Settled", "consumer"} {
		tab.AwaitText(text)
	}
	a.look(t, tab, "admin-request")
	if text := tab.Text("main"); strings.Contains(text, u.UPN) {
		t.Errorf("an account is named: %s", text)
	}
	if n := a.revealed(t, id); n != 0 {
		t.Errorf("a look is on record %d times", n)
	}
	tab.Click("#names button")
	tab.AwaitText(u.UPN)
	tab.AwaitText("It is on record that you have seen this")
	a.look(t, tab, "admin-names")
	if n := a.revealed(t, id); n == 0 {
		t.Error("it is not on record that a name was shown")
	}
}

// revealed returns how often it is on record that the names of a request were shown.
func (a *administrator) revealed(t *testing.T, id string) (n int) {
	t.Helper()
	ref, err := reset.ParseRef(id)
	if err != nil {
		t.Fatal(err)
	}
	verifier := a.l.verifier(t)
	inspect(t, a.e).all(t, "EVENTS", func(_ string, s reset.Stored) {
		e, err := verifier.Event(s)
		if err != nil {
			t.Fatal(err)
		}
		if fact, ok := e.Fact.(envelope.NameRevealed); ok && fact.Request == ref.ID {
			n++
		}
	})
	return n
}

// TestAdminSignIn opens the administration page as members of groups, and as nobody.
func TestAdminSignIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "fake", false)
	for _, tt := range []struct {
		name         string
		groups       []string
		says, misses string
	}{
		{"nobody", []string{"staff"}, "You are no administrator here", "On-premises integration"},
		{"admins", []string{"writeback admins"}, "Everything works", "Reset a password for a user"},
		{"resets", []string{"writeback resets"}, "Reset a password for a user", "You are no administrator here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := d.open(d.url + "/admin")
			d.asks(t, tab, tt.name, map[string]any{"name": "Grace Hopper", "groups": tt.groups})
			tab.AwaitText(tt.says)
			if text := tab.Text("main"); strings.Contains(text, tt.misses) {
				t.Errorf("the page says: %s", text)
			}
			d.look(t, tab, "admin-as-"+tt.name)
			if tt.name != "resets" {
				return
			}
			u := d.l.Directory.Users[0]
			tab.Click(".actions a.button")
			tab.Type("#name", u.UPN)
			tab.Click("#form button")
			tab.Await("#temporary-password")
			if !(&fakeStage{d.l.fake}).opens(u, tab.Text("#temporary-password")) {
				t.Error("the temporary password is not the account's")
			}
		})
	}
}

// switches turns writeback off and on.
func (a *administrator) switches(t *testing.T, u testkit.User) {
	tab := a.tab
	tab.Open(a.e.APIURL + "/admin")
	tab.Click("#turn-writeback")
	tab.AwaitText("Nobody can reset or change a password")
	a.look(t, tab, "admin-switch")
	tab.Click("#switch button")
	tab.AwaitText("Writeback is switched off")
	tab.AwaitText("operator (token ")
	a.look(t, tab, "admin-off")
	page := a.open(a.ticket(u))
	page.AwaitText("This is switched off")
	tab.Click("#turn-writeback")
	tab.Await("#switch button")
	tab.Click("#switch button")
	tab.AwaitText("Everything works")
	page.Reload()
	page.AwaitText("Set a new password")
}

// temporary resets the password of an account.
func (a *administrator) temporary(t *testing.T, u testkit.User) {
	tab := a.tab
	tab.Open(a.e.APIURL + "/admin/reset")
	a.look(t, tab, "admin-reset")
	tab.Type("#name", "nobody@*")
	tab.Click("#form button")
	tab.AwaitText("This is no name of that kind")
	a.look(t, tab, "admin-reset-wrong")
	tab.Open(a.e.APIURL + "/admin/reset")
	tab.Type("#name", u.UPN)
	tab.Click("#form button")
	tab.Await("#temporary-password")
	tab.AwaitText("The directory has confirmed it")
	a.look(t, tab, "admin-temporary")
	password := tab.Text("#temporary-password")
	if !regexp.MustCompile(`^([A-Za-z2-9]{4}-){3,}[A-Za-z2-9]{4}$`).MatchString(password) {
		t.Fatalf("the temporary password is %q", password)
	}
	if !(&fakeStage{a.l.fake}).opens(u, password) {
		t.Error("the account has another password")
	}
	if _, err := samba.Bind(a.l.Directory, u.DN, password); err == nil || !strings.Contains(err.Error(), "data 773") {
		t.Errorf("the account need not change its password: %v", err)
	}
	tab.Reload()
	tab.Await("#form")
	if strings.Contains(tab.Text("body"), password) {
		t.Error("the temporary password is shown again")
	}
	tab.Open(a.e.APIURL + "/admin/reset")
	tab.Type("#name", "nobody@corp.example.com")
	tab.Click("#form button")
	tab.AwaitText("The account was not found")
	tab.AwaitText("There is no temporary password")
	a.look(t, tab, "admin-temporary-none")
	a.nowhere(t, password)
}

// nowhere looks for a password, in every form that it can have, in all that programs
// have written, and in the pages that are open to who has set it.
func (a *administrator) nowhere(t *testing.T, password string) {
	t.Helper()
	texts := make(map[string]string)
	for _, path := range []string{"/admin", "/admin/reset"} {
		a.tab.Open(a.e.APIURL + path)
		texts[path] = browser.Eval[string](a.tab, "document.documentElement.outerHTML")
	}
	for _, found := range search(t, encodings(password), texts, nil, a.l.path()) {
		t.Errorf("the temporary password is in %s", found)
	}
}

// noResets is what a token is shown that is for the switches alone.
func (a *administrator) noResets(t *testing.T) {
	a.tab.Open(a.e.APIURL + "/admin/reset")
	a.tab.AwaitText("You may not reset passwords for others")
	a.look(t, a.tab, "admin-no-resets")
}

// noScripts looks at the page without scripts.
func (a *administrator) noScripts(t *testing.T) {
	tab := a.tab.Beside(t)
	plain := browser.Desk()
	plain.NoScripts = true
	tab.Look(plain)
	tab.Open(a.e.APIURL + "/admin")
	for _, text := range []string{"Everything works", "Recent outcomes", "UTC"} {
		tab.AwaitText(text)
	}
}

// noConsumer looks at the page after the consumers have gone.
func (a *administrator) noConsumer(t *testing.T) {
	a.l.remove("consumer1")
	a.l.remove("consumer2")
	a.tab.Open(a.e.APIURL + "/admin")
	await(t, "no consumer is heard of", func() error {
		r, err := a.e.do(t.Context(), http.MethodGet, "/v1/status", nil)
		if err == nil && !strings.Contains(r.Body, "no_consumer") {
			err = errors.New(r.Body)
		}
		return err
	})
	a.tab.AwaitText("No consumer is connected")
	a.look(t, a.tab, "admin-no-consumer")
}
