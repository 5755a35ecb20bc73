package consumer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/guard"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// findTimeout bounds the way to the account: a connection and one search.
const findTimeout = 5 * time.Second

// A claim is our own, stored and not yet used.
type claim struct {
	audit.Link
	begun time.Time // just before it was first published
	entry reset.Entry
}

// apply takes a request on whose chain nothing was sent from finding the
// account to its outcome. again says that the chain has moved, or that nothing
// was sent and everything may be tried anew.
func (c *Consumer) apply(ctx context.Context, r *request, unreadable error, last audit.Link) (f fate, again bool) {
	if unreadable != nil {
		return c.refuse(ctx, r, last, reset.Entry{}, &reset.Error{Code: reset.Unreadable, Err: unreadable})
	}
	ask := guard.Ask{
		Request: r.hash, Operation: r.Header.Operation, Actor: r.body.Actor.Kind, Name: r.body.Account.Kind, At: time.Now(),
	}
	if err := c.cfg.Policy.Before(ask); err != nil {
		return c.turnDown(ctx, r, last, reset.Entry{}, err)
	}
	finding, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	session, err := c.cfg.Directory(finding)
	if err != nil {
		return fate{kind: handedBack, reason: c.away(ctx), delay: soon, cause: err}, false
	}
	defer session.End()
	entry, err := session.Find(finding, r.body.Account)
	if entry.DN != "" && !c.cfg.Policy.Reaches(entry.DN) {
		// Whatever there is to say of it: it looks as if it did not exist.
		err = &reset.Error{Code: reset.AccountNotFound, Err: errors.New("the account is outside the bases of the policy file")}
	}
	if err == nil {
		c.dc.Store(&entry.Witness.DC)
		err = c.judge(finding, r, session, ask, &entry)
	}
	if err != nil {
		return c.turnDown(ctx, r, last, entry, err)
	}

	cl, f, again := c.claim(ctx, r, last, entry)
	if cl == nil {
		return f, again
	}
	if !c.maySend(ctx, r, cl) {
		return c.giveUp(ctx, r, cl, nil)
	}
	// Between the check above and the send there is nothing. A stop does not
	// cut a modify off: it is bounded, and cutting would leave us in doubt.
	err = r.send(context.WithoutCancel(ctx), session, cl)
	switch _, classified := reset.OutcomeOf(err); {
	case errors.Is(err, reset.ErrDirectoryUnavailable):
		return c.giveUp(ctx, r, cl, err)
	case errors.Is(err, reset.ErrUnanswered), !classified:
		return fate{kind: handedBack, reason: directorySilent, delay: reset.TakeOver, cause: err}, false
	}
	return c.settle(ctx, r, cl, err), false
}

// send does what the request asks for: the one modify whose verdict is the
// request's, and then what follows from it, as long as nobody can have taken the
// request over; a probe modifies nothing. Its error is that of the first modify,
// or says which follow-ups may not have been done.
func (r *request) send(ctx context.Context, s Session, cl *claim) error {
	var err error
	entry := cl.entry
	switch r.Header.Operation {
	case reset.Reset:
		err = s.SetPassword(ctx, entry, r.body.Password)
	case reset.Change:
		err = s.Change(ctx, entry, r.body.Current, r.body.Password)
	case reset.Unlock:
		err = s.Unlock(ctx, entry)
	case reset.Probe:
		ctx, cancel := context.WithTimeout(ctx, findTimeout)
		defer cancel()
		return s.Probe(ctx, entry)
	}
	if err != nil {
		return err
	}
	// A reset leaves a locked account locked: only lockoutTime unlocks it.
	ctx, cancel := context.WithDeadline(ctx, cl.begun.Add(reset.Window+reset.ModifyTimeout))
	defer cancel()
	var failed []reset.FollowUp
	var causes []error
	follow := func(what string, modify func(context.Context, reset.Entry) error) {
		err := ctx.Err()
		if err == nil {
			err = modify(ctx, entry)
		}
		if err == nil {
			return
		}
		o, _ := reset.OutcomeOf(err)
		failed = append(failed, reset.FollowUp{What: what, Right: o.Details.Right})
		causes = append(causes, err)
	}
	if r.Header.Operation == reset.Reset && entry.Locked {
		follow("unlock", s.Unlock)
	}
	if r.Header.Operation == reset.Reset && r.body.MustChange {
		follow("must_change", s.MustChange)
	}
	if len(failed) == 0 {
		return nil
	}
	// Not wrapped: the password is set, whatever became of the rest.
	return &reset.Error{Code: reset.AppliedPartly, Details: reset.Details{FollowUps: failed}, Err: fmt.Errorf("%v", errors.Join(causes...))}
}

