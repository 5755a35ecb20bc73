package signin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSessionEnds(t *testing.T) {
	tests := []struct {
		name    string
		visits  []time.Duration // since the sign-in
		signIns int
	}{
		{"used all the time", []time.Duration{14 * time.Minute, 28 * time.Minute, 42 * time.Minute, 56 * time.Minute}, 1},
		{"idle", []time.Duration{Idle + time.Second}, 2},
		{"idle since a second visit", []time.Duration{14 * time.Minute, 14*time.Minute + Idle + time.Second}, 2},
		{"too long", []time.Duration{14 * time.Minute, 28 * time.Minute, 42 * time.Minute, 56 * time.Minute, Longest + time.Second}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.provider.set(func() {
				b.provider.claims = func(c map[string]any) { c["exp"] = time.Now().Add(2 * time.Hour).Unix() }
			})
			b.get(t, "/admin")
			for _, at := range tt.visits {
				b.clock = at
				if got := b.get(t, "/admin"); !strings.HasPrefix(got, "signed in: ada") {
					t.Fatalf("after %s: %q", at, got)
				}
			}
			if b.provider.exchanges != tt.signIns {
				t.Errorf("%d sign-ins, want %d", b.provider.exchanges, tt.signIns)
			}
		})
	}
}

// What goes on by itself keeps nobody signed in, and gives no cookies.
func TestPeek(t *testing.T) {
	b := newBench(t)
	b.get(t, "/admin")
	r, _ := http.NewRequest("GET", b.pages.URL+"/admin", nil)
	r.AddCookie(b.cookie(sessionCookie))
	b.clock = 14 * time.Minute
	s, ok := b.client.Peek(r)
	if !ok || s.Subject != "ada" {
		t.Errorf("within its time: %+v (%t)", s, ok)
	}
	w := httptest.NewRecorder()
	if _, ok := b.client.Session(w, r); !ok || len(w.Result().Cookies()) != 1 {
		t.Errorf("a page renews the session with %d cookies (%t)", len(w.Result().Cookies()), ok)
	}
	b.clock = Idle + time.Second
	if _, ok := b.client.Peek(r); ok {
		t.Error("an idle session is found")
	}
}

func TestRemember(t *testing.T) {
	b := newBench(t)
	b.get(t, "/change")
	r, _ := http.NewRequest("GET", b.pages.URL+"/change", nil)
	r.AddCookie(b.cookie(sessionCookie))
	s, ok := b.client.Session(httptest.NewRecorder(), r)
	if !ok || s.Note != "" {
		t.Fatalf("a new session: %t, note %q", ok, s.Note)
	}
	w := httptest.NewRecorder()
	b.client.Remember(w, s, "what was asked for")
	r.Header.Del("Cookie")
	r.AddCookie(w.Result().Cookies()[0])
	again, ok := b.newClient(t).Session(httptest.NewRecorder(), r)
	if s.Note = "what was asked for"; !ok || again != s {
		t.Errorf("another publisher finds %+v (%t), want %+v", again, ok, s)
	}
}

// A session that is good for looking is not enough to change something.
func TestFreshIsAskedForAgain(t *testing.T) {
	b := newBench(t)
	b.provider.set(func() {
		b.provider.claims = func(c map[string]any) {
			c["auth_time"] = time.Now().Add(b.clock).Unix()
			c["exp"] = time.Now().Add(time.Hour).Unix()
		}
	})
	for _, step := range []struct {
		at      time.Duration
		page    string
		signIns int
	}{
		{0, "/change", 1},
		{Fresh - time.Second, "/change", 1},
		{Fresh + 2*time.Second, "/admin", 1},
		{Fresh + 2*time.Second, "/change", 2},
	} {
		b.clock = step.at
		b.get(t, step.page)
		if b.provider.exchanges != step.signIns {
			t.Errorf("%s at %s: %d sign-ins, want %d", step.page, step.at, b.provider.exchanges, step.signIns)
		}
	}
}

