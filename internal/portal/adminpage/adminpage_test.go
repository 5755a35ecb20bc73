package adminpage

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/portal"
	"writeback/internal/reset"
	"writeback/internal/signin"
	"writeback/internal/testkit"
)

const aRequest = "pub1-00112233445566778899aabbccddeeff"

// Without a session nothing is shown, and nothing is done.
func TestNobody(t *testing.T) {
	s := newStage(t)
	for _, path := range []string{Path, requestsPath + aRequest, switchesPath + "?switch=writeback&on=false", resetPath} {
		res, body := s.get(path)
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `name="token"`) {
			t.Errorf("GET %s: %s\n%s", path, res.Status, body)
		}
	}
	for _, path := range []string{requestsPath + aRequest, switchesPath, resetPath} {
		res, body := s.post(path, "switch", "writeback", "on", "false", "kind", "upn", "name", "ada@corp.example.com", "form", reset.NewID().String())
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "Your sign-in has ended") {
			t.Errorf("POST %s: %s\n%s", path, res.Status, body)
		}
	}
	for _, path := range []string{eventsPath, progressPath + "?id=" + aRequest} {
		if res, _ := s.get(path); res.StatusCode != http.StatusNoContent {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	if len(s.switches)+len(s.sent)+len(s.revealed) > 0 {
		t.Errorf("it was done all the same: %v %v %v", s.switches, s.sent, s.revealed)
	}
}

func TestOperatorToken(t *testing.T) {
	s := newStage(t)
	bad := map[string]string{
		"an unknown one":      "wbk_" + strings.Repeat("A", 43),
		"nothing":             "",
		"one for resets only": s.grant(func(g *portal.Grant) { g.Switches = false }),
		"one for elsewhere":   s.grant(func(g *portal.Grant) { g.Addresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }),
	}
	last := s.grant(func(*portal.Grant) {}) // once this one is known, the others are
	await(t, func() bool {
		res, _ := s.post(signInPath, "token", last)
		return res.StatusCode == http.StatusSeeOther
	})
	clear(s.jar)
	for name, token := range bad {
		res, body := s.post(signInPath, "token", token, "next", Path)
		if res.StatusCode != http.StatusUnauthorized || len(s.jar) > 0 || !strings.Contains(body, "does not open this page") {
			t.Errorf("%s: %s %v", name, res.Status, s.jar)
		}
	}
	for next, want := range map[string]string{
		"/admin/reset": "/admin/reset", "/admin?code=applied": "/admin?code=applied", "https://evil.example/admin": Path,
		"//evil.example/admin": Path, "/administrator": Path, "/reset": Path, "javascript:alert(1)": Path, "": Path,
	} {
		if res, _ := s.post(signInPath, "token", s.token, "next", next); res.Header.Get("Location") != want {
			t.Errorf("it leads to %q for %q, want %q", res.Header.Get("Location"), next, want)
		}
	}
	if res, body := s.get(Path); res.StatusCode != http.StatusOK || !strings.Contains(body, "Everything works") {
		t.Errorf("with the token: %s\n%s", res.Status, body)
	}
	short := s.grant(func(g *portal.Grant) { g.NotAfter = time.Now().Add(4 * time.Second) })
	signsIn := func(status int) func() bool {
		return func() bool {
			res, _ := s.post(signInPath, "token", short)
			return res.StatusCode == status
		}
	}
	await(t, signsIn(http.StatusSeeOther))
	await(t, signsIn(http.StatusUnauthorized)) // past its end; beyond its rate it is another
	if res, _ := s.get(Path); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the page is open after the end of the token: %s", res.Status)
	}
	s.signIn()
	if strings.Contains(s.log.String(), s.token) {
		t.Errorf("the token is in the log: %s", s.log)
	}
	for name, value := range s.jar {
		if strings.Contains(value, "wbk_") {
			t.Errorf("the token is in the cookie %s", name)
		}
	}
	s.post(signOutPath)
	if res, _ := s.get(Path); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after signing out: %s", res.Status)
	}
}

