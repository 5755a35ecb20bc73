package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"writeback/internal/reset"
)

type node = map[string]any

// A spec is docs/openapi.yaml. It knows as much of JSON Schema as is used there.
type spec struct{ root node }

func readSpec(t *testing.T) spec {
	t.Helper()
	data, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s spec
	if err := yaml.Unmarshal(data, &s.root); err != nil {
		t.Fatal(err)
	}
	return s
}

// at follows a path of keys, and references on its way.
func (s spec) at(n node, keys ...string) node {
	for {
		if target, ok := n["$ref"].(string); ok {
			n = s.at(s.root, strings.Split(strings.TrimPrefix(target, "#/"), "/")...)
		} else if len(keys) == 0 || n == nil {
			return n
		} else {
			n, _ = n[keys[0]].(node)
			keys = keys[1:]
		}
	}
}

// members returns the properties of a schema and of what it is made of.
func (s spec) members(schema node) node {
	all := node{}
	for _, part := range list(schema["allOf"]) {
		for name, m := range s.members(s.at(part.(node))) {
			all[name] = m
		}
	}
	for name, m := range s.at(schema, "properties") {
		all[name] = m
	}
	return all
}

// check returns what of v is not as schema says.
func (s spec) check(schema node, v any, where string) (wrong []string) {
	schema = s.at(schema)
	complain := func(format string, args ...any) { wrong = append(wrong, where+" "+fmt.Sprintf(format, args...)) }
	kinds := map[string]string{"object": "map[string]interface {}", "string": "string", "boolean": "bool",
		"number": "float64", "integer": "float64", "array": "[]interface {}"}
	if kind, ok := schema["type"].(string); ok && fmt.Sprintf("%T", v) != kinds[kind] {
		complain("is a %T, not of type %s", v, kind)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		complain("has %v, which is not listed", v)
	}
	if constant, ok := schema["const"]; ok && constant != v {
		complain("has %v, not %v", v, constant)
	}
	if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(fmt.Sprint(v)) {
		complain("does not match %s", pattern)
	}
	if schema["format"] == "date-time" {
		if _, err := time.Parse(time.RFC3339, fmt.Sprint(v)); err != nil {
			complain("is no time")
		}
	}
	if any := list(schema["anyOf"]); any != nil && !slices.ContainsFunc(any, func(o interface{}) bool {
		return len(s.check(o.(node), v, where)) == 0
	}) {
		complain("is none of anyOf")
	}
	for _, element := range list(v) {
		wrong = append(wrong, s.check(s.at(schema, "items"), element, where+"[]")...)
	}
	object, ok := v.(node)
	if !ok {
		return wrong
	}
	for _, name := range list(schema["required"]) {
		if _, ok := object[name.(string)]; !ok {
			complain("lacks %s", name)
		}
	}
	members := s.members(schema)
	for name, value := range object {
		if member, ok := members[name].(node); ok {
			wrong = append(wrong, s.check(member, value, where+"."+name)...)
		} else {
			complain("has %s, which is not described", name)
		}
	}
	return wrong
}

func list(v any) []any { l, _ := v.([]any); return l }

