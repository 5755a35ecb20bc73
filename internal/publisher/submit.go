package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

const (
	// acceptTimeout is how long the broker may take to store the accepted
	// record before the caller is told that it is away.
	acceptTimeout = 5 * time.Second
	// retryAfter is when a caller is told to come back if something is away.
	retryAfter = 10 * time.Second
	// nothingDone is said where it is certain.
	nothingDone = "nothing was changed, and nothing will be"
	// maxOpen is how many requests of a tenant a publisher has in hand. Each
	// takes a few kilobytes, and is there for minutes if nobody answers.
	maxOpen = 10_000
	// keyReuse is how long an idempotency key finds its first request.
	keyReuse = 24 * time.Hour
)

// Submit makes a request durable and waits up to wait for its outcome. It takes
// over the passwords, which are empty where the operation has none, and wipes
// them. Its error is a [*reset.Refusal] when nothing was recorded and nothing
// will be done; any other error is a defect of this installation, and nothing
// was done either.
func (p *Publisher) Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error) {
	secrets := passwords{password, current}
	t := p.tenants[s.Tenant]
	if t == nil {
		secrets.wipe()
		return reset.Status{}, notServed(s.Tenant)
	}
	f, err := p.accept(ctx, t, s)
	switch {
	case errors.Is(err, errAgain):
		secrets.wipe()
		return p.again(ctx, t, s, f.ref.ID, wait)
	case err != nil:
		secrets.wipe()
		return reset.Status{}, err
	}
	// The request is recorded. What follows does not depend on a caller who
	// may leave, nor on this call.
	p.work.Go(func() { p.carry(context.WithoutCancel(ctx), f, secrets) })
	return f.await(ctx, wait), nil
}

// passwords are those of one request.
type passwords struct{ fresh, current secret.Value }

func (p passwords) wipe() {
	p.fresh.Wipe()
	p.current.Wipe()
}

// errAgain says that the request was made before, under the same key.
var errAgain = errors.New("the idempotency key was used before")

// accept writes the accepted record (step 2).
func (p *Publisher) accept(ctx context.Context, t *tenant, s reset.Submission) (*flight, error) {
	arrived := time.Now()
	off, err := t.switches.off(s.Operation)
	if err != nil {
		return nil, err
	}
	var boxes []seal.Box
	if off == nil {
		if boxes, err = t.presence.boxes(arrived); err != nil {
			if away := t.switches.stale(arrived); away != nil { // it is the broker that nothing is heard of
				return nil, &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter, Err: away}
			}
			return nil, err
		}
	}
	if !t.hasRoom() {
		return nil, &reset.Refusal{Code: reset.TooMany, Detail: nothingDone, RetryAfter: retryAfter,
			Err: fmt.Errorf("%d requests of tenant %s are in hand and have not ended", maxOpen, t.Name)}
	}
	id := s.ID
	if id == (reset.ID{}) {
		id = reset.NewID()
	}
	if s.IdempotencyKey != "" {
		id = p.cfg.Slots.ID(s.Tenant, s.Source, s.IdempotencyKey)
	}
	month := seal.MonthOf(arrived)
	key, ok := p.cfg.Months.Key(month, s.Tenant, id)
	if !ok {
		return nil, &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter,
			Err: fmt.Errorf("record_key_file has no key for %s; run `publisher init`", month)}
	}
	f := &flight{
		p: p, t: t, ref: reset.Ref{Publisher: p.cfg.Log.Name(), ID: id}, sub: s, key: key, month: month,
		boxes: boxes, off: off, arrived: arrived, steps: p.metrics.steps.Watch(arrived),
		changed: make(chan struct{}),
	}
	rec := envelope.Record{
		Kind: envelope.Accepted, Tenant: s.Tenant, Publisher: f.ref.Publisher, ID: id,
		Operation: s.Operation, Time: arrived, Month: uint32(month),
	}
	storing, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if err := t.journal.Started(storing); err != nil {
		return nil, &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter,
			Err: fmt.Errorf("waiting until the audit has the start of this publisher: %w", err)}
	}
	f.accepted, err = p.cfg.Log.Append(&rec, envelope.Private{
		Account: s.Account, Actor: s.Actor, Source: s.Source, Address: s.Address, Fingerprint: p.fingerprint(s),
	}, &key, func(data []byte) (uint64, error) { return t.Broker.Append(storing, f.ref, data, 0) })
	switch {
	case errors.Is(err, reset.ErrConflict) && s.IdempotencyKey != "":
		return f, errAgain
	case err != nil:
		// If it was stored after all, it is a record without a request,
		// which any publisher closes.
		return nil, &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter, Err: err}
	}
	f.chain = audit.Chain{f.accepted}
	f.line.Accepted = time.Since(arrived)
	f.steps.Trace("request", obs.TraceParentOf(ctx))
	f.steps.Set(obs.Operation, s.Operation.String())
	f.steps.Took(obs.StepAccept, arrived, arrived.Add(f.line.Accepted))
	t.mu.Lock()
	t.open[id] = f
	t.mu.Unlock()
	return f, nil
}