// A session ends when it is idle, when it is old, when its token goes, and is
// nobody's if it is altered.
func TestSessions(t *testing.T) {
	s := newStage(t)
	s.signIn()
	entries, err := portal.ReadTokens(s.file)
	if err != nil {
		t.Fatal(err)
	}
	id := entries[0].ID
	good := s.jar["__Host-admin"]
	altered := "A" + good[1:]
	if altered == good {
		altered = "B" + good[1:]
	}
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	sealed := func(v session) string { return signin.Seal(s.page.Sessions, v) }
	for name, tt := range map[string]struct {
		cookie string
		path   string
		want   int
	}{
		"a good one":             {good, Path, http.StatusOK},
		"altered":                {altered, Path, http.StatusUnauthorized},
		"cut off":                {good[:20], Path, http.StatusUnauthorized},
		"old":                    {sealed(session{id, ago(signin.Longest + time.Minute), ago(0)}), Path, http.StatusUnauthorized},
		"idle":                   {sealed(session{id, ago(20 * time.Minute), ago(signin.Idle + time.Minute)}), Path, http.StatusUnauthorized},
		"not fresh, to look at":  {sealed(session{id, ago(10 * time.Minute), ago(time.Minute)}), Path, http.StatusOK},
		"not fresh, for a reset": {sealed(session{id, ago(10 * time.Minute), ago(time.Minute)}), resetPath, http.StatusUnauthorized},
		"fresh, for a reset":     {sealed(session{id, ago(time.Minute), ago(0)}), resetPath, http.StatusOK},
		"of another token":       {sealed(session{"00000000", ago(0), ago(0)}), Path, http.StatusUnauthorized},
	} {
		s.jar["__Host-admin"] = tt.cookie
		if res, _ := s.get(tt.path); res.StatusCode != tt.want {
			t.Errorf("%s: %s, want %d", name, res.Status, tt.want)
		}
	}
	// A form may be filled in for ten minutes, and changes nothing after that.
	newForm := func() []string {
		s.unknown = true
		return []string{"form", reset.NewID().String(), "kind", "upn", "name", "ada@corp.example.com"}
	}
	turn := []string{"switch", "unlock", "on", "false"}
	for _, tt := range []struct {
		age           time.Duration
		switches, all int // HTTP status of the question, and of the forms
		changes       int
	}{
		{14 * time.Minute, http.StatusUnauthorized, http.StatusSeeOther, 1},
		{16 * time.Minute, http.StatusUnauthorized, http.StatusUnauthorized, 1},
		{time.Minute, http.StatusOK, http.StatusSeeOther, 2},
	} {
		s.jar["__Host-admin"] = sealed(session{id, ago(tt.age), ago(0)})
		if res, _ := s.get(switchesPath + "?switch=unlock&on=false"); res.StatusCode != tt.switches {
			t.Errorf("asking for a switch after %s: %s", tt.age, res.Status)
		}
		if res, _ := s.post(switchesPath, turn...); res.StatusCode != tt.all || len(s.switches) != tt.changes {
			t.Errorf("turning a switch after %s: %s, %d were turned", tt.age, res.Status, len(s.switches))
		}
		if s.post(resetPath, newForm()...); len(s.sent) != tt.changes {
			t.Errorf("a reset after %s: %d were sent", tt.age, len(s.sent))
		}
	}
	s.jar["__Host-admin"] = sealed(session{id, ago(20 * time.Minute), ago(5 * time.Minute)})
	before := s.jar["__Host-admin"]
	if s.get(Path); s.jar["__Host-admin"] == before {
		t.Error("a page does not renew the session")
	}
	if err := portal.RemoveToken(s.file, id); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { _, ok := s.page.Tokens.Operating(id, netip.Addr{}); return !ok })
	if res, _ := s.get(Path); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a session outlives its token: %s", res.Status)
	}
}