func TestClaims(t *testing.T) {
	tests := []struct {
		name   string
		claims map[string]any // instead of the usual ones; nil removes
		want   string
	}{
		{"an administrator", map[string]any{"groups": []string{"staff", "wb-admins"}}, "ada (Ada Lovelace) " + adaGUID + " admin=true resets=false overage=false"},
		{"one who may reset", map[string]any{"groups": []string{"wb-resets"}}, "ada (Ada Lovelace) " + adaGUID + " admin=true resets=true overage=false"},
		{"one group as a text", map[string]any{"groups": "wb-admins"}, "ada (Ada Lovelace) " + adaGUID + " admin=true resets=false overage=false"},
		{"a group of almost that name", map[string]any{"groups": []string{"wb-admins2", "WB-ADMINS", "wb-admin"}}, "ada (Ada Lovelace) " + adaGUID + " admin=false resets=false overage=false"},
		{"groups of another form", map[string]any{"groups": []any{7, "wb-admins"}}, "ada (Ada Lovelace) " + adaGUID + " admin=false resets=false overage=false"},
		{"too many groups", map[string]any{
			"_claim_names":   map[string]string{"groups": "src1"},
			"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/groups"}},
		}, "ada (Ada Lovelace) " + adaGUID + " admin=false resets=false overage=true"},
		{"no account", map[string]any{"ad_guid": nil}, "ada (Ada Lovelace)  admin=false resets=false overage=false"},
		{"an account of another form", map[string]any{"ad_guid": "ada@corp.example.com"}, "ada (Ada Lovelace)  admin=false resets=false overage=false"},
		{"two accounts", map[string]any{"ad_guid": []string{adaGUID, adaGUID}}, "ada (Ada Lovelace)  admin=false resets=false overage=false"},
		{"no name", map[string]any{"name": nil, "preferred_username": "ada@corp"}, "ada (ada@corp) " + adaGUID + " admin=false resets=false overage=false"},
		{"a name that turns the text", map[string]any{"name": "Ada\u202e\x00\n Lovelace" + strings.Repeat("a", 100)},
			"ada (Ada Lovelace" + strings.Repeat("a", 64-len("Ada Lovelace")) + ") " + adaGUID + " admin=false resets=false overage=false"},
		{"several audiences, made for us", map[string]any{"aud": []string{clientID, "b"}, "azp": clientID}, strings.TrimPrefix(ada, "signed in: ")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.provider.set(func() {
				b.provider.claims = func(c map[string]any) {
					for name, value := range tt.claims {
						if c[name] = value; value == nil {
							delete(c, name)
						}
					}
				}
			})
			if got := b.get(t, "/change"); got != "signed in: "+tt.want {
				t.Errorf("the page shows %q, want %q", got, tt.want)
			}
		})
	}
}

// Nobody administers where no group is configured, whatever the provider says.
func TestNoGroups(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Groups = Groups{} })
	b.provider.set(func() { b.provider.claims = func(c map[string]any) { c["groups"] = []string{""}; c[""] = "" } })
	if got := b.get(t, "/change"); got != ada {
		t.Errorf("the page shows %q, want %q", got, ada)
	}
}

// A provider that is away stops nothing but signing in, and is found as soon as
// it is back.
func TestProviderAway(t *testing.T) {
	b := newBench(t)
	b.provider.set(func() { b.provider.down = true })
	if got := b.get(t, "/change"); got != "refused: away back=/change" {
		t.Fatalf("while it is away: %q", got)
	}
	if err := b.client.Check(t.Context()); err == nil {
		t.Error("Check says nothing of a provider that is away")
	}
	b.provider.set(func() { b.provider.down = false })
	b.clock = pause
	if got := b.get(t, "/change"); got != ada {
		t.Errorf("when it is back: %q", got)
	}
	if err := b.client.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}

	// Gone again on the way back: the sessions that are there stay.
	link := func() string { b.browser = b.newBrowser(t); return b.callback(t) }()
	b.provider.set(func() { b.provider.down = true })
	if got := b.get(t, link); got != "refused: away back=/change" {
		t.Errorf("gone on the way back: %q", got)
	}
}

// A provider may close a connection that was idle, at any time: no code is lost
// on one.
func TestNoConnectionIsUsedTwice(t *testing.T) {
	b := newBench(t)
	b.browser.Transport.(*http.Transport).DisableKeepAlives = true
	b.provider.set(func() { b.provider.seen = make(map[string]bool) })
	if got := b.get(t, "/change"); got != ada {
		t.Errorf("the page shows %q, want %q", got, ada)
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(map[string]any)
	}{
		{"another issuer", func(d map[string]any) { d["issuer"] = "https://evil.example" }},
		{"a token endpoint without TLS", func(d map[string]any) { d["token_endpoint"] = "http://127.0.0.1/token" }},
		{"a key set without TLS", func(d map[string]any) { d["jwks_uri"] = "http://127.0.0.1/keys" }},
		{"an authorization endpoint that is a script", func(d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" }},
		{"no client secret", func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }},
		{"one that does not end", func(d map[string]any) { d["padding"] = strings.Repeat("a", 3*maxResponse) }},
		{"another form", func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = "client_secret_basic" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.provider.set(func() { b.provider.document = tt.change })
			if got := b.get(t, "/change"); got != "refused: away back=/change" {
				t.Errorf("the page shows %q", got)
			}
		})
	}
}

// A provider that takes the secret in the body only gets it there, and the code
// once.
func TestSecretInTheBody(t *testing.T) {
	b := newBench(t)
	b.provider.set(func() {
		b.provider.document = func(d map[string]any) {
			d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
		}
		b.provider.respond = func(w http.ResponseWriter, r *http.Request) {
			b.provider.respond = nil
			if r.PostFormValue("client_secret") != clientSecret || r.Header.Get("Authorization") != "" {
				http.Error(w, "no", http.StatusBadRequest)
				return
			}
			r.SetBasicAuth(clientID, strings.NewReplacer(" ", "+", "&", "%26").Replace(clientSecret))
			b.provider.redeem(w, r)
		}
	})
	if got := b.get(t, "/change"); got != ada {
		t.Errorf("the page shows %q, want %q", got, ada)
	}
}
