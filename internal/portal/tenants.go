package portal

import (
	"context"
	"net/http"
	"time"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
)

// situation is the JSON form of a [reset.Situation].
type situation struct {
	Ready     bool       `json:"ready"`
	Code      string     `json:"code,omitempty"` // why not
	Message   string     `json:"message,omitempty"`
	Time      instant    `json:"time"`
	Consumers []consumer `json:"consumers"`
	Rules     *rules     `json:"rules,omitempty"` // left out while they are not known
	Switches  *switches  `json:"switches,omitempty"`
}

// consumer is one that is alive. Only callers that may set the switches are told
// what it is called: a name says something of the company's network.
type consumer struct {
	Replica string  `json:"replica,omitempty"`
	Version string  `json:"version"`
	Since   instant `json:"since"`
	Seen    instant `json:"seen"`
}

type rules struct {
	MinLength  uint16 `json:"min_length"`
	Complexity bool   `json:"complexity"`
	History    uint16 `json:"history"`
	MinAge     int64  `json:"min_age_seconds"`
	Threshold  uint16 `json:"lockout_threshold"`
	Window     int64  `json:"lockout_window_seconds"`
}

// switches is the JSON form of [reset.Switches]. Changes is not in a status.
type switches struct {
	Writeback bool               `json:"writeback"`
	Unlock    bool               `json:"unlock"`
	Changes   map[string]changed `json:"changes,omitempty"` // by switch; none that nobody has set
}

type changed struct {
	Time    instant `json:"time"`
	Source  string  `json:"source,omitempty"`
	Subject string  `json:"subject,omitempty"` // of the actor
}

// getStatus is GET /v1/status.
func (a *api) getStatus(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authenticate(r, ev)
	if err != nil {
		return nil, err
	}
	s, err := a.Tenants.Situation(token.Tenant)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: newSituation(s, token.Switches)}, nil
}

// newSituation is what callers are told; named says that they are told names.
func newSituation(s reset.Situation, named bool) situation {
	o := situation{Time: instant{s.Time}, Consumers: []consumer{}}
	if s.Obstacle != nil {
		o.Code, o.Message = string(s.Obstacle.Code), refusalOf(s.Obstacle.Code).text
	}
	if s.Switches != nil {
		o.Switches = &switches{Writeback: s.Switches.Writeback.On, Unlock: s.Switches.Unlock.On}
		// A reason that lasts is said before one that passes.
		if outcome, off := s.Switches.Off(reset.Reset); off {
			o.Code, o.Message = string(outcome.Code), sentenceOf(reset.Reset, outcome.Code).text
		}
	}
	o.Ready = o.Code == ""
	for _, c := range s.Consumers {
		said := consumer{Version: c.Version, Since: instant{c.Since}, Seen: instant{c.Seen}}
		if named {
			said.Replica = c.Replica
		}
		o.Consumers = append(o.Consumers, said)
	}
	if s.Rules.Known {
		r := s.Rules
		o.Rules = &rules{r.MinLength, r.Complexity, r.History, int64(r.MinAge / time.Second), r.LockoutThreshold, int64(r.LockoutWindow / time.Second)}
	}
	return o
}

// getSwitches is GET /v1/switches.
func (a *api) getSwitches(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authorize(r, ev, switchesWord)
	if err != nil {
		return nil, err
	}
	s, err := a.Tenants.Situation(token.Tenant)
	if err != nil {
		return nil, err
	}
	if s.Switches == nil {
		return nil, s.Obstacle
	}
	return &answer{status: http.StatusOK, body: newSwitches(*s.Switches)}, nil
}

// putSwitches is PUT /v1/switches. A switch that is not named stays as it is.
func (a *api) putSwitches(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authorize(r, ev, switchesWord)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	c, err := parseSwitches(body)
	if err != nil {
		return nil, err
	}
	c.Tenant, c.Source, c.Address = token.Tenant, token.Source, AddressText(ev.address)
	// It is done whether the caller stays or leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), margin)
	defer cancel()
	s, err := a.Tenants.SetSwitches(ctx, c)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: newSwitches(s)}, nil
}

// parseSwitches reads the body of putSwitches. Who sets a switch does so as an
// administrator.
func parseSwitches(body []byte) (reset.SwitchChange, error) {
	c := reset.SwitchChange{Set: make(map[reset.SwitchName]bool)}
	var subject string
	fields := strictjson.Fields{"actor": strictjson.Object(strictjson.Fields{
		"subject": strictjson.Text(func(s string) { subject = s }),
	})}
	for _, name := range reset.SwitchNames() {
		fields[name.String()] = strictjson.Bool(func(on bool) { c.Set[name] = on })
	}
	if err := strictjson.Decode(body, strictjson.Object(fields)); err != nil {
		return c, badBody(err)
	}
	if len(c.Set) == 0 {
		return c, reset.BadField("body", "must have writeback, unlock or both")
	}
	var err error
	c.Actor, err = newActor(reset.Admin.String(), subject)
	return c, err
}

func newSwitches(s reset.Switches) switches {
	o := switches{Writeback: s.Writeback.On, Unlock: s.Unlock.On, Changes: map[string]changed{}}
	for i, now := range []reset.Switch{s.Writeback, s.Unlock} {
		if now.Set.IsZero() {
			continue
		}
		o.Changes[reset.SwitchNames()[i].String()] = changed{instant{now.Set}, now.Source, now.Actor.Subject}
	}
	return o
}