// fingerprint is what two uses of one idempotency key must share.
func (p *Publisher) fingerprint(s reset.Submission) [16]byte {
	return p.cfg.Slots.Fingerprint(s.Tenant, s.Operation.String(), s.Account.Kind.String(), s.Account.Canonical(),
		s.Actor.Kind.String(), s.Actor.Subject, strconv.FormatBool(s.MustChange))
}

// again answers for a request that was made before under the same key.
func (p *Publisher) again(ctx context.Context, t *tenant, s reset.Submission, id reset.ID, wait time.Duration) (reset.Status, error) {
	reading, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	chain, err := p.read(reading, t, id)
	if err != nil {
		return reset.Status{}, p.unavailable(err)
	}
	if len(chain) == 0 {
		return reset.Status{}, &reset.Refusal{Code: reset.BrokerUnavailable, RetryAfter: retryAfter,
			Err: errors.New("the broker refuses a second request and has no first one")}
	}
	first := chain[0]
	if time.Since(first.Time) > keyReuse {
		return reset.Status{}, &reset.Refusal{Code: reset.IdempotencyConflict, Field: "Idempotency-Key",
			Detail: fmt.Sprintf("was used more than %.0f hours ago; use a new one", keyReuse.Hours())}
	}
	key, _ := p.cfg.Months.Key(seal.Month(first.Month), s.Tenant, id)
	private, err := audit.Private(key, first)
	if err != nil || private.Fingerprint != p.fingerprint(s) {
		return reset.Status{}, &reset.Refusal{Code: reset.IdempotencyConflict, Field: "Idempotency-Key",
			Detail: "was used for another account, operation or actor", Err: err}
	}
	if f := t.flight(id); f != nil {
		return f.await(ctx, wait), nil
	}
	return p.poll(ctx, t, chain, wait)
}

// pollEvery is how often a request of another publisher is looked at while
// somebody waits for it.
const pollEvery = 250 * time.Millisecond

// poll waits for the outcome of a request that is in another publisher's hands.
func (p *Publisher) poll(ctx context.Context, t *tenant, chain audit.Chain, wait time.Duration) (reset.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	go func() {
		select {
		case <-p.dismiss:
			cancel()
		case <-ctx.Done():
		}
	}()
	for !chain.Ended() && ctx.Err() == nil {
		sleep(ctx, pollEvery)
		if next, err := p.read(ctx, t, chain[0].ID); err == nil && len(next) > 0 {
			chain = next
		}
	}
	return p.status(t, chain, time.Time{}, reset.Timeline{}), nil
}

