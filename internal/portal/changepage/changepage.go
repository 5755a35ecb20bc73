// Package changepage is the page on which people who are signed in, and know their
// password, choose another one. It is the page of package resetpage with the
// current password in place of a ticket.
//
// The account is that of the session and of nothing else: no form names one. A
// current password that is wrong counts against the budget that the API has too, so
// that the page is no way to guess one or to lock an account.
package changepage

import (
	"context"
	"net/http"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/signin"
)

// The paths of the page.
const (
	path       = "/change"
	eventsPath = path + "/events"
	anewPath   = path + "/new"
)

// source is who asks, for audit and log.
const source = "change page"

// A Publisher takes requests and says what becomes of them; see package publisher.
type Publisher interface {
	Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error)
	Status(ctx context.Context, tenant string, ref reset.Ref) (reset.Status, error)
	Watch(ctx context.Context, tenant string, ref reset.Ref, f func(reset.Status) error) error
	Situation(tenant string) (reset.Situation, error)
}

// Config is what the page needs.
type Config struct {
	Frame     *pages.Frame
	Door      *signinpage.Door
	Publisher Publisher
	Rates     portal.PageRates
	Guesses   *portal.Guesses // shared with the API
}

type changePage struct {
	Config
	limits *portal.PageLimits
}

// Add adds the page to its frame, which has that of package resetpage.
func Add(cfg Config) error {
	limits, err := portal.NewPageLimits(cfg.Rates)
	if err != nil {
		return err
	}
	p := &changePage{cfg, limits}
	cfg.Frame.Handle(http.MethodGet, path, p.get)
	cfg.Frame.Handle(http.MethodPost, path, p.post)
	cfg.Frame.Handle(http.MethodGet, anewPath, p.anew)
	cfg.Frame.Handle(http.MethodGet, eventsPath, p.events)
	return nil
}

// A visit is a call by somebody who is signed in.
type visit struct {
	signin.Session
	client *signin.Client
	note   note
}

// require returns the visit of a call. Unless ok, the answer is written.
func (p *changePage) require(c *pages.Call, within time.Duration) (v visit, ok bool, err error) {
	if v.Session, v.client, ok, err = p.Door.Require(c, within); !ok {
		return v, false, err
	}
	v.note = parseNote(v.Note)
	if v.Account == (reset.Account{}) {
		return v, false, signinpage.Forbid(c, v.Session, "change.nobody")
	}
	return v, true, nil
}

// ask is the submission of a visit.
func (v visit) ask() reset.Submission {
	return reset.Submission{
		Tenant: v.Tenant, Source: source, Operation: reset.Change, Account: v.Account,
		Actor: reset.Actor{Kind: reset.Self, Subject: v.Subject},
	}
}

// reader names who reads, for limits.
func (v visit) reader() string { return "change " + v.Tenant + " " + v.Subject }

// get is GET /change: the form, or what became of it. An outcome is shown for as
// long as the session lasts; a form needs a sign-in that is fresh.
func (p *changePage) get(c *pages.Call) error {
	within := signin.Fresh
	if v, _, ok := p.Door.Session(c); ok && parseNote(v.Note).asked {
		within = 0
	}
	v, ok, err := p.require(c, within)
	if !ok {
		return err
	}
	m, err := p.look(c, v)
	if err != nil {
		return err
	}
	return c.Render(m.Status(), "reset.html", m)
}

// anew is GET /change/new: the form, whatever was asked for before.
func (p *changePage) anew(c *pages.Call) error {
	v, ok, err := p.require(c, signin.Fresh)
	if !ok {
		return err
	}
	v.client.Remember(c, v.Session, "")
	return c.Redirect(path)
}

// events is GET /change/events: the page as it goes on.
func (p *changePage) events(c *pages.Call) error {
	s, client, ok := p.Door.Session(c)
	v := visit{s, client, parseNote(s.Note)}
	if !ok || !v.note.asked {
		return c.NoContent()
	}
	c.Note(v.Tenant, v.note.ref.String(), "")
	return c.Stream(v.reader(), func(ctx context.Context, s *pages.Stream) error {
		return p.Publisher.Watch(ctx, v.Tenant, v.note.ref, func(st reset.Status) error {
			m, err := p.model(c, v, &st)
			if err != nil {
				return err
			}
			html, err := c.Fragment("reset.html", "live", m)
			if err != nil {
				return err
			}
			return s.Swap(html)
		})
	})
}