// Every answer of the API is described, and every status that is described is
// answered.
func TestOpenAPI(t *testing.T) {
	s := readSpec(t)
	seen := map[string]bool{}
	verify := func(t *testing.T, method, path string, res *http.Response) {
		t.Helper()
		status := strconv.Itoa(res.StatusCode)
		seen[method+" "+path+" "+status] = true
		described := s.at(s.root, "paths", path, method, "responses", status)
		if described == nil {
			t.Errorf("%s %s: status %s is not described", method, path, status)
			return
		}
		if res.StatusCode == http.StatusNoContent {
			return
		}
		schema := s.at(described, "content", res.Header.Get("Content-Type"), "schema")
		if schema == nil {
			t.Errorf("%s %s %s: type %s is not described", method, path, status, res.Header.Get("Content-Type"))
			return
		}
		objects := []any{}
		if res.Header.Get("Content-Type") == "text/event-stream" {
			for _, e := range events(t, res) {
				objects = append(objects, e.object)
			}
			schema = s.at(s.root, "components", "schemas", "Request")
		} else {
			objects = append(objects, read(t, res))
		}
		for _, o := range objects {
			for _, w := range s.check(schema, o, "answer") {
				t.Errorf("%s %s %s: %s", method, path, status, w)
			}
		}
		headers := s.at(described, "headers")
		for name := range headers {
			if s.at(headers, name)["required"] == true && res.Header.Get(name) == "" {
				t.Errorf("%s %s %s: no header %s", method, path, status, name)
			}
		}
		for _, name := range []string{"Location", "Preference-Applied", "Retry-After", "WWW-Authenticate"} {
			if _, ok := headers[name]; !ok && res.StatusCode < 400 && res.Header.Get(name) != "" {
				t.Errorf("%s %s %s: header %s is not described", method, path, status, name)
			}
		}
	}
	b := setup(t)
	post := func(st reset.Status, err error) {
		for _, r := range routes() {
			b.publisher.submit = func(_ context.Context, s reset.Submission) (reset.Status, error) {
				st.Operation = s.Operation
				return st, err
			}
			verify(t, "post", r.path, b.postTo(r.path, r.good, "Prefer", "wait=1"))
		}
	}
	get := func(st reset.Status, err error) {
		b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return st, err }
		verify(t, "get", "/v1/requests/{id}", b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String(), nil)))
		b.publisher.steps = []reset.Status{st}
		verify(t, "get", "/v1/requests/{id}/events", b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String()+"/events", nil)))
	}
	full := reset.Details{Field: "f", Reason: "r", Result: "53", Right: "x", MinLength: 12, Earliest: time.Now(),
		Categories: []string{"digits"}, Candidates: []string{"history"}, FollowUps: []reset.FollowUp{{What: "unlock", Right: "x"}}}
	for _, code := range reset.Codes() {
		st := ended(reset.Outcome{Code: code, Details: full})
		st.Timeline = reset.Timeline{Accepted: 1, Sealed: 1, Stored: 1, PickedUp: 1, Applied: 1, Answered: 1}
		post(st, nil)
		get(st, nil)
	}
	for _, op := range reset.Operations() {
		get(reset.Status{Ref: ref, Operation: op, State: reset.PickedUp}, nil)
	}
	post(reset.Status{Ref: ref, Operation: reset.Reset, State: reset.Accepted}, nil)
	post(reset.Status{}, errors.New("unclassified"))
	get(reset.Status{}, errors.New("unclassified"))
	for _, code := range reset.RefusalCodes() {
		post(reset.Status{}, &reset.Refusal{Code: code, Field: "f", Detail: "d"})
	}
	for _, code := range []reset.RefusalCode{reset.Unauthenticated, reset.Forbidden, reset.UnknownRequest, reset.TooMany, reset.BrokerUnavailable} {
		get(reset.Status{}, &reset.Refusal{Code: code})
	}

	get(ended(reset.Outcome{Code: reset.Applied}), nil)
	verify(t, "get", "/v1/requests/{id}/events", b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String()+"/events", nil), "Last-Event-ID", "4"))
	ticket := func(err error) {
		b.tickets.err = err
		verify(t, "post", "/v1/tickets", b.postTo("/v1/tickets", goodName))
	}
	ticket(nil)
	ticket(errors.New("unclassified"))
	for _, code := range []reset.RefusalCode{reset.RefusedInvalid, reset.Unauthenticated, reset.Forbidden, reset.TooLarge, reset.UnsupportedMediaType, reset.TooMany, reset.BrokerUnavailable} {
		ticket(&reset.Refusal{Code: code, Field: "f", Detail: "d"})
	}

	b.token = b.add(t, Grant{Switches: true})
	b.reload(t)
	tenant := func(sit reset.Situation, err error) {
		b.publisher.situation = func(string) (reset.Situation, error) { return sit, err }
		b.publisher.set = func(reset.SwitchChange) (reset.Switches, error) {
			if sit.Switches == nil {
				return reset.Switches{}, err
			}
			return *sit.Switches, err
		}
		verify(t, "get", "/v1/status", b.do(httptest.NewRequest("GET", "/v1/status", nil)))
		verify(t, "get", "/v1/switches", b.do(httptest.NewRequest("GET", "/v1/switches", nil)))
		verify(t, "put", "/v1/switches", b.do(httptest.NewRequest("PUT", "/v1/switches", strings.NewReader(`{"unlock":true}`))))
	}
	tenant(wholeSituation(), nil)
	tenant(reset.Situation{}, errors.New("unclassified"))
	for _, code := range []reset.RefusalCode{reset.Unauthenticated, reset.Forbidden, reset.TooMany} {
		tenant(reset.Situation{}, &reset.Refusal{Code: code})
	}
	away := reset.Situation{Obstacle: &reset.Refusal{Code: reset.BrokerUnavailable}}
	b.publisher.situation = func(string) (reset.Situation, error) { return away, nil }
	b.publisher.set = func(reset.SwitchChange) (reset.Switches, error) { return reset.Switches{}, away.Obstacle }
	for _, method := range []string{"GET", "PUT"} {
		verify(t, strings.ToLower(method), "/v1/switches", b.do(httptest.NewRequest(method, "/v1/switches", strings.NewReader(`{"unlock":true}`))))
	}
	verify(t, "get", "/v1/status", b.do(httptest.NewRequest("GET", "/v1/status", nil)))
	for _, code := range []reset.RefusalCode{reset.RefusedInvalid, reset.TooLarge, reset.UnsupportedMediaType} {
		b.publisher.set = func(reset.SwitchChange) (reset.Switches, error) { return reset.Switches{}, &reset.Refusal{Code: code} }
		verify(t, "put", "/v1/switches", b.do(httptest.NewRequest("PUT", "/v1/switches", strings.NewReader(`{"unlock":true}`))))
	}

	for path, methods := range s.at(s.root, "paths") {
		for method := range methods.(node) {
			for status := range s.at(methods.(node), method, "responses") {
				if !seen[method+" "+path+" "+status] {
					t.Errorf("%s %s: status %s is described and never answered", method, path, status)
				}
			}
		}
	}
	if n := len(s.at(s.root, "paths")); n != len(routes())+5 {
		t.Errorf("%d paths are described, want %d", n, len(routes())+5)
	}
}

