package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/unseal"
)

// Reasons for which a message is dropped or handed back: log field and metric
// label, a closed set.
const (
	notARequest     = "not_a_request"
	unknownSigner   = "unknown_signer"
	otherTenant     = "other_tenant"
	aheadOfClock    = "clock"
	inHandHere      = "in_hand_here"
	otherReplica    = "sealed_for_another_replica"
	recordsAway     = "records_unavailable"
	recordsBroken   = "records_broken"
	recordsMissing  = "records_missing"
	recordsFull     = "records_full"
	pastDeadline    = "past_deadline"
	claimUnknown    = "claim_unknown"
	claimedByOther  = "claimed"
	settleUnknown   = "settle_unknown"
	directoryAway   = "directory_unavailable"
	directorySilent = "directory_silent"
	inDoubt         = "in_doubt"
	interrupted     = "interrupted"
)

// Why a delivery can be handed back, and why a message can be dropped.
func handBackReasons() []string {
	return []string{
		aheadOfClock, inHandHere, otherReplica, recordsAway, recordsBroken, recordsMissing, recordsFull, pastDeadline,
		claimUnknown, claimedByOther, settleUnknown, directoryAway, inDoubt, interrupted,
	}
}

func dropReasons() []string { return []string{notARequest, unknownSigner, otherTenant} }

// A request that has been verified, on its way through this replica.
type request struct {
	*envelope.Request
	ref   reset.Ref
	hash  [32]byte // of the request as received
	body  *envelope.Body
	key   *seal.RecordKey // for the private part of its records; nil if the body does not open
	hand  *hand           // keeps it from other replicas
	watch *obs.Watch      // measures its steps

	dc       string    // the domain controller that had the account last; empty if none did
	deadline time.Time // as we took it, so that it does not move with the wall clock

	own         map[uint64]*claim // what we claimed, by the number of the record
	outstanding time.Time         // when it was last possible that a modify of somebody's is on its way
	refusal     error             // what the directory said to a modify of ours in doubt
}

// process takes a delivery as far as it can and says what is to become of it. watch
// was started when it came.
func (c *Consumer) process(ctx context.Context, d Delivery, watch *obs.Watch, leave func(), log *zerolog.Logger) fate {
	req, err := envelope.ParseRequest(d.Data)
	if err != nil {
		return fate{kind: dropped, reason: notARequest, cause: err}
	}
	h := req.Header
	now := time.Now()
	if !c.cfg.Publishers.Verify(h.Signer, now, seal.KindRequest, req.Signed(), req.Sig) {
		return fate{kind: dropped, reason: unknownSigner}
	}
	// From here on a pinned publisher vouches for what the header says.
	ref := reset.Ref{Publisher: h.Publisher, ID: h.ID}
	*log = log.With().Stringer(obs.Request, ref).Stringer(obs.Operation, h.Operation).Logger()
	if h.Tenant != c.cfg.Tenant {
		return fate{kind: dropped, reason: otherTenant}
	}
	if ahead := h.Accepted.Sub(now); ahead > reset.ClockSkew {
		c.skewed.Store(int64(ahead))
		log.WithLevel(c.behind.Level(zerolog.ErrorLevel, nil)).Dur(obs.Skew, ahead).Msg("our clock is too far behind the publisher's to work on its requests")
		return fate{kind: handedBack, reason: aheadOfClock, delay: later}
	}
	c.skewed.Store(0)
	c.behind.Over()
	if !c.hold(ref.ID) {
		return fate{kind: handedBack, reason: inHandHere, delay: soon}
	}
	defer c.letGo(ref.ID)
	r := &request{Request: req, ref: ref, hash: sha256.Sum256(d.Data), hand: newHand(d, leave), watch: watch, own: make(map[uint64]*claim), deadline: now.Add(h.Deadline.Sub(now))}
	defer c.keepInHand(ctx, r.hand)()

	watch.Trace("delivery", obs.ParseTraceParent(d.Trace))
	watch.Set(obs.Operation, h.Operation.String())
	watch.Took(obs.StepTake, watch.Begun, time.Now())
	unreadable := c.open(r, d.Slot)
	if errors.Is(unreadable, unseal.ErrNoBox) && (c.presence.holds(req.Wraps, now) || c.presence.deaf(now)) {
		return fate{kind: handedBack, reason: otherReplica, delay: soon}
	}
	defer r.wipe()
	f := c.walk(ctx, r, unreadable, d.Attempt)
	if r.dc != "" {
		*log = log.With().Str(obs.DC, r.dc).Logger()
		watch.Set(obs.DC, r.dc)
	}
	return f
}

// wipe ends the passwords' stay in memory.
func (r *request) wipe() {
	if r.body != nil {
		r.body.Password.Wipe()
		r.body.Current.Wipe()
	}
}