// turnDown ends a request that the directory is not asked to change anything for,
// or hands it back if err is not a refusal.
func (c *Consumer) turnDown(ctx context.Context, r *request, last audit.Link, entry reset.Entry, err error) (fate, bool) {
	var refusal *reset.Error
	if !errors.As(err, &refusal) {
		return fate{kind: handedBack, reason: c.away(ctx), delay: soon, cause: err}, false
	}
	if refusal.Code == reset.AccountNotFound {
		entry = reset.Entry{} // the cloud reads the records
	}
	return c.refuse(ctx, r, last, entry, refusal)
}

// away is why a request is handed back that did not reach the directory.
func (c *Consumer) away(ctx context.Context) string {
	if errors.Is(context.Cause(ctx), errStopping) {
		return interrupted
	}
	return directoryAway
}

// judge refuses what is not to be applied although the account was found.
func (c *Consumer) judge(ctx context.Context, r *request, s Session, ask guard.Ask, entry *reset.Entry) (err error) {
	if c.cfg.Policy.NeedsGroups() {
		if entry.Groups, err = s.Groups(ctx, *entry); err != nil {
			return err
		}
	}
	ask.At = time.Now() // the search may have taken a while
	if err := c.cfg.Policy.Judge(ask, *entry); err != nil {
		return err
	}
	op := r.Header.Operation
	switch {
	case entry.Disabled || entry.Expired:
		return &reset.Error{Code: reset.AccountDisabled, Err: errors.New("the account is disabled, or its end date has passed")}
	case entry.SmartcardOnly && op != reset.Unlock:
		return &reset.Error{Code: reset.AccountProtected, Err: errors.New("the account signs in with a smartcard only: a password would be of no use")}
	case entry.Locked && op == reset.Change:
		return &reset.Error{Code: reset.AccountLocked}
	case r.body.MustChange && (op != reset.Reset || r.body.Actor.Kind != reset.Admin):
		return &reset.Error{Code: reset.Invalid, Details: reset.Details{Field: "options.must_change"}}
	}
	// Somebody has set a password since this one was accepted, perhaps the
	// same user with a later request: the older one must not come back.
	set := fileTime(entry.Witness.PwdLastSet)
	if r.setsPassword() && set.Sub(r.Header.Accepted) > 2*reset.ClockSkew {
		return &reset.Error{
			Code:    reset.Expired,
			Details: reset.Details{Reason: "superseded"},
			Err:     errors.New("a password was set after this request was accepted"),
		}
	}
	return nil
}

// setsPassword reports whether a password is set if the request is applied.
func (r *request) setsPassword() bool {
	return r.Header.Operation == reset.Reset || r.Header.Operation == reset.Change
}

// fileTime converts a FILETIME (MS-DTYP 2.3.3); 0, which says that the password
// must be changed, becomes a time before all others.
func fileTime(ft int64) time.Time {
	const second, epoch = 10_000_000, 11_644_473_600 // 100 ns; 1601 to 1970 in seconds
	return time.Unix(ft/second-epoch, ft%second*100)
}

// refuse claims and settles a request that the directory is not asked for.
func (c *Consumer) refuse(ctx context.Context, r *request, last audit.Link, entry reset.Entry, why *reset.Error) (fate, bool) {
	cl, f, again := c.claim(ctx, r, last, entry)
	if cl == nil {
		return f, again
	}
	return c.settle(ctx, r, cl, why), false
}

// claimTimeout is how long the broker may take to say that a claim is stored:
// longer than a cluster takes to elect a leader.
const claimTimeout = 15 * time.Second

