package portal

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

func TestSentences(t *testing.T) {
	check := func(name string, s sentence) {
		t.Helper()
		if s.status < 200 || s.status > 504 || s.hint == "" {
			t.Errorf("%s: got %+v", name, s)
		}
		if !strings.HasSuffix(s.text, ".") || strings.ContainsAny(s.text, "|_<>") {
			t.Errorf("%s: %q is not a plain sentence", name, s.text)
		}
	}
	for _, op := range reset.Operations() {
		seen := map[string]reset.Code{}
		for _, c := range reset.Codes() {
			s := sentenceOf(op, c)
			check(op.String()+" "+string(c), s)
			if other, ok := seen[s.text]; ok {
				t.Errorf("%s: %s and %s have one sentence", op, c, other)
			}
			seen[s.text] = c
			if s.status != sentenceOf(reset.Reset, c).status {
				t.Errorf("%s %s: got status %d, a reset has another", op, c, s.status)
			}
		}
	}
	for _, c := range reset.RefusalCodes() {
		check(string(c), refusalOf(c))
	}
	if status, text, hint := Sentence(reset.Unlock, "hunter2"); status != 0 || text != "" || hint != "" {
		t.Errorf("what is not a code has a sentence: %d %q %q", status, text, hint)
	}
	if status, _, _ := RefusalSentence("hunter2"); status != 0 {
		t.Errorf("what is not a refusal has status %d", status)
	}
}

// Nobody is told that a password is set, or may be, where none was to be set.
func TestSentencesFitTheOperation(t *testing.T) {
	text := func(op reset.Operation, c reset.Code) string { return sentenceOf(op, c).text }
	for _, c := range []reset.Code{reset.Applied, reset.AppliedPartly, reset.Unconfirmed} {
		if !strings.Contains(text(reset.Reset, c), "the new password is set") && !strings.Contains(text(reset.Reset, c), "The new password is set") {
			t.Errorf("a reset that is %s: %q does not say what is set", c, text(reset.Reset, c))
		}
		if text(reset.Change, c) != text(reset.Reset, c) {
			t.Errorf("%s: a change says %q, a reset %q", c, text(reset.Change, c), text(reset.Reset, c))
		}
		for _, op := range []reset.Operation{reset.Unlock, reset.Probe} {
			if strings.Contains(text(op, c), "new password") {
				t.Errorf("%s %s: %q", op, c, text(op, c))
			}
		}
	}
	// What only a password that is sent can meet may speak of it.
	for _, c := range reset.Codes() {
		switch c {
		case reset.PasswordTooShort, reset.PasswordTooSimple, reset.PasswordContainsName, reset.PasswordInHistory,
			reset.PasswordTooRecent, reset.PasswordRefused, reset.WrongPassword:
		default:
			if s := text(reset.Unlock, c); strings.Contains(s, "password") {
				t.Errorf("an unlock that ends as %s: %q", c, s)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, r := range routes() {
		for _, code := range reset.Codes() {
			t.Run(r.op.String()+" "+string(code), func(t *testing.T) {
				b := setup(t)
				b.publisher.submit = ends(reset.Outcome{Code: code})
				res := b.postTo(r.path, r.good)
				m := read(t, res)
				status, text, _ := Sentence(r.op, code)
				if res.StatusCode != status || m["code"] != string(code) || m["message"] != text || m["id"] != ref.String() || m["final"] != true {
					t.Errorf("got %d %v", res.StatusCode, m)
				}
				if status >= 400 && (m["type"] != "urn:writeback:code:"+string(code) || m["detail"] != text || m["title"] == "") {
					t.Errorf("got %v", m)
				}
				want := map[bool]string{true: "/v1/requests/" + ref.String()}[code == reset.Unconfirmed]
				if got := res.Header.Get("Location"); got != want {
					t.Errorf("got Location %q, want %q", got, want)
				}
				b.publisher.status = func(string, reset.Ref) (reset.Status, error) {
					return b.publisher.submit(t.Context(), reset.Submission{Operation: r.op})
				}
				if got := read(t, b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String(), nil))); got["message"] != text {
					t.Errorf("asked again: got %v, want %q", got, text)
				}
			})
		}
	}
}

// What was not done after the password was set is listed, with what it needs.
func TestFollowUps(t *testing.T) {
	b := setup(t)
	b.publisher.submit = ends(reset.Outcome{Code: reset.AppliedPartly, Details: reset.Details{FollowUps: []reset.FollowUp{
		{What: "unlock", Right: "Write lockoutTime"}, {What: "must_change", Right: "Write pwdLastSet"}}}})
	res := b.post(`{"options":{"must_change":true},` + goodBody[1:])
	got, err := json.Marshal(read(t, res)["details"])
	want := `{"follow_ups":[{"right":"Write lockoutTime","what":"unlock"},{"right":"Write pwdLastSet","what":"must_change"}]}`
	if res.StatusCode != 200 || err != nil || string(got) != want {
		t.Errorf("got %d %s, %v; want %s", res.StatusCode, got, err, want)
	}
}

func TestNotYetFinal(t *testing.T) {
	for _, state := range []reset.State{reset.Accepted, reset.PickedUp} {
		b := setup(t)
		b.publisher.submit = func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{Ref: ref, Operation: reset.Reset, State: state, Accepted: time.Now()}, nil
		}
		res := b.post(goodBody)
		m := read(t, res)
		if res.StatusCode != 202 || res.Header.Get("Location") != "/v1/requests/"+ref.String() || m["state"] != string(state) {
			t.Errorf("got %d %v", res.StatusCode, m)
		}
		for _, name := range []string{"code", "message", "finished", "consumer", "timings_ms", "details"} {
			if v, ok := m[name]; ok {
				t.Errorf("%s is %v although nothing is known", name, v)
			}
		}
	}
}

