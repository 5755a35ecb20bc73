package portal

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

// wholeSituation is one in which nothing is left out.
func wholeSituation() reset.Situation {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	who := reset.Actor{Kind: reset.Admin, Subject: "grace"}
	return reset.Situation{
		Time: at,
		Switches: &reset.Switches{
			Writeback: reset.Switch{On: true, Set: at.Add(-time.Hour), Source: "console", Actor: who}, Unlock: reset.Switch{},
		},
		Consumers: []reset.Consumer{{Replica: "site_a", Version: "v1.2.3", DC: "dc1.corp.example.com",
			Since: at.Add(-time.Minute), Seen: at.Add(-time.Second), KeyMade: at}},
		Rules: reset.Rules{Known: true, MinLength: 12, Complexity: true, History: 24, MinAge: 24 * time.Hour, LockoutThreshold: 5, LockoutWindow: time.Hour},
	}
}

// operator is a bench whose token is for the switches and nothing else.
func operator(t *testing.T) *bench {
	b := setup(t)
	b.token = b.add(t, Grant{Operations: []reset.Operation{}, Switches: true})
	b.reload(t)
	b.publisher.situation = func(string) (reset.Situation, error) { return wholeSituation(), nil }
	return b
}

func (b *bench) get(path string) *http.Response { return b.do(httptest.NewRequest("GET", path, nil)) }

func (b *bench) put(body string, headers ...string) *http.Response {
	return b.do(httptest.NewRequest("PUT", "/v1/switches", strings.NewReader(body)), headers...)
}

// The whole of what an ordinary token is told.
func TestStatus(t *testing.T) {
	b := setup(t)
	b.publisher.situation = func(tenant string) (reset.Situation, error) {
		if tenant != "corp" {
			t.Errorf("asked for tenant %s", tenant)
		}
		return wholeSituation(), nil
	}
	want := map[string]any{
		"ready": true, "time": "2026-03-04T05:06:07.000Z",
		"consumers": []any{map[string]any{"version": "v1.2.3", "since": "2026-03-04T05:05:07.000Z", "seen": "2026-03-04T05:06:06.000Z"}},
		"rules":     map[string]any{"min_length": 12.0, "complexity": true, "history": 24.0, "min_age_seconds": 86400.0, "lockout_threshold": 5.0, "lockout_window_seconds": 3600.0},
		"switches":  map[string]any{"writeback": true, "unlock": false},
	}
	if got := read(t, b.get("/v1/status")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	b.token = ""
	wantStatus(t, "without a token", b.get("/v1/status"), 401)
}

func TestStatusOfOperator(t *testing.T) {
	got := read(t, operator(t).get("/v1/status"))
	consumer := got["consumers"].([]any)[0].(map[string]any)
	if keys := slices.Sorted(maps.Keys(consumer)); !slices.Equal(keys, []string{"replica", "seen", "since", "version"}) || consumer["replica"] != "site_a" {
		t.Errorf("got %v", consumer)
	}
}

func TestStatusNotReady(t *testing.T) {
	tests := []struct {
		name string
		edit func(*reset.Situation)
		code string
	}{
		{"no consumer", func(s *reset.Situation) {
			s.Consumers, s.Rules, s.Obstacle = nil, reset.Rules{}, &reset.Refusal{Code: reset.NoConsumer}
		}, "no_consumer"},
		{"other clocks", func(s *reset.Situation) { s.Obstacle = &reset.Refusal{Code: reset.Clock} }, "clock"},
		{"switched off", func(s *reset.Situation) { s.Switches.Writeback.On = false }, "operation_off"},
		{"switched off, and no consumer", func(s *reset.Situation) {
			s.Switches.Writeback.On, s.Obstacle = false, &reset.Refusal{Code: reset.NoConsumer}
		}, "operation_off"},
		{"no broker", func(s *reset.Situation) {
			s.Switches, s.Obstacle = nil, &reset.Refusal{Code: reset.BrokerUnavailable}
		}, "broker_unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			s := wholeSituation()
			tt.edit(&s)
			b.publisher.situation = func(string) (reset.Situation, error) { return s, nil }
			res := b.get("/v1/status")
			wantStatus(t, "status", res, 200)
			got := read(t, res)
			if got["ready"] != false || got["code"] != tt.code || got["message"] == "" || got["message"] == nil {
				t.Errorf("got %v", got)
			}
			if _, ok := got["rules"]; ok != s.Rules.Known {
				t.Errorf("rules are said: %t", ok)
			}
			if got["consumers"] == nil {
				t.Error("consumers is no list")
			}
		})
	}
}

