package resetpage

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/ticket"
)

// Whatever is answered is kept by nobody, shown in no other page, and sends nobody
// the ticket's address.
func TestHeaders(t *testing.T) {
	b := setup(t)
	b.view.Request = ended(reset.Applied, reset.Reset)
	b.steps = []reset.Status{*b.view.Request}
	for target, want := range map[string]int{
		"/reset": 200, "/reset?t=" + b.ticket.Text(): 303, "/reset?t=" + strings.Repeat("<b>", 99): 404, "/reset/events": 200,
	} {
		res, body := b.do("GET", target, "")
		if res.StatusCode != want || strings.Contains(body, "<b>") {
			t.Errorf("%s: %d, %s", target, res.StatusCode, body)
		}
		for name, want := range map[string]string{
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		if !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'") {
			t.Errorf("%s: %s", target, res.Header.Get("Content-Security-Policy"))
		}
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
				t.Errorf("%s: a cookie is %s", target, c.Raw)
			}
		}
	}
}

// A link moves its ticket to a cookie and out of the address; a look, also one by
// HEAD, uses nothing up.
func TestPrefetchDoesNotConsume(t *testing.T) {
	b := setup(t)
	for _, method := range []string{"HEAD", "GET"} {
		res, body := b.do(method, "/reset?t="+b.ticket.Text(), "", "Cookie", "")
		cookies := res.Header.Values("Set-Cookie")
		if res.StatusCode != 303 || res.Header.Get("Location") != "/reset" || len(cookies) != 2 || strings.Contains(body, "wbt_") {
			t.Errorf("%s: %d to %q with %q", method, res.StatusCode, res.Header.Get("Location"), cookies)
		}
		for _, c := range cookies {
			if !strings.HasPrefix(c, "__Host-") || !strings.HasSuffix(c, "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax") {
				t.Errorf("%s: cookie %q", method, c)
			}
		}
	}
	b.get()
	if b.begun != 0 || len(b.submitted) != 0 {
		t.Error("a look used it up")
	}
	if strings.Contains(b.log.String(), "wbt_") || strings.Contains(b.log.String(), b.ticket.Text()) {
		t.Errorf("the ticket is in the log: %s", b.log)
	}
	// Who has a session keeps it.
	if res, _ := b.do("GET", "/reset?t="+b.ticket.Text(), ""); !strings.Contains(strings.Join(res.Header.Values("Set-Cookie"), " "), "__Host-session="+base64.RawURLEncoding.EncodeToString(make([]byte, 32))) {
		t.Errorf("the session changes: %q", res.Header.Values("Set-Cookie"))
	}
}

