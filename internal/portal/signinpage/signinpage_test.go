package signinpage

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/portal/pages"
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
				if w.Code != Status(reason) || w.Code < 400 || w.Code == 500 {
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
