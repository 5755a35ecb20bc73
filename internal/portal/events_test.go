package portal

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"writeback/internal/portal/sse"
	"writeback/internal/reset"
)

// A sent is an event as it arrived.
type sent struct {
	id, name string
	object   map[string]any
}

// events reads a stream to its end.
func events(t *testing.T, res *http.Response) (list []sent) {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		var e sent
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				if err := json.Unmarshal([]byte(value), &e.object); err != nil {
					t.Fatalf("%q: %v", value, err)
				}
			}
		}
		if e.name != "" {
			list = append(list, e)
		}
	}
	return list
}

func (b *bench) events(headers ...string) *http.Response {
	return b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String()+"/events", nil), headers...)
}

func words(list []sent) (all []string) {
	for _, e := range list {
		word := e.id + " " + e.name + " " + e.object["state"].(string)
		if code, ok := e.object["code"].(string); ok {
			word += " " + code
		}
		all = append(all, word)
	}
	return all
}

// The steps of a request come once each, whatever is known when; who comes back gets
// what it has not had.
func TestEvents(t *testing.T) {
	accepted := reset.Status{Ref: ref, Operation: reset.Reset, State: reset.Accepted}
	pickedUp := accepted
	pickedUp.State, pickedUp.Consumer = reset.PickedUp, "site_a"
	unconfirmed, applied := ended(reset.Outcome{Code: reset.Unconfirmed}), ended(reset.Outcome{Code: reset.Applied})
	cancelled := applied
	cancelled.Consumer, cancelled.Outcome.Code = "", reset.Expired
	tests := []struct {
		name  string
		steps []reset.Status
		last  string
		want  []string
	}{
		{"from the start", []reset.Status{accepted, accepted, pickedUp, applied}, "", []string{"1 accepted accepted", "2 picked_up picked_up", "4 outcome final applied"}},
		{"after it has ended", []reset.Status{applied}, "", []string{"1 accepted accepted", "2 picked_up picked_up", "4 outcome final applied"}},
		{"never picked up", []reset.Status{accepted, cancelled}, "", []string{"1 accepted accepted", "4 outcome final expired"}},
		{"resumed", []reset.Status{pickedUp, applied}, "1", []string{"2 picked_up picked_up", "4 outcome final applied"}},
		{"the truth found out", []reset.Status{unconfirmed, applied}, "2", []string{"3 outcome final unconfirmed", "4 outcome final applied"}},
		{"the truth, resumed", []reset.Status{applied}, "3", []string{"4 outcome final applied"}},
		{"nothing new yet", []reset.Status{unconfirmed}, "3", nil},
		{"a number that is none", []reset.Status{accepted}, "one", []string{"1 accepted accepted"}},
	}
	for _, tt := range tests {
		b := setup(t)
		b.publisher.steps = tt.steps
		b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return tt.steps[0], nil }
		res := b.events("Last-Event-ID", tt.last)
		if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, kind)
		}
		list := events(t, res)
		if got := words(list); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		for _, e := range list {
			if e.name != "outcome" && (e.object["code"] != nil || e.object["finished"] != nil || e.object["details"] != nil || e.object["final"] != false) {
				t.Errorf("%s: %s knows too much: %v", tt.name, e.name, e.object)
			}
		}
		if !strings.Contains(b.log.String(), `"route":"/v1/requests/{id}/events"`) || !strings.Contains(b.log.String(), ref.String()) {
			t.Errorf("%s: logged is %s", tt.name, b.log)
		}
	}
	b := setup(t)
	b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return applied, nil }
	if res := b.events("Last-Event-ID", "4"); res.StatusCode != http.StatusNoContent {
		t.Errorf("after the last event: %d; a browser would come back for ever", res.StatusCode)
	}
}

func TestEventsRefused(t *testing.T) {
	b := setup(t)
	b.publisher.status = func(string, reset.Ref) (reset.Status, error) {
		return reset.Status{}, &reset.Refusal{Code: reset.UnknownRequest}
	}
	if res := b.events(); res.StatusCode != 404 {
		t.Errorf("no such request: %d", res.StatusCode)
	}
	if res := b.events("Authorization", "Bearer wbk_x"); res.StatusCode != 401 {
		t.Errorf("no token: %d", res.StatusCode)
	}
	if res := b.do(httptest.NewRequest("GET", "/v1/requests/x/events", nil)); res.StatusCode != 404 {
		t.Errorf("no name of a request: %d", res.StatusCode)
	}
}

// Streams are bounded for each caller, and a place is free again when its stream ends.
func TestEventsBounded(t *testing.T) {
	b := setup(t)
	b.publisher.status = func(string, reset.Ref) (reset.Status, error) {
		return reset.Status{Ref: ref, Operation: reset.Reset, State: reset.Accepted}, nil
	}
	a := &api{Config: b.config, limits: newLimiter(b.config.Limits)}
	a.streams = sse.NewPlaces(10, 1)
	hold := func() (*answer, error) {
		r := httptest.NewRequest("GET", "/v1/requests/"+ref.String()+"/events", nil)
		r.SetPathValue("id", ref.String())
		r.Header.Set("Authorization", "Bearer "+b.token)
		return a.getEvents(r, &event{})
	}
	first, err := hold()
	if err != nil {
		t.Fatal(err)
	}
	var refusal *reset.Refusal
	if _, err := hold(); !errors.As(err, &refusal) || refusal.Code != reset.TooMany || refusal.RetryAfter == 0 {
		t.Errorf("a second stream: %v", err)
	}
	first.stream(httptest.NewRecorder())
	if _, err := hold(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}
