package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/fakead"
)

const set = "The new password is set."

// newUser returns an account with the password current.
func (r *reader) newUser(t *testing.T, changes ...func(stage, testkit.User) error) testkit.User {
	return someone(person{}, changes...)(t, &fakeStage{r.l.fake})
}

// held has the directory hold the next modify back until it is released.
func (r *reader) held() *fakead.Injection {
	return r.l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
}

// TestResetPageStates looks at what the page shows before, during and after a
// request, whatever its user does, and what it says when nothing can be done.
func TestResetPageStates(t *testing.T) {
	t.Parallel()
	r := newReader(t, "fake")
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *reader)
	}{
		{"rules are ticked off while typing", pageRules},
		{"passwords that cannot be sent", pageErrors},
		{"steps appear, a reload and a second tab see the same", pageSteps},
		{"a connection that is lost resumes", pageResumes},
		{"unconfirmed, until the truth is known", pageUnconfirmed},
		{"two tabs, one page closed, and another publisher", pageTabs},
		{"a double click is one request", pageDoubleClick},
		{"back, and the link again", pageBack},
		{"without scripts", pageNoScripts},
		{"without cookies", pageNoCookies},
		{"with the user's colours, and without motion", pageColours},
		{"with the keyboard alone", pageKeyboard},
		{"in German", pageGerman},
		{"emoji and text from right to left", pageEmoji},
		{"unlocking, where the ticket and the switch allow it", pageUnlock},
		{"tickets that are no good", pageTickets},
		{"five attempts", pageAttempts},
		{"switched off", pageSwitchedOff},
		{"no consumer", pageNoConsumer}, // the last ones, since nothing works after them
		{"no broker", pageNoBroker},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			tt.run(t, r)
		})
		if t.Failed() {
			return
		}
	}
}

func pageRules(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	r.look(t, tab, "form")
	ticks := func() string {
		return browser.Eval[string](tab, `[...document.querySelectorAll("[data-rule]")].map((li) => li.dataset.rule + " " + li.className).join(", ")`)
	}
	for _, step := range []struct{ typed, want string }{
		{"", "length open, complexity open, name unknown, history unknown"},
		{"granite", "length done, complexity open, name unknown, history unknown"},
		{"-Lad", "length done, complexity done, name unknown, history unknown"},
		{"der 42 Velvet!", "length done, complexity done, name unknown, history unknown"},
	} {
		if step.typed != "" {
			tab.Type("#password", step.typed)
		}
		if got := ticks(); got != step.want {
			t.Errorf("after %q: %s, want %s", step.typed, got, step.want)
		}
	}
	tab.AwaitText("Very hard to guess")
	r.look(t, tab, "form-typed")
	tab.Click("[data-toggle=password]")
	if kind := browser.Eval[string](tab, `document.getElementById("password").type`); kind != "text" {
		t.Errorf("shown, the field is of type %s", kind)
	}
	tab.Click("[data-toggle=password]")
	if got := browser.Eval[string](tab, `document.getElementById("password").autocomplete`); got != "new-password" {
		t.Errorf("autocomplete is %s", got)
	}
}

func pageErrors(t *testing.T, r *reader) {
	u := r.newUser(t)
	tab := r.open(r.ticket(u))
	send := func(password, again string) {
		browser.Eval[string](tab, fmt.Sprintf(`(document.getElementById("password").value = %q, document.getElementById("again").value = %q)`, password, again))
		tab.Click("#form button[type=submit]")
		await(t, "the page is answered", func() error {
			if browser.Eval[bool](tab, `Boolean(document.getElementById("password")?.value)`) {
				return errors.New("what was typed is still there")
			}
			return nil
		})
	}
	send(fresh, fresh+"x")
	tab.AwaitText("The two passwords are not the same.")
	r.look(t, tab, "form-differ")
	if got := browser.Eval[string](tab, "document.activeElement.id"); got != "again" {
		t.Errorf("the focus is on %q, not on the field that is wrong", got)
	}
	for name, password := range map[string]string{"300 characters": strings.Repeat("Granite-42", 30), "10 kB": strings.Repeat("Granite-42", 1000)} {
		send(password, password)
		tab.AwaitText("This password is too long.")
		if body := browser.Eval[string](tab, "document.documentElement.outerHTML"); strings.Contains(body, "Granite") {
			t.Errorf("%s: the password is in the page", name)
		}
	}
	send(strings.Repeat("Granite-42", 10_000), "x")
	tab.AwaitText("What was sent is too large")
	r.look(t, tab, "too-large")
	tab.Click("a.button")
	tab.Await("#form")
	fill(tab, fresh)
	tab.AwaitText(set) // none of it used up an attempt, or did anything
	if n := r.l.fake.Counts(u.SAMAccountName).Passwords; n != 1 {
		t.Errorf("the password was set %d times", n)
	}
}

