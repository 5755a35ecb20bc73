package signin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// Whatever the provider, or whoever can write its answer, sends: nobody is
// signed in by it.
func TestAnswersThatProveNothing(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := func(alg string, payload string) string {
		return b64([]byte(`{"alg":"`+alg+`","kid":"k"}`)) + "." + payload
	}
	set := func(name string, value any) func(*fakeProvider) {
		return func(f *fakeProvider) { f.claims = func(c map[string]any) { c[name] = value } }
	}
	tests := []struct {
		name   string
		change func(*fakeProvider)
		want   Reason
	}{
		{"another nonce", set("nonce", "of another sign-in"), Untrusted},
		{"no nonce", set("nonce", nil), Untrusted},
		{"another audience", set("aud", "another-client"), Untrusted},
		{"several audiences and no azp", set("aud", []string{clientID, "another-client"}), Untrusted},
		{"another azp", set("azp", "another-client"), Untrusted},
		{"an azp that is no text", set("azp", 7), Untrusted},
		{"another issuer", set("iss", "https://evil.example"), Untrusted},
		{"expired", set("exp", time.Now().Add(-time.Second).Unix()), Untrusted},
		{"not valid yet", set("nbf", time.Now().Add(time.Hour).Unix()), Untrusted},
		{"no subject", set("sub", ""), Untrusted},
		{"a subject with a line end", set("sub", "ada\nadmin"), Untrusted},
		{"an endless subject", set("sub", strings.Repeat("a", 256)), Untrusted},
		{"signed with an unknown key", func(f *fakeProvider) {
			other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			f.token = func(jwt string) string {
				payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
				return oidctest.SignIDToken(other, "k", "ES256", string(payload))
			}
		}, Untrusted},
		{"altered", func(f *fakeProvider) {
			f.token = func(jwt string) string {
				p := strings.Split(jwt, ".")
				payload, _ := base64.RawURLEncoding.DecodeString(p[1])
				return p[0] + "." + b64([]byte(strings.Replace(string(payload), `"ada"`, `"bob"`, 1))) + "." + p[2]
			}
		}, Untrusted},
		{"alg none", func(f *fakeProvider) {
			f.token = func(jwt string) string { return unsigned("none", strings.Split(jwt, ".")[1]) + "." }
		}, Untrusted},
		{"a MAC with the public key", func(f *fakeProvider) {
			f.token = func(jwt string) string {
				text := unsigned("HS256", strings.Split(jwt, ".")[1])
				point, _ := f.key.PublicKey.Bytes()
				mac := hmac.New(sha256.New, point)
				mac.Write([]byte(text))
				return text + "." + b64(mac.Sum(nil))
			}
		}, Untrusted},
		{"a MAC with the client secret", func(f *fakeProvider) {
			f.token = func(jwt string) string {
				text := unsigned("HS256", strings.Split(jwt, ".")[1])
				mac := hmac.New(sha256.New, []byte(clientSecret))
				mac.Write([]byte(text))
				return text + "." + b64(mac.Sum(nil))
			}
		}, Untrusted},
		{"no ID token", func(f *fakeProvider) {
			f.respond = func(w http.ResponseWriter, _ *http.Request) {
				reply(w, map[string]any{"access_token": "a", "token_type": "Bearer"})
			}
		}, Untrusted},
		{"a redirect of the token endpoint", func(f *fakeProvider) {
			f.respond = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("followed") {
					f.respond = nil
					f.redeem(w, r)
					return
				}
				http.Redirect(w, r, f.URL+"/token?followed", http.StatusTemporaryRedirect)
			}
		}, Away},
		{"our secret is refused", func(f *fakeProvider) {
			f.respond = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				reply(w, map[string]any{"error": "invalid_client"})
			}
		}, Away},
		{"another issuer in the link back", func(f *fakeProvider) {
			f.answer = func(q url.Values) { q.Set("iss", "https://evil.example") }
		}, Untrusted},
		{"no issuer in the link back, where it was promised", func(f *fakeProvider) {
			f.answer = func(q url.Values) { q.Del("iss") }
		}, Untrusted},
		{"another state", func(f *fakeProvider) {
			f.answer = func(q url.Values) { q.Set("state", random()) }
		}, Stale},
		{"no state", func(f *fakeProvider) { f.answer = func(q url.Values) { q.Del("state") } }, Stale},
		{"no code", func(f *fakeProvider) { f.answer = func(q url.Values) { q.Del("code") } }, Stale},
		{"a code that nobody was given", func(f *fakeProvider) { f.answer = func(q url.Values) { q.Set("code", "guess") } }, Stale},
		{"the user turned back", func(f *fakeProvider) { f.answer = func(q url.Values) { q.Set("error", "access_denied") } }, Denied},
		{"an error of somebody's invention", func(f *fakeProvider) {
			f.answer = func(q url.Values) { q.Set("error", "canary-error"); q.Set("error_description", "canary-description") }
		}, Denied},
		{"the provider is out of order", func(f *fakeProvider) { f.answer = func(q url.Values) { q.Set("error", "server_error") } }, Away},
		{"signed in long ago", set("auth_time", time.Now().Add(-Fresh-2*leeway).Unix()), NotFresh},
		{"signed in a little too long ago", set("auth_time", time.Now().Add(-Fresh-leeway/2).Unix()), NotFresh},
		{"signed in tomorrow", set("auth_time", time.Now().Add(24*time.Hour).Unix()), NotFresh},
		{"not said when", set("auth_time", nil), NotFresh},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.provider.set(func() { tt.change(b.provider) })
			if got, want := b.get(t, "/change"), fmt.Sprintf("refused: %s back=/change", tt.want); got != want {
				t.Errorf("the page shows %q, want %q", got, want)
			}
			if b.cookie(sessionCookie) != nil {
				t.Error("the browser has a session")
			}
			if log := b.log.String(); strings.Contains(log, "canary") || !strings.Contains(log, `"reason":"`+string(tt.want)+`"`) {
				t.Errorf("the log has something of the answer, or lacks the reason: %s", log)
			}
		})
	}
}

