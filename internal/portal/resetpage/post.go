package resetpage

import (
	"context"
	"errors"
	"net/http"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/ticket"
)

const (
	// SubmitTimeout is what a request may need to be made durable.
	SubmitTimeout = 30 * time.Second
	// PlainWait is how long a browser without scripts waits for the outcome,
	// which mostly is there by then.
	PlainWait = 2 * time.Second
	// liveWait is how long one with scripts does, which shows the steps: an
	// outcome that comes at once needs no stream.
	liveWait = 50 * time.Millisecond
)

// post is POST /reset.
func (p *resetPage) post(c *pages.Call) error {
	v, err := visitOf(c)
	if err != nil {
		return failed(c, err)
	}
	f, err := readForm(c)
	if err != nil {
		return err
	}
	defer f.wipe()
	if f.ticket != nameOf(v.ticket.ID()) {
		// Another tab has opened another ticket: not this account's.
		return c.Problem(http.StatusConflict, "ticket.other")
	}
	looking, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	m, err := p.look(looking, c, v)
	if err != nil {
		return failed(c, err)
	}
	if !m.Form {
		return c.Redirect(portal.ResetPath) // which says why not
	}
	if m.Errors = f.check(); len(m.Errors) > 0 {
		return c.Render(http.StatusUnprocessableEntity, "reset.html", m)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), SubmitTimeout)
	defer cancel()
	return p.submit(ctx, c, v, &f, m.view)
}

// submit makes the request. From here on the work is done whether the browser stays
// or leaves.
func (p *resetPage) submit(ctx context.Context, c *pages.Call, v visit, f *form, view ticket.View) error {
	id := reset.NewID()
	ref := p.Publisher.Ref(id)
	s := reset.Submission{
		Tenant: v.tenant, Source: view.Source, Address: portal.AddressText(c.Address), Operation: f.operation,
		Account: view.Account, Actor: view.Actor, ID: id,
	}
	if wait := p.limits.Attempt(c.Address, s, nameOf(v.ticket.ID())); wait > 0 {
		return &reset.Refusal{Code: reset.TooMany, RetryAfter: wait}
	}
	beginning, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	attempt := ticket.Attempt{Operation: f.operation, Request: ref, Address: s.Address}
	if _, err := p.Tickets.Begin(beginning, v.tenant, v.ticket, v.session, attempt); err != nil {
		if r := (*reset.Refusal)(nil); errors.As(err, &r) {
			return err
		}
		return c.Redirect(portal.ResetPath) // somebody was faster: a double click, another tab
	}
	c.Note(v.tenant, ref.String(), "")
	wait := PlainWait
	if f.live {
		wait = liveWait
	}
	password := f.take()
	st, err := p.Publisher.Submit(ctx, s, password, secret.Value{}, wait)
	if err != nil {
		// Nothing was recorded, and nothing will be done.
		back := p.takeBack(ctx, v, ref)
		if back != nil {
			return errors.Join(err, back)
		}
		c.Note(v.tenant, "", "")
		return err
	}
	if !f.live {
		return c.Redirect(portal.ResetPath)
	}
	// A script has the page where it wants it: nothing is sent twice by a reload.
	view.Attempts--
	c.Note(v.tenant, ref.String(), string(st.Outcome.Code))
	situation, err := p.Publisher.Situation(v.tenant)
	if err != nil {
		return err
	}
	return c.Render(http.StatusOK, "reset.html", newModel(c, view.After(st), situation))
}

// takeBack gives an attempt back.
func (p *resetPage) takeBack(ctx context.Context, v visit, ref reset.Ref) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.Tickets.TakeBack(ctx, v.tenant, v.ticket, ref)
}