// The page goes on by itself, sends what is new and nothing else, and ends with the
// session.
func TestStream(t *testing.T) {
	s := newStage(t)
	s.signIn()
	server := httptest.NewServer(s.h)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+eventsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range s.jar {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	entries, err := portal.ReadTokens(s.file)
	if err != nil {
		t.Fatal(err)
	}
	events := 0
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() { // until the stream ends
		switch line := lines.Text(); {
		case line == "event: swap":
			events++
			if err := portal.RemoveToken(s.file, entries[0].ID); err != nil && events == 1 {
				t.Fatal(err)
			}
		case strings.Contains(line, "id=\"recent\"") && events > 1:
			t.Error("the list is sent again although nothing of it is new")
		}
	}
	if err := lines.Err(); err != nil || events == 0 {
		t.Errorf("%d events, then %v", events, err)
	}
	if res, _ := s.get(eventsPath); res.StatusCode != http.StatusNoContent {
		t.Errorf("the stream begins again: %s", res.Status)
	}
}

func TestSwitches(t *testing.T) {
	s := newStage(t)
	s.signIn()
	if res, body := s.get(switchesPath + "?switch=unlock&on=false"); res.StatusCode != http.StatusOK || !strings.Contains(body, "must reset their password") {
		t.Errorf("it is not asked: %s\n%s", res.Status, body)
	}
	if len(s.switches) > 0 {
		t.Error("a look turns a switch")
	}
	if res, _ := s.post(switchesPath, "switch", "unlock", "on", "false"); res.Header.Get("Location") != Path {
		t.Errorf("it leads to %q", res.Header.Get("Location"))
	}
	if c := s.switches; len(c) != 1 || len(c[0].Set) != 1 || c[0].Set[reset.SwitchUnlock] || c[0].Tenant != "corp" || c[0].Source != "desk" ||
		c[0].Actor.Kind != reset.Admin || !strings.HasPrefix(c[0].Actor.Subject, "token ") || c[0].Address == "" {
		t.Errorf("set %+v", c)
	}
	for _, fields := range [][]string{{"switch", "both", "on", "true"}, {"switch", "unlock", "on", "perhaps"}, {}} {
		if res, _ := s.post(switchesPath, fields...); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: %s", fields, res.Status)
		}
	}
}

// Names are shown only to who asks for them by a form, one request at a time.
func TestReveal(t *testing.T) {
	s := newStage(t)
	s.signIn()
	_, body := s.get(requestsPath + aRequest)
	if strings.Contains(body, "ada@") || len(s.revealed) > 0 {
		t.Errorf("a look reveals a name: %s", body)
	}
	_, body = s.post(requestsPath + aRequest)
	if !strings.Contains(body, "ada@corp.example.com") || len(s.revealed) != 1 || s.revealed[0].Source != "desk" {
		t.Errorf("revealed %+v\n%s", s.revealed, body)
	}
	if res, _ := s.post(requestsPath + "no-request"); res.StatusCode != http.StatusNotFound {
		t.Errorf("what is no request: %s", res.Status)
	}
}

// Where no password was to be set, nobody is told that one is.
func TestHintOfOperation(t *testing.T) {
	s := newStage(t)
	s.signIn()
	for _, tt := range []struct {
		op   reset.Operation
		code reset.Code
		want string
	}{
		{reset.Reset, reset.AppliedPartly, "The password is set"},
		{reset.Change, reset.AppliedPartly, "The password is set"},
		{reset.Unlock, reset.AppliedPartly, "The account is unlocked"},
		{reset.Probe, reset.AppliedPartly, "Nothing was changed"},
		{reset.Probe, reset.Applied, "Nothing was changed"},
		{reset.Unlock, reset.Applied, "The directory has confirmed it"},
		{reset.Probe, reset.Unconfirmed, "a probe changes nothing"},
	} {
		s.course.Operation, s.course.Outcome.Code = tt.op, tt.code
		if _, body := s.get(requestsPath + aRequest); !strings.Contains(body, tt.want) {
			t.Errorf("%s, %s: does not say %q", tt.op, tt.code, tt.want)
		}
	}
}

