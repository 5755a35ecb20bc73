package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"writeback/internal/portal"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/browser"
)

// A reader opens pages of a lab as people do, and keeps pictures of them.
type reader struct {
	t    *testing.T // the test that runs
	l    *Lab
	e    *Endpoints
	b    *browser.Browser
	axe  browser.Axe
	dir  string
	seen map[string]bool // states that were looked at
}

func newReader(t *testing.T, directory string) *reader {
	t.Helper()
	l := startLab(t, directory)
	r := &reader{t, l, l.endpoints(t), browser.Start(t), browser.NewAxe(t), t.ArtifactDir(), make(map[string]bool)}
	await(t, "the domain's rules are announced", func() error {
		a, err := r.e.do(t.Context(), http.MethodGet, "/v1/status", nil)
		if err == nil && !strings.Contains(a.Body, "min_length") {
			err = errors.New(a.Body)
		}
		return err
	})
	return r
}

// ticket makes a ticket and returns its address.
func (r *reader) ticket(u testkit.User, operations ...string) string {
	r.t.Helper()
	account := map[string]string{"upn": u.UPN}
	if u.UPN == "" {
		account = map[string]string{"immutable_id": u.ImmutableID}
	}
	if len(operations) == 0 {
		operations = []string{"reset"}
	}
	body, err := json.Marshal(map[string]any{"account": account, "operations": operations})
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.e.do(r.t.Context(), http.MethodPost, "/v1/tickets", strings.NewReader(string(body)))
	var made struct{ URL string }
	if err == nil {
		err = json.Unmarshal([]byte(answer.Body), &made)
	}
	if err != nil || answer.Status != http.StatusCreated {
		r.t.Fatalf("no ticket: %v %s", err, answer.Body)
	}
	return made.URL
}

// open opens a page in a window of its own.
func (r *reader) open(url string) *browser.Tab {
	r.t.Helper()
	tab := r.b.Tab(r.t, browser.Desk())
	tab.Open(url)
	return tab
}

// fill types a password twice and sends it.
func fill(tab *browser.Tab, password string) {
	tab.Type("#password", password)
	tab.Type("#again", password)
	tab.Click("#form button[type=submit]")
}

// cutOff names what the window, or what is around it, does not show all of.
const cutOff = `(() => {
	const wide = document.documentElement.clientWidth, bad = [];
	const scrolls = (e) => e && (/auto|scroll/.test(getComputedStyle(e).overflow) || scrolls(e.parentElement));
	if (document.documentElement.scrollWidth > wide) bad.push("the page has " + document.documentElement.scrollWidth + " of " + wide);
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest(".hidden, .skip, [hidden], svg") || e.tagName === "INPUT" || scrolls(e)) continue;
		const box = e.getBoundingClientRect(), hides = getComputedStyle(e).overflow !== "visible";
		if (box.left < 0 || box.right > wide + 1 || hides && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)) {
			bad.push(e.outerHTML.slice(0, 80));
		}
	}
	return bad.join("; ");
})()`

// look looks at a state of a page, once: by axe-core, for what does not fit into the
// narrowest window or one that is enlarged, and in pictures.
func (r *reader) look(t *testing.T, tab *browser.Tab, state string) {
	t.Helper()
	if r.seen[state] {
		return
	}
	r.seen[state] = true
	language := browser.Eval[string](tab, "document.documentElement.lang")
	for _, where := range []struct {
		name string
		look browser.Look
	}{
		{"phone", browser.Phone()}, {"desk", browser.Desk()},
	} {
		for name, dark := range map[string]bool{"light": false, "dark": true} {
			look := where.look
			look.Dark, look.Language = dark, language
			tab.Look(look)
			for _, v := range r.axe.Violations(tab) {
				t.Errorf("%s, %s, %s: axe-core: %s", state, where.name, name, v)
			}
			tab.Picture(r.dir, fmt.Sprintf("%s-%s-%s", state, where.name, name))
		}
	}
	narrow, zoomed := browser.Phone(), browser.Desk()
	narrow.Width, zoomed.Width, zoomed.Height, zoomed.Scale = 320, zoomed.Width/2, zoomed.Height/2, 2
	for name, look := range map[string]browser.Look{"320 pixels": narrow, "200 %": zoomed} {
		for _, letters := range []string{"100%", "200%"} {
			if look.Width == 320 && letters != "100%" {
				continue
			}
			look.Language = language
			tab.Look(look)
			if cut := browser.Eval[string](tab, fmt.Sprintf("(document.documentElement.style.fontSize = %q, %s)", letters, cutOff)); cut != "" {
				t.Errorf("%s, %s, letters of %s: it does not fit: %s", state, name, letters, cut)
			}
		}
	}
	browser.Eval[string](tab, `document.documentElement.style.fontSize = ""`)
	desk := browser.Desk()
	desk.Language = language
	tab.Look(desk)
	for _, e := range tab.Errors() {
		t.Errorf("%s: the page complains: %s", state, e)
	}
}

