package adminpage

import (
	"context"
	"net/http"
	"strconv"

	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/reset"
	"writeback/internal/signin"
)

// A turn is a switch that is about to be set.
type turn struct {
	visitor
	Name string
	On   bool
}

// parseTurn reads which switch is to be set and how.
func parseTurn(name, on string) (n reset.SwitchName, t turn, err error) {
	for _, known := range reset.SwitchNames() {
		if known.String() == name {
			n = known
		}
	}
	t.Name = name
	if t.On, err = strconv.ParseBool(on); err != nil || n == 0 {
		return 0, t, reset.BadField("switch", "is none that there is")
	}
	return n, t, nil
}

// getSwitch is GET /admin/switches, which asks whether it is meant.
func (p *adminPage) getSwitch(c *pages.Call) error {
	q := c.Request.URL.Query()
	_, t, err := parseTurn(q.Get("switch"), q.Get("on"))
	if err != nil {
		return err
	}
	var ok bool
	if t.visitor, ok, err = p.require(c, signin.Fresh); !ok {
		return err
	}
	return c.Render(http.StatusOK, "admin-switch.html", t)
}

// postSwitch is POST /admin/switches.
func (p *adminPage) postSwitch(c *pages.Call) error {
	v, ok, err := p.require(c, signin.Fresh+signinpage.ToFill)
	if !ok {
		return err
	}
	if err := form(c); err != nil {
		return err
	}
	name, t, err := parseTurn(c.Request.PostForm.Get("switch"), c.Request.PostForm.Get("on"))
	if err != nil {
		return err
	}
	// It is done whether the browser stays or leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), resetpage.SubmitTimeout)
	defer cancel()
	_, err = p.Publisher.SetSwitches(ctx, reset.SwitchChange{
		Tenant: v.Tenant, Set: map[reset.SwitchName]bool{name: t.On}, Source: v.Source, Address: v.Address, Actor: v.Actor,
	})
	if err != nil {
		return err
	}
	return c.Redirect(Path)
}