func (s *stage) resetAs(code reset.Code) string {
	s.t.Helper()
	s.status = reset.Status{Operation: reset.Reset, State: reset.Final, Outcome: reset.Outcome{Code: code}, Accepted: time.Now()}
	if code == "" {
		s.status.State = reset.Accepted
	}
	s.unknown = true
	res, body := s.post(resetPath, "form", reset.NewID().String(), "kind", "upn", "name", "ada@corp.example.com")
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s\n%s", code, res.Status, body)
	}
	return body
}

// The temporary password is shown with every outcome after which it may hold, and
// with no other.
func TestTemporaryShown(t *testing.T) {
	s := newStage(t)
	s.signIn()
	for _, code := range append(reset.Codes(), "") {
		body := s.resetAs(code)
		may := code == "" || slices.Contains([]reset.Code{reset.Applied, reset.AppliedPartly, reset.Unconfirmed}, code)
		if strings.Contains(body, s.password) != may {
			t.Errorf("%q: the password is shown: %t", code, !may)
		}
		if code != "" && !strings.Contains(body, `class="note`) {
			t.Errorf("%q: no outcome is shown", code)
		}
		sub := s.sent[len(s.sent)-1]
		if !sub.MustChange || sub.Actor.Kind != reset.Admin || sub.Operation != reset.Reset || sub.Tenant != "corp" || sub.Account.Value != "ada@corp.example.com" {
			t.Errorf("asked for %+v", sub)
		}
		if strings.Contains(s.log.String(), s.password) {
			t.Errorf("%q: the password is in the log", code)
		}
	}
}

// What an administrator can do for one account is limited.
func TestLimit(t *testing.T) {
	s := newStage(t)
	s.signIn()
	for range 2 * perAccount {
		s.unknown = true
		res, _ := s.post(resetPath, "form", reset.NewID().String(), "kind", "upn", "name", "ada@corp.example.com")
		if res.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if n := len(s.sent); n < perAccount || n > perAccount+1 {
		t.Errorf("%d resets were taken, want %d and one that is reserved", n, perAccount)
	}
}

// A token does on the page as much as its rate allows, whatever it is shown for.
func TestRateOfToken(t *testing.T) {
	s := newStage(t)
	s.token = s.grant(func(g *portal.Grant) { g.Rate = 3 })
	await(t, func() bool {
		res, _ := s.post(signInPath, "token", s.token)
		return res.StatusCode == http.StatusSeeOther
	})
	for range 10 {
		s.post(requestsPath + aRequest)
	}
	res, _ := s.post(switchesPath, "switch", "unlock", "on", "false")
	if len(s.revealed) > 2 || len(s.switches) > 0 || res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%d names, %d switches, then %s", len(s.revealed), len(s.switches), res.Status)
	}
	if res, _ := s.get(Path); res.StatusCode != http.StatusOK {
		t.Errorf("a look: %s", res.Status)
	}
}

// A form that is sent twice makes one request, and shows the password once.
func TestTwice(t *testing.T) {
	s := newStage(t)
	s.signIn()
	s.status = reset.Status{Operation: reset.Reset, State: reset.Final, Outcome: reset.Outcome{Code: reset.Applied}}
	fields := []string{"form", reset.NewID().String(), "kind", "upn", "name", "ada@corp.example.com"}
	_, body := s.post(resetPath, fields...)
	first := s.password
	if !strings.Contains(body, first) {
		t.Fatalf("the password is not shown: %s", body)
	}
	res, body := s.post(resetPath, fields...)
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), requestsPath) || strings.Contains(body, first) || len(s.sent) != 1 {
		t.Errorf("again: %s, %d requests\n%s", res.Status, len(s.sent), body)
	}
	if _, body := s.get(progressPath + "?id=" + s.status.Ref.String()); strings.Contains(body, first) || !strings.Contains(body, "event: swap") {
		t.Errorf("the stream: %s", body)
	}
}

