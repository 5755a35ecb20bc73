package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// doubt takes over a request on whose chain a modify may have been sent, by
// somebody else or by us, and finds out what became of it. No modify is sent
// before a look at the account has shown that none has had an effect.
func (c *Consumer) doubt(ctx context.Context, r *request, unreadable error, chain audit.Chain) (fate, bool) {
	last := chain.Last()
	switch {
	case time.Since(r.Header.Accepted) > reset.Life:
		return fate{kind: handedBack, reason: inDoubt, delay: later}, false // a publisher closes it
	case unreadable != nil:
		return fate{kind: handedBack, reason: inDoubt, delay: reset.TakeOver, cause: unreadable}, false
	}
	mine := r.claimed(last)
	if mine == nil {
		r.outstanding = time.Now() // for all we know
	}
	if last.Kind == envelope.Claimed && (mine == nil || mine.sent) {
		wait := reset.TakeOver
		if mine != nil {
			wait = time.Until(mine.begun.Add(reset.Window))
		}
		if !c.rest(ctx, r, wait) {
			return fate{kind: handedBack, reason: inDoubt, delay: reset.TakeOver, cause: context.Cause(ctx)}, false
		}
		now, f := c.read(ctx, r)
		if f != nil {
			return *f, false
		}
		if now.Last().Hash != last.Hash {
			return fate{}, true
		}
	}
	on, err := r.subject(chain)
	switch {
	case err != nil:
		return fate{kind: handedBack, reason: recordsBroken, delay: later, cause: err}, false
	case r.Header.Operation != reset.Probe && len(on.Witnesses) > 0:
		// Something may have been sent.
	case r.late():
		r.outstanding = time.Time{}
		return c.refuse(ctx, r, last, reset.Entry{}, &reset.Error{Code: reset.Expired})
	default:
		r.outstanding = time.Time{}
		return c.apply(ctx, r, nil, last)
	}
	cl, f, again := c.claim(ctx, r, last, on)
	if cl == nil {
		return f, again
	}
	d := &resolution{Consumer: c, r: r, cl: cl}
	return d.resolve(ctx)
}

// A resolution is a request in doubt under our claim.
type resolution struct {
	*Consumer
	r     *request
	cl    *claim
	blind time.Time // since when no domain controller was seen that knows; zero if the last look saw one
}

// blindFor is how long a replica keeps a request that it cannot look into.
const blindFor = 20 * time.Second

// resolve looks at the account until what it sees decides what is to be done.
func (d *resolution) resolve(ctx context.Context) (fate, bool) {
	for {
		d.r.hand.keep(reset.Window + reset.ModifyTimeout)
		// A modify that comes while the account is read may be missed.
		mayCome := d.r.mayStillCome()
		v := d.look(ctx)
		f, again, wait := d.decide(ctx, &v, mayCome)
		v.end()
		if wait == 0 {
			return f, again
		}
		age := time.Since(d.r.Header.Accepted)
		if age > reset.Correctable || age > reset.Life && v.sight == changed {
			return fate{kind: handedBack, reason: inDoubt, delay: later}, false
		}
		switch {
		case v.sight != hidden:
			d.blind = time.Time{}
		case d.blind.IsZero():
			d.blind = time.Now()
		case time.Since(d.blind) > blindFor && age < reset.QueueAge-blindFor:
			// Another replica may see more, as long as the broker has the
			// request for it.
			return d.leave(ctx, reset.ErrDirectoryUnavailable)
		}
		if d.rest(ctx, d.r, wait) {
			continue
		}
		if d.isStopping(ctx) {
			return d.leave(ctx, errStopping)
		}
		return fate{kind: handedBack, reason: inDoubt, delay: reset.TakeOver}, false
	}
}

// leave leaves the request to others, who need not wait for us if nothing was
// sent under our claim.
func (d *resolution) leave(ctx context.Context, why error) (fate, bool) {
	if d.cl.used {
		return fate{kind: handedBack, reason: inDoubt, delay: soon, cause: why}, false
	}
	return d.giveUp(ctx, d.r, d.cl, why)
}

// conclude settles the request. The connection is for others meanwhile.
func (d *resolution) conclude(ctx context.Context, v *view, result error) (fate, bool, time.Duration) {
	v.end()
	return d.settle(ctx, d.r, d.cl, result), false, 0
}

func unconfirmed(why string) error {
	return &reset.Error{Code: reset.Unconfirmed, Err: errors.New(why)}
}