// claim writes our claim after last. It returns nil, and what to do instead, if
// it is not certain that the claim is stored and ours.
func (c *Consumer) claim(ctx context.Context, r *request, last audit.Link, entry reset.Entry) (*claim, fate, bool) {
	begun := time.Now()
	rec := r.next(envelope.Claimed, last)
	// Longer than a claim is fresh, and through a stop: a claim that we know
	// to be stored can be released, one that we do not know of cannot.
	link, err := c.append(context.WithoutCancel(ctx), r, rec, envelope.Private{GUID: entry.GUID, Witness: entry.Witness}, claimTimeout)
	switch {
	case errors.Is(err, reset.ErrConflict):
		return nil, fate{}, true
	case err != nil:
		// It may be stored yet; then it is nobody's, and is taken over.
		return nil, fate{kind: handedBack, reason: claimUnknown, delay: soon, cause: err}, false
	}
	return &claim{Link: link, begun: begun, entry: entry}, fate{}, false
}

// maySend is the last look before a modify: our claim is fresh by the monotonic
// and the wall clock (the first stands still while a machine is suspended), and
// the deadline has not passed.
func (c *Consumer) maySend(ctx context.Context, r *request, cl *claim) bool {
	now := time.Now()
	// A wall clock that was set back says nothing about the claim's age.
	wall := now.Round(0).Sub(cl.begun.Round(0))
	return ctx.Err() == nil && now.Sub(cl.begun) < reset.Window && wall < reset.Window && wall > -reset.ClockSkew &&
		!now.After(r.Header.Deadline)
}

// giveUp says on the chain that nothing was sent under our claim, so that
// anybody may try again, or the publisher may cancel.
func (c *Consumer) giveUp(ctx context.Context, r *request, cl *claim, cause error) (fate, bool) {
	_, err := c.append(context.WithoutCancel(ctx), r, r.next(envelope.Released, cl.Link), envelope.Private{}, later)
	switch {
	case errors.Is(err, reset.ErrConflict):
		return fate{}, true
	case err != nil:
		return fate{kind: handedBack, reason: claimUnknown, delay: soon, cause: errors.Join(cause, err)}, false
	case cause == nil && ctx.Err() == nil:
		return fate{}, true // the claim was slow, or the deadline has passed: look again
	}
	return fate{kind: handedBack, reason: c.away(ctx), delay: soon, cause: cause}, false
}

// settleAfterStop is how long an outcome may still take to be stored when the
// program stops.
const settleAfterStop = 10 * time.Second

// settle writes the outcome, which is the reply, and does not rest until it is
// certain that it is stored: the effect, if any, is there already. result is
// nil or a *reset.Error.
func (c *Consumer) settle(ctx context.Context, r *request, cl *claim, result error) fate {
	applied := time.Now()
	outcome, _ := reset.OutcomeOf(result)
	storing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(settleAfterStop, cancel) })()
	rec := r.next(envelope.Settled, cl.Link)
	rec.Code = outcome.Code
	private := envelope.Private{GUID: cl.entry.GUID, Witness: cl.entry.Witness, Details: outcome.Details, Applied: applied}
	life := time.Until(r.Header.Accepted.Add(reset.Life))
	_, err := c.append(storing, r, rec, private, life)
	switch {
	case errors.Is(err, reset.ErrConflict):
		c.metrics.late.Inc()
		c.cfg.Logger.Error().Stringer(obs.Request, r.ref).Str(obs.Code, string(outcome.Code)).
			Msg("our outcome came too late: the request was taken over or closed")
		return fate{kind: handedBack, reason: claimedByOther, delay: soon}
	case err != nil:
		return fate{kind: handedBack, reason: settleUnknown, delay: soon, cause: err}
	}
	return fate{kind: settled, code: outcome.Code, cause: result}
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

// append signs a record and stores it after its parent, for at most limit.
func (c *Consumer) append(ctx context.Context, r *request, rec envelope.Record, private envelope.Private, limit time.Duration) (audit.Link, error) {
	if r.body != nil {
		private.Account, private.Actor = r.body.Account, r.body.Actor
		private.Source, private.Address = r.body.Source, r.body.Address
	}
	data, err := c.cfg.Log.Record(&rec, private, r.key)
	if err != nil {
		return audit.Link{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	seq, err := c.cfg.Queue.Append(ctx, r.ref, data, rec.ParentSeq)
	if err != nil {
		return audit.Link{}, err
	}
	return audit.Link{Record: &rec, Seq: seq, Hash: sha256.Sum256(data)}, nil
}
