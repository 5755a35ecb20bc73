package signin

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/seal"
)

const adaGUID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"

// A bench is a provider, pages of ours that need a sign-in, and a browser.
type bench struct {
	provider *fakeProvider
	pages    *httptest.Server
	client   *Client
	cfg      Config
	browser  *http.Client
	log      *syncBuffer
	clock    time.Duration // ahead of the machine's
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := newPages(t)
	b.provider = newProvider(t)
	b.use(t, b.provider.URL, b.provider.caFile(t), change...)
	return b
}

// newPages starts the pages, which have no provider yet.
func newPages(t *testing.T) *bench {
	t.Helper()
	b := &bench{log: &syncBuffer{}}
	page := func(within time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s, ok, err := b.client.Require(w, r, within)
			switch {
			case err != nil:
				showError(w, err)
			case ok:
				fmt.Fprintf(w, "signed in: %s (%s) %s admin=%t resets=%t overage=%t", s.Subject, s.Name, s.Account.Value, s.Admin, s.Resets, s.Overage)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/change", page(Fresh))
	mux.HandleFunc("/admin", page(0))
	mux.HandleFunc("GET "+CallbackPath, func(w http.ResponseWriter, r *http.Request) {
		if err := b.client.Finish(w, r); err != nil {
			showError(w, err)
		}
	})
	mux.HandleFunc("POST /sign-out", func(w http.ResponseWriter, _ *http.Request) { b.client.SignOut(w) })
	b.pages = httptest.NewTLSServer(mux)
	t.Cleanup(b.pages.Close)
	return b
}

// use lets the pages ask a provider, whose authority is in caFile.
func (b *bench) use(t *testing.T, issuer, caFile string, change ...func(*Config)) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "client-secret"), clientSecret+"\n")
	if _, err := seal.MakeKey(filepath.Join(dir, "session.key"), seal.PurposeSession); err != nil {
		t.Fatal(err)
	}
	b.cfg = Config{
		Tenant: "corp", Issuer: issuer, CAFile: caFile, ClientID: clientID,
		ClientSecretFile: filepath.Join(dir, "client-secret"), SessionKeyFile: filepath.Join(dir, "session.key"),
		RedirectURL: b.pages.URL + CallbackPath,
		Account:     Account{Claim: "ad_guid", Kind: "object_guid"},
		Groups:      Groups{Claim: "groups", Admins: []string{"wb-admins"}, Resets: []string{"wb-resets"}},
	}
	for _, c := range change {
		c(&b.cfg)
	}
	b.client = b.newClient(t)
	b.browser = b.newBrowser(t)
}

func (b *bench) newClient(t *testing.T) *Client {
	t.Helper()
	set, err := NewSet([]Config{b.cfg}, zerolog.New(b.log), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c, ok := set.For(httptest.NewRequest("GET", b.pages.URL+"/change", nil))
	if !ok {
		t.Fatalf("there is no client for %s", b.pages.URL)
	}
	c.now = func() time.Time { return time.Now().Add(b.clock) }
	return c
}

func (b *bench) newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := roots(b.cfg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(b.pages.Certificate())
	return &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

func showError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		panic("an error of another type")
	}
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "refused: %s back=%s", e.Reason, e.Back)
}

// get returns what the browser shows in the end.
func (b *bench) get(t *testing.T, target string) string {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.pages.URL + target
	}
	resp, err := b.browser.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	return body(t, resp)
}

