package changepage

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/signin"
	"writeback/internal/testkit/idp"
	"writeback/internal/testkit/pki"
)

// A fakePublisher says of every change what it is told to say.
type fakePublisher struct {
	resetpage.Publisher // nil: nothing else is asked of it

	mu      sync.Mutex
	outcome reset.Code // empty: it is at work
	refusal error
	got     []reset.Submission
	said    []string       // new and current passwords
	kept    []secret.Value // the same, as they are
	ended   chan reset.Ref
}

func (p *fakePublisher) Submit(_ context.Context, s reset.Submission, password, current secret.Value, _ time.Duration) (reset.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range []secret.Value{password, current} {
		v.Reveal(func(b []byte) error { p.said = append(p.said, string(b)); return nil })
		p.kept = append(p.kept, v)
	}
	if p.refusal != nil {
		return reset.Status{}, p.refusal
	}
	p.got = append(p.got, s)
	return p.status(reset.Ref{Publisher: "abcdef0123", ID: reset.ID{byte(len(p.got))}}), nil
}

func (p *fakePublisher) status(ref reset.Ref) reset.Status {
	st := reset.Status{Ref: ref, State: reset.Accepted, Operation: reset.Change, Accepted: time.Now()}
	if p.outcome != "" {
		st.State, st.Final, st.Outcome = reset.Final, true, reset.Outcome{Code: p.outcome}
	}
	return st
}

func (p *fakePublisher) Status(_ context.Context, _ string, ref reset.Ref) (reset.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status(ref), nil
}

func (p *fakePublisher) Watch(_ context.Context, _ string, ref reset.Ref, f func(reset.Status) error) error {
	p.mu.Lock()
	st := p.status(ref)
	p.mu.Unlock()
	err := f(st)
	p.ended <- ref
	return err
}

func (p *fakePublisher) Situation(string) (reset.Situation, error) { return reset.Situation{}, nil }

func (p *fakePublisher) submissions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}

// A bench is the page with a real provider.
type bench struct {
	*fakePublisher
	server   *httptest.Server
	provider *idp.Provider
	guesses  *portal.Guesses
	log      *strings.Builder
	ca       *pki.Authority
}

const adaSID, bobSID = "S-1-5-21-1-2-3-1105", "S-1-5-21-1-2-3-1106"

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{fakePublisher: &fakePublisher{ended: make(chan reset.Ref, 100)}, log: new(strings.Builder)}
	var served http.Handler
	b.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served.ServeHTTP(w, r) }))
	t.Cleanup(b.server.Close)
	dir := t.TempDir()
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b.ca, err = pki.New(dir)
	must()
	cert, err := b.ca.Server("login", []string{"127.0.0.1"})
	must()
	b.provider, err = idp.Start(t.Context(), idp.Settings{
		CertFile: cert.CertFile, KeyFile: cert.KeyFile, ClientID: "writeback", ClientSecret: "s3cret",
		RedirectURLs: []string{b.server.URL + signin.CallbackPath}, Claims: []string{"name", "sid_of_ad"},
		Users: map[string]map[string]any{"ada": {"name": "Ada", "sid_of_ad": adaSID}, "bob": {"name": "Bob", "sid_of_ad": bobSID}, "eve": {"name": "Eve", "sid_of_ad": "S-1-5-21-"}},
	})
	must()
	t.Cleanup(b.provider.Stop)
	err = os.WriteFile(filepath.Join(dir, "client-secret"), []byte("s3cret"), 0o600)
	must()
	_, err = seal.MakeKey(filepath.Join(dir, "session.key"), seal.PurposeSession)
	must()
	log, metrics := zerolog.New(zerolog.SyncWriter(b.log)), prometheus.NewRegistry()
	set, err := signin.NewSet([]signin.Config{{
		Tenant: "corp", Issuer: b.provider.Issuer, CAFile: b.ca.CAFile, ClientID: "writeback", ClientSecretFile: filepath.Join(dir, "client-secret"),
		SessionKeyFile: filepath.Join(dir, "session.key"), RedirectURL: b.server.URL + signin.CallbackPath,
		Account: signin.Account{Claim: "sid_of_ad", Kind: "sid"},
	}}, log, metrics)
	must()
	frame, err := pages.New(pages.Config{Log: log, Metrics: metrics})
	must()
	err = resetpage.Add(resetpage.Config{Frame: frame, Publisher: b.fakePublisher, Rates: portal.DefaultPageRates()})
	must()
	door, err := signinpage.Add(frame, set)
	must()
	b.guesses = portal.NewGuesses(portal.Limits{WrongPasswords: 3, WrongPasswordWindow: time.Hour})
	err = Add(Config{Frame: frame, Door: door, Publisher: b.fakePublisher, Rates: portal.PageRates{PerAddress: 100, PerAccount: 100}, Guesses: b.guesses})
	must()
	served = frame.Over(http.NotFoundHandler())
	return b
}

// A window is a browser of somebody who is signed in.
type window struct {
	*http.Client
	b    *bench
	page string // what it shows
}

func (b *bench) window(t *testing.T, user string) *window {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := b.ca.Pool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.server.Certificate().Raw}))
	w := &window{&http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, b, ""}
	resp, err := w.Get(b.server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	resp, err = w.PostForm(resp.Request.URL.String(), url.Values{"user": {user}, "do": {"in"}})
	w.show(t, resp, err)
	return w
}

func (w *window) show(t *testing.T, resp *http.Response, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	w.page = string(text)
	return resp.StatusCode
}

func (w *window) get(t *testing.T, path string) int {
	t.Helper()
	resp, err := w.Get(w.b.server.URL + path)
	return w.show(t, resp, err)
}

var formName = regexp.MustCompile(`name="ticket" value="([^"]*)"`)

// form returns the filled-in form that the window shows.
func (w *window) form(t *testing.T) url.Values {
	t.Helper()
	m := formName.FindStringSubmatch(w.page)
	if m == nil {
		t.Fatalf("the page has no form:\n%s", w.page)
	}
	return url.Values{"ticket": {m[1]}, "operation": {"change"}, "current": {"Old-c4nary-1"}, "password": {"New-c4nary-2"}, "again": {"New-c4nary-2"}}
}

func (w *window) post(t *testing.T, form url.Values, headers ...string) int {
	t.Helper()
	req, err := http.NewRequest("POST", w.b.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.Do(req)
	return w.show(t, resp, err)
}
