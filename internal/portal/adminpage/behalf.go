package adminpage

import (
	"context"
	"net/http"
	"strings"
	"time"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/signin"
)

// plainWait is how long a browser waits for the outcome, which mostly is there by
// then: the temporary password is shown with it.
const plainWait = 3 * time.Second

// A behalf is what the page for resets on behalf of users shows.
type behalf struct {
	visitor
	Form     string // id of the request that the form makes
	Kinds    []reset.NameKind
	Kind     string
	Typed    string // the account's name
	Error    string // key of texts: what is wrong with the name
	Obstacle string // key of texts; empty if nothing is in the way
	Rules    reset.Rules
	Result   *resetpage.Result
	Code     reset.Code
	Password string // shown this once; empty if there is nothing to show
	Stream   string // empty if the page does not go on
}

func (p *adminPage) newBehalf(v visitor) (*behalf, error) {
	s, err := p.Publisher.Situation(v.Tenant)
	if err != nil {
		return nil, err
	}
	b := &behalf{visitor: v, Form: reset.NewID().String(), Kind: reset.UPN.String(), Rules: s.Rules}
	for _, k := range reset.NameKinds() {
		if v.asks(reset.Account{Kind: k}) {
			b.Kinds = append(b.Kinds, k)
		}
	}
	b.Obstacle = resetpage.Obstacle(s, reset.Reset, "admin.health.off")
	return b, nil
}

// may is require for whoever resets on behalf of users.
func (p *adminPage) may(c *pages.Call, within time.Duration) (v visitor, ok bool, err error) {
	if v, ok, err = p.require(c, within); ok && !v.Resets {
		return v, false, c.Render(http.StatusForbidden, "admin-refused.html", refused{"admin.no_resets", ""})
	}
	return v, ok, err
}

// getReset is GET /admin/reset.
func (p *adminPage) getReset(c *pages.Call) error {
	v, ok, err := p.may(c, signin.Fresh)
	if !ok {
		return err
	}
	b, err := p.newBehalf(v)
	if err != nil {
		return err
	}
	return c.Render(http.StatusOK, "admin-reset.html", b)
}

// postReset is POST /admin/reset.
func (p *adminPage) postReset(c *pages.Call) error {
	v, ok, err := p.may(c, signin.Fresh+signinpage.ToFill)
	if !ok {
		return err
	}
	if err := form(c); err != nil {
		return err
	}
	b, err := p.newBehalf(v)
	if err != nil {
		return err
	}
	id, err := reset.ParseID(c.Request.PostForm.Get("form"))
	if err != nil {
		return reset.BadField("form", "is not one of this page")
	}
	b.Kind, b.Typed = c.Request.PostForm.Get("kind"), strings.TrimSpace(c.Request.PostForm.Get("name"))
	account, err := portal.AccountNamed(b.Kind, b.Typed)
	if err != nil || !v.asks(account) {
		b.Error = "admin.reset.error"
		return c.Render(http.StatusUnprocessableEntity, "admin-reset.html", b)
	}
	if b.Obstacle != "" {
		return c.Render(http.StatusServiceUnavailable, "admin-reset.html", b)
	}
	// A form makes one request: sent again, it shows what became of that.
	ref := p.Publisher.Ref(id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), resetpage.SubmitTimeout)
	defer cancel()
	if _, err := p.Publisher.Status(ctx, v.Tenant, ref); err == nil {
		return c.Redirect(requestsPath + ref.String())
	} else if !reset.IsRefusal(err, reset.UnknownRequest) {
		return err
	}
	return p.submit(ctx, c, b, account, id)
}

// submit makes the request, and shows the temporary password with what is known of
// it then: not if it is not set, for certain.
func (p *adminPage) submit(ctx context.Context, c *pages.Call, b *behalf, account reset.Account, id reset.ID) error {
	s := reset.Submission{
		Tenant: b.Tenant, Source: b.Source, Address: b.Address, Operation: reset.Reset, Account: account, Actor: b.Actor, ID: id, MustChange: true,
	}
	if wait := p.limits.Attempt(c.Address, s, b.reader); wait > 0 {
		return &reset.Refusal{Code: reset.TooMany, RetryAfter: wait}
	}
	password := newTemporary(b.Rules)
	shown := ""
	password.Reveal(func(text []byte) error {
		shown = string(text) // for the one page that shows it
		return nil
	})
	c.Note(b.Tenant, p.Publisher.Ref(id).String(), "")
	st, err := p.Publisher.Submit(ctx, s, password, secret.Value{}, plainWait)
	if err != nil {
		c.Note(b.Tenant, "", "")
		return err
	}
	c.Note(b.Tenant, st.Ref.String(), string(st.Outcome.Code))
	p.describe(c, b, st)
	if b.Valid() {
		b.Password = shown
	}
	return c.Render(http.StatusOK, "admin-reset.html", b)
}

// describe says what is known of a request.
func (p *adminPage) describe(c *pages.Call, b *behalf, st reset.Status) {
	b.Result, b.Code = resetpage.NewResult(c, st, nil, reset.Situation{}), st.Outcome.Code
	if b.Result.Live {
		b.Stream = progressPath + "?id=" + st.Ref.String()
	}
}

// Valid reports whether the temporary password is set, or may be.
func (b *behalf) Valid() bool {
	return b.Code == "" || b.Code == reset.Unconfirmed || reset.ClassOf(b.Code) == reset.Done
}

// progress is GET /admin/reset/events: what becomes of a request. The password
// is not in it; where it is not set, the page is told to take it away.
func (p *adminPage) progress(c *pages.Call) error {
	v, ok := p.known(c)
	ref, err := reset.ParseRef(c.Request.URL.Query().Get("id"))
	if !ok || err != nil {
		return c.NoContent()
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	if _, err := p.Publisher.Status(ctx, v.Tenant, ref); err != nil {
		return c.NoContent()
	}
	return c.Stream(v.reader, func(ctx context.Context, s *pages.Stream) error {
		return p.Publisher.Watch(ctx, v.Tenant, ref, func(st reset.Status) error {
			c.Note(v.Tenant, ref.String(), string(st.Outcome.Code))
			b := &behalf{visitor: v}
			p.describe(c, b, st)
			block := "outcome"
			if !b.Valid() {
				block = "refused"
			}
			html, err := c.Fragment("admin-reset.html", block, b)
			if err != nil {
				return err
			}
			return s.Swap(html)
		})
	})
}