// decide is the second half of the state table: what follows from what the
// account looks like. If that is nothing yet, it says how long to wait for the
// next look. mayCome is how long a modify could still come when this one began.
func (d *resolution) decide(ctx context.Context, v *view, mayCome time.Duration) (f fate, again bool, wait time.Duration) {
	r, late := d.r, d.r.late()
	unlock := r.Header.Operation == reset.Unlock
	switch {
	case v.sight == hidden:
		return fate{}, false, later
	case v.sight == gone:
		return d.conclude(ctx, v, unconfirmed("the account was deleted after a modify may have been sent"))
	case v.sight == changed && unlock && !v.entry.Locked:
		return d.conclude(ctx, v, nil)
	case v.sight == changed && unlock && late:
		return d.conclude(ctx, v, unconfirmed("the account is locked, perhaps once more"))
	case v.sight == changed && !unlock:
		return d.identify(ctx, v)
	case !late && r.refusal == nil:
		return d.resend(ctx, v)
	case v.sight != unchanged:
		return fate{}, false, later // a domain controller that may know more is away
	case mayCome > 0:
		return fate{}, false, mayCome
	case r.refusal != nil:
		return d.conclude(ctx, v, r.refusal)
	}
	return d.conclude(ctx, v, &reset.Error{Code: reset.Expired})
}

// late reports whether the deadline has passed, by either clock: the wall clock
// can be set back, and the other stands still while the machine sleeps.
func (r *request) late() bool {
	now := time.Now()
	return now.After(r.deadline) || now.Round(0).After(r.Header.Deadline)
}

// mayStillCome is how long a modify that was sent before now may still be
// executed by a domain controller that is slow.
func (r *request) mayStillCome() time.Duration {
	if r.outstanding.IsZero() {
		return 0
	}
	return max(0, time.Until(r.outstanding.Add(reset.Window+reset.ModifyTimeout+reset.Grace)))
}

// slotHeld is the same for a request that has ended, from what its chain says:
// whose clock dated that may differ from ours.
func slotHeld(chain audit.Chain) time.Duration {
	for i, l := range slices.Backward(chain) {
		if l.Kind == envelope.Claimed && i+1 < len(chain) && chain[i+1].Kind == envelope.Claimed {
			return max(0, time.Until(l.Time.Add(reset.Window+reset.ModifyTimeout+reset.Grace+reset.ClockSkew)))
		}
	}
	return 0
}

// resend applies a request of which it is certain that nothing had an effect
// yet, or of which the same may safely be sent to another domain controller.
func (d *resolution) resend(ctx context.Context, v *view) (fate, bool, time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), findTimeout+reset.ModifyTimeout)
	defer cancel()
	r := d.r
	err := d.cfg.Policy.Before(r.forPolicy())
	if err == nil && !d.cfg.Policy.Reaches(v.entry.DN) {
		err = &reset.Error{Code: reset.AccountNotFound}
	}
	if err == nil {
		err = d.judge(ctx, r, v.session, r.forPolicy(), &v.entry)
	}
	if err != nil {
		if said(err) == answered {
			r.refusal = err
		}
		return fate{}, false, soon
	}
	on := d.cl.on
	if v.sight == elsewhere && !on.has(v.entry.Witness.DC) {
		on.Witnesses = append(slices.Clone(on.Witnesses), v.entry.Witness)
	}
	if f, again, ok := d.refresh(ctx, on); !ok {
		return f, again, 0
	}
	if !d.maySend(ctx, r, d.cl) {
		return fate{}, false, soon
	}
	err = r.send(ctx, v.session, d.cl, v.entry)
	switch said(err) {
	case notSent:
		return fate{}, false, soon
	case unanswered:
		f, again := d.unanswered(r, d.cl, err)
		return f, again, 0
	}
	if o, _ := reset.OutcomeOf(err); o.Code == reset.Applied || o.Code == reset.AppliedPartly {
		return d.conclude(ctx, v, err)
	}
	// It may have been refused for what an earlier modify of the same request
	// has done. The next look says.
	r.refusal = err
	return fate{}, false, soon
}

// refresh claims once more if our claim is too old for a modify, or does not name
// every domain controller that one may be sent to. ok is false if the chain has
// moved instead.
func (d *resolution) refresh(ctx context.Context, on subject) (f fate, again, ok bool) {
	if len(on.Witnesses) == len(d.cl.on.Witnesses) && d.maySend(ctx, d.r, d.cl) {
		return fate{}, false, true
	}
	cl, f, again := d.claim(ctx, d.r, d.cl.Link, on)
	if cl == nil {
		return f, again, false
	}
	d.cl = cl
	return fate{}, false, true
}