// carry takes a recorded request to the queue and stays with it until it has
// ended (steps 3 and 4).
func (p *Publisher) carry(ctx context.Context, f *flight, secrets passwords) {
	log := p.cfg.Logger.With().Stringer(obs.Request, f.ref).Str(obs.Tenant, f.t.Name).Logger()
	defer f.forget()
	if f.off != nil {
		secrets.wipe()
		f.cancel(ctx, *f.off)
		f.follow(ctx)
		return
	}
	request, err := f.seal(secrets)
	secrets.wipe()
	if err != nil {
		log.Error().AnErr(obs.Cause, err).Msg("sealing a request; it will end as expired")
		f.follow(ctx)
		return
	}
	f.mu.Lock()
	f.request = sha256.Sum256(request)
	f.mu.Unlock()
	f.mark(func(l *reset.Timeline) { l.Sealed = time.Since(f.arrived) })
	publishing, cancel := context.WithDeadline(ctx, f.deadline())
	go func() {
		select {
		case <-p.stop:
			time.AfterFunc(stopTimeout, cancel)
		case <-publishing.Done():
		}
	}()
	// Not the caller's own, which is only a part of ours.
	traced := obs.WithTraceParent(publishing, f.steps.Parent())
	err = f.t.Broker.Enqueue(traced, f.slot(), f.ref.ID, request)
	cancel()
	switch {
	case err == nil:
		f.mark(func(l *reset.Timeline) {
			l.Stored = time.Since(f.arrived)
			f.steps.Took(obs.StepStore, f.arrived.Add(l.Accepted), f.arrived.Add(l.Stored))
		})
	case errors.Is(err, reset.ErrSlotTaken):
		// Said only if the cancel wins: a copy of ours may be stored yet.
		f.cancel(ctx, reset.Outcome{Code: reset.InProgress})
	default:
		log.Warn().AnErr(obs.Cause, err).Msg("the broker did not take a request in time")
	}
	f.follow(ctx)
}

// seal returns the request as it goes to the queue (step 3).
func (f *flight) seal(secrets passwords) ([]byte, error) {
	req := envelope.Request{Header: envelope.Header{
		Tenant: f.sub.Tenant, Publisher: f.ref.Publisher, ID: f.ref.ID, Slot: f.slot(), Operation: f.sub.Operation,
		Accepted: f.accepted.Time, Deadline: f.deadline(), Parent: f.accepted.Hash, ParentSeq: f.accepted.Seq,
		Signer: f.p.cfg.Log.Public().ID(),
	}}
	body := envelope.Body{
		Account: f.sub.Account, Password: secrets.fresh, Current: secrets.current, MustChange: f.sub.MustChange, Actor: f.sub.Actor, Source: f.sub.Source,
		Address: f.sub.Address, Month: uint32(f.month), RecordKey: f.key,
	}
	plain := body.Encode()
	defer plain.Wipe()
	wraps, sealed, err := seal.Body(f.boxes, req.HeaderBytes(), plain)
	if err != nil {
		return nil, err
	}
	for _, w := range wraps {
		req.Wraps = append(req.Wraps, envelope.Wrap{Box: w.Box, Sealed: w.Sealed})
	}
	req.Body = sealed
	req.Sig = f.p.cfg.Log.Sign(seal.KindRequest, req.Signed())
	return req.Encode(), nil
}

func (f *flight) slot() [16]byte {
	return f.p.cfg.Slots.Slot(f.sub.Tenant, f.sub.Account.Kind.String(), f.sub.Account.Canonical())
}

func (f *flight) deadline() time.Time { return f.accepted.Time.Add(reset.Deadline) }

// unavailable is the refusal for records that could not be read. Records that
// nobody can vouch for are not the broker's absence: that error stays as it is.
func (p *Publisher) unavailable(err error) error {
	if errors.Is(err, audit.ErrChain) {
		return err
	}
	return &reset.Refusal{Code: reset.BrokerUnavailable, RetryAfter: retryAfter, Err: err}
}
