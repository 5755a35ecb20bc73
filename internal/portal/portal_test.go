package portal

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A fake is a Publisher that does as it is told and keeps what it was given.
type fake struct {
	submit func(ctx context.Context, s reset.Submission) (reset.Status, error)
	status func(tenant string, ref reset.Ref) (reset.Status, error)
	steps  []reset.Status // that Watch says

	situation func(tenant string) (reset.Situation, error)
	set       func(c reset.SwitchChange) (reset.Switches, error)

	mu        sync.Mutex
	got       []reset.Submission
	passwords []string
	currents  []string
	waits     []time.Duration
}

func (f *fake) Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got, f.waits = append(f.got, s), append(f.waits, wait)
	password.Reveal(func(b []byte) error { f.passwords = append(f.passwords, string(b)); return nil })
	current.Reveal(func(b []byte) error { f.currents = append(f.currents, string(b)); return nil })
	password.Wipe()
	current.Wipe()
	return f.submit(ctx, s)
}

func (f *fake) Status(_ context.Context, tenant string, ref reset.Ref) (reset.Status, error) {
	return f.status(tenant, ref)
}

func (f *fake) Situation(tenant string) (reset.Situation, error) {
	if f.situation == nil {
		return reset.Situation{}, nil
	}
	return f.situation(tenant)
}

func (f *fake) SetSwitches(ctx context.Context, c reset.SwitchChange) (reset.Switches, error) {
	if err := ctx.Err(); err != nil {
		return reset.Switches{}, err
	}
	return f.set(c)
}

func (f *fake) Watch(_ context.Context, _ string, _ reset.Ref, say func(reset.Status) error) error {
	for _, st := range f.steps {
		if err := say(st); err != nil {
			return err
		}
	}
	return nil
}

// An issuer makes tickets, or refuses to.
type issuer struct {
	err   error
	got   []reset.Permit
	lives []time.Duration
}

func (i *issuer) Issue(_ context.Context, p reset.Permit, life time.Duration) (secret.Value, time.Time, error) {
	i.got, i.lives = append(i.got, p), append(i.lives, life)
	return secret.New([]byte("wbt_ticket")), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), i.err
}

// ends returns a submit that ends every request with an outcome.
func ends(o reset.Outcome) func(context.Context, reset.Submission) (reset.Status, error) {
	return func(_ context.Context, s reset.Submission) (reset.Status, error) {
		st := ended(o)
		st.Operation = s.Operation
		return st, nil
	}
}

var ref = reset.Ref{Publisher: "cloud_1", ID: reset.ID{1, 2, 3}}

func ended(o reset.Outcome) reset.Status {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.FixedZone("", 3600))
	return reset.Status{
		Ref: ref, Operation: reset.Reset, State: reset.Final, Outcome: o, Final: true,
		Accepted: at, Finished: at.Add(90 * time.Millisecond), Consumer: "site_a",
		Timeline: reset.Timeline{Accepted: 1500 * time.Microsecond, Answered: 90 * time.Millisecond},
	}
}

// A bench is a portal under test, with what it logs and counts.
type bench struct {
	publisher *fake
	tickets   *issuer
	log       *bytes.Buffer
	metrics   *prometheus.Registry
	config    Config // of the next portal, beside what is above
	handler   http.Handler
	file      string // of tokens
	token     string // may do everything
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		publisher: &fake{submit: ends(reset.Outcome{Code: reset.Applied})},
		tickets:   &issuer{},
		log:       new(bytes.Buffer),
		config: Config{Limits: Limits{ // as good as none
			PerAddress: 1_000_000, PerAccount: 10_000, WrongPasswords: 100, WrongPasswordWindow: time.Minute,
		}},
		file: filepath.Join(t.TempDir(), "tokens"),
	}
	b.token = b.add(t, Grant{Tickets: true, ActorKinds: []reset.ActorKind{reset.Admin, reset.Self}})
	b.reload(t)
	return b
}

