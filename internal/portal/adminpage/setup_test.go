package adminpage

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

// A stage is the page with a publisher that does what a test says.
type stage struct {
	t     *testing.T
	h     http.Handler
	page  *adminPage
	log   *strings.Builder
	file  string // of tokens
	token string // for the switches and resets
	jar   map[string]string

	view     reset.Overview
	switches []reset.SwitchChange
	sent     []reset.Submission
	password string
	status   reset.Status
	revealed []reset.Viewer
	unknown  bool // no request is known yet
	course   reset.Status
}

const perAccount = 30

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "session.key")
	if _, err := seal.MakeKey(keyFile, seal.PurposeSession); err != nil {
		t.Fatal(err)
	}
	key, err := seal.LoadSessionKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := key.AEAD("operator")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, log: new(strings.Builder), file: filepath.Join(dir, "tokens.json"), jar: make(map[string]string), unknown: true}
	s.token = s.grant(func(*portal.Grant) {})
	log := zerolog.New(zerolog.SyncWriter(s.log))
	tokens, err := portal.OpenTokens(s.file, log)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := pages.New(pages.Config{Log: log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Frame: frame, Tokens: tokens, Sessions: sessions, Publisher: s, Rates: portal.PageRates{PerAddress: 100, PerAccount: perAccount}, Version: "v2"}
	if err := resetpage.Add(resetpage.Config{Frame: frame, Publisher: s, Rates: portal.DefaultPageRates()}); err != nil {
		t.Fatal(err)
	}
	if err := Add(cfg); err != nil {
		t.Fatal(err)
	}
	limits, err := portal.NewPageLimits(cfg.Rates)
	if err != nil {
		t.Fatal(err)
	}
	s.page = &adminPage{cfg, limits}
	s.h = frame.Over(http.NotFoundHandler())
	s.course = reset.Status{Operation: reset.Reset, State: reset.Final, Outcome: reset.Outcome{Code: reset.Applied}, Consumer: "one"}
	now := time.Now()
	s.view = reset.Overview{
		Situation: reset.Situation{Time: now, Switches: &reset.Switches{Writeback: reset.Switch{On: true}, Unlock: reset.Switch{On: true}}},
		Replicas:  []reset.Replica{{Consumer: reset.Consumer{Replica: "one", Version: "v2", DC: "dc1", Seen: now, KeyMade: now}, Alive: true}},
		Since:     now, QueueKnown: true,
	}
	return s
}

// grant makes a token.
func (s *stage) grant(edit func(*portal.Grant)) string {
	s.t.Helper()
	g := portal.Grant{
		Tenant: "corp", Source: "desk", Switches: true, Operations: []reset.Operation{reset.Reset},
		Names: []reset.NameKind{reset.UPN}, NotAfter: time.Now().Add(time.Hour),
	}
	edit(&g)
	token, entry, err := portal.NewToken(g, time.Now())
	if err == nil {
		err = portal.AddToken(s.file, entry)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	text := ""
	token.Reveal(func(b []byte) error { text = string(b); return nil })
	return text
}

// get and post make a call as a browser does that follows nothing.
func (s *stage) get(path string) (*http.Response, string) { return s.do(http.MethodGet, path, nil) }

func (s *stage) post(path string, fields ...string) (*http.Response, string) {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return s.do(http.MethodPost, path, form)
}

func (s *stage) do(method, path string, form url.Values) (*http.Response, string) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range s.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if s.jar[c.Name] = c.Value; c.MaxAge < 0 {
			delete(s.jar, c.Name)
		}
	}
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.Result(), string(body)
}

// signIn shows the token.
func (s *stage) signIn() {
	s.t.Helper()
	if res, body := s.post(signInPath, "token", s.token, "next", Path); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != Path {
		s.t.Fatalf("signing in: %s %s", res.Status, body)
	}
}

// The publisher.

func (s *stage) Overview(_ context.Context, tenant string) (reset.Overview, error) {
	if tenant != "corp" {
		s.t.Errorf("the overview of tenant %q was asked for", tenant)
	}
	return s.view, nil
}

func (s *stage) Course(_ context.Context, _ string, ref reset.Ref) (reset.Course, error) {
	s.course.Ref = ref
	return reset.Course{
		Status: s.course,
		Steps:  []reset.Step{{Kind: "accepted", At: time.Now(), Writer: "pub1", Publisher: true}},
	}, nil
}

func (s *stage) Reveal(_ context.Context, v reset.Viewer, _ reset.Ref) (reset.Names, error) {
	s.revealed = append(s.revealed, v)
	return reset.Names{Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"}, Actor: reset.Actor{Kind: reset.Self}, Source: "portal"}, nil
}

func (s *stage) SetSwitches(_ context.Context, c reset.SwitchChange) (reset.Switches, error) {
	s.switches = append(s.switches, c)
	return reset.Switches{}, nil
}

func (s *stage) Situation(string) (reset.Situation, error) { return s.view.Situation, nil }

func (s *stage) Submit(_ context.Context, sub reset.Submission, password, _ secret.Value, _ time.Duration) (reset.Status, error) {
	password.Reveal(func(b []byte) error { s.password = string(b); return nil })
	password.Wipe()
	s.sent, s.unknown = append(s.sent, sub), false
	s.status.Ref = s.Ref(sub.ID)
	return s.status, nil
}

func (s *stage) Status(context.Context, string, reset.Ref) (reset.Status, error) {
	if s.unknown {
		return reset.Status{}, &reset.Refusal{Code: reset.UnknownRequest}
	}
	return s.status, nil
}

func (s *stage) Watch(_ context.Context, _ string, _ reset.Ref, f func(reset.Status) error) error {
	return f(s.status)
}

func (s *stage) Ref(id reset.ID) reset.Ref { return reset.Ref{Publisher: "pub1", ID: id} }