func TestGetSwitches(t *testing.T) {
	want := map[string]any{
		"writeback": true, "unlock": false,
		"changes": map[string]any{"writeback": map[string]any{"time": "2026-03-04T04:06:07.000Z", "source": "console", "subject": "grace"}},
	}
	if got := read(t, operator(t).get("/v1/switches")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPutSwitches(t *testing.T) {
	b := operator(t)
	var got reset.SwitchChange
	b.publisher.set = func(c reset.SwitchChange) (reset.Switches, error) {
		got = c
		return reset.Switches{Unlock: reset.Switch{On: true}}, nil
	}
	tests := []struct {
		body    string
		set     map[reset.SwitchName]bool
		subject string
	}{
		{`{"writeback":false}`, map[reset.SwitchName]bool{reset.SwitchWriteback: false}, ""},
		{`{"unlock":true,"actor":{"subject":"grace"}}`, map[reset.SwitchName]bool{reset.SwitchUnlock: true}, "grace"},
		{`{"writeback":true,"unlock":false}`, map[reset.SwitchName]bool{reset.SwitchWriteback: true, reset.SwitchUnlock: false}, ""},
	}
	for _, tt := range tests {
		res := b.put(tt.body)
		wantStatus(t, tt.body, res, 200)
		want := reset.SwitchChange{Tenant: "corp", Set: tt.set, Source: "help desk", Address: "192.0.2.1", Actor: reset.Actor{Kind: reset.Admin, Subject: tt.subject}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", tt.body, got, want)
		}
		if said := read(t, res); said["unlock"] != true || said["writeback"] != false {
			t.Errorf("%s: answered %v", tt.body, said)
		}
	}
}

// A caller that leaves does not take the change with it.
func TestPutSwitchesAndLeave(t *testing.T) {
	b := operator(t)
	var got reset.SwitchChange
	b.publisher.set = func(c reset.SwitchChange) (reset.Switches, error) {
		got = c
		return reset.Switches{}, nil
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	b.do(httptest.NewRequest("PUT", "/v1/switches", strings.NewReader(`{"writeback":false}`)).WithContext(ctx))
	if len(got.Set) != 1 {
		t.Errorf("set %+v", got)
	}
}

func TestPutSwitchesRefused(t *testing.T) {
	b := operator(t)
	b.publisher.set = func(c reset.SwitchChange) (reset.Switches, error) {
		t.Errorf("set %+v", c)
		return reset.Switches{}, nil
	}
	for _, tt := range []struct{ body, field string }{
		{``, "body"}, {`{}`, "body"}, {`[]`, "body"}, {`{"actor":{"subject":"x"}}`, "body"},
		{`{"writeback":"false"}`, "writeback"}, {`{"writeback":0}`, "writeback"}, {`{"writeback":null}`, "writeback"},
		{`{"writeback":true,"writeback":false}`, "writeback"}, {`{"write":true}`, "body"}, {`{"unlock":true}x`, "body"},
		{`{"unlock":true,"actor":{"kind":"self"}}`, "actor"},
		{`{"unlock":true,"actor":{"subject":"a\u0000"}}`, "actor.subject"},
	} {
		res := b.put(tt.body)
		wantStatus(t, tt.body, res, 400)
		if got := read(t, res); got["code"] != "invalid" || got["field"] != tt.field {
			t.Errorf("%s: got %v, want field %s", tt.body, got, tt.field)
		}
	}
	wantStatus(t, "another type", b.put(`{"unlock":true}`, "Content-Type", "text/plain"), 415)
	wantStatus(t, "POST", b.postTo("/v1/switches", `{"unlock":true}`), 405)
	b.publisher.set = func(reset.SwitchChange) (reset.Switches, error) {
		return reset.Switches{}, &reset.Refusal{Code: reset.BrokerUnavailable, Field: "unlock", Detail: "may have been set or not"}
	}
	wantStatus(t, "no broker", b.put(`{"unlock":true}`), 503)
}

// The switches need a token that was made for them, and that token is good for
// nothing else.
func TestSwitchesAreForOperators(t *testing.T) {
	b := operator(t)
	wantStatus(t, "a reset", b.post(goodBody), 403)
	ordinary := setup(t)
	for name, res := range map[string]*http.Response{"read": ordinary.get("/v1/switches"), "set": ordinary.put(`{"unlock":true}`)} {
		wantStatus(t, name, res, 403)
		if got := read(t, res); got["code"] != "forbidden" || got["field"] != "operation" {
			t.Errorf("%s: got %v", name, got)
		}
	}
	ordinary.token = ""
	wantStatus(t, "without a token", ordinary.put(`{"unlock":true}`), 401)
}

func TestSwitchesInTokensFile(t *testing.T) {
	b := setup(t)
	b.add(t, Grant{Operations: []reset.Operation{reset.Unlock}, Switches: true})
	b.add(t, Grant{Operations: []reset.Operation{}, Switches: true})
	entries, err := ReadTokens(b.file)
	if err != nil || len(entries) != 3 {
		t.Fatalf("got %+v, %v", entries, err)
	}
	for i, want := range []string{"reset change unlock probe ticket", "unlock switches", "switches"} {
		if got := strings.Join(entries[i].MayDo(), " "); got != want || entries[i].Switches != (i > 0) {
			t.Errorf("entry %d may %q, want %q", i, got, want)
		}
	}
	text, err := os.ReadFile(filepath.Clean(b.file))
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(strings.Split(string(text), "\n")[1]), &line); err != nil || !reflect.DeepEqual(line["operations"], []any{"unlock", "switches"}) {
		t.Errorf("the file has %v, %v", line, err)
	}
}