// german looks at a state in German, which a reload does not change.
func (r *reader) german(t *testing.T, tab *browser.Tab, state string) {
	t.Helper()
	for _, language := range []string{"de", "en"} {
		look := browser.Desk()
		look.Language = language
		tab.Look(look)
		tab.Reload()
		if language == "de" {
			tab.AwaitText("Wenn Sie Hilfe brauchen")
			r.look(t, tab, "german-"+state)
		}
	}
	tab.AwaitText("If you need help")
}

// says returns what the page says of a code: the help desk's secrets are not said.
func says(op reset.Operation, code reset.Code) string {
	switch code {
	case reset.AccountNotFound, reset.AccountDisabled, reset.AccountProtected, reset.NotPermitted:
		return "This cannot be done for this account from here, and nothing was changed."
	}
	_, text, _ := portal.Sentence(op, code)
	return text
}

// TestResetPageOutcomes provokes every outcome that a reset or an unlock can have at
// the directory, by way of the page, and looks at each.
func TestResetPageOutcomes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"fake", "samba"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, kind)
			var s stage = &fakeStage{r.l.fake}
			if kind == "samba" {
				s = newSambaStage(t, r.l)
			}
			for _, tt := range situations() {
				op, err := reset.ParseOperation(strings.TrimSuffix(tt.path, "s"))
				if err != nil {
					t.Fatal(err)
				}
				if op != reset.Reset && op != reset.Unlock || strings.Contains(tt.fields, "must_change") || kind == "samba" && tt.cannot != "" {
					continue
				}
				t.Run(string(tt.code)+" "+tt.how, func(t *testing.T) { r.outcome(t, s, op, tt) })
			}
		})
	}
}

func (r *reader) outcome(t *testing.T, s stage, op reset.Operation, tt situation) {
	r.t = t
	u := tt.who(t, s)
	tab := r.open(r.ticket(u, op.String()))
	if op == reset.Unlock {
		tab.Click("#form button[type=submit]")
	} else {
		var body struct{ Password string }
		if err := json.Unmarshal([]byte("{"+tt.fields+"}"), &body); err != nil {
			t.Fatal(err)
		}
		fill(tab, body.Password)
	}
	tab.AwaitText(says(op, tt.code))
	r.look(t, tab, fmt.Sprintf("%s-%s", op, tt.code))
	text := tab.Text("main")
	if !strings.Contains(tab.Text("#reference"), "-") {
		t.Errorf("no reference on the page: %s", text)
	}
	retry := browser.Eval[bool](tab, `document.querySelector("#form") !== null`)
	if want := strings.HasPrefix(string(tt.code), "password_") || tt.code == reset.DirectoryError; retry != want {
		t.Errorf("a form for another attempt is there: %t\n%s", retry, text)
	}
	if holds := tt.after; holds != "-" {
		if holds == "" {
			holds = current
		}
		if !s.opens(u, holds) {
			t.Error("another password holds afterwards")
		}
	}
	for _, secret := range []string{"c4nary", fresh, current} {
		if strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), secret) {
			t.Errorf("%q is in the page", secret)
		}
	}
}
