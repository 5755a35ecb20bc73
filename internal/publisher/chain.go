package publisher

import (
	"context"
	"errors"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// close ends a request whose time is over, whoever accepted it: one on which
// nothing was sent is cancelled at its deadline, any other is closed as
// unconfirmed at the end of its life. It returns the chain as it is then.
func (p *Publisher) close(ctx context.Context, t *tenant, chain audit.Chain) (audit.Chain, error) {
	age := time.Since(chain[0].Time)
	var kind envelope.Kind
	var code reset.Code
	switch {
	case chain.Ended():
		return chain, nil
	case chain.Cancellable() && age >= reset.Deadline:
		kind, code = envelope.Cancelled, reset.Expired
	case !chain.Cancellable() && age >= reset.Life:
		kind, code = envelope.Settled, reset.Unconfirmed
	default:
		return chain, nil
	}
	ended, err := p.end(ctx, t, chain, kind, reset.Outcome{Code: code})
	if errors.Is(err, reset.ErrConflict) {
		return p.read(ctx, t, chain[0].ID)
	}
	return ended, err
}

// end writes a final record after the newest one.
func (p *Publisher) end(ctx context.Context, t *tenant, chain audit.Chain, kind envelope.Kind, o reset.Outcome) (audit.Chain, error) {
	first, last := chain[0], chain.Last()
	rec := envelope.Record{
		Kind: kind, Tenant: t.Name, Publisher: first.Publisher, ID: first.ID, Operation: first.Operation, Code: o.Code,
		Time: time.Now(), Parent: last.Hash, ParentSeq: last.Seq, Request: last.Request,
		Doubt: last.Doubt, Asked: last.Asked, Month: first.Month,
	}
	var sealing *seal.RecordKey
	private := envelope.Private{Details: o.Details}
	if key, ok := p.cfg.Months.Key(seal.Month(first.Month), t.Name, first.ID); ok {
		sealing = &key
		if about, err := audit.Private(key, first); err == nil {
			private.Account, private.Actor, private.Source, private.Address = about.Account, about.Actor, about.Source, about.Address
		}
	}
	link, err := p.cfg.Log.Append(&rec, private, sealing, func(data []byte) (uint64, error) {
		return t.Broker.Append(ctx, reset.Ref{Publisher: first.Publisher, ID: first.ID}, data, last.Seq)
	})
	if err != nil {
		return nil, err
	}
	return append(chain[:len(chain):len(chain)], link), nil
}

// Status returns what is known of a request of tenant, whichever publisher
// accepted it. Its error is a [*reset.Refusal].
func (p *Publisher) Status(ctx context.Context, tenant string, ref reset.Ref) (reset.Status, error) {
	t := p.tenants[tenant]
	if t == nil {
		return reset.Status{}, &reset.Refusal{Code: reset.UnknownRequest}
	}
	if f := t.flight(ref.ID); f != nil && f.ref == ref {
		return f.status(), nil
	}
	chain, err := p.chain(ctx, t, ref)
	if err != nil {
		return reset.Status{}, err
	}
	return p.status(t, chain, time.Time{}, reset.Timeline{}), nil
}

// chain reads the records of a request. Its error is a [*reset.Refusal], or says
// that they are not believed.
func (p *Publisher) chain(ctx context.Context, t *tenant, ref reset.Ref) (audit.Chain, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	chain, err := p.read(ctx, t, ref.ID)
	if err != nil {
		return nil, p.unavailable(err)
	}
	if len(chain) == 0 || chain[0].Publisher != ref.Publisher {
		return nil, &reset.Refusal{Code: reset.UnknownRequest}
	}
	return chain, nil
}

// status renders a chain. arrived and line are what only the publisher that
// accepted the request knows; without them the timeline counts from the
// accepted record.
func (p *Publisher) status(t *tenant, chain audit.Chain, arrived time.Time, line reset.Timeline) reset.Status {
	first, last := chain[0], chain.Last()
	if arrived.IsZero() {
		arrived = first.Time
	}
	s := reset.Status{
		Ref:       reset.Ref{Publisher: first.Publisher, ID: first.ID},
		Operation: first.Operation,
		State:     reset.Accepted,
		Accepted:  first.Time,
		Timeline:  line,
	}
	if claim, ok := chain.Claim(); ok {
		s.State = reset.PickedUp
		s.Consumer = claim.Writer.Name
		s.Timeline.PickedUp = claim.Time.Sub(arrived)
	}
	if !chain.Ended() {
		return s
	}
	s.State, s.Final, s.Finished = reset.Final, true, last.Time
	s.Outcome.Code = last.Code
	if key, ok := p.cfg.Months.Key(seal.Month(first.Month), t.Name, first.ID); ok {
		if private, err := audit.Private(key, last); err == nil {
			s.Outcome.Details = private.Details
			if !private.Applied.IsZero() {
				s.Timeline.Applied = private.Applied.Sub(arrived)
			}
		}
	}
	return s
}
