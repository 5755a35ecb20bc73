package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"writeback/internal/audit"
	"writeback/internal/guard"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// findTimeout bounds the way to the account: a connection and one search.
const findTimeout = 5 * time.Second

// apply takes a request on whose chain nothing was sent from finding the
// account to its outcome. again says that the chain has moved, or that nothing
// was sent and everything may be tried anew.
func (c *Consumer) apply(ctx context.Context, r *request, unreadable error, last audit.Link) (f fate, again bool) {
	if unreadable != nil {
		return c.refuse(ctx, r, last, reset.Entry{}, &reset.Error{Code: reset.Unreadable, Err: unreadable})
	}
	ask := r.forPolicy()
	if err := c.cfg.Policy.Before(ask); err != nil {
		return c.turnDown(ctx, r, last, reset.Entry{}, err)
	}
	session, entry, err := c.locate(ctx, r, ask)
	if session == nil {
		return fate{kind: handedBack, reason: c.away(ctx), delay: soon, cause: err}, false
	}
	end := sync.OnceFunc(session.End)
	defer end()
	if err != nil {
		return c.turnDown(ctx, r, last, entry, err)
	}
	cl, f, again := c.claim(ctx, r, last, subjectOf(entry))
	if cl == nil {
		return f, again
	}
	if !c.maySend(ctx, r, cl) {
		return c.giveUp(ctx, r, cl, nil)
	}
	// Between the check above and the send there is nothing. A stop does not
	// cut a modify off: it is bounded, and cutting would leave us in doubt.
	err = r.send(context.WithoutCancel(ctx), session, cl, entry)
	switch said(err) {
	case notSent:
		return c.giveUp(ctx, r, cl, err)
	case unanswered:
		return c.unanswered(r, cl, err)
	}
	end() // the broker may take its time
	return c.settle(ctx, r, cl, err), false
}

// locate finds and judges the account. The connection is nil if there is none, and
// else the caller's to end.
func (c *Consumer) locate(ctx context.Context, r *request, ask guard.Ask) (s Session, entry reset.Entry, err error) {
	defer r.watch.Step(obs.StepFind)()
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	if s, err = c.cfg.Directory(ctx, ""); err != nil {
		return nil, entry, err
	}
	entry, err = c.find(ctx, s, r.body.Account)
	if r.dc = entry.Witness.DC; err == nil {
		err = c.judge(ctx, r, s, ask, &entry)
	}
	return s, entry, err
}

// forPolicy is what the policy is asked about r.
func (r *request) forPolicy() guard.Ask {
	return guard.Ask{Request: r.hash, Operation: r.Header.Operation, Actor: r.body.Actor.Kind, Name: r.body.Account.Kind, At: time.Now()}
}

// find finds the account, if it is one that the cloud may know of.
func (c *Consumer) find(ctx context.Context, s Session, a reset.Account) (reset.Entry, error) {
	entry, err := s.Find(ctx, a)
	if entry.DN != "" && !c.cfg.Policy.Reaches(entry.DN) {
		// Whatever there is to say of it: it looks as if it did not exist.
		err = &reset.Error{Code: reset.AccountNotFound, Err: errors.New("the account is outside the bases of the policy file")}
	}
	return entry, err
}

// An answer is what the error of a modify says of it.
type answer int

const (
	answered   answer = iota // it was done, or refused
	notSent                  // it was not done, nor will be
	unanswered               // it may have been done, or still be
)

func said(err error) answer {
	switch _, classified := reset.OutcomeOf(err); {
	case errors.Is(err, reset.ErrDirectoryUnavailable):
		return notSent
	case errors.Is(err, reset.ErrUnanswered), !classified:
		return unanswered
	}
	return answered
}

// unanswered notes that a modify under our claim may have had an effect.
func (c *Consumer) unanswered(r *request, cl *claim, err error) (fate, bool) {
	c.cfg.Logger.Warn().Stringer(obs.Request, r.ref).Str(obs.Reason, directorySilent).AnErr(obs.Cause, err).Msg("request is in doubt")
	cl.sent, r.outstanding = true, time.Now()
	return fate{}, true
}

// send does what the request asks for: the one modify whose verdict is the
// request's, and then what follows from it, as long as nobody can have taken the
// request over; a probe modifies nothing. Its error is that of the first modify,
// or says which follow-ups may not have been done.
func (r *request) send(ctx context.Context, s Session, cl *claim, entry reset.Entry) error {
	defer r.watch.Step(obs.StepModify)()
	var err error
	cl.used, r.dc = true, entry.Witness.DC
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
	return r.followUp(ctx, s, cl, entry)
}

// followUp does what follows from a password that is set: a reset unlocks an
// account that was locked, which setting its password alone does not, and makes
// its owner choose another if that was asked for. Its error says what may not
// have been done.
func (r *request) followUp(ctx context.Context, s Session, cl *claim, entry reset.Entry) error {
	if r.Header.Operation != reset.Reset {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, cl.begun.Add(reset.Window+reset.ModifyTimeout))
	defer cancel()
	var failed []reset.FollowUp
	var causes []error
	follow := func(what string, modify func(context.Context, reset.Entry) error) {
		err := ctx.Err()
		if err == nil {
			if err = modify(ctx, entry); said(err) == unanswered {
				r.outstanding = time.Now()
			}
		}
		if err == nil {
			return
		}
		o, _ := reset.OutcomeOf(err)
		failed = append(failed, reset.FollowUp{What: what, Right: o.Details.Right})
		causes = append(causes, err)
	}
	if entry.Locked {
		follow("unlock", s.Unlock)
	}
	if r.body.MustChange {
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
	set := reset.FileTime(entry.Witness.PwdLastSet)
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

// refuse claims and settles a request that the directory is not asked for.
func (c *Consumer) refuse(ctx context.Context, r *request, last audit.Link, entry reset.Entry, why *reset.Error) (fate, bool) {
	cl, f, again := c.claim(ctx, r, last, subjectOf(entry))
	if cl == nil {
		return f, again
	}
	return c.settle(ctx, r, cl, why), false
}
