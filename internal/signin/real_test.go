package signin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"writeback/internal/testkit/idp"
	"writeback/internal/testkit/pki"
)

// The same against oidc-provider, whose every word is its own.
func TestRealProvider(t *testing.T) {
	b := newPages(t)
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server("login", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := idp.Start(t.Context(), idp.Settings{
		CertFile: cert.CertFile, KeyFile: cert.KeyFile, ClientID: clientID, ClientSecret: clientSecret,
		RedirectURLs: []string{b.pages.URL + CallbackPath}, Claims: []string{"name", "ad_guid", "groups"},
		Users: map[string]map[string]any{
			"ada": {"name": "Ada Lovelace", "ad_guid": adaGUID},
			"bob": {"name": "Bob", "groups": []string{"staff", "wb-admins"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Stop)
	b.use(t, provider.Issuer, ca.CAFile)

	// as fills in the provider's form.
	as := func(page, user, do string) string {
		t.Helper()
		resp, err := b.browser.Get(b.pages.URL + page)
		if err != nil {
			t.Fatal(err)
		}
		at := resp.Request.URL
		if text := body(t, resp); !strings.HasPrefix(at.Path, "/interaction/") {
			t.Fatalf("%s led to %s and not to the provider's form: %s\n%s", page, at, text, b.log)
		}
		if resp, err = b.browser.PostForm(at.String(), url.Values{"user": {user}, "do": {do}}); err != nil {
			t.Fatal(err)
		}
		return body(t, resp)
	}
	if got := as("/change", "ada", "cancel"); got != "refused: denied back=/change" {
		t.Errorf("after turning back: %q\n%s", got, b.log)
	}
	if got := as("/change", "ada", "in"); got != ada {
		t.Fatalf("the page shows %q, want %q\n%s", got, ada, b.log)
	}
	if got := b.get(t, "/admin"); got != ada {
		t.Errorf("another page shows %q, want %q", got, ada)
	}

	// Who signs out here, and is still signed in there, is not asked again.
	resp, err := b.browser.Post(b.pages.URL+"/sign-out", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := b.get(t, "/change"); got != ada {
		t.Errorf("after signing out: %q, want %q", got, ada)
	}

	// A link that was used is refused by the provider itself.
	b.browser.Jar = b.newBrowser(t).Jar
	var link *url.URL
	var journey *http.Cookie
	b.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == CallbackPath && link == nil {
			link, journey = r.URL, b.cookie(journeyCookie)
		}
		return nil
	}
	const bob = "signed in: bob (Bob)  admin=true resets=false overage=false"
	if got := as("/admin", "bob", "in"); got != bob {
		t.Fatalf("the page shows %q, want %q\n%s", got, bob, b.log)
	}
	b.browser.Jar.SetCookies(link, []*http.Cookie{newCookie(journeyCookie, journey.Value, 60)})
	if got := b.get(t, link.String()); got != "refused: stale back=/admin" {
		t.Errorf("the link again: %q\n%s", got, b.log)
	}
}