// step makes one request and follows nothing.
func (b *bench) step(t *testing.T, target string) *http.Response {
	t.Helper()
	browser := *b.browser
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := browser.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// callback signs in as far as the link back to us.
func (b *bench) callback(t *testing.T) string {
	t.Helper()
	there := b.step(t, b.pages.URL+"/change").Header.Get("Location")
	return b.step(t, there).Header.Get("Location")
}

func (b *bench) cookie(name string) *http.Cookie {
	u, _ := url.Parse(b.pages.URL)
	for _, c := range b.browser.Jar.Cookies(u) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const ada = "signed in: ada (Ada Lovelace) " + adaGUID + " admin=false resets=false overage=false"

func TestSignIn(t *testing.T) {
	b := newBench(t)
	if got := b.get(t, "/change"); got != ada {
		t.Fatalf("the page shows %q, want %q", got, ada)
	}
	asked := b.provider.asked
	for param, want := range map[string]string{
		"scope": "openid profile", "max_age": "240", "code_challenge_method": "S256", "response_type": "code",
	} {
		if asked.Get(param) != want {
			t.Errorf("the provider was asked with %s=%q, want %q", param, asked.Get(param), want)
		}
	}
	for _, param := range []string{"state", "nonce", "code_challenge"} {
		if len(asked.Get(param)) < 43 {
			t.Errorf("%s=%q is no 256 random bits", param, asked.Get(param))
		}
	}
	b.get(t, "/change")
	if n := b.provider.exchanges; n != 1 {
		t.Errorf("%d sign-ins, want one for two pages", n)
	}
	if b.cookie(journeyCookie) != nil {
		t.Error("the cookie of the way is still there")
	}
	for _, personal := range []string{"ada", "Ada", adaGUID, clientSecret, asked.Get("state"), asked.Get("nonce")} {
		if strings.Contains(b.log.String(), personal) {
			t.Errorf("the log has %q: %s", personal, b.log)
		}
	}
}

// Where somebody was going, the query too, is where they arrive.
func TestBackToThePage(t *testing.T) {
	b := newBench(t)
	there := b.step(t, b.pages.URL+"/admin?code=applied&since=1h").Header.Get("Location")
	back := b.step(t, there).Header.Get("Location")
	if got, want := b.step(t, back).Header.Get("Location"), "/admin?code=applied&since=1h"; got != want {
		t.Errorf("arrived at %q, want %q", got, want)
	}
	if got := b.provider.asked.Get("max_age"); got != "" {
		t.Errorf("a page that changes nothing asked for max_age=%s", got)
	}
}

func TestOwnPath(t *testing.T) {
	tests := []struct {
		name, target, want string
	}{
		{"a page", "/change", "/change"},
		{"with a query", "/admin?a=b", "/admin?a=b"},
		{"another host", "https://evil.example/change", "/change"},
		{"two slashes", "//evil.example/change", "/evil.example/change"},
		{"a backslash", `/\evil.example`, "/evil.example"},
		{"an escaped slash", "/%2fevil.example", "/evil.example"},
		{"an escaped line end", "/%0d%0aSet-Cookie:x", "/%0D%0ASet-Cookie:x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			u, err := url.Parse(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(tt.target, "//") { // as a request line has it
				u = &url.URL{Path: tt.target}
			}
			r.URL = u
			if got := ownPath(r); got != tt.want {
				t.Errorf("ownPath(%s) = %q, want %q", tt.target, got, tt.want)
			}
		})
	}
}

func TestSignOut(t *testing.T) {
	b := newBench(t)
	b.get(t, "/change")
	resp, err := b.browser.Post(b.pages.URL+"/sign-out", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if b.cookie(sessionCookie) != nil {
		t.Error("the browser still has the session")
	}
	if b.get(t, "/change"); b.provider.exchanges != 2 {
		t.Errorf("%d sign-ins, want another one after signing out", b.provider.exchanges)
	}
}

// A script cannot sign anybody in, and a form must not be lost on the way: both
// are told so.
func TestOnlyPagesAreRedirected(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ method, dest, want string }{
		{"GET", "empty", "refused: signed_out back=/change"},
		{"GET", "image", "refused: signed_out back=/change"},
		{"POST", "document", "refused: signed_out back=/change"},
		{"POST", "", "refused: signed_out back=/change"},
		{"GET", "document", ada},
		{"POST", "document", ada},
	} {
		req, _ := http.NewRequest(tt.method, b.pages.URL+"/change", nil)
		if req.Header.Set("Sec-Fetch-Dest", tt.dest); tt.dest == "" {
			req.Header.Del("Sec-Fetch-Dest")
		}
		resp, err := b.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, resp); got != tt.want {
			t.Errorf("%s, Sec-Fetch-Dest %q: %q, want %q", tt.method, tt.dest, got, tt.want)
		}
	}
}

func TestCookies(t *testing.T) {
	b := newBench(t)
	start := b.step(t, b.pages.URL+"/change")
	back := b.step(t, start.Header.Get("Location")).Header.Get("Location")
	end := b.step(t, back)
	for _, resp := range []*http.Response{start, end} {
		for _, line := range resp.Header.Values("Set-Cookie") {
			for _, want := range []string{"__Host-writeback-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
				if !strings.Contains(line, want) {
					t.Errorf("cookie %q lacks %q", line, want)
				}
			}
			if strings.Contains(line, "Domain") || len(line) > 1024 {
				t.Errorf("cookie %q has a domain or is too long", line)
			}
		}
	}
}
