package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// A claim is our own.
type claim struct {
	audit.Link
	begun time.Time // just before it was first published
	used  bool      // a modify was sent under it: there is no second one
	sent  bool      // and that was not answered for certain
	on    subject

	asking bool // it says that the directory is about to be asked, by us, who have not yet
}

// A subject is whom a claim is about.
type subject struct {
	GUID      [16]byte
	Witnesses []reset.Witness
}

// subjectOf returns what a claim on e says.
func subjectOf(e reset.Entry) subject {
	if e.Witness == (reset.Witness{}) {
		return subject{} // nobody was found, or nobody is to be known of
	}
	return subject{GUID: e.GUID, Witnesses: []reset.Witness{e.Witness}}
}

// has reports whether one of the witnesses is a domain controller's.
func (s subject) has(dc string) bool {
	return slices.ContainsFunc(s.Witnesses, func(w reset.Witness) bool { return w.DC == dc })
}

// before reports whether w, of another domain controller, shows a password that
// was set after all of the witnesses. One that has not heard of them yet shows
// an older one.
func (s subject) before(w reset.Witness) bool {
	return !slices.ContainsFunc(s.Witnesses, func(then reset.Witness) bool {
		return w.PwdLastSet <= then.PwdLastSet && (w.PwdLastSet != 0 || then.PwdLastSet == 0)
	})
}

// subject returns whom the newest claim is about.
func (r *request) subject(chain audit.Chain) (subject, error) {
	link, ok := chain.Claim()
	if !ok {
		return subject{}, errors.New("a chain in doubt has no claim")
	}
	private, err := audit.Private(*r.key, link)
	if err != nil {
		return subject{}, fmt.Errorf("reading the witness of a claim: %w", err)
	}
	return subject{GUID: private.GUID, Witnesses: private.Witnesses}, nil
}

// claimTimeout is how long the broker may take to say that a claim is stored:
// longer than a cluster takes to elect a leader.
const claimTimeout = 15 * time.Second

// claim writes our claim after last. It returns nil, and what to do instead, if
// it is not certain that the claim is stored and ours.
func (c *Consumer) claim(ctx context.Context, r *request, last audit.Link, on subject) (*claim, fate, bool) {
	mine := r.claimed(last)
	return c.claimAs(ctx, r, r.next(envelope.Claimed, last), last, &claim{on: on, asking: mine != nil && mine.asking})
}

// claimAsking claims once more, to say that the directory is about to be asked.
func (c *Consumer) claimAsking(ctx context.Context, r *request, cl *claim) (*claim, fate, bool) {
	rec := r.next(envelope.Claimed, cl.Link)
	rec.Asked = true
	return c.claimAs(ctx, r, rec, cl.Link, &claim{on: cl.on, asking: true})
}

func (c *Consumer) claimAs(ctx context.Context, r *request, rec envelope.Record, last audit.Link, cl *claim) (*claim, fate, bool) {
	cl.begun = time.Now()
	// Who claims after a claim cannot know what was done under it, or does
	// know that a modify was not answered.
	rec.Doubt = rec.Doubt || last.Kind == envelope.Claimed
	// Longer than a claim is fresh, and through a stop: a claim that we know
	// to be stored can be released, one that we do not know of cannot.
	var err error
	done := r.watch.Step(obs.StepClaim)
	cl.Link, err = c.append(context.WithoutCancel(ctx), r, rec, envelope.Private{GUID: cl.on.GUID, Witnesses: cl.on.Witnesses}, claimTimeout)
	done()
	r.own[cl.Writer.Number] = cl
	switch {
	case errors.Is(err, reset.ErrConflict):
		return nil, fate{}, true
	case errors.Is(err, reset.ErrUnknown) && c.rest(ctx, r, soon):
		// It may be stored, or be stored yet: the chain will say.
		return nil, fate{}, true
	case err != nil:
		return nil, fate{kind: handedBack, reason: claimUnknown, delay: soon, cause: err}, false
	}
	c.remember(r, cl.Hash)
	return cl, fate{}, false
}

// A memory is the newest claim of ours on a request that the broker has stored.
type memory struct {
	claim [32]byte // its hash
	until time.Time
}

// remember notes a claim until nobody can apply the request any more. Who owns the
// broker could take the claim back, and have us apply the request twice.
func (c *Consumer) remember(r *request, claim [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(c.claims, func(_ reset.ID, m memory) bool { return now.After(m.until) })
	c.claims[r.ref.ID] = memory{claim, r.deadline.Add(time.Minute)}
}

// recall returns the claim that was remembered.
func (c *Consumer) recall(id reset.ID) (claim [32]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.claims[id]
	return m.claim, ok
}

// maySend is the last look before a modify: our claim is fresh by the monotonic
// and the wall clock (the first stands still while a machine is suspended), and
// the deadline has not passed.
func (c *Consumer) maySend(ctx context.Context, r *request, cl *claim) bool {
	now := time.Now()
	// A wall clock that was set back says nothing about the claim's age.
	wall := now.Round(0).Sub(cl.begun.Round(0))
	return !cl.used && ctx.Err() == nil && now.Sub(cl.begun) < reset.Window && wall < reset.Window && wall > -reset.ClockSkew &&
		!r.late()
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
	reason := c.away(ctx)
	if errors.Is(cause, errStopping) {
		reason = interrupted
	}
	return fate{kind: handedBack, reason: reason, delay: soon, cause: cause}, false
}
