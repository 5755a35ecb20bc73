package changepage

import (
	"context"
	"time"

	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/signin"
)

// patience is how long the broker may take to say what it keeps of a request.
const patience = 5 * time.Second

// look returns what the page shows now.
func (p *changePage) look(c *pages.Call, v visit) (*resetpage.Model, error) {
	if !v.note.asked {
		return p.model(c, v, nil)
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	st, err := p.Publisher.Status(ctx, v.Tenant, v.note.ref)
	if reset.IsRefusal(err, reset.UnknownRequest) {
		return p.model(c, v, nil) // its time is over
	}
	if err != nil {
		return nil, err
	}
	return p.model(c, v, &st)
}

// model returns what the page shows of a request, or without one.
func (p *changePage) model(c *pages.Call, v visit, st *reset.Status) (*resetpage.Model, error) {
	now, err := p.Publisher.Situation(v.Tenant)
	if err != nil {
		return nil, err
	}
	m := &resetpage.Model{
		Page: "change", Current: true, SignOut: signinpage.SignOutPath, User: v.Name, Ticket: newForm(),
		Rules: resetpage.RulesOf(now.Rules), Known: now.Rules.Known,
	}
	if st != nil {
		c.Note(v.Tenant, st.Ref.String(), string(st.Outcome.Code))
		m.Result = resetpage.NewResult(c, *st, nil, now)
		if m.Result.Final && (!m.Result.Retry || !v.Fresh(time.Now(), signin.Fresh+signinpage.ToFill)) {
			m.Anew = anewPath
		}
		if !m.Result.Retry || m.Anew != "" {
			return m, nil
		}
	}
	left, wait := p.Guesses.Left(v.ask(), now.Rules)
	m.Left = left
	if m.Obstacle = resetpage.Obstacle(now, reset.Change, "reset.off"); m.Obstacle == "" && left == 0 {
		m.Obstacle, m.Until = "change.too_many", time.Now().Add(wait).Add(time.Minute).Truncate(time.Minute)
	}
	m.CanReset, m.Form = true, m.Obstacle == ""
	return m, nil
}
