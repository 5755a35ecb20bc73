package adminpage

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"writeback/internal/portal/pages"
	"writeback/internal/reset"
)

// A course is what the page of one request shows.
type course struct {
	visitor
	reset.Course
	Class   string // empty while it has not ended
	Hint    string // key of texts; empty while it has not ended
	Steps   []moment
	Details []detail
	Names   *reset.Names // nil while they are hidden
	Gone    bool         // nobody can read them any more
}

// A moment is one record of a request.
type moment struct {
	reset.Step
	After string // the first one
}

// A detail is a fact of an outcome, with the key of its text.
type detail struct{ Key, Value string }

// getRequest is GET /admin/requests/{id}.
func (p *adminPage) getRequest(c *pages.Call) error {
	m, ok, err := p.course(c)
	if !ok {
		return err
	}
	return c.Render(http.StatusOK, "admin-request.html", m)
}

// postRequest is POST /admin/requests/{id}: the same, with the names in it.
func (p *adminPage) postRequest(c *pages.Call) error {
	m, ok, err := p.course(c)
	if !ok {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), 2*patience)
	defer cancel()
	names, err := p.Publisher.Reveal(ctx, m.Viewer, m.Status.Ref)
	if reset.IsRefusal(err, reset.UnknownRequest) {
		m.Gone = true
	} else if err != nil {
		return err
	} else {
		m.Names = &names
	}
	return c.Render(http.StatusOK, "admin-request.html", m)
}

// course returns what the page shows of the request that the path names. Unless ok,
// there is an error or the answer is written.
func (p *adminPage) course(c *pages.Call) (m *course, ok bool, err error) {
	v, ok, err := p.require(c, 0)
	if !ok {
		return nil, false, err
	}
	ref, err := reset.ParseRef(c.Request.PathValue("id"))
	if err != nil {
		return nil, false, &reset.Refusal{Code: reset.UnknownRequest}
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	got, err := p.Publisher.Course(ctx, v.Tenant, ref)
	if err != nil {
		return nil, false, err
	}
	code := got.Status.Outcome.Code
	c.Note(v.Tenant, ref.String(), string(code))
	m = &course{visitor: v, Course: got, Details: details(got.Status.Outcome.Details)}
	if code != "" {
		m.Class, m.Hint = classOf(code), hintOf(c, got.Status.Operation, code)
	}
	for i, s := range got.Steps {
		at := moment{Step: s}
		if i > 0 {
			at.After = took(c, max(s.At.Sub(got.Steps[0].At), time.Millisecond))
		}
		m.Steps = append(m.Steps, at)
	}
	return m, true, nil
}

// hintOf returns the key of what an administrator should know of an outcome. Where
// no password was to be set, some mean something else.
func hintOf(c *pages.Call, op reset.Operation, code reset.Code) string {
	key := "admin.hint." + string(code)
	if own := key + "." + op.String(); c.Has(own) {
		return own
	}
	return key
}

// details returns the facts of an outcome, as the API names them.
func details(d reset.Details) (list []detail) {
	add := func(key, value string) {
		if value != "" {
			list = append(list, detail{key, value})
		}
	}
	add("field", d.Field)
	add("reason", d.Reason)
	add("result", d.Result)
	add("right", d.Right)
	if d.MinLength > 0 {
		add("min_length", strconv.Itoa(int(d.MinLength)))
	}
	if !d.Earliest.IsZero() {
		add("earliest", d.Earliest.UTC().Format("2006-01-02 15:04 UTC"))
	}
	for _, name := range d.Categories {
		add("categories", name)
	}
	for _, name := range d.Candidates {
		add("candidates", name)
	}
	for _, f := range d.FollowUps {
		value := f.What
		if f.Right != "" {
			value += ": " + f.Right
		}
		add("follow_ups", value)
	}
	return list
}