func TestResetRefused(t *testing.T) {
	s := newStage(t)
	s.signIn()
	for name, fields := range map[string][]string{
		"no name":             {"kind", "upn", "name", ""},
		"a filter":            {"kind", "upn", "name", "a*@corp.example.com"},
		"a kind not allowed":  {"kind", "sam_account_name", "name", "ada"},
		"a kind there is not": {"kind", "phone", "name", "ada"},
	} {
		res, body := s.post(resetPath, append(fields, "form", reset.NewID().String())...)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "This is no name of that kind") {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	s.view.Switches.Writeback.On = false
	if res, body := s.post(resetPath, "form", reset.NewID().String(), "kind", "upn", "name", "a@corp.example.com"); res.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(body, "Writeback is switched off") {
		t.Errorf("switched off: %s", res.Status)
	}
	s.view.Switches.Writeback.On = true
	s.token = s.grant(func(g *portal.Grant) { g.Operations = nil })
	await(t, func() bool {
		res, _ := s.post(signInPath, "token", s.token, "next", Path)
		return res.StatusCode == http.StatusSeeOther
	})
	if res, body := s.post(resetPath, "form", reset.NewID().String(), "kind", "upn", "name", "a@corp.example.com"); res.StatusCode != http.StatusForbidden ||
		!strings.Contains(body, "may not reset passwords for others") {
		t.Errorf("a token for the switches alone: %s", res.Status)
	}
	if len(s.sent) > 0 {
		t.Errorf("it was asked for all the same: %+v", s.sent)
	}
}

func TestFilter(t *testing.T) {
	s := newStage(t)
	s.signIn()
	for i, code := range []reset.Code{reset.Applied, reset.Expired, reset.Applied} {
		s.view.Recent = append(s.view.Recent, reset.Recent{
			Ref: reset.Ref{Publisher: "pub1", ID: reset.ID{byte(i)}}, Operation: []reset.Operation{reset.Reset, reset.Reset, reset.Unlock}[i],
			Code: code, Consumer: []string{"one", "", "one"}[i], Ended: time.Now(),
		})
	}
	for query, want := range map[string]int{
		"": 3, "?code=applied": 2, "?code=expired": 1, "?operation=unlock": 1, "?consumer=one": 2, "?code=applied&operation=reset": 1,
		"?code=%3Cscript%3E": 3, "?consumer=two": 3, "?operation=0": 3,
	} {
		_, body := s.get(Path + query)
		if got := strings.Count(body, `id="r-pub1-`); got != want {
			t.Errorf("%q lists %d, want %d", query, got, want)
		}
		if strings.Contains(body, "<script>") {
			t.Errorf("%q comes back as it is", query)
		}
	}
	if _, body := s.get(Path + "?live=off"); strings.Contains(body, "data-stream") {
		t.Error("the page goes on although it is not to")
	}
	if _, body := s.get(Path + "?code=applied"); !strings.Contains(body, `data-stream="/admin/events?code=applied"`) {
		t.Error("the stream does not filter")
	}
}

// Every word of a closed set that a page looks up has a text.
func TestTexts(t *testing.T) {
	text, err := os.ReadFile(testkit.Root(t) + "/internal/portal/pages/texts.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range reset.Codes() {
		want = append(want, "admin.hint."+string(c), "code."+string(c)+".title")
	}
	for _, o := range reset.Operations() {
		want = append(want, "admin.operation."+o.String())
	}
	for _, k := range reset.NameKinds() {
		want = append(want, "admin.kind."+k.String())
	}
	for _, h := range healths() {
		want = append(want, "admin.health."+h.Key+".title", "admin.health."+h.Key+".text")
		if h.Tone != "good" {
			want = append(want, "admin.health."+h.Key+".next")
		}
	}
	for _, n := range reset.SwitchNames() {
		for _, part := range []string{"", ".text", ".true", ".false"} {
			want = append(want, "admin.switch."+n.String()+part)
		}
	}
	for _, kind := range []string{"accepted", "claimed", "released", "settled", "cancelled", "corrected"} {
		want = append(want, "admin.record."+kind)
	}
	files, err := os.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		page, err := os.ReadFile("templates/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.T "([a-z_.]+)"`).FindAllStringSubmatch(string(page), -1) {
			want = append(want, m[1])
		}
	}
	for _, key := range want {
		if all[key] == nil {
			t.Errorf("no text %s", key)
		}
	}
}
