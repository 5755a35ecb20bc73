package lab

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/idp"
	"writeback/internal/testkit/pki"
)

// A desk is a publisher where people sign in through oidc-provider, and a reader
// of its pages.
type desk struct {
	*reader
	url      string
	provider *idp.Provider
}

// newDesk starts one, whose provider is away or not.
func newDesk(t *testing.T, directory string, away bool) *desk {
	t.Helper()
	l := startLab(t, directory)
	authority, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Server("desk", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	const secret = "Client-Secret-1"
	d := &desk{url: "https://" + address}
	d.provider, err = idp.Start(t.Context(), idp.Settings{
		CertFile: cert.CertFile, KeyFile: cert.KeyFile, ClientID: "writeback", ClientSecret: secret,
		RedirectURLs: []string{d.url + "/sign-in"}, Claims: []string{"name", "ad_anchor", "groups"}, Users: map[string]map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.provider.Stop)
	if err := os.WriteFile(l.path("publisher", "client-secret"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if away {
		d.provider.Stop()
	}
	l.startFrontDoor(t, "desk", node{
		"listen": address, "tls": node{"cert_file": cert.CertFile, "key_file": cert.KeyFile},
		"limits": node{"wrong_passwords": 3, "wrong_password_window": "30m"},
		"sign_in": []node{{
			"tenant": Tenant, "issuer": d.provider.Issuer, "ca_file": authority.CAFile,
			"client_id": "writeback", "client_secret_file": "client-secret", "session_key_file": "session.key",
			"redirect_url": d.url + "/sign-in", "account": node{"claim": "ad_anchor", "kind": "immutable_id"},
			"groups": node{"claim": "groups", "admins": []string{"writeback admins"}, "resets": []string{"writeback resets"}},
		}},
	})
	d.reader = &reader{t, l, l.endpoints(t), browser.Start(t, cert.TLS), browser.NewAxe(t), t.ArtifactDir(), make(map[string]bool)}
	return d
}

// asks waits for the provider's form and signs in.
func (d *desk) asks(t *testing.T, tab *browser.Tab, name string, claims map[string]any) {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	tab.Await("input[name=user]")
	tab.Type("input[name=user]", name)
	tab.Type("input[name=claims]", string(text))
	tab.Click("button[value=in]")
}

// signedIn returns a window of its own in which the page is open for a user.
func (d *desk) signedIn(t *testing.T, u testkit.User) *browser.Tab {
	t.Helper()
	tab := d.open(d.url + "/change")
	d.asks(t, tab, u.SAMAccountName, map[string]any{"name": "Ada Lovelace", "ad_anchor": u.ImmutableID})
	tab.AwaitText("Change your password")
	return tab
}

// fillChange fills in the form and sends it.
func fillChange(tab *browser.Tab, old, password, again string) {
	tab.Type("#current", old)
	tab.Type("#password", password)
	tab.Type("#again", again)
	tab.Click("#form button[type=submit]")
}

// TestChangePageOutcomes provokes every outcome that a change can have at the
// directory, by way of the page and of a real sign-in, and looks at each.
func TestChangePageOutcomes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"fake", "samba"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, kind, false)
			var s stage = &fakeStage{d.l.fake}
			if kind == "samba" {
				s = newSambaStage(t, d.l)
			}
			for _, tt := range situations() {
				if tt.path != "changes" || kind == "samba" && tt.cannot != "" {
					continue
				}
				t.Run(string(tt.code)+" "+tt.how, func(t *testing.T) { d.outcome(t, s, tt) })
			}
		})
	}
}

func (d *desk) outcome(t *testing.T, s stage, tt situation) {
	u := tt.who(t, s)
	tab := d.signedIn(t, u)
	var body struct {
		Password string
		Current  string `json:"current_password"`
	}
	if err := json.Unmarshal([]byte("{"+tt.fields+"}"), &body); err != nil {
		t.Fatal(err)
	}
	fillChange(tab, body.Current, body.Password, body.Password)
	tab.AwaitText(says(reset.Change, tt.code))
	d.look(t, tab, "change-"+string(tt.code))
	retry := browser.Eval[bool](tab, `document.querySelector("#current") !== null`)
	if want := strings.HasPrefix(string(tt.code), "password_") || tt.code == reset.WrongPassword; retry != want {
		t.Errorf("a form for another attempt is there: %t\n%s", retry, tab.Text("main"))
	}
	if holds := tt.after; holds != "-" {
		if holds == "" {
			holds = current
		}
		if !s.opens(u, holds) {
			t.Error("another password holds afterwards")
		}
	}
	html := browser.Eval[string](tab, "document.documentElement.outerHTML")
	for _, secret := range []string{"c4nary", fresh, current} {
		if strings.Contains(html, secret) {
			t.Errorf("%q is in the page", secret)
		}
	}
	tab.Reload()
	tab.AwaitText(says(reset.Change, tt.code))
}

