package resetpage

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/ticket"
)

// A fake is what is behind the page: one ticket, and a publisher that does as it is
// told.
type fake struct {
	mu        sync.Mutex
	view      ticket.View
	looks     int
	soon      *reset.Status // what is known when Submit returns
	lookErr   error
	beginErr  error
	submitErr error
	situation reset.Situation
	steps     []reset.Status
	submitted []reset.Submission
	passwords []string
	kept      secret.Value // of the last submission, if keep says so
	keep      bool
	waits     []time.Duration
	begun     int
	takenBack int
}

func (f *fake) Tenant(context.Context, ticket.Secret) (string, error) { return "corp", f.lookErr }

func (f *fake) Look(context.Context, string, ticket.Secret, ticket.Session) (ticket.View, error) {
	f.looks++
	return f.view, f.lookErr
}

func (f *fake) Begin(context.Context, string, ticket.Secret, ticket.Session, ticket.Attempt) (ticket.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun++
	return f.view, f.beginErr
}

func (f *fake) TakeBack(context.Context, string, ticket.Secret, reset.Ref) error {
	f.takenBack++
	return nil
}

func (f *fake) Ref(id reset.ID) reset.Ref { return reset.Ref{Publisher: "pub1", ID: id} }

func (f *fake) Submit(_ context.Context, s reset.Submission, password, _ secret.Value, wait time.Duration) (reset.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.submitted, f.waits = append(f.submitted, s), append(f.waits, wait)
	password.Reveal(func(b []byte) error { f.passwords = append(f.passwords, string(b)); return nil })
	if f.kept = password; !f.keep {
		password.Wipe()
	}
	if f.submitErr != nil {
		return reset.Status{}, f.submitErr
	}
	return *f.soon, nil
}

func (f *fake) Watch(_ context.Context, _ string, _ reset.Ref, say func(reset.Status) error) error {
	for _, st := range f.steps {
		f.view.Request = &st
		if err := say(st); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Situation(string) (reset.Situation, error) { return f.situation, nil }

// A bench is the page in its frame.
type bench struct {
	*fake
	handler http.Handler
	ticket  seal.Ticket
	log     *strings.Builder
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{ticket: seal.NewTicket(), log: new(strings.Builder)}
	b.fake = &fake{
		view: ticket.View{
			Permit: reset.Permit{
				Tenant: "corp", Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
				Operations: []reset.Operation{reset.Reset, reset.Unlock}, Actor: reset.Actor{Kind: reset.Self, Subject: "ada"}, Source: "idp",
			},
			ID: b.ticket.ID(), Attempts: ticket.MaxAttempts,
		},
		situation: reset.Situation{
			Switches: &reset.Switches{Writeback: reset.Switch{On: true}, Unlock: reset.Switch{On: true}},
			Rules:    reset.Rules{Known: true, MinLength: 14, Complexity: true, History: 24, MinAge: 48 * time.Hour},
		},
		soon: &reset.Status{Ref: reset.Ref{Publisher: "pub1", ID: reset.ID{1}}, Operation: reset.Reset, State: reset.Accepted, Accepted: time.Now()},
	}
	frame, err := pages.New(pages.Config{Log: zerolog.New(zerolog.SyncWriter(b.log)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := Add(Config{Frame: frame, Tickets: b.fake, Publisher: b.fake, Rates: portal.PageRates{PerAddress: 1000, PerAccount: 1000}}); err != nil {
		t.Fatal(err)
	}
	b.handler = frame.Over(http.NotFoundHandler())
	return b
}

func (b *bench) do(method, target, body string, headers ...string) (*http.Response, string) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "__Host-reset=corp."+b.ticket.Text()+"; __Host-session="+base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Result(), html.UnescapeString(w.Body.String())
}

func (b *bench) get() (*http.Response, string) { return b.do("GET", "/reset", "") }

func (b *bench) form(fields ...string) string {
	id := b.ticket.ID()
	v := url.Values{"operation": {"reset"}, "ticket": {hex.EncodeToString(id[:])}, "password": {"N3w secret!"}, "again": {"N3w secret!"}}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	return v.Encode()
}

func ended(code reset.Code, op reset.Operation) *reset.Status {
	now := time.Now()
	return &reset.Status{
		Ref: reset.Ref{Publisher: "pub1", ID: reset.ID{1}}, Operation: op, State: reset.Final, Final: true, Consumer: "site_a",
		Outcome: reset.Outcome{Code: code}, Accepted: now, Finished: now.Add(50 * time.Millisecond),
	}
}