// A code that the publisher made up is not shown as an outcome.
func TestUnknownCode(t *testing.T) {
	b := setup(t)
	b.publisher.submit = ends(reset.Outcome{Code: "hunter2"})
	if res := b.post(goodBody); res.StatusCode != 500 {
		t.Errorf("got %d", res.StatusCode)
	}
}

func TestObject(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	got, err := json.Marshal(newObject(ended(reset.Outcome{Code: reset.PasswordTooShort, Details: reset.Details{
		Field: "f", Reason: "r", Result: "53 0000052D", Right: "x", MinLength: 12, Earliest: at,
		Categories: []string{"digits"}, Candidates: []string{"history"},
		FollowUps: []reset.FollowUp{{What: "unlock", Right: "lockoutTime"}},
	}})))
	want := `{"id":"cloud_1-01020300000000000000000000000000","state":"final","code":"password_too_short",` +
		`"message":"` + sentenceOf(reset.Reset, reset.PasswordTooShort).text + `","final":true,"operation":"reset",` +
		`"accepted":"2026-03-04T04:06:07.089Z","finished":"2026-03-04T04:06:07.179Z","consumer":"site_a",` +
		`"timings_ms":{"accepted":1.5,"answered":90},` +
		`"details":{"field":"f","reason":"r","result":"53 0000052D","right":"x","min_length":12,"earliest":"2026-03-04T04:06:07.000Z",` +
		`"categories":["digits"],"candidates":["history"],"follow_ups":[{"what":"unlock","right":"lockoutTime"}]}}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s (%v)", got, want, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, code := range reset.RefusalCodes() {
		t.Run(string(code), func(t *testing.T) {
			b := setup(t)
			for after, want := range map[time.Duration]string{0: "1", 1500 * time.Millisecond: "2"} {
				refusal := &reset.Refusal{Code: code, Field: "actor.kind", Detail: "is odd", RetryAfter: after}
				b.publisher.submit = func(context.Context, reset.Submission) (reset.Status, error) { return reset.Status{}, refusal }
				res := b.post(goodBody)
				m := read(t, res)
				status, text, _ := RefusalSentence(code)
				if res.StatusCode != status || m["code"] != string(code) || m["field"] != "actor.kind" ||
					m["detail"] != "actor.kind is odd" || m["message"] != text || m["type"] != "urn:writeback:code:"+string(code) {
					t.Errorf("got %d %v", res.StatusCode, m)
				}
				if status != 429 && status != 503 {
					want = ""
				}
				if got := res.Header.Get("Retry-After"); got != want {
					t.Errorf("after %s: got Retry-After %q, want %q", after, got, want)
				}
			}
		})
	}
}

func TestCodesAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/codes.md")
	if err != nil {
		t.Fatal(err)
	}
	outcomes, rest, ok1 := strings.Cut(string(data), "## Unlocks and probes")
	others, refusals, ok2 := strings.Cut(rest, "## Refusals")
	if !ok1 || !ok2 {
		t.Fatal("docs/codes.md lacks a section")
	}
	check := func(part, code, second string, s sentence) {
		t.Helper()
		for line := range strings.Lines(part) {
			if cells := strings.Split(line, " | "); cells[0] == "| `"+code+"`" && (cells[1] == second || part != others) {
				if cells[1] != second || cells[3] != s.text || strings.TrimSuffix(cells[4], " |\n") != s.hint {
					t.Errorf("docs/codes.md says of %s: %s", code, line)
				}
				return
			}
		}
		t.Errorf("docs/codes.md does not have %s", code)
	}
	want := len(reset.Codes()) + len(reset.RefusalCodes())
	for _, c := range reset.Codes() {
		s := sentenceOfAny(c)
		check(outcomes, string(c), strconv.Itoa(s.status), s)
		for _, op := range reset.Operations() {
			if s := sentenceOf(op, c); s != sentenceOfAny(c) {
				check(others, string(c), op.String(), s)
				want++
			}
		}
	}
	for _, c := range reset.RefusalCodes() {
		s := refusalOf(c)
		check(refusals, string(c), strconv.Itoa(s.status), s)
	}
	if got := strings.Count(string(data), "\n| `"); got != want {
		t.Errorf("docs/codes.md has %d rows, want %d", got, want)
	}
}

func TestHead(t *testing.T) {
	b := setup(t)
	b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return ended(reset.Outcome{Code: reset.Applied}), nil }
	if res := b.do(httptest.NewRequest("HEAD", "/v1/requests/"+ref.String(), nil)); res.StatusCode != 200 {
		t.Errorf("got %d", res.StatusCode)
	}
}

// What is also said when somebody asks for the outcome of an earlier request must
// not speak of what became of it.
func TestSentencesForReads(t *testing.T) {
	for _, code := range []reset.RefusalCode{reset.Unauthenticated, reset.Forbidden, reset.UnknownRequest, reset.BrokerUnavailable} {
		if _, text, _ := RefusalSentence(code); strings.Contains(text, "changed") {
			t.Errorf("%s says %q", code, text)
		}
	}
}
