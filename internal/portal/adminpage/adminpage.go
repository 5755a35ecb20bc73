// Package adminpage is the page of a tenant's administrators: how the connection to
// their network does, what became of requests, the two switches, and resets on
// behalf of users.
//
// Who opens it is a member of a group at the organisation's provider (see package
// signin), or has a token for the switches, which is typed once and kept nowhere but
// as its name in a sealed cookie. Accounts are not named on it. To see the name
// in one request is a request of its own, and on record before it is answered.
package adminpage

import (
	"context"
	"crypto/cipher"
	"embed"
	"errors"
	"net/http"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

//go:embed templates assets
var files embed.FS

// The paths of the page.
const (
	Path         = "/admin"
	eventsPath   = Path + "/events"
	requestsPath = Path + "/requests/"
	switchesPath = Path + "/switches"
	resetPath    = Path + "/reset"
	progressPath = resetPath + "/events"
	signInPath   = Path + "/sign-in"
	signOutPath  = Path + "/sign-out"
)

// source is who asks, for audit and log, where it is not a token.
const source = "administration page"

// A Publisher knows how tenants do, and takes requests; see package publisher.
type Publisher interface {
	Overview(ctx context.Context, tenant string) (reset.Overview, error)
	Course(ctx context.Context, tenant string, ref reset.Ref) (reset.Course, error)
	Reveal(ctx context.Context, v reset.Viewer, ref reset.Ref) (reset.Names, error)
	SetSwitches(ctx context.Context, c reset.SwitchChange) (reset.Switches, error)
	Situation(tenant string) (reset.Situation, error)
	Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error)
	Status(ctx context.Context, tenant string, ref reset.Ref) (reset.Status, error)
	Watch(ctx context.Context, tenant string, ref reset.Ref, f func(reset.Status) error) error
	Ref(id reset.ID) reset.Ref
}

// Config is what the page needs.
type Config struct {
	Frame     *pages.Frame
	Door      *signinpage.Door // nil where nobody signs in at a provider
	Tokens    *portal.Tokens
	Sessions  cipher.AEAD // seals the cookie of who has shown a token; nil: nobody can
	Publisher Publisher
	Rates     portal.PageRates
	Version   string // of this publisher
}

type adminPage struct {
	Config
	limits *portal.PageLimits
}

// Add adds the page to a frame that has the page for resets.
func Add(cfg Config) error {
	if cfg.Door == nil && cfg.Sessions == nil {
		return errors.New("adminpage: nobody could open it")
	}
	limits, err := portal.NewPageLimits(cfg.Rates)
	if err != nil {
		return err
	}
	if err := cfg.Frame.Templates(files, "templates"); err != nil {
		return err
	}
	if err := cfg.Frame.Assets(files, "assets"); err != nil {
		return err
	}
	p := &adminPage{cfg, limits}
	for _, r := range []struct {
		method, path string
		handle       pages.Handler
	}{
		{http.MethodGet, Path, p.get},
		{http.MethodGet, eventsPath, p.events},
		{http.MethodGet, requestsPath + "{id}", p.getRequest},
		{http.MethodPost, requestsPath + "{id}", p.postRequest},
		{http.MethodGet, switchesPath, p.getSwitch},
		{http.MethodPost, switchesPath, p.postSwitch},
		{http.MethodGet, resetPath, p.getReset},
		{http.MethodPost, resetPath, p.postReset},
		{http.MethodGet, progressPath, p.progress},
		{http.MethodGet, signInPath, p.getSignIn},
		{http.MethodPost, signInPath, p.postSignIn},
		{http.MethodPost, signOutPath, p.postSignOut},
	} {
		cfg.Frame.Handle(r.method, r.path, r.handle)
	}
	return nil
}

// patience is how long the broker may take to say what it keeps.
const patience = 5 * time.Second

// maxForm is the longest form, in bytes.
const maxForm = 8 << 10

// form reads the fields of a form, none of which is a secret.
func form(c *pages.Call) error {
	if err := c.Body(maxForm).ParseForm(); err != nil {
		return reset.BadField("body", "is not a form of this page")
	}
	return nil
}
