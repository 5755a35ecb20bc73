// Package resetpage is the page on which people set a new password, or unlock
// their account, without knowing the old one. A ticket opens it; who they are was
// verified by whoever made that.
//
// There is one address, /reset, which shows whatever is true of the ticket: a form,
// a request at work, its outcome, or why nothing can be done. So reloading, going
// back and a second tab show the truth as well. It says of an account only what its
// ticket names, and of some refusals only that the help desk can tell.
package resetpage

import (
	"context"
	"embed"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/ticket"
)

//go:embed templates assets
var files embed.FS

// Tickets are those that open the page; see [ticket.Desk].
type Tickets interface {
	Tenant(ctx context.Context, t ticket.Secret) (string, error)
	Look(ctx context.Context, tenant string, t ticket.Secret, s ticket.Session) (ticket.View, error)
	Begin(ctx context.Context, tenant string, t ticket.Secret, s ticket.Session, a ticket.Attempt) (ticket.View, error)
	TakeBack(ctx context.Context, tenant string, t ticket.Secret, ref reset.Ref) error
}

// A Publisher takes requests and says what becomes of them; see package publisher.
type Publisher interface {
	Ref(id reset.ID) reset.Ref
	Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error)
	Watch(ctx context.Context, tenant string, ref reset.Ref, f func(reset.Status) error) error
	Situation(tenant string) (reset.Situation, error)
}

// Config is what the page needs.
type Config struct {
	Frame     *pages.Frame
	Tickets   Tickets
	Publisher Publisher
	Rates     portal.PageRates
}

type resetPage struct {
	Config
	limits *portal.PageLimits
}

const eventsPath = portal.ResetPath + "/events"

// Add adds the page to its frame.
func Add(cfg Config) error {
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
	p := &resetPage{cfg, limits}
	cfg.Frame.Handle(http.MethodGet, portal.ResetPath, p.get)
	cfg.Frame.Handle(http.MethodPost, portal.ResetPath, p.post)
	cfg.Frame.Handle(http.MethodGet, eventsPath, p.events)
	return nil
}

// patience is how long the broker may take to say what it keeps of a ticket.
const patience = 5 * time.Second

// Names of cookies, and how long they live: as long as a ticket is kept.
const (
	ticketCookie  = "reset"
	sessionCookie = "session"
	cookieLife    = time.Hour
)

// A visit is a call by a browser that has a ticket.
type visit struct {
	tenant  string
	ticket  ticket.Secret
	session ticket.Session
}

// nameOf names a ticket, without what opens it, in forms and for limits.
func nameOf(id [16]byte) string { return hex.EncodeToString(id[:]) }

// errNoTicket says that the browser has none.
var errNoTicket = errors.New("there is no ticket")

// visitOf reads the cookies of a call.
func visitOf(c *pages.Call) (v visit, err error) {
	tenant, text, _ := strings.Cut(c.Cookie(ticketCookie), ".")
	session, ok := ticket.ParseSession(c.Cookie(sessionCookie))
	if !ok || reset.ValidName(tenant) != nil {
		return v, errNoTicket
	}
	if v.ticket, err = ticket.Parse(text); err != nil {
		return v, errNoTicket
	}
	v.tenant, v.session = tenant, session
	return v, nil
}

