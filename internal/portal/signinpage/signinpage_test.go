package signinpage

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal/pages"
	"writeback/internal/seal"
	"writeback/internal/signin"
)

// Each reason has a status, a sentence and a way on, and leads to no other host.
func TestReasons(t *testing.T) {
	f, err := pages.New(pages.Config{Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	set, err := signin.NewSet(nil, zerolog.Nop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Add(f, set); err != nil {
		t.Fatal(err)
	}
	var reason signin.Reason
	back := ""
	f.Handle("GET", "/page", func(c *pages.Call) error { return refuse(c, &signin.Error{Reason: reason, Back: back}) })
	seen := make(map[string]signin.Reason)
	for _, reason = range signin.Reasons() {
		for _, language := range []string{"en", "de"} {
			for from, want := range map[string]string{"": start, signin.CallbackPath: start, "/admin?since=1h": "/admin?since=1h"} {
				back = from
				r := httptest.NewRequest("GET", "/page", nil)
				r.Header.Set("Accept-Language", language)
				w := httptest.NewRecorder()
				f.Over(nil).ServeHTTP(w, r)
				if w.Code != statusOf(reason) || w.Code < 400 || w.Code == 500 {
					t.Errorf("%s: status %d", reason, w.Code)
				}
				if !strings.Contains(w.Body.String(), `href="`+want+`"`) {
					t.Errorf("%s from %q: no link to %q:\n%s", reason, from, want, w.Body)
				}
				_, main, _ := strings.Cut(w.Body.String(), "<main")
				main, _, _ = strings.Cut(main, "href=")
				if other, ok := seen[main]; ok && other != reason {
					t.Errorf("%s and %s say the same", reason, other)
				}
				seen[main] = reason
			}
		}
	}
}

// Where no tenant's host is, nobody can sign in, and nothing is given away.
func TestForeignHost(t *testing.T) {
	f, err := pages.New(pages.Config{Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	set, err := signin.NewSet(nil, zerolog.Nop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Add(f, set); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.Over(nil).ServeHTTP(w, httptest.NewRequest("GET", "https://evil.example/sign-in?state=x", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "Nobody can sign in here") || len(w.Result().Cookies()) > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What a page asks for by itself keeps nobody signed in; to open a page does.
func TestSessionOfAStream(t *testing.T) {
	dir := t.TempDir()
	key, secret := filepath.Join(dir, "session.key"), filepath.Join(dir, "client-secret")
	if _, err := seal.MakeKey(key, seal.PurposeSession); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := signin.NewSet([]signin.Config{{
		Tenant: "corp", Issuer: "https://login.example", ClientID: "writeback", ClientSecretFile: secret, SessionKeyFile: key,
		RedirectURL: "https://reset.example" + signin.CallbackPath, Account: signin.Account{Claim: "ad_sid", Kind: "sid"},
	}}, zerolog.Nop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f, err := pages.New(pages.Config{Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	door, err := Add(f, set)
	if err != nil {
		t.Fatal(err)
	}
	f.Handle("GET", "/stream", func(c *pages.Call) error {
		if s, _, ok := door.Session(c); !ok || s.Subject != "ada" {
			t.Errorf("the stream is %q's (%t)", s.Subject, ok)
		}
		return c.NoContent()
	})
	f.Handle("GET", "/page", func(c *pages.Call) error {
		if _, _, ok, err := door.Require(c, 0); !ok || err != nil {
			t.Errorf("the page is nobody's: %v", err)
		}
		return c.NoContent()
	})
	opened, err := seal.LoadSessionKey(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := opened.AEAD("__Host-writeback-session", "corp", "https://login.example", "writeback")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-10 * time.Minute).Unix()
	session := aead.Seal(nil, nil, fmt.Appendf(nil, `{"sub":"ada","iat":%d,"seen":%d}`, began, began), nil)
	for path, cookies := range map[string]int{"/stream": 0, "/page": 1} {
		r := httptest.NewRequest("GET", "https://reset.example"+path, nil)
		r.AddCookie(&http.Cookie{Name: "__Host-writeback-session", Value: base64.RawURLEncoding.EncodeToString(session)})
		w := httptest.NewRecorder()
		f.Over(nil).ServeHTTP(w, r)
		if n := len(w.Result().Cookies()); n != cookies {
			t.Errorf("%s: %d cookies, want %d", path, n, cookies)
		}
	}
}