// What may be sent is described field by field, and what is described is taken.
func TestOpenAPIRequest(t *testing.T) {
	s := readSpec(t)
	samples := map[string]string{
		"immutable_id": "AAECAwQFBgcICQoLDA0ODw==", "object_guid": "03020100-0504-0706-0809-0a0b0c0d0e0f",
		"upn": "ada@corp.example.com", "sam_account_name": "ada", "sid": "S-1-5-21-1-2-3-1104",
	}
	values := map[string]any{
		"password": "p", "current_password": "c", "options": node{"must_change": true}, "actor": node{"kind": "admin", "subject": "s"},
	}
	fields := map[reset.Operation][]string{
		reset.Reset:  {"account", "actor", "options", "password"},
		reset.Change: {"account", "actor", "current_password", "password"},
		reset.Unlock: {"account", "actor"},
		reset.Probe:  {"account", "actor"},
	}
	for _, r := range routes() {
		schema := s.at(s.root, "paths", r.path, "post", "requestBody", "content", "application/json", "schema")
		post := func(body node) int {
			t.Helper()
			data, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			return setup(t).postTo(r.path, string(data)).StatusCode
		}
		full := node{}
		for name := range s.at(schema, "properties") {
			full[name] = values[name]
		}
		if got := slices.Sorted(maps.Keys(full)); !slices.Equal(got, fields[r.op]) {
			t.Errorf("%s: described are %v, want %v", r.path, got, fields[r.op])
		}
		described := s.at(schema, "properties", "account", "properties")
		if len(described) != len(reset.NameKinds()) {
			t.Errorf("%s: described are %d kinds of name, want %d", r.path, len(described), len(reset.NameKinds()))
		}
		for name := range described {
			full["account"] = node{name: samples[name]}
			if got := post(full); got != 200 {
				t.Errorf("%s: %s: got %d", r.path, name, got)
			}
			if wrong := s.check(schema, full, "body"); len(wrong) > 0 {
				t.Errorf("%s: %v", r.path, wrong)
			}
		}
		for name := range full {
			less := maps.Clone(full)
			delete(less, name)
			want := 200
			if slices.Contains(list(schema["required"]), any(name)) {
				want = 400
			}
			if got := post(less); got != want {
				t.Errorf("%s without %s: got %d, want %d", r.path, name, got, want)
			}
		}
		for _, inner := range []struct {
			object string
			want   []string
		}{{"actor", []string{"kind", "subject"}}, {"options", []string{"must_change"}}} {
			got := slices.Sorted(maps.Keys(s.at(schema, "properties", inner.object, "properties")))
			if full[inner.object] != nil && !slices.Equal(got, inner.want) {
				t.Errorf("%s %s: described are %v, want %v", r.path, inner.object, got, inner.want)
			}
		}
	}
}