// A link that signs the victim in as the attacker does nothing: the victim's
// browser did not begin this sign-in.
func TestLinkOfAnotherBrowser(t *testing.T) {
	b := newBench(t)
	link := b.callback(t)
	b.browser = b.newBrowser(t)
	if got := b.get(t, link); got != "refused: stale back=" {
		t.Errorf("a browser without a sign-in: %q", got)
	}
	b.step(t, b.pages.URL+"/change")
	if got := b.get(t, link); got != "refused: stale back=/change" {
		t.Errorf("a browser with a sign-in of its own: %q", got)
	}
	if b.provider.exchanges != 0 {
		t.Error("the code of another browser was redeemed")
	}
	if b.cookie(journeyCookie) == nil {
		t.Error("the foreign link ended the browser's own sign-in")
	}
}

func TestReplay(t *testing.T) {
	b := newBench(t)
	link := b.callback(t)
	journey := b.cookie(journeyCookie)
	b.get(t, link)
	if got := b.get(t, link); got != "refused: stale back=" {
		t.Errorf("the link again: %q", got)
	}
	// With a copy of the cookie it is the provider that refuses.
	b.browser = b.newBrowser(t)
	u, _ := url.Parse(b.pages.URL)
	b.browser.Jar.SetCookies(u, []*http.Cookie{newCookie(journey.Name, journey.Value, 60)})
	if got := b.get(t, link); got != "refused: stale back=/change" {
		t.Errorf("the link and the cookie again: %q", got)
	}
	if b.provider.exchanges != 2 {
		t.Errorf("%d exchanges, want the second to be tried and refused", b.provider.exchanges)
	}
}

func TestTwoStates(t *testing.T) {
	b := newBench(t)
	b.provider.set(func() { b.provider.answer = func(q url.Values) { q.Add("state", "another") } })
	if got := b.get(t, "/change"); got != "refused: stale back=" {
		t.Errorf("the page shows %q", got)
	}
}

func TestTooSlow(t *testing.T) {
	b := newBench(t)
	link := b.callback(t)
	b.clock = journey + time.Second
	if got := b.get(t, link); got != "refused: stale back=/change" {
		t.Errorf("after %s: %q", b.clock, got)
	}
}

// Nothing that a browser holds before it signs in is still good afterwards, and
// signing in again replaces what was there: no session can be fixed.
func TestNoFixedSession(t *testing.T) {
	b := newBench(t)
	b.get(t, "/change")
	first := b.cookie(sessionCookie).Value
	b.clock = Fresh + time.Second
	b.provider.set(func() {
		b.provider.claims = func(c map[string]any) {
			c["sub"], c["name"] = "bob", "Bob"
			c["auth_time"], c["exp"] = time.Now().Add(b.clock).Unix(), time.Now().Add(time.Hour).Unix()
		}
	})
	if got := b.get(t, "/change"); !strings.HasPrefix(got, "signed in: bob (Bob)") {
		t.Fatalf("the second sign-in: %q %s", got, b.log)
	}
	if b.cookie(sessionCookie).Value == first {
		t.Error("the cookie is the same for two people")
	}
}

func TestSessionsThatAreNotOurs(t *testing.T) {
	b := newBench(t)
	b.get(t, "/admin")
	good := b.cookie(sessionCookie).Value
	altered := []byte(good)
	altered[len(altered)/2] ^= 1
	other := newBench(t)
	tests := []struct {
		name   string
		client func() *Client
		value  string
		opens  bool
	}{
		{"another publisher with the same key", func() *Client { return b.newClient(t) }, good, true},
		{"another key", func() *Client { return other.client }, good, false},
		{"another tenant with the same key", func() *Client {
			cfg := b.cfg
			cfg.Tenant = "corp2"
			return (&bench{cfg: cfg, pages: b.pages, log: b.log}).newClient(t)
		}, good, false},
		{"another provider with the same key", func() *Client {
			cfg := b.cfg
			cfg.Issuer = "https://other.example"
			return (&bench{cfg: cfg, pages: b.pages, log: b.log}).newClient(t)
		}, good, false},
		{"altered", func() *Client { return b.client }, string(altered), false},
		{"cut", func() *Client { return b.client }, good[:len(good)-2], false},
		{"empty", func() *Client { return b.client }, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := http.NewRequest("GET", b.pages.URL+"/admin", nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: tt.value})
			if _, ok := tt.client().Session(httptest.NewRecorder(), r); ok != tt.opens {
				t.Errorf("Session = %t, want %t", ok, tt.opens)
			}
		})
	}
	t.Run("two of them", func(t *testing.T) {
		r, _ := http.NewRequest("GET", b.pages.URL+"/admin", nil)
		r.Header.Add("Cookie", sessionCookie+"="+good+"; "+sessionCookie+"="+good)
		if _, ok := b.client.Session(httptest.NewRecorder(), r); ok {
			t.Error("one of two cookies of the same name was chosen")
		}
	})
	t.Run("what was sealed for a way", func(t *testing.T) {
		now := time.Now().Unix()
		w := httptest.NewRecorder()
		setCookie(w, b.client.journeys, sessionCookie, Idle, sealedSession{Subject: "ada", Began: now, Seen: now})
		r, _ := http.NewRequest("GET", b.pages.URL+"/admin", nil)
		r.AddCookie(w.Result().Cookies()[0])
		if _, ok := b.client.Session(w, r); ok {
			t.Error("it was taken for a session")
		}
	})
}
