// Package signinpage is what people see of signing in: sentences for what can go
// wrong, and a way on from each. Where nothing does they see their organisation's
// provider alone; see package signin.
package signinpage

import (
	"embed"
	"errors"
	"net/http"
	"time"

	"writeback/internal/portal/pages"
	"writeback/internal/signin"
)

//go:embed templates
var files embed.FS

// SignOutPath ends a session with POST.
const SignOutPath = "/sign-out"

// ToFill is how long people may take to fill in a form that they had to be fresh to
// see.
const ToFill = 10 * time.Minute

// start is where a way begins that is not known.
const start = "/change"

// A Door lets people in.
type Door struct{ set *signin.Set }

// Add adds the pages to a frame.
func Add(f *pages.Frame, set *signin.Set) (*Door, error) {
	if err := f.Templates(files, "templates"); err != nil {
		return nil, err
	}
	d := &Door{set}
	f.Handle(http.MethodGet, signin.CallbackPath, d.finish)
	f.Handle(http.MethodPost, SignOutPath, d.signOut)
	f.Handle(http.MethodGet, SignOutPath, func(c *pages.Call) error { return show(c, http.StatusOK, "sign-in.bye", start) })
	return d, nil
}

// Serves reports whether people sign in at the host that a call is for.
func (d *Door) Serves(c *pages.Call) bool {
	_, ok := d.set.For(c.Request)
	return ok
}

// Require returns the session of a call whose user showed who they are within the
// time given; 0 is any time. Unless ok, the answer is written.
func (d *Door) Require(c *pages.Call, within time.Duration) (s signin.Session, client *signin.Client, ok bool, err error) {
	if client, ok, err = d.client(c); !ok {
		return s, client, false, err
	}
	s, ok, err = client.Require(c, c.Request, within)
	if err != nil {
		return s, client, false, refuse(c, err)
	}
	return s, client, ok, nil
}

// Session returns who is signed in. It asks nobody to be, and keeps nobody signed in.
func (d *Door) Session(c *pages.Call) (s signin.Session, client *signin.Client, ok bool) {
	if client, ok = d.set.For(c.Request); ok {
		s, ok = client.Peek(c.Request)
	}
	return s, client, ok
}

// client returns the client of the host that a call is for. Unless ok, the answer
// is written.
func (d *Door) client(c *pages.Call) (client *signin.Client, ok bool, err error) {
	if client, ok = d.set.For(c.Request); !ok {
		return nil, false, c.Problem(http.StatusNotFound, "sign-in.nowhere")
	}
	c.Note(client.Tenant(), "", "")
	return client, true, nil
}

// finish is where the provider sends browsers back to.
func (d *Door) finish(c *pages.Call) error {
	client, ok, err := d.client(c)
	if !ok {
		return err
	}
	if err := client.Finish(c, c.Request); err != nil {
		return refuse(c, err)
	}
	return nil
}

func (d *Door) signOut(c *pages.Call) error {
	client, ok, err := d.client(c)
	if !ok {
		return err
	}
	client.SignOut(c)
	return c.Redirect(SignOutPath)
}

// refuse shows why somebody is not signed in.
func refuse(c *pages.Call, err error) error {
	e, ok := errors.AsType[*signin.Error](err)
	if !ok {
		return err
	}
	back := e.Back
	if back == "" || back == signin.CallbackPath {
		back = start
	}
	return show(c, statusOf(e.Reason), "sign-in."+string(e.Reason), back)
}

// statusOf is the HTTP status of a reason; 0 for what is none.
func statusOf(r signin.Reason) int {
	switch r {
	case signin.Away:
		return http.StatusServiceUnavailable
	case signin.Denied, signin.Untrusted, signin.NotFresh:
		return http.StatusForbidden
	case signin.Stale:
		return http.StatusBadRequest
	case signin.SignedOut:
		return http.StatusUnauthorized
	}
	return 0
}

// A model is what the page shows: the texts that begin with Key, and a link back if
// there is one.
type model struct {
	Key, Back string
	SignOut   string // where to; empty if nobody is signed in
	User      string
}

func show(c *pages.Call, status int, key, back string) error {
	return c.Render(status, "sign-in.html", model{Key: key, Back: back})
}

// Forbid says to somebody who is signed in, in the texts that begin with key, that
// this is not for them. They can sign out and come back as somebody else.
func Forbid(c *pages.Call, s signin.Session, key string) error {
	return c.Render(http.StatusForbidden, "sign-in.html", model{Key: key, SignOut: SignOutPath, User: s.Name})
}