func pageSteps(t *testing.T, r *reader) {
	hold := r.held()
	url := r.ticket(r.newUser(t))
	tab := r.open(url)
	fill(tab, fresh)
	<-hold.Met()
	tab.Await("#result .ticks li:nth-child(3).done") // picked up
	tab.Await("#result .ticks li:nth-child(4).now")
	r.look(t, tab, "busy")
	beside := tab.Beside(t)
	beside.Open(url)
	for _, other := range []*browser.Tab{tab, beside} {
		other.Reload()
		other.Await("#result .ticks li:nth-child(3).done")
	}
	hold.Release()
	tab.AwaitText(set)
	beside.AwaitText(set)
	if got := browser.Eval[string](tab, "document.activeElement.tagName + document.querySelector('#spoken').textContent"); got != "H1Done" {
		t.Errorf("focus and what is spoken are %q", got)
	}
	if n := browser.Eval[int](tab, `document.querySelectorAll("#result .ticks .when").length`); n != 4 {
		t.Errorf("%d of 4 steps have a time", n)
	}
}

func pageResumes(t *testing.T, r *reader) {
	hold := r.held()
	tab := r.open(r.ticket(r.newUser(t)))
	fill(tab, fresh)
	<-hold.Met()
	tab.Await("#result .ticks li:nth-child(3).done")
	if err := syscall.Kill(r.l.endpoints(t).pid(t, "publisher"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	tab.AwaitText("The connection is lost at the moment.")
	r.look(t, tab, "offline")
	hold.Release()
	tab.AwaitText(set) // after the publisher was started again
	r.e = r.l.endpoints(t)

	// What was never sent is said to be.
	tab = r.open(r.ticket(r.newUser(t)))
	tab.Type("#password", fresh)
	tab.Type("#again", fresh)
	tab.Offline(true)
	tab.Click("#form button[type=submit]")
	tab.AwaitText("The connection is lost at the moment.")
	tab.Offline(false)
	tab.AwaitText("What you sent did not arrive")
	r.look(t, tab, "unsent")
	fill(tab, fresh)
	tab.AwaitText(set)
	if strings.Contains(tab.Text("main"), "did not arrive") {
		t.Error("what arrived is said not to have")
	}
}

func pageDoubleClick(t *testing.T, r *reader) {
	u := r.newUser(t)
	tab := r.open(r.ticket(u))
	browser.Eval[int](tab, fmt.Sprintf(`(() => {
		const form = document.querySelector("#form form");
		form.password.value = form.again.value = %q;
		const send = () => fetch("/reset", {method: "POST", body: new URLSearchParams(new FormData(form))});
		return Promise.all([send(), send(), send()]).then((all) => all.filter((a) => a.status >= 500).length);
	})()`, fresh))
	tab.Reload()
	tab.AwaitText(set)
	if n := r.l.fake.Counts(u.SAMAccountName).Passwords; n != 1 {
		t.Errorf("the password was set %d times", n)
	}
}

func pageBack(t *testing.T, r *reader) {
	url := r.ticket(r.newUser(t))
	tab := r.open(url)
	if got := browser.Eval[string](tab, "location.search + document.cookie"); got != "" {
		t.Errorf("the address, or a script, knows the ticket: %q", got)
	}
	fill(tab, fresh)
	tab.AwaitText(set)
	tab.Open(r.e.PortalURL + "/assets/icon.svg")
	tab.Back()
	tab.AwaitText(set)
	tab.Open(url)
	tab.AwaitText(set)
	other := r.open(url)
	other.AwaitText("This link was used in another browser")
	r.look(t, other, "ticket-foreign")
	r.german(t, other, "ticket-foreign")

	// Two links in one browser: a form is for its own account only.
	first, second := r.newUser(t), r.newUser(t)
	tab = r.open(r.ticket(first))
	tab.Beside(t).Open(r.ticket(second))
	fill(tab, fresh)
	tab.AwaitText("Another link was opened in this browser")
	r.look(t, tab, "ticket-other")
	for _, u := range []testkit.User{first, second} {
		if n := r.l.fake.Counts(u.SAMAccountName).Passwords; n != 0 {
			t.Errorf("a password was set %d times", n)
		}
	}
}

func pageNoScripts(t *testing.T, r *reader) {
	hold := r.held()
	tab := r.b.Tab(t, browser.Look{Width: 800, Height: 900, Language: "en", NoScripts: true})
	tab.Open(r.ticket(r.newUser(t)))
	fill(tab, fresh)
	<-hold.Met()
	tab.AwaitText("Please wait a moment")
	hold.Release()
	tab.AwaitText(set) // the page loads itself anew
	tab = r.b.Tab(t, browser.Look{Width: 800, Height: 900, Language: "en", NoScripts: true})
	tab.Open(r.ticket(r.newUser(t)))
	fill(tab, "Ab1-x")
	tab.AwaitText("It needs at least 7 characters.")
	tab.Picture(r.dir, "no-scripts")
	tab.Type("#password", fresh)
	tab.Type("#again", fresh+"x")
	tab.Click("#form button[type=submit]")
	tab.AwaitText("The two passwords are not the same.")
	fill(tab, fresh)
	tab.AwaitText(set)
	u := r.newUser(t, stage.lock)
	tab.Open(r.ticket(u, "reset", "unlock"))
	tab.Click("#unlock summary")
	tab.Click("#unlock button")
	tab.AwaitText("The account is unlocked.")
	if !r.l.fake.Check(u.SAMAccountName, current) {
		t.Error("it is still locked, or has another password")
	}
}

func pageKeyboard(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	tab.Press("\t")
	if got := browser.Eval[string](tab, "document.activeElement.className"); got != "skip" {
		t.Errorf("the first stop is %q", got)
	}
	for browser.Eval[string](tab, "document.activeElement.id") != "password" {
		tab.Press("\t")
	}
	tab.Picture(r.dir, "keyboard-focus")
	tab.Press(fresh)
	for browser.Eval[string](tab, "document.activeElement.id") != "again" {
		tab.Press("\t")
	}
	tab.Press(fresh + "\r")
	tab.AwaitText(set)
}

func pageGerman(t *testing.T, r *reader) {
	tab := r.b.Tab(t, browser.Look{Width: 1200, Height: 900, Language: "de-AT,de;q=0.9,en;q=0.5"})
	tab.Open(r.ticket(r.newUser(t), "reset", "unlock"))
	tab.AwaitText("Neues Passwort setzen")
	tab.Click("#unlock summary")
	r.look(t, tab, "german-form")
	fill(tab, "granite")
	tab.AwaitText("Dieses Passwort hat zu wenige Arten von Zeichen.")
	tab.AwaitText("Es hat nur: Kleinbuchstaben.")
	r.look(t, tab, "german-too-simple")
	fill(tab, fresh)
	tab.AwaitText("Das neue Passwort ist gesetzt.")
	r.look(t, tab, "german-applied")
}

func pageEmoji(t *testing.T, r *reader) {
	for _, password := range []string{"Grüße 🐘 aus 日本 + 100 % & mehr=?", "שלום-Ladder-42-مرحبا"} {
		u := r.newUser(t)
		tab := r.open(r.ticket(u))
		browser.Eval[string](tab, fmt.Sprintf(`(document.getElementById("password").value = document.getElementById("again").value = %q)`, password))
		tab.Click("#form button[type=submit]")
		tab.AwaitText(set)
		if !r.l.fake.Check(u.SAMAccountName, password) {
			t.Errorf("another password than %q was set", password)
		}
	}
}

func pageUnlock(t *testing.T, r *reader) {
	u := r.newUser(t, stage.lock)
	tab := r.open(r.ticket(u, "reset", "unlock"))
	tab.Click("#unlock summary")
	r.look(t, tab, "form-unlock")
	tab.Click("#unlock button")
	tab.AwaitText("The account is unlocked.")
	if !r.l.fake.Check(u.SAMAccountName, current) {
		t.Error("it is still locked, or has another password")
	}
	tab = r.open(r.ticket(r.newUser(t), "unlock"))
	tab.AwaitText("Unlock your account")
	r.look(t, tab, "unlock")
	r.switches(t, `{"unlock":false}`)
	defer r.switches(t, `{"unlock":true}`)
	tab.Reload()
	tab.AwaitText("This is switched off")
	tab = r.open(r.ticket(r.newUser(t), "reset", "unlock"))
	if browser.Eval[bool](tab, `document.querySelector("#unlock") !== null`) {
		t.Error("unlocking is offered though it is switched off")
	}
}

// switches sets the tenant's switches.
func (r *reader) switches(t *testing.T, body string) {
	t.Helper()
	token := r.l.grant(t, "switches", "-operations", "switches")
	await(t, "the switches are set", func() error {
		a, err := r.e.do(t.Context(), http.MethodPut, "/v1/switches", strings.NewReader(body), "Authorization: Bearer "+token)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("%s", a.Body)
		}
		return err
	})
}

func pageTickets(t *testing.T, r *reader) {
	good := r.ticket(r.newUser(t))
	for _, tt := range []struct{ name, url, want string }{
		{"none", r.e.PortalURL + "/reset", "Open the link that you were given"},
		{"altered", good[:len(good)-4] + "AAAA", "This link is not valid"},
		{"cut", good[:len(good)-4], "This link is not valid"},
		{"empty", r.e.PortalURL + "/reset?t=", "This link is not valid"},
	} {
		tab := r.open(tt.url)
		tab.AwaitText(tt.want)
		r.look(t, tab, "ticket-"+tt.name)
		if tt.name == "none" || tt.name == "altered" {
			r.german(t, tab, "ticket-"+tt.name)
		}
	}
	u := r.newUser(t)
	answer, err := r.e.do(t.Context(), http.MethodPost, "/v1/tickets", strings.NewReader(fmt.Sprintf(`{"account":{"upn":%q},"expires_in":2}`, u.UPN)))
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		URL     string
		Expires time.Time
	}
	if err := json.Unmarshal([]byte(answer.Body), &made); err != nil {
		t.Fatal(err)
	}
	tab := r.open(made.URL)
	tab.Await("#form")
	<-time.After(time.Until(made.Expires) + 50*time.Millisecond)
	fill(tab, fresh)
	tab.AwaitText("This link has expired")
	r.look(t, tab, "ticket-expired")
	r.german(t, tab, "ticket-expired")
	if !r.l.fake.Check(u.SAMAccountName, current) {
		t.Error("an expired ticket set a password")
	}
}

