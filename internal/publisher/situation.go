package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"writeback/internal/reset"
)

// Situation returns how a tenant is right now, as far as this publisher knows. Its
// error is a [*reset.Refusal].
func (p *Publisher) Situation(tenant string) (reset.Situation, error) {
	t := p.tenants[tenant]
	if t == nil {
		return reset.Situation{}, notServed(tenant)
	}
	now := time.Now()
	live, err := t.presence.live(now)
	errs := []error{err}
	s := reset.Situation{Time: now}
	switches, err := t.switches.current()
	if err == nil {
		s.Switches, err = &switches, t.switches.stale(now)
	}
	errs = append(errs, err, p.Keys(context.Background()))
	for i := len(errs) - 1; i >= 0; i-- { // what is nearer to us says more
		if errs[i] != nil && s.Obstacle == nil && !errors.As(errs[i], &s.Obstacle) {
			s.Obstacle = &reset.Refusal{Code: reset.BrokerUnavailable, RetryAfter: retryAfter, Err: errs[i]}
		}
	}
	for _, c := range live {
		s.Consumers = append(s.Consumers, c.shown())
		// The latest of those that know them: there is one domain.
		if r := c.said.Rules; r.Known && !s.Rules.Known {
			s.Rules = reset.Rules{
				Known: true, MinLength: r.MinLength, Complexity: r.Complexity, History: r.History,
				MinAge:           time.Duration(r.MinAge) * time.Second,
				LockoutThreshold: r.LockoutThreshold, LockoutWindow: time.Duration(r.LockoutWindow) * time.Second,
			}
		}
	}
	return s, nil
}

// SetSwitches makes a tenant's switches be as c wants them, and returns them as they
// are then. It can be repeated. Its error is a [*reset.Refusal], after which one
// or both may have been set.
func (p *Publisher) SetSwitches(ctx context.Context, c reset.SwitchChange) (reset.Switches, error) {
	t := p.tenants[c.Tenant]
	if t == nil {
		return reset.Switches{}, notServed(c.Tenant)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	for _, name := range reset.SwitchNames() {
		on, ok := c.Set[name]
		if !ok {
			continue
		}
		if err := t.switches.set(ctx, p.cfg.Log, name, on, c); err != nil {
			return reset.Switches{}, &reset.Refusal{Code: reset.BrokerUnavailable, RetryAfter: retryAfter, Field: name.String(),
				Detail: "may have been set or not; ask for it, or set it again", Err: err}
		}
	}
	return t.switches.current()
}

func notServed(tenant string) error {
	return &reset.Refusal{Code: reset.Forbidden, Field: "tenant", Detail: "of this token is not served here",
		Err: fmt.Errorf("the token names tenant %q, which the configuration does not have", tenant)}
}