func TestForm(t *testing.T) {
	b := setup(t)
	res, body := b.get()
	if res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	for _, want := range []string{
		"ada@corp.example.com", "At least 14 characters", "None of the last 24 passwords", "every 2 days", `autocomplete="new-password"`,
		"only unlock the account", `autocomplete="username"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the form lacks %q", want)
		}
	}
	res, body = b.do("POST", "/reset", b.form("live", "1"))
	if res.StatusCode != 200 || !strings.Contains(body, "data-stream") || strings.Contains(body, "<form") || b.begun != 1 {
		t.Errorf("sent by a script: %d, %s", res.StatusCode, body)
	}
	s := b.submitted[0]
	if s.Tenant != "corp" || s.Source != "idp" || s.Operation != reset.Reset || s.Account != b.view.Account || s.Actor != b.view.Actor ||
		s.ID == (reset.ID{}) || b.passwords[0] != "N3w secret!" || b.waits[0] != liveWait || s.Address != "192.0.2.1" {
		t.Errorf("submitted: %+v, %s", s, b.waits[0])
	}
	res, _ = b.do("POST", "/reset", b.form())
	if res.StatusCode != 303 || res.Header.Get("Location") != "/reset" || b.waits[1] != PlainWait {
		t.Errorf("without scripts: %d to %s after %s", res.StatusCode, res.Header.Get("Location"), b.waits[1])
	}
	b.do("POST", "/reset", b.form("operation", "unlock", "password", "", "again", ""))
	if s := b.submitted[2]; s.Operation != reset.Unlock || b.passwords[2] != "" {
		t.Errorf("unlock submitted: %+v", s)
	}
	if strings.Contains(b.log.String(), "N3w") {
		t.Error("a password is in the log")
	}
}

// An outcome that comes at once is on the page that a script is answered with.
func TestOutcomeAtOnce(t *testing.T) {
	for code, want := range map[reset.Code]string{
		reset.Applied: "The new password is set.", reset.PasswordTooShort: "You can try once more.", reset.Unconfirmed: "We do not know yet",
	} {
		b := setup(t)
		b.view.Attempts, b.view.Expires, b.soon = 2, time.Now().Add(time.Minute), ended(code, reset.Reset)
		res, body := b.do("POST", "/reset", b.form("live", "1"))
		if res.StatusCode != 200 || !strings.Contains(body, want) || strings.Contains(body, "<form") != retryable(code) || strings.Contains(body, "N3w") {
			t.Errorf("%s: %d, %s", code, res.StatusCode, body)
		}
	}
}

// The password is the publisher's from Submit on, which may still need it when the
// page is answered.
func TestPasswordIsGivenAway(t *testing.T) {
	b := setup(t)
	b.keep = true
	b.do("POST", "/reset", b.form("live", "1"))
	b.kept.Reveal(func(p []byte) error {
		if string(p) != "N3w secret!" {
			t.Errorf("after the answer, the password is %q", p)
		}
		return nil
	})
}

// What cannot be sent is said, uses no attempt up, and is not shown again.
func TestFormErrors(t *testing.T) {
	for _, tt := range []struct {
		name, body, header string
		status             int
		want               string
	}{
		{"not the same", "again=other", "", 422, "are not the same"},
		{"empty", "password=&again=", "", 422, "Please enter a new password."},
		{"too long", "password=" + strings.Repeat("x", 257) + "&again=" + strings.Repeat("x", 257), "", 422, "too long"},
		{"no text", "password=%ff&again=%ff", "", 422, "cannot be used"},
		{"another tab's ticket", "ticket=00", "", 409, "Another link was opened"},
		{"no operation", "operation=change", "", 400, "could not be understood"},
		{"not well formed", "password=%zz", "", 400, "could not be understood"},
		{"a field twice", "again=a&again=b", "", 400, "could not be understood"},
		{"too large", "password=" + strings.Repeat("x", maxForm), "", 413, "too large"},
		{"JSON", "", "application/json", 415, "not understood"},
	} {
		b := setup(t)
		id := b.ticket.ID()
		base := map[string]string{"operation": "reset", "ticket": hex.EncodeToString(id[:]), "password": "N3w+secret%21", "again": "N3w+secret%21"}
		body := tt.body
		for name, value := range base {
			if !strings.Contains("&"+body, "&"+name+"=") {
				body += "&" + name + "=" + value
			}
		}
		headers := []string{}
		if tt.header != "" {
			headers = []string{"Content-Type", tt.header}
		}
		res, page := b.do("POST", "/reset", body, headers...)
		if res.StatusCode != tt.status || !strings.Contains(page, tt.want) {
			t.Errorf("%s: %d, want %d with %q", tt.name, res.StatusCode, tt.status, tt.want)
		}
		if strings.Contains(page, "N3w") || b.begun != 0 || len(b.submitted) != 0 {
			t.Errorf("%s: begun %d, submitted %d, or the password is in the page", tt.name, b.begun, len(b.submitted))
		}
	}
}

// An attempt that was refused before it was recorded is taken back; one that came
// second shows the first.
func TestRefused(t *testing.T) {
	b := setup(t)
	b.submitErr = &reset.Refusal{Code: reset.NoConsumer, RetryAfter: 10 * time.Second}
	if res, body := b.do("POST", "/reset", b.form()); res.StatusCode != 503 || !strings.Contains(body, "connection to your organisation") || b.takenBack != 1 {
		t.Errorf("%d, taken back %d", res.StatusCode, b.takenBack)
	}
	b = setup(t)
	b.beginErr = ticket.ErrBusy
	if res, _ := b.do("POST", "/reset", b.form()); res.StatusCode != 303 || len(b.submitted) != 0 || b.takenBack != 0 {
		t.Errorf("a double click: %d", res.StatusCode)
	}
	b = setup(t)
	b.beginErr = &reset.Refusal{Code: reset.BrokerUnavailable}
	nothing := text(t, "refusal.broker_unavailable.post", "en")
	if res, body := b.do("POST", "/reset", b.form()); res.StatusCode != 503 || len(b.submitted) != 0 || !strings.Contains(body, nothing) {
		t.Errorf("no broker: %d", res.StatusCode)
	}
	b.lookErr = b.beginErr // something may be at work
	if res, body := b.get(); res.StatusCode != 503 || strings.Contains(body, nothing) {
		t.Errorf("a look without a broker: %d", res.StatusCode)
	}
}

func TestNoGoodTicket(t *testing.T) {
	for err, want := range map[error]string{
		ticket.ErrUnknown: "This link is not valid", ticket.ErrExpired: "This link has expired",
		ticket.ErrForeign: "used in another browser", ticket.ErrAttempts: "tried too often",
	} {
		b := setup(t)
		b.view.Err = err
		if err == ticket.ErrUnknown {
			b.lookErr = err
		}
		res, body := b.get()
		if res.StatusCode < 400 || !strings.Contains(body, want) || strings.Contains(body, "ada@") || strings.Contains(body, `<form`) {
			t.Errorf("%v: %d", err, res.StatusCode)
		}
		if _, body := b.do("POST", "/reset", b.form()); len(b.submitted) != 0 {
			t.Errorf("%v: sent all the same: %s", err, body)
		}
	}
	b := setup(t)
	for name, cookie := range map[string]string{"no cookies": "", "no session": "__Host-reset=corp." + b.ticket.Text(), "rubbish": "__Host-reset=x; __Host-session=y"} {
		for _, method := range []string{"GET", "POST"} {
			if res, body := b.do(method, "/reset", b.form(), "Cookie", cookie); res.StatusCode != 400 || !strings.Contains(body, "does not keep cookies") {
				t.Errorf("%s, %s: %d", name, method, res.StatusCode)
			}
		}
		if res, _ := b.do("GET", "/reset/events", "", "Cookie", cookie); res.StatusCode != http.StatusNoContent {
			t.Errorf("%s: events: %d", name, res.StatusCode)
		}
	}
	if res, body := b.do("GET", "/reset?t=wbt_x", ""); res.StatusCode != 404 || !strings.Contains(body, "This link is not valid") {
		t.Errorf("no ticket: %d", res.StatusCode)
	}
}

// What is in the way is said before anything is typed.
func TestObstacles(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"reset.off":           func(b *bench) { b.situation.Switches.Writeback.On = false },
		"refusal.no_consumer": func(b *bench) { b.situation.Obstacle = &reset.Refusal{Code: reset.NoConsumer} },
		"refusal.clock":       func(b *bench) { b.situation.Obstacle = &reset.Refusal{Code: reset.Clock} },
	} {
		b := setup(t)
		change(b)
		res, body := b.get()
		if res.StatusCode != 503 || strings.Contains(body, "<form") || !strings.Contains(body, `href="/reset"`) || !strings.Contains(body, text(t, name+".text", "en")) {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	b := setup(t)
	b.situation.Switches.Unlock.On = false
	if _, body := b.get(); strings.Contains(body, "unlock") && strings.Contains(body, "Unlock the account") || !strings.Contains(body, "<form") {
		t.Error("unlocking is offered though it is switched off")
	}
	b = setup(t)
	b.situation.Rules = reset.Rules{}
	if _, body := b.get(); !strings.Contains(body, "are not known here at the moment") || strings.Contains(body, "data-rule") {
		t.Error("rules that are not known are not said to be")
	}
}

// text returns a text of the pages.
func text(t *testing.T, key, language string) string {
	t.Helper()
	data, err := os.ReadFile("../pages/texts.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]map[string]string
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all[key][language]
}

// Every code has its sentence, the one of the API; of some accounts the page tells
// only that the help desk can say more.
func TestEveryCode(t *testing.T) {
	for _, op := range []reset.Operation{reset.Reset, reset.Unlock} {
		for _, code := range reset.Codes() {
			b := setup(t)
			b.view.Request = ended(code, op)
			b.view.Attempts--
			switch code {
			case reset.Applied, reset.AppliedPartly, reset.Unconfirmed:
				b.view.Err = ticket.ErrSpent
			}
			res, body := b.get()
			_, sentence, _ := portal.Sentence(op, code)
			says := strings.Contains(body, sentence)
			if res.StatusCode != 200 || says == hidden(code) {
				t.Errorf("%s %s: %d, the sentence is said: %t", op, code, res.StatusCode, says)
			}
			if hidden(code) && (!strings.Contains(body, text(t, "code.help_desk.text", "en")) || strings.Contains(body, string(code))) {
				t.Errorf("%s %s: it is told", op, code)
			}
			if form := strings.Contains(body, "<form"); form != retryable(code) {
				t.Errorf("%s %s: a form is there: %t", op, code, form)
			}
			b.view.Err = ticket.ErrAttempts
			_, ended := b.get()
			if again := strings.Contains(ended, text(t, "reset.ended", "en")); again != retryable(code) {
				t.Errorf("%s %s: with a ticket that is used up, another link is spoken of: %t", op, code, again)
			}
			if !strings.Contains(body, "pub1-01") {
				t.Errorf("%s %s: the request is not named", op, code)
			}
			if live := strings.Contains(body, "data-stream"); live != (code == reset.Unconfirmed) {
				t.Errorf("%s %s: it goes on: %t", op, code, live)
			}
		}
	}
	for _, code := range []reset.Code{reset.AccountNotFound, reset.AccountDisabled, reset.AccountProtected, reset.NotPermitted} {
		if !hidden(code) {
			t.Errorf("%s is told", code)
		}
	}
}

// The numbers of a rule, in both languages.
func TestFacts(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		code    reset.Code
		details reset.Details
		en, de  string
	}{
		{reset.PasswordTooShort, reset.Details{MinLength: 14}, "It needs at least 14 characters.", "Es braucht mindestens 14 Zeichen."},
		{reset.PasswordTooShort, reset.Details{MinLength: 1}, "It needs at least one character.", "Es braucht mindestens ein Zeichen."},
		{reset.PasswordTooSimple, reset.Details{Categories: []string{"lower", "digits"}}, "It has only: small letters, digits.", "Es hat nur: Kleinbuchstaben, Ziffern."},
		{reset.PasswordInHistory, reset.Details{}, "The last 24 passwords", "Die letzten 24 Passwörter"},
		{reset.PasswordTooRecent, reset.Details{Earliest: at}, `datetime="2026-11-23T08:30:00Z"`, "Wieder gesetzt werden kann es ab"},
		{reset.PasswordRefused, reset.Details{Candidates: []string{"history", "filter"}}, "it was used before, your organisation forbids", "es wurde schon benutzt, Ihre Organisation verbietet"},
		{reset.OperationOff, reset.Details{Reason: "rate"}, "too many requests in your organisation", "zu viele Anfragen"},
		{reset.AppliedPartly, reset.Details{FollowUps: []reset.FollowUp{{What: "unlock"}}}, "may still be locked", "vielleicht noch gesperrt"},
	} {
		b := setup(t)
		b.view.Request = ended(tt.code, reset.Reset)
		b.view.Request.Outcome.Details = tt.details
		for language, want := range map[string]string{"en": tt.en, "de": tt.de} {
			if _, body := b.do("GET", "/reset", "", "Accept-Language", language); !strings.Contains(body, want) {
				t.Errorf("%s in %s does not say %q", tt.code, language, want)
			}
		}
	}
}

// The page goes on while it is read: each step, the outcome, and the truth about an
// unconfirmed one.
func TestEvents(t *testing.T) {
	b := setup(t)
	accepted := reset.Status{Ref: reset.Ref{Publisher: "pub1", ID: reset.ID{1}}, Operation: reset.Reset, State: reset.Accepted, Accepted: time.Now()}
	pickedUp := accepted
	pickedUp.State, pickedUp.Consumer, pickedUp.Timeline.Stored = reset.PickedUp, "site_a", 20*time.Millisecond
	b.view.Request, b.view.Err = &accepted, ticket.ErrBusy
	b.steps = []reset.Status{accepted, pickedUp, *ended(reset.Unconfirmed, reset.Reset), *ended(reset.Applied, reset.Reset)}
	res, body := b.do("GET", "/reset/events", "")
	if res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	events := regexp.MustCompile(`(?m)^event: swap$`).Split(body, -1)[1:]
	if len(events) != 4 {
		t.Fatalf("%d events: %s", len(events), body)
	}
	for i, want := range []string{"Please wait a moment", "+ 0.020 s", "We do not know whether", "The new password is set."} {
		if !strings.Contains(events[i], want) || !strings.Contains(events[i], `id="spoken"`) {
			t.Errorf("event %d does not say %q: %s", i, want, events[i])
		}
		if live := strings.Contains(events[i], "data-stream"); live != (i < 3) {
			t.Errorf("event %d: it goes on: %t", i, live)
		}
	}
	if b.looks != 1 {
		t.Errorf("the broker was asked %d times; nobody is to wait for it", b.looks)
	}
	b = setup(t)
	b.view.Request, b.view.Err, b.view.Expires = &accepted, ticket.ErrBusy, time.Now().Add(time.Minute)
	b.steps = []reset.Status{*ended(reset.PasswordTooShort, reset.Reset)}
	if _, body := b.do("GET", "/reset/events", ""); !strings.Contains(body, "<form") {
		t.Error("it cannot be tried again at once")
	}
	b = setup(t)
	if res, _ := b.do("GET", "/reset/events", ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("before an attempt: %d", res.StatusCode)
	}
	b.lookErr = &reset.Refusal{Code: reset.BrokerUnavailable}
	if res, _ := b.do("GET", "/reset/events", ""); res.StatusCode != 503 {
		t.Errorf("without a broker: %d", res.StatusCode)
	}
}

func TestLimits(t *testing.T) {
	b := setup(t)
	frame, _ := pages.New(pages.Config{Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err := Add(Config{Frame: frame, Tickets: b.fake, Publisher: b.fake, Rates: portal.PageRates{PerAddress: 1, PerAccount: 1}}); err != nil {
		t.Fatal(err)
	}
	b.handler = frame.Over(http.NotFoundHandler())
	for i, want := range []int{303, 303, 429} { // the second is the one that is reserved
		if res, _ := b.do("POST", "/reset", b.form()); res.StatusCode != want || want == 429 && res.Header.Get("Retry-After") == "" {
			t.Errorf("attempt %d: %d, want %d", i, res.StatusCode, want)
		}
	}
	if b.begun != 2 {
		t.Errorf("%d attempts were begun", b.begun)
	}
}

// What is decoded is what the standard library would decode, or is refused.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a=b&c=d", "a=%20+x", "a", "=", "a=%", "a=%zz", "a=1&a=2", "&&", "a=%E2%9C%93", "a;b=c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseForm(append([]byte(nil), body...))
		if err != nil {
			var r *reset.Refusal
			if !errors.As(err, &r) || r.Code != reset.RefusedInvalid {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		want, err := url.ParseQuery(string(body))
		if err != nil {
			return // it refuses semicolons besides
		}
		if len(want) != len(got) {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
		for name, values := range want {
			if len(values) != 1 || string(got[name]) != values[0] {
				t.Errorf("%q: %s is %q, want %q", body, name, got[name], values)
			}
		}
	})
}
