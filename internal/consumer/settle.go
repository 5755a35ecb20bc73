package consumer

import (
	"context"
	"errors"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// settleAfterStop is how long an outcome may still take to be stored when the
// program stops.
const settleAfterStop = 10 * time.Second

// settle writes the outcome, which is the reply, and does not rest until it is
// certain that it is stored: the effect, if any, is there already. result is
// nil or a *reset.Error.
func (c *Consumer) settle(ctx context.Context, r *request, cl *claim, result error) fate {
	applied := time.Now()
	r.wipe() // the broker may take its time
	outcome, _ := reset.OutcomeOf(result)
	storing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(settleAfterStop, cancel) })()
	rec := r.next(envelope.Settled, cl.Link)
	rec.Code = outcome.Code
	private := envelope.Private{GUID: cl.on.GUID, Details: outcome.Details, Applied: applied}
	done := r.watch.Step(obs.StepReply)
	_, err := c.append(storing, r, rec, private, time.Until(r.Header.Accepted.Add(reset.Correctable)))
	done()
	switch {
	case errors.Is(err, reset.ErrConflict):
		return c.late(storing, r, rec, private, result)
	case err != nil:
		return fate{kind: handedBack, reason: settleUnknown, delay: soon, cause: err}
	}
	return fate{kind: settled, code: outcome.Code, cause: result, hold: r.mayStillCome()}
}

// next returns a record of kind that follows last.
func (r *request) next(kind envelope.Kind, last audit.Link) envelope.Record {
	rec := envelope.Record{
		Kind:      kind,
		Tenant:    r.Header.Tenant,
		Publisher: r.Header.Publisher,
		ID:        r.Header.ID,
		Operation: r.Header.Operation,
		Time:      time.Now(),
		Parent:    last.Hash,
		ParentSeq: last.Seq,
		Request:   r.hash,
		Doubt:     last.Doubt,
		Asked:     last.Asked,
	}
	if r.body != nil {
		rec.Month = r.body.Month
	}
	return rec
}

// append signs a record and stores it after its parent, for at most limit. The
// link is the record's even if it is not known to be stored.
func (c *Consumer) append(ctx context.Context, r *request, rec envelope.Record, private envelope.Private, limit time.Duration) (audit.Link, error) {
	if r.body != nil {
		private.Account, private.Actor = r.body.Account, r.body.Actor
		private.Source, private.Address = r.body.Source, r.body.Address
	}
	return c.cfg.Log.Append(&rec, private, r.key, func(data []byte) (uint64, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return c.cfg.Queue.Append(ctx, r.ref, data, rec.ParentSeq)
	})
}

// late is what becomes of an outcome that somebody else's record came before. If
// a publisher has closed the request because nobody could say, we say it now.
func (c *Consumer) late(ctx context.Context, r *request, rec envelope.Record, private envelope.Private, result error) fate {
	c.metrics.late.Inc()
	c.cfg.Logger.Error().Stringer(obs.Request, r.ref).Str(obs.Code, string(rec.Code)).
		Msg("our outcome came too late: the request was taken over or closed")
	chain, f := c.read(ctx, r)
	if f != nil {
		return *f
	}
	last := chain.Last()
	closed := last.Kind == envelope.Settled && last.Code == reset.Unconfirmed && last.Parent == rec.Parent
	if !closed || rec.Code == reset.Unconfirmed {
		return fate{kind: handedBack, reason: claimedByOther, delay: soon}
	}
	truth := r.next(envelope.Corrected, last)
	truth.Code = rec.Code
	if _, err := c.append(ctx, r, truth, private, later); err != nil {
		return fate{kind: handedBack, reason: settleUnknown, delay: soon, cause: err}
	}
	return fate{kind: settled, code: rec.Code, cause: result} // the broker has long freed the slot
}
