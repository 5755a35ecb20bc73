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
	seen := map[string]reset.Code{}
	for _, c := range reset.Codes() {
		s := sentenceOf(c)
		check(string(c), s)
		if other, ok := seen[s.text]; ok {
			t.Errorf("%s and %s have one sentence", c, other)
		}
		seen[s.text] = c
	}
	for _, c := range reset.RefusalCodes() {
		check(string(c), refusalOf(c))
	}
	if status, text, hint := Sentence("hunter2"); status != 0 || text != "" || hint != "" {
		t.Errorf("what is not a code has a sentence: %d %q %q", status, text, hint)
	}
	if status, _, _ := RefusalSentence("hunter2"); status != 0 {
		t.Errorf("what is not a refusal has status %d", status)
	}
}

func TestOutcomes(t *testing.T) {
	for _, code := range reset.Codes() {
		t.Run(string(code), func(t *testing.T) {
			b := setup(t)
			b.publisher.submit = ends(reset.Outcome{Code: code})
			res := b.post(goodBody)
			m := read(t, res)
			status, text, _ := Sentence(code)
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
		})
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
		`"message":"` + sentenceOf(reset.PasswordTooShort).text + `","final":true,"operation":"reset",` +
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
	outcomes, refusals, ok := strings.Cut(string(data), "## Refusals")
	if !ok {
		t.Fatal("docs/codes.md has no section Refusals")
	}
	check := func(part, code string, s sentence) {
		t.Helper()
		for line := range strings.Lines(part) {
			if cells := strings.Split(line, " | "); cells[0] == "| `"+code+"`" {
				if cells[1] != strconv.Itoa(s.status) || cells[3] != s.text || strings.TrimSuffix(cells[4], " |\n") != s.hint {
					t.Errorf("docs/codes.md says of %s: %s", code, line)
				}
				return
			}
		}
		t.Errorf("docs/codes.md does not have %s", code)
	}
	for _, c := range reset.Codes() {
		check(outcomes, string(c), sentenceOf(c))
	}
	for _, c := range reset.RefusalCodes() {
		check(refusals, string(c), refusalOf(c))
	}
	want := len(reset.Codes()) + len(reset.RefusalCodes())
	if got := strings.Count(string(data), "\n| `"); got != want {
		t.Errorf("docs/codes.md has %d codes, want %d", got, want)
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
