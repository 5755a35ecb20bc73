package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

const (
	// followBack is how far back the records are read at the start, and
	// followMost how many at most: half a minute's work, at 80 µs for a signature
	// and 60 µs for the broker's answer.
	followBack = 24 * time.Hour
	followMost = 200_000
)

// follow keeps the overview of a tenant until ctx ends.
func (p *Publisher) follow(ctx context.Context, t *tenant) {
	var outage obs.Outage
	for ctx.Err() == nil {
		begun := time.Now()
		err := t.Broker.Follow(ctx, time.Now().Add(-followBack), followMost, t.day)
		if time.Since(begun) > time.Minute {
			outage.Over()
		}
		if ctx.Err() == nil {
			p.cfg.Logger.WithLevel(outage.Level(zerolog.WarnLevel, err)).Str(obs.Tenant, t.Name).AnErr(obs.Cause, err).Msg("reading the records for the overview; it begins anew")
			sleep(ctx, sweepFirst)
		}
	}
}

// sweepFirst is how long it is waited before the records are read anew.
const sweepFirst = 5 * time.Second

// Overview returns how a tenant does; without [Config.Overview], only its consumers and
// its queue. Its error is a [*reset.Refusal].
func (p *Publisher) Overview(ctx context.Context, tenant string) (reset.Overview, error) {
	s, err := p.Situation(tenant)
	if err != nil {
		return reset.Overview{}, err
	}
	t, o := p.tenants[tenant], reset.Overview{Situation: s, Unkeyed: p.Keys(ctx) != nil}
	t.presence.show(&o, s.Time)
	t.day.Show(&o, s.Time)
	o.Queued, o.Oldest, o.QueueKnown = t.backlog.look(ctx)
	return o, nil
}

// Course returns how a request went. Its error is a [*reset.Refusal], or says that
// its records are not believed.
func (p *Publisher) Course(ctx context.Context, tenant string, ref reset.Ref) (reset.Course, error) {
	t := p.tenants[tenant]
	if t == nil {
		return reset.Course{}, notServed(tenant)
	}
	chain, err := p.chain(ctx, t, ref)
	if err != nil {
		return reset.Course{}, err
	}
	c := reset.Course{Status: p.status(t, chain, time.Time{}, reset.Timeline{})}
	if f := t.flight(ref.ID); f != nil && f.ref == ref {
		c.Status = f.status()
	}
	for _, link := range chain {
		c.Steps = append(c.Steps, reset.Step{
			Kind: link.Kind.String(), Code: link.Code, At: link.Time, Writer: link.Writer.Name,
			Publisher: link.Kind == envelope.Accepted || link.Kind == envelope.Cancelled || link.Writer.Name == link.Publisher,
		})
	}
	return c, nil
}

// errGone says that nobody can read what is private of a request any more.
var errGone = errors.New("record_key_file has no key for the month of this request")

// Reveal returns who asked for what in a request, once it is on record who wants to
// know. Its error is a [*reset.Refusal]; with UnknownRequest if the key is gone.
func (p *Publisher) Reveal(ctx context.Context, v reset.Viewer, ref reset.Ref) (reset.Names, error) {
	t := p.tenants[v.Tenant]
	if t == nil {
		return reset.Names{}, notServed(v.Tenant)
	}
	chain, err := p.chain(ctx, t, ref)
	if err != nil {
		return reset.Names{}, err
	}
	first := chain[0]
	key, ok := p.cfg.Months.Key(seal.Month(first.Month), v.Tenant, ref.ID)
	if !ok {
		return reset.Names{}, &reset.Refusal{Code: reset.UnknownRequest, Err: errGone}
	}
	private, err := audit.Private(key, first)
	if err != nil {
		return reset.Names{}, err
	}
	writing, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	who := envelope.Private{Actor: v.Actor, Source: v.Source, Address: v.Address}
	if err := t.journal.Write(writing, envelope.NameRevealed{Request: ref.ID}, &who); err != nil {
		return reset.Names{}, p.unavailable(err)
	}
	return reset.Names{Account: private.Account, Actor: private.Actor, Source: private.Source, Address: private.Address}, nil
}
