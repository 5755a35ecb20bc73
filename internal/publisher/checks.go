package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"writeback/internal/seal"
)

// Keys returns an error if record.key has no key for today's month, and none is
// accepted any more. It is a check of /readyz.
func (p *Publisher) Keys(context.Context) error {
	if until, now := p.cfg.Months.Until(), seal.MonthOf(time.Now()); until < now {
		return fmt.Errorf("record_key_file: its last key was for %s; run `publisher init` and restart the publishers", until)
	}
	return nil
}

// Switches returns an error if the switches of a tenant were not read in the last
// seconds. It is a check of /readyz.
func (p *Publisher) Switches(context.Context) error {
	var errs []error
	for _, t := range p.tenants {
		if err := t.switches.stale(time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Presence returns an error if no consumer of a tenant was heard of for
// [reset.Presence]. It is a check of /readyz.
func (p *Publisher) Presence(context.Context) error {
	var errs []error
	for _, t := range p.tenants {
		if _, err := t.presence.live(time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

// standstill is after how long without a turn the loop that looks at a tenant's
// switches cannot be merely slow: a turn takes seconds, whatever is away.
const standstill = time.Minute

// Alive returns an error if the work stands still. It asks the loops that read the
// tenants' switches from the broker, and takes the locks of the requests in hand.
func (p *Publisher) Alive() error {
	for _, t := range p.tenants {
		t.hasRoom()
		if idle := time.Since(t.switches.lastTurn()); idle > standstill {
			return fmt.Errorf("tenant %s: this publisher has not tried to read the switches for %s", t.Name, idle.Round(time.Second))
		}
	}
	return nil
}