// get is GET /reset. With a ticket in its address it only moves that to a cookie:
// what looks at links, such as a mail scanner, uses nothing up.
func (p *resetPage) get(c *pages.Call) error {
	query := c.Request.URL.Query()
	if query.Has("t") {
		return p.open(c, query.Get("t"))
	}
	v, err := visitOf(c)
	if err != nil {
		return c.Problem(http.StatusBadRequest, "ticket.none")
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	m, err := p.look(ctx, c, v)
	if err != nil {
		return failed(c, err)
	}
	return c.Render(m.Status(), "reset.html", m)
}

// open moves a ticket from the address to a cookie, so that it is neither in the
// history nor seen over a shoulder.
func (p *resetPage) open(c *pages.Call, text string) error {
	t, err := ticket.Parse(text)
	if err != nil {
		return failed(c, ticket.ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	tenant, err := p.Tickets.Tenant(ctx, t)
	if err != nil {
		return failed(c, err)
	}
	c.Note(tenant, "", "")
	c.SetCookie(ticketCookie, tenant+"."+text, cookieLife)
	session := c.Cookie(sessionCookie)
	if _, ok := ticket.ParseSession(session); !ok {
		session = ticket.NewSession()
	}
	c.SetCookie(sessionCookie, session, cookieLife)
	return c.Redirect(portal.ResetPath)
}

// failed answers with the page for an error of package ticket; others are the
// frame's.
func failed(c *pages.Call, err error) error {
	for _, known := range []struct {
		err    error
		status int
		key    string
	}{
		{ticket.ErrUnknown, http.StatusNotFound, "ticket.unknown"},
		{ticket.ErrExpired, http.StatusGone, "ticket.expired"},
		{ticket.ErrForeign, http.StatusForbidden, "ticket.foreign"},
		{ticket.ErrAttempts, http.StatusForbidden, "ticket.attempts"},
		{errNoTicket, http.StatusBadRequest, "ticket.none"},
	} {
		if errors.Is(err, known.err) {
			return c.Problem(known.status, known.key)
		}
	}
	return err
}

// look returns what the page shows now. Its error is one of package ticket if there
// is nothing of this browser's to show.
func (p *resetPage) look(ctx context.Context, c *pages.Call, v visit) (*Model, error) {
	view, err := p.Tickets.Look(ctx, v.tenant, v.ticket, v.session)
	if err != nil {
		return nil, err
	}
	request, code := "", ""
	if view.Request != nil {
		request, code = view.Request.Ref.String(), string(view.Request.Outcome.Code)
	}
	c.Note(v.tenant, request, code)
	if view.Request == nil && view.Err != nil {
		return nil, view.Err
	}
	situation, err := p.Publisher.Situation(v.tenant)
	if err != nil {
		return nil, err
	}
	return newModel(c, view, situation), nil
}

// events is GET /reset/events: the page as it goes on.
func (p *resetPage) events(c *pages.Call) error {
	v, err := visitOf(c)
	if err != nil {
		return c.NoContent()
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	view, err := p.Tickets.Look(ctx, v.tenant, v.ticket, v.session)
	if r := (*reset.Refusal)(nil); errors.As(err, &r) {
		return err
	}
	if err != nil || view.Request == nil {
		return c.NoContent()
	}
	ref := view.Request.Ref
	c.Note(v.tenant, ref.String(), string(view.Request.Outcome.Code))
	return c.Stream(nameOf(view.ID), func(ctx context.Context, s *pages.Stream) error {
		for {
			err := p.Publisher.Watch(ctx, v.tenant, ref, func(st reset.Status) error {
				return p.show(c, s, view, st)
			})
			// A request that is on its way to its record has none yet.
			if !reset.IsRefusal(err, reset.UnknownRequest) || !onItsWay(view) {
				return err
			}
			select {
			case <-time.After(recordPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// recordPause is how often a request is looked for that is on its way to its
// record, and recordPatience for how long.
const (
	recordPause    = 50 * time.Millisecond
	recordPatience = 30 * time.Second
)

func onItsWay(v ticket.View) bool { return time.Since(v.Request.Accepted) < recordPatience }

// show sends what the page shows for st. It asks nobody: the sentence is on the
// screen as soon as the outcome is here.
func (p *resetPage) show(c *pages.Call, s *pages.Stream, view ticket.View, st reset.Status) error {
	c.Note(view.Tenant, st.Ref.String(), string(st.Outcome.Code))
	situation, err := p.Publisher.Situation(view.Tenant)
	if err != nil {
		return err
	}
	html, err := c.Fragment("reset.html", "live", newModel(c, view.After(st), situation))
	if err != nil {
		return err
	}
	return s.Swap(html)
}