// reload makes a new portal, which has the tokens that were added.
func (b *bench) reload(t *testing.T) {
	t.Helper()
	log := zerolog.New(b.log)
	tokens, err := OpenTokens(b.file, log)
	if err != nil {
		t.Fatal(err)
	}
	b.metrics = prometheus.NewRegistry()
	b.config.Publisher, b.config.Tenants = b.publisher, b.publisher
	b.config.Tickets, b.config.PublicURL = b.tickets, "https://reset.example.com"
	b.config.Tokens, b.config.Log, b.config.Metrics = tokens, log, b.metrics
	b.handler, err = New(b.config)
	if err != nil {
		t.Fatal(err)
	}
}

// add makes a token; what g leaves open, it may.
func (b *bench) add(t *testing.T, g Grant) string {
	t.Helper()
	if g.Tenant == "" {
		g.Tenant = "corp"
	}
	if g.Operations == nil {
		g.Operations = reset.Operations()
	}
	if g.Names == nil {
		g.Names = reset.NameKinds()
	}
	if g.Rate == 0 {
		g.Rate = MaxRate
	}
	g.Source, g.NotAfter = "help desk", time.Now().Add(time.Hour)
	text, entry, err := NewToken(g, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToken(b.file, entry); err != nil {
		t.Fatal(err)
	}
	var s string
	text.Reveal(func(b []byte) error { s = string(b); return nil })
	return s
}

const (
	goodBody   = `{"account":{"upn":"ada@corp.example.com"},"password":"N3w secret!"}`
	goodChange = `{"account":{"upn":"ada@corp.example.com"},"password":"N3w secret!","current_password":"0ld secret!"}`
	goodName   = `{"account":{"upn":"ada@corp.example.com"}}`
)

// A route is where an operation is asked for, with the least that it takes.
type route struct {
	op         reset.Operation
	path, good string
}

func routes() []route {
	return []route{
		{reset.Reset, "/v1/resets", goodBody},
		{reset.Change, "/v1/changes", goodChange},
		{reset.Unlock, "/v1/unlocks", goodName},
		{reset.Probe, "/v1/probes", goodName},
	}
}

// post is postTo the route of resets.
func (b *bench) post(body string, headers ...string) *http.Response {
	return b.postTo("/v1/resets", body, headers...)
}

// postTo sends body with the token; headers replace those of a good request,
// and an empty value removes one.
func (b *bench) postTo(path, body string, headers ...string) *http.Response {
	return b.do(httptest.NewRequest("POST", path, strings.NewReader(body)), headers...)
}

func (b *bench) do(r *http.Request, headers ...string) *http.Response {
	r.Header.Set("Authorization", "Bearer "+b.token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Result()
}

// read returns the body of an answer, which must be JSON of the right type.
func read(t *testing.T, res *http.Response) map[string]any {
	t.Helper()
	kind := "application/json"
	if res.StatusCode >= 400 {
		kind = "application/problem+json"
	}
	if got := res.Header.Get("Content-Type"); got != kind {
		t.Errorf("status %d has type %s, want %s", res.StatusCode, got, kind)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	if status, ok := m["status"]; ok && status != float64(res.StatusCode) {
		t.Errorf("the document of status %d says %v", res.StatusCode, status)
	}
	return m
}

func TestUnknownRoutes(t *testing.T) {
	tests := []struct {
		name, method, target string
		status               int
		allow                string
	}{
		{"no such path", "GET", "/v1/secrets", 404, ""},
		{"the root", "GET", "/", 404, ""},
		{"slash at the end", "POST", "/v1/resets/", 404, ""},
		{"no id", "GET", "/v1/requests/", 404, ""},
		{"path to be cleaned", "POST", "/v1//resets", 404, ""},
		{"path out of the root", "POST", "/v1/../v1/resets", 404, ""},
		{"reading resets", "GET", "/v1/resets", 405, "POST"},
		{"reading changes", "GET", "/v1/changes", 405, "POST"},
		{"reading unlocks", "GET", "/v1/unlocks", 405, "POST"},
		{"putting probes", "PUT", "/v1/probes", 405, "POST"},
		{"deleting a request", "DELETE", "/v1/requests/" + ref.String(), 405, "GET, HEAD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			res := b.do(httptest.NewRequest(tt.method, tt.target, strings.NewReader(goodBody)))
			m := read(t, res)
			if res.StatusCode != tt.status || res.Header.Get("Allow") != tt.allow {
				t.Errorf("got %d, Allow %q; want %d, %q", res.StatusCode, res.Header.Get("Allow"), tt.status, tt.allow)
			}
			if m["type"] != "about:blank" || m["title"] == "" || m["code"] != nil {
				t.Errorf("got %v", m)
			}
			if len(b.publisher.got) != 0 {
				t.Error("something was submitted")
			}
			if strings.Contains(b.log.String(), "secrets") {
				t.Errorf("the log has an unknown path: %s", b.log)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	b := setup(t)
	b.publisher.submit = func(context.Context, reset.Submission) (reset.Status, error) { panic("hunter2") }
	res := b.post(goodBody)
	if m := read(t, res); res.StatusCode != 500 || m["code"] != "internal" || m["message"] != internal.text {
		t.Errorf("got %d %v", res.StatusCode, m)
	}
	log := b.log.String()
	if strings.Contains(log, "hunter2") {
		t.Errorf("the log has the panic's value: %s", log)
	}
	if !strings.Contains(log, "TestPanic") || !strings.Contains(log, errPanic.Error()) {
		t.Errorf("the log has no stack: %s", log)
	}
}

func TestLog(t *testing.T) {
	for _, r := range routes() {
		b := setup(t)
		b.postTo(r.path, r.good)
		var m map[string]any
		if err := json.Unmarshal(b.log.Bytes(), &m); err != nil {
			t.Fatalf("not one event: %v: %s", err, b.log)
		}
		want := map[string]any{"level": "info", "route": r.path, "status": 200.0, "code": "applied",
			"request": ref.String(), "tenant": "corp", "source": "help desk"}
		for name, value := range want {
			if m[name] != value {
				t.Errorf("%s: got %v, want %v", name, m[name], value)
			}
		}
		for name := range m {
			if _, ok := want[name]; !ok && !slices.Contains([]string{"took_ms", "token_id", "message"}, name) {
				t.Errorf("unexpected field %s", name)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	b := setup(t)
	b.post(goodBody)
	b.post("{")
	b.do(httptest.NewRequest("GET", "/hunter2", nil))
	got := map[string]float64{}
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			got[key] = m.Counter.GetValue() + float64(m.Histogram.GetSampleCount())
		}
	}
	want := map[string]float64{
		"writeback_portal_requests_total /v1/resets 200": 1, "writeback_portal_requests_total /v1/resets 400": 1,
		"writeback_portal_requests_total none 404": 1,
		"writeback_portal_limited_total address":   0, "writeback_portal_limited_total caller": 0,
		"writeback_portal_limited_total account": 0, "writeback_portal_limited_total wrong_passwords": 0,
		"writeback_portal_limited_total streams":      0,
		"writeback_portal_request_seconds /v1/resets": 2, "writeback_portal_request_seconds none": 1,
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s: got %v, want %v", key, got[key], n)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was taken")
	}
	b := setup(t)
	if _, err := New(Config{Publisher: b.publisher, Tokens: &Tokens{}, Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("limits of 0 were taken")
	}
	if _, err := New(Config{Publisher: b.publisher, Tokens: &Tokens{}, Metrics: b.metrics, Limits: DefaultLimits()}); err == nil {
		t.Error("metrics were registered twice")
	}
}