// identify finds out whose password it is that was set since the witness: by a
// bind, the only one for this request. A bind does not tell while the account is
// locked, so that a reset first does what it would have done next, and unlocks.
func (d *resolution) identify(ctx context.Context, v *view) (fate, bool, time.Duration) {
	r := d.r
	switch {
	case d.cl.Asked && !d.cl.asking:
		return d.conclude(ctx, v, unconfirmed("the directory was asked before, and the answer is not known"))
	case v.entry.Locked && r.Header.Operation == reset.Reset && !r.late():
		if f, again, ok := d.refresh(ctx, d.cl.on); !ok {
			return f, again, 0
		}
		if d.maySend(ctx, r, d.cl) {
			d.cl.used = true
			err := v.session.Unlock(context.WithoutCancel(ctx), v.entry)
			if err == nil {
				return fate{}, false, soon
			}
			if said(err) == unanswered {
				r.outstanding = time.Now()
			}
		}
		return fate{}, false, later
	case v.entry.Locked:
		return fate{}, false, later
	}
	if !d.cl.Asked {
		cl, f, again := d.claimAsking(ctx, r, d.cl)
		if cl == nil {
			return f, again, 0
		}
		d.cl = cl
	}
	bind := context.WithoutCancel(ctx)
	right, err := v.session.Ask(bind, v.entry, r.body.Password)
	switch {
	case errors.Is(err, reset.ErrDirectoryUnavailable), errors.Is(err, reset.ErrNotAsked) && !r.late():
		return fate{}, false, later // nothing was sent
	case err != nil:
		return d.conclude(ctx, v, &reset.Error{Code: reset.Unconfirmed, Err: err})
	case !right:
		return d.conclude(ctx, v, unconfirmed("another password was set since"))
	}
	return d.conclude(ctx, v, r.followUp(bind, v.session, d.cl, v.entry))
}

// A sight is what a look at the account shows.
type sight int

const (
	hidden    sight = iota // no domain controller could be asked that knows
	gone                   // there is no such account any more
	unchanged              // no modify has had an effect, anywhere, until now
	changed                // something was changed since the witness, by a modify of ours or by somebody else
	elsewhere              // nothing to be seen, on another domain controller than those that may have been sent a modify
)

// A view is a sight, and the connection to the domain controller that showed
// it; its session is nil if that is hidden or gone.
type view struct {
	sight   sight
	session Session
	entry   reset.Entry
}

func (v *view) end() {
	if v.session != nil {
		v.session.End()
		v.session = nil
	}
}

// look compares the account with the witnesses of our claim, each on its own
// domain controller. Where one of those is away, and something may still be
// sent, another domain controller will do.
func (d *resolution) look(ctx context.Context) view {
	defer d.r.watch.Step(obs.StepFind)()
	on := d.cl.on
	account := reset.Account{Kind: reset.ObjectGUID, Value: reset.FormatGUID(on.GUID)}
	best := view{sight: unchanged}
	for _, w := range on.Witnesses {
		v := d.visit(ctx, account, w.DC)
		if v.session != nil {
			v.sight = unchanged
			if d.r.moved(w, v.entry.Witness) {
				v.sight = changed
			}
		}
		switch {
		case v.sight == gone, v.sight == changed:
			best.end()
			return v
		case v.session == nil:
			best.end()
			best = view{sight: hidden}
		case best.sight == hidden:
			v.end()
		default:
			best.end()
			best = v
		}
	}
	if best.sight != hidden || len(on.Witnesses) == envelope.MaxWitnesses || d.r.late() {
		return best
	}
	v := d.visit(ctx, account, "")
	if v.session == nil {
		return view{sight: hidden} // that it is gone may be news from before it was made
	}
	// uSNChanged is each domain controller's own, pwdLastSet replicates.
	v.sight = elsewhere
	if on.before(v.entry.Witness) {
		v.sight = changed
	}
	return v
}

// visit finds the account on a domain controller.
func (c *Consumer) visit(ctx context.Context, a reset.Account, dc string) view {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	session, err := c.cfg.Directory(ctx, dc)
	if err != nil {
		c.cfg.Logger.Debug().Str(obs.DC, dc).AnErr(obs.Cause, err).Msg("looking at an account in doubt")
		return view{sight: hidden}
	}
	entry, err := session.Find(ctx, a)
	if err == nil {
		return view{session: session, entry: entry}
	}
	session.End()
	if refusal, ok := errors.AsType[*reset.Error](err); ok && refusal.Code == reset.AccountNotFound {
		return view{sight: gone}
	}
	return view{sight: hidden}
}

// moved reports whether what r asks for may have been done since then, both
// being what one domain controller said. An unlock leaves pwdLastSet, and a
// pwdLastSet of 0 says nothing of when the password was set.
func (r *request) moved(then, now reset.Witness) bool {
	if now.USNChanged == then.USNChanged {
		return false
	}
	return r.Header.Operation == reset.Unlock || now.PwdLastSet != then.PwdLastSet || now.PwdLastSet == 0
}
