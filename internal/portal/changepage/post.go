package changepage

import (
	"context"
	"errors"
	"net/http"

	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/signin"
)

// A form is what was sent.
type form struct {
	name                     string // as newForm made it
	live                     bool   // sent by our script, which shows what follows
	current, password, again secret.Value
}

func (f *form) wipe() {
	f.current.Wipe()
	f.password.Wipe()
	f.again.Wipe()
}

// take gives the passwords away, and with them the duty to wipe them.
func (f *form) take() (password, current secret.Value) {
	password, current = f.password, f.current
	f.password, f.current = secret.Value{}, secret.Value{}
	return password, current
}

// check returns what is wrong with a form, by its fields: keys of texts.
func (f *form) check() map[string]string {
	wrong := resetpage.CheckNew(f.password, f.again)
	if secret.CheckPassword(f.current) != nil {
		if wrong == nil {
			wrong = make(map[string]string)
		}
		wrong["current"] = "change.error.current"
	}
	return wrong
}

// readForm reads the form that was posted.
func readForm(c *pages.Call) (f form, err error) {
	fields, err := resetpage.ReadFields(c)
	if err != nil {
		return f, err
	}
	defer fields.Wipe()
	f.current, f.password, f.again = fields.Secret("current"), fields.Secret("password"), fields.Secret("again")
	f.name, f.live = string(fields["ticket"]), len(fields["live"]) > 0
	if !isForm(f.name) {
		f.wipe()
		return f, reset.BadField("ticket", "is not the name of a form")
	}
	return f, nil
}

// post is POST /change.
func (p *changePage) post(c *pages.Call) error {
	v, ok, err := p.require(c, signin.Fresh+signinpage.ToFill)
	if !ok {
		return err
	}
	f, err := readForm(c)
	if err != nil {
		return err
	}
	defer f.wipe()
	if v.note.form == f.name {
		return c.Redirect(path) // sent before: what became of it is shown
	}
	m, err := p.model(c, v, nil)
	if err != nil {
		return err
	}
	if !m.Form {
		return c.Redirect(path) // which says why not
	}
	if m.Errors = f.check(); len(m.Errors) > 0 {
		return c.Render(http.StatusUnprocessableEntity, "reset.html", m)
	}
	return p.submit(c, v, &f)
}

// submit makes the request. From here on the work is done whether the browser stays
// or leaves.
func (p *changePage) submit(c *pages.Call, v visit, f *form) error {
	s := v.ask()
	s.IdempotencyKey, s.Address = f.name, portal.AddressText(c.Address)
	if wait := p.limits.Attempt(c.Address, s, v.reader()); wait > 0 {
		return &reset.Refusal{Code: reset.TooMany, RetryAfter: wait}
	}
	now, err := p.Publisher.Situation(v.Tenant)
	if err != nil {
		return err
	}
	wait, release := p.Guesses.Begin(s, now.Rules)
	if wait > 0 {
		return c.Redirect(path) // which says until when
	}
	patience := resetpage.PlainWait
	if f.live {
		patience = 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), resetpage.SubmitTimeout)
	defer cancel()
	password, current := f.take()
	st, err := p.Publisher.Submit(ctx, s, password, current, patience)
	if err != nil {
		if r := (*reset.Refusal)(nil); errors.As(err, &r) {
			release() // nothing was recorded, and nothing will be done
		}
		return err
	}
	c.Note(v.Tenant, st.Ref.String(), string(st.Outcome.Code))
	go p.settle(v.Tenant, st.Ref, release)
	v.client.Remember(c, v.Session, note{true, f.name, st.Ref}.String())
	return c.Redirect(path)
}

// settle waits for the outcome of a change, and takes it back from the budget of
// wrong passwords if it was none.
func (p *changePage) settle(tenant string, ref reset.Ref, release func()) {
	ctx, cancel := context.WithTimeout(context.Background(), reset.Correctable)
	defer cancel()
	errDone := errors.New("the outcome is known")
	p.Publisher.Watch(ctx, tenant, ref, func(st reset.Status) error {
		if st.State != reset.Final {
			return nil
		}
		if !portal.Guessed(st.Outcome.Code) {
			release()
		}
		return errDone
	})
}