// open opens the request's body. An error means that nobody can act on it.
func (c *Consumer) open(r *request, slot string) error {
	defer r.watch.Step(obs.StepOpen)()
	h := r.Header
	switch {
	case hex.EncodeToString(h.Slot[:]) != slot:
		return errors.New("the request is not in its own slot")
	case h.Deadline.Sub(h.Accepted) > reset.Deadline || h.Deadline.Before(h.Accepted):
		return errors.New("the request's deadline is impossible")
	}
	wraps := make([]seal.Wrap, len(r.Wraps))
	for i, w := range r.Wraps {
		wraps[i] = seal.Wrap{Box: w.Box, Sealed: w.Sealed}
	}
	plain, err := c.cfg.Keys.Open(wraps, r.HeaderBytes(), r.Body)
	if err != nil {
		return err
	}
	body, err := envelope.ParseBody(plain)
	if err != nil {
		clear(plain)
		return err
	}
	r.body = body
	key := seal.RecordKey(body.RecordKey)
	r.key = &key
	return nil
}

// maxChain is how long a chain may be to be claimed once more. The broker keeps 64
// records of ours for a request; the last must not be a claim that nobody can
// follow up.
const maxChain = 60

// crowded is how long a chain is whose request is tried less often, so that it
// is not full before the deadline.
const crowded = 10

// walk is the state table of docs/life-of-a-request.md: what is done depends on
// what the chain of records ends in. It goes round until the request has a fate.
func (c *Consumer) walk(ctx context.Context, r *request, unreadable error, attempt uint64) fate {
	chain := audit.Chain{r.accepted()}
	_, claimed := c.recall(r.ref.ID)
	for first := attempt == 1 && !claimed; ; first = false {
		if ctx.Err() != nil {
			return fate{kind: handedBack, reason: interrupted, cause: context.Cause(ctx)}
		}
		r.hand.keep(reset.Window + reset.ModifyTimeout)
		// On its first delivery a request's only record is the one that its
		// header names; if that is wrong, our claim does not fit.
		if !first {
			var f *fate
			if chain, f = c.read(ctx, r); f != nil {
				return *f
			}
		}
		var f fate
		var again bool
		last := chain.Last()
		switch mine := r.claimed(last); {
		case chain.Ended():
			return fate{kind: settled, hold: slotHeld(chain)}
		case len(chain) >= maxChain:
			return fate{kind: handedBack, reason: recordsFull, delay: later}
		case mine != nil && !mine.sent && !last.Doubt:
			f, again = c.giveUp(ctx, r, mine, nil)
		case !chain.Cancellable():
			f, again = c.doubt(ctx, r, unreadable, chain)
		case r.late():
			// The publisher's cancel ends it.
			return fate{kind: handedBack, reason: pastDeadline, delay: later}
		default:
			f, again = c.apply(ctx, r, unreadable, last)
		}
		if !again {
			if f.delay == soon && len(chain) > crowded {
				f.delay = later
			}
			return f
		}
	}
}

// claimed returns the claim that l is, if it is one that we wrote while we had
// the request in hand this time.
func (r *request) claimed(l audit.Link) *claim {
	cl := r.own[l.Writer.Number]
	if l.Kind != envelope.Claimed || cl == nil || cl.Writer != l.Writer {
		return nil
	}
	cl.Link = l // the broker may have been slow to say where it is
	return cl
}

// accepted returns the chain's first link as the header, which is signed,
// describes it.
func (r *request) accepted() audit.Link {
	h := r.Header
	return audit.Link{
		Record: &envelope.Record{
			Kind: envelope.Accepted, Tenant: h.Tenant, Publisher: h.Publisher, ID: h.ID,
			Operation: h.Operation, Time: h.Accepted,
		},
		Seq:  h.ParentSeq,
		Hash: h.Parent,
	}
}

// read returns the request's chain as the broker has it, or the fate of a
// request whose chain cannot be relied on.
func (c *Consumer) read(ctx context.Context, r *request) (audit.Chain, *fate) {
	ctx, cancel := context.WithTimeout(ctx, later)
	defer cancel()
	stored, err := c.cfg.Queue.Records(ctx, r.ref.ID)
	if err != nil {
		return nil, &fate{kind: handedBack, reason: recordsAway, delay: soon, cause: err}
	}
	chain, err := c.verify.Verify(r.ref.ID, stored)
	if err != nil {
		return nil, &fate{kind: handedBack, reason: recordsBroken, delay: later, cause: err}
	}
	if len(chain) == 0 || chain[0].Hash != r.Header.Parent {
		return nil, &fate{kind: handedBack, reason: recordsMissing, delay: later,
			cause: errors.New("the broker lacks the record that the request was accepted with")}
	}
	claim, claimed := c.recall(r.ref.ID)
	if claimed && !slices.ContainsFunc(chain, func(l audit.Link) bool { return l.Hash == claim }) {
		return nil, &fate{kind: handedBack, reason: recordsMissing, delay: later,
			cause: errors.New("the broker lacks a claim of ours that it had stored")}
	}
	return chain, nil
}
