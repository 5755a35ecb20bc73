package signin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

const (
	clientID     = "writeback"
	clientSecret = "a secret with spaces & signs"
)

// A fakeProvider is an OpenID Connect provider that lets everybody in, and that
// does wrong what a test tells it to.
type fakeProvider struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu        sync.Mutex
	codes     map[string]url.Values   // what was asked for, by code
	document  func(map[string]any)    // changes the discovery document
	answer    func(url.Values)        // changes the redirect back
	claims    func(map[string]any)    // changes the ID token's claims
	token     func(jwt string) string // changes the ID token
	respond   http.HandlerFunc        // instead of the token endpoint
	down      bool
	seen      map[string]bool // connections; nil if they may be used again
	exchanges int
	asked     url.Values // the last authorization request
}

func newProvider(t *testing.T) *fakeProvider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeProvider{key: key, codes: make(map[string]url.Values)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", f.discovery)
	mux.HandleFunc("GET /keys", f.keys)
	mux.HandleFunc("GET /authorize", f.authorize)
	mux.HandleFunc("POST /token", f.redeem)
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.seen[r.RemoteAddr] {
			panic(http.ErrAbortHandler) // closed without an answer
		}
		if f.seen != nil {
			f.seen[r.RemoteAddr] = true
		}
		if f.down {
			http.Error(w, "gone fishing", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// set changes the provider's behaviour while nobody is served.
func (f *fakeProvider) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// caFile writes the certificate of the provider into a file.
func (f *fakeProvider) caFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (f *fakeProvider) discovery(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token",
		"jwks_uri": f.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256", "none", "HS256"},
		"authorization_response_iss_parameter_supported": true,
	}
	if f.document != nil {
		f.document(doc)
	}
	reply(w, doc)
}

func (f *fakeProvider) keys(w http.ResponseWriter, _ *http.Request) {
	x, y := f.key.X.FillBytes(make([]byte, 32)), f.key.Y.FillBytes(make([]byte, 32))
	b64 := base64.RawURLEncoding.EncodeToString
	reply(w, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": b64(x), "y": b64(y),
	}}})
}

func (f *fakeProvider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f.asked = q
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "not a request for a code with PKCE", http.StatusBadRequest)
		return
	}
	code := random()
	f.codes[code] = q
	back := url.Values{"state": q["state"], "code": {code}, "iss": {f.URL}}
	if f.answer != nil {
		f.answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (f *fakeProvider) redeem(w http.ResponseWriter, r *http.Request) {
	f.exchanges++
	if f.respond != nil {
		f.respond(w, r)
		return
	}
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		reply(w, map[string]any{"error": code, "error_description": "canary-description"})
	}
	id, secret, _ := r.BasicAuth()
	if unescaped, err := url.QueryUnescape(secret); id != clientID || err != nil || unescaped != clientSecret {
		refuse("invalid_client")
		return
	}
	asked, ok := f.codes[r.PostFormValue("code")]
	delete(f.codes, r.PostFormValue("code"))
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) ||
		r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") {
		refuse("invalid_grant")
		return
	}
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": f.URL, "aud": clientID, "sub": "ada", "nonce": asked.Get("nonce"), "iat": now, "exp": now + 60,
		"auth_time": now, "name": "Ada Lovelace", "ad_guid": adaGUID,
	}
	if f.claims != nil {
		f.claims(claims)
	}
	text, _ := json.Marshal(claims)
	jwt := oidctest.SignIDToken(f.key, "k", "ES256", string(text))
	if f.token != nil {
		jwt = f.token(jwt)
	}
	reply(w, map[string]any{"access_token": "canary-access", "token_type": "Bearer", "id_token": jwt})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