func pageAttempts(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	for left := 4; left >= 0; left-- {
		fill(tab, "Ab1-x")
		switch left {
		case 0:
			tab.AwaitText("To try again, ask for a new link")
		case 1:
			tab.AwaitText("You can try once more.")
		default:
			tab.AwaitText(fmt.Sprintf("You can try %d more times.", left))
		}
	}
	r.look(t, tab, "attempts")
	tab.Reload()
	tab.AwaitText("This password is too short")
	if browser.Eval[bool](tab, `document.querySelector("#form") !== null`) {
		t.Error("there is a sixth attempt")
	}
}

func pageSwitchedOff(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	r.switches(t, `{"writeback":false}`)
	fill(tab, fresh)
	tab.AwaitText("This is switched off")
	r.look(t, tab, "switched-off")
	r.german(t, tab, "switched-off")
	r.switches(t, `{"writeback":true}`)
	tab.Click("a.button")
	fill(tab, fresh)
	tab.AwaitText(set)
}

func pageNoConsumer(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	for i := range 2 {
		r.l.remove(consumerName(i))
	}
	await(t, "the consumers are missed", func() error {
		a, err := r.e.do(t.Context(), http.MethodGet, "/v1/status", nil)
		if err == nil && !strings.Contains(a.Body, string(reset.NoConsumer)) {
			err = fmt.Errorf("%s", a.Body)
		}
		return err
	})
	fill(tab, fresh) // typed before
	tab.AwaitText("The connection to your organisation is down at the moment")
	r.look(t, tab, "no-consumer")
	r.german(t, tab, "no-consumer")
	tab.Reload()
	tab.AwaitText("The connection to your organisation is down at the moment")
	if browser.Eval[bool](tab, `document.querySelector("#form") !== null`) {
		t.Error("a password is asked for that cannot be set")
	}
	if err := r.l.startConsumers(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the consumers are back", func() error {
		a, err := r.e.do(t.Context(), http.MethodGet, "/v1/status", nil)
		if err == nil && !strings.Contains(a.Body, `"ready":true`) {
			err = fmt.Errorf("%s", a.Body)
		}
		return err
	})
	tab.Click("a.button")
	fill(tab, fresh)
	tab.AwaitText(set)
}

func pageNoBroker(t *testing.T, r *reader) {
	tab := r.open(r.ticket(r.newUser(t)))
	r.l.remove(r.l.Broker.Name)
	fill(tab, fresh)
	tab.AwaitText("This service is not available at the moment, so nothing was changed.")
	r.look(t, tab, "no-broker")
	tab.Await("a.button")
	// Without a broker, they would try for long to end in good order.
	for _, name := range []string{"publisher", consumerName(0), consumerName(1)} {
		r.l.remove(name)
	}
}