// TestChangePage walks the ways that lead to the page and away from it.
func TestChangePage(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "fake", false)
	s := &fakeStage{d.l.fake}
	newUser := func(t *testing.T) testkit.User {
		u, err := s.add(person{})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	t.Run("a mistake, then success, then away", func(t *testing.T) {
		u := newUser(t)
		tab := d.signedIn(t, u)
		d.look(t, tab, "change-form")
		tab.AwaitText("Ada Lovelace")
		fillChange(tab, current, fresh, fresh+"x")
		tab.AwaitText("The two passwords are not the same.")
		d.look(t, tab, "change-differ")
		fillChange(tab, current, fresh, fresh)
		tab.AwaitText("You can sign in with it now.")
		if !s.opens(u, fresh) {
			t.Error("the new password does not hold")
		}
		tab.Click("#anew")
		tab.Await("#current")
		tab.Click(".signed-in button")
		tab.AwaitText("You are signed out here")
		d.look(t, tab, "sign-out")
		tab.Open(d.url + "/change") // is still signed in at the provider
		tab.Await("#current")
	})
	t.Run("wrong too often", func(t *testing.T) {
		u := newUser(t)
		tab := d.signedIn(t, u)
		tab.AwaitText("After 3 wrong ones you must wait a while.")
		for _, left := range []string{"After 2 wrong ones you must wait a while.", "After one more wrong one you must wait a while.", "The current password was wrong too often"} {
			fillChange(tab, "Wrong-Anchor-1", fresh, fresh)
			tab.AwaitText(left)
		}
		d.look(t, tab, "change-too-many")
		tab.Open(d.url + "/change/new")
		tab.AwaitText("You can try again from")
		if !s.opens(u, current) {
			t.Error("the account is locked, or its password was changed")
		}
	})
	t.Run("a session that has ended", func(t *testing.T) {
		u := newUser(t)
		tab := d.signedIn(t, u)
		tab.ClearCookies()
		fillChange(tab, current, fresh, fresh)
		tab.AwaitText("Your sign-in has ended")
		if strings.Contains(tab.Text("header"), "Ada") {
			t.Error("the page still says who is signed in")
		}
		d.look(t, tab, "sign-in-signed_out")
		if !s.opens(u, current) {
			t.Error("the password was changed without a session")
		}
	})
	t.Run("without an account", func(t *testing.T) {
		tab := d.open(d.url + "/change")
		d.asks(t, tab, "guest", map[string]any{"name": "Guest"})
		tab.AwaitText("Your account is not known here")
		d.look(t, tab, "change-nobody")
		tab.Click(".signed-in button")
		tab.AwaitText("You are signed out here")
	})
	t.Run("turned back", func(t *testing.T) {
		tab := d.open(d.url + "/change")
		tab.Await("input[name=user]")
		tab.Click("button[value=cancel]")
		tab.AwaitText("You were not signed in")
		d.look(t, tab, "sign-in-denied")
		tab.Click("a.button")
		tab.Await("input[name=user]")
	})
	t.Run("a link of somebody else", func(t *testing.T) {
		tab := d.open(d.url + "/sign-in?state=x&code=y")
		tab.AwaitText("This sign-in is not valid any more")
		d.look(t, tab, "sign-in-stale")
	})
	t.Run("without scripts", func(t *testing.T) {
		u := newUser(t)
		plain := browser.Desk()
		plain.NoScripts = true
		tab := d.b.Tab(t, plain)
		tab.Open(d.url + "/change")
		d.asks(t, tab, u.SAMAccountName, map[string]any{"ad_anchor": u.ImmutableID})
		tab.Await("#current")
		fillChange(tab, current, fresh, fresh)
		tab.Await("#result .good")
		if !s.opens(u, fresh) {
			t.Error("the new password does not hold")
		}
	})
	t.Run("in German", func(t *testing.T) {
		german := browser.Phone()
		german.Language = "de"
		tab := d.b.Tab(t, german)
		tab.Open(d.url + "/change")
		d.asks(t, tab, "heike", map[string]any{"name": "Heike", "ad_anchor": newUser(t).ImmutableID})
		tab.AwaitText("Ihr Passwort ändern")
		tab.Picture(d.dir, "change-form-german")
	})
}

// The provider is away from the start on: that is said, and everything else goes on.
func TestSignInWithoutProvider(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "fake", true)
	tab := d.open(d.url + "/change")
	tab.AwaitText("The sign-in service of your organisation cannot be reached at the moment.")
	d.look(t, tab, "sign-in-away")
	d.open(d.ticket(d.l.Directory.Users[0])).Await("#password")
}
