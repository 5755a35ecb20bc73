package adminpage

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/signin"
)

const (
	// cookie has the session of who has shown a token.
	cookie = "admin"
	// renewal is how old a session gets before a page renews it.
	renewal = time.Minute
)

// A visitor is an administrator.
type visitor struct {
	reset.Viewer
	User    string // shown
	Resets  bool   // on behalf of users
	SignOut string // where to
	reader  string // for limits
	asks    func(reset.Account) bool
	spend   func() error // counts a form
}

// A session is what is sealed in the cookie of who has shown a token. Times are
// Unix seconds.
type session struct {
	Token string `json:"tok"` // its name, which opens nothing
	Began int64  `json:"iat"`
	Seen  int64  `json:"seen"`
}

// A refused is a page for somebody who may not see another.
type refused struct {
	Key string // of texts
	Out string // where to sign out; empty: it leads back to the page
}

// require returns who makes a call, if they have shown who they are within the time
// given; 0 is any time. Unless ok, the answer is written.
func (p *adminPage) require(c *pages.Call, within time.Duration) (v visitor, ok bool, err error) {
	if v, began, ok := p.operator(c, true); ok && (within == 0 || time.Since(began) <= within) {
		if c.Request.Method == http.MethodPost {
			err = v.spend()
		}
		return v, err == nil, err
	} else if ok || p.Door == nil || !p.Door.Serves(c) {
		return v, false, p.askToken(c, ok)
	}
	s, _, ok, err := p.Door.Require(c, within)
	switch {
	case !ok:
		return v, false, err
	case s.Overage:
		return v, false, c.Render(http.StatusForbidden, "admin-refused.html", refused{"admin.overage", signinpage.SignOutPath})
	case !s.Admin:
		return v, false, c.Render(http.StatusForbidden, "admin-refused.html", refused{"admin.forbidden", signinpage.SignOutPath})
	}
	return p.person(c, s), true, nil
}

// known is require for a stream, which asks nobody and keeps no session alive.
func (p *adminPage) known(c *pages.Call) (v visitor, ok bool) {
	if v, _, ok = p.operator(c, false); ok || p.Door == nil {
		return v, ok
	}
	s, _, ok := p.Door.Session(c)
	return p.person(c, s), ok && s.Admin
}

// person is somebody who has signed in at the provider.
func (p *adminPage) person(c *pages.Call, s signin.Session) visitor {
	c.Note(s.Tenant, "", "")
	return visitor{
		Viewer: reset.Viewer{
			Tenant: s.Tenant, Source: source, Address: portal.AddressText(c.Address), Actor: reset.Actor{Kind: reset.Admin, Subject: s.Subject},
		},
		User: s.Name, Resets: s.Resets, SignOut: signinpage.SignOutPath, reader: "admin " + s.Tenant + " " + s.Subject,
		asks:  func(reset.Account) bool { return true },
		spend: func() error { return nil },
	}
}

// operator returns who has shown a token, and when.
func (p *adminPage) operator(c *pages.Call, renew bool) (v visitor, began time.Time, ok bool) {
	if p.Sessions == nil {
		return v, began, false
	}
	var s session
	if !signin.Open(p.Sessions, c.Cookie(cookie), &s) {
		return v, began, false
	}
	began = time.Unix(s.Began, 0)
	idle := time.Since(time.Unix(s.Seen, 0))
	if idle > signin.Idle || time.Since(began) > signin.Longest {
		return v, began, false
	}
	e, ok := p.Tokens.Operating(s.Token, c.Address)
	if !ok {
		return v, began, false
	}
	if renew && idle > renewal {
		p.keep(c, s)
	}
	c.Note(e.Tenant, "", "")
	return visitor{
		Viewer: reset.Viewer{
			Tenant: e.Tenant, Source: e.Source, Address: portal.AddressText(c.Address), Actor: reset.Actor{Kind: reset.Admin, Subject: "token " + e.ID},
		},
		User: e.Source, Resets: e.Asks(reset.Reset), SignOut: signOutPath, reader: "admin token " + e.ID,
		asks:  func(a reset.Account) bool { return e.Named(a.Kind) },
		spend: func() error { return p.Tokens.Spend(e) },
	}, began, true
}

// keep gives the browser the cookie of a session.
func (p *adminPage) keep(c *pages.Call, s session) {
	s.Seen = time.Now().Unix()
	c.SetCookie(cookie, signin.Seal(p.Sessions, s), signin.Idle)
}

// An ask is the form for a token.
type ask struct {
	Next  string // where it leads
	Again bool   // there is a session, which is not fresh
	Wrong bool
}

// askToken answers a call by nobody who is known.
func (p *adminPage) askToken(c *pages.Call, again bool) error {
	if p.Sessions == nil {
		return c.Problem(http.StatusNotFound, "sign-in.nowhere")
	}
	if c.Request.Method == http.MethodPost {
		return c.Problem(http.StatusUnauthorized, "admin.signed_out")
	}
	return c.Render(http.StatusUnauthorized, "admin-sign-in.html", ask{Next: c.Request.URL.RequestURI(), Again: again})
}

func (p *adminPage) getSignIn(c *pages.Call) error {
	if p.Sessions == nil {
		return c.Redirect(Path)
	}
	return c.Render(http.StatusOK, "admin-sign-in.html", ask{Next: Path})
}

// postSignIn takes a token.
func (p *adminPage) postSignIn(c *pages.Call) error {
	if p.Sessions == nil {
		return c.Redirect(Path)
	}
	if err := form(c); err != nil {
		return err
	}
	next := ours(c.Request.PostForm.Get("next"))
	token := secret.New([]byte(strings.TrimSpace(c.Request.PostForm.Get("token"))))
	defer token.Wipe()
	e, err := p.Tokens.Operator(token, c.Address)
	if reset.IsRefusal(err, reset.Unauthenticated) {
		return c.Render(http.StatusUnauthorized, "admin-sign-in.html", ask{Next: next, Wrong: true})
	}
	if err != nil {
		return err
	}
	c.Note(e.Tenant, "", "")
	p.keep(c, session{Token: e.ID, Began: time.Now().Unix()})
	return c.Redirect(next)
}

// ours returns an address of this page: the one that a form says, if it is.
func ours(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path != Path && !strings.HasPrefix(u.Path, Path+"/") {
		return Path
	}
	return u.RequestURI()
}

func (p *adminPage) postSignOut(c *pages.Call) error {
	c.SetCookie(cookie, "", -time.Second)
	return c.Redirect(signInPath)
}
