package publisher

import (
	"context"
	"errors"
	"sync"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// A flight is a request in this publisher's hands.
type flight struct {
	p       *Publisher
	t       *tenant
	ref     reset.Ref
	sub     reset.Submission
	key     seal.RecordKey
	month   seal.Month
	boxes   []seal.Box     // empty if it is switched off
	off     *reset.Outcome // by a switch; nil if it is not
	arrived time.Time
	steps   *obs.Watch // was started then

	accepted audit.Link // the first of chain

	mu      sync.Mutex // guards what follows
	chain   audit.Chain
	request [32]byte // SHA-256 of the request; zero until it is sealed
	line    reset.Timeline
	changed chan struct{} // closed and renewed whenever chain or line changes
}

// hear extends the chain by a record that the broker shows us live. One that
// does not fit is left: the stream has the truth, and is read in the end.
func (f *flight) hear(s reset.Stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Seq <= f.chain.Last().Seq {
		return
	}
	chain, err := f.t.verify.Extend(f.chain, f.ref.ID, s)
	if err != nil {
		f.p.cfg.Logger.Warn().Stringer(obs.Request, f.ref).AnErr(obs.Cause, err).Msg("a live record does not fit")
		return
	}
	f.advance(chain)
}

// advance takes over a longer chain; f.mu is held.
func (f *flight) advance(chain audit.Chain) {
	if len(chain) <= len(f.chain) {
		return
	}
	for _, link := range chain {
		if link.Request != [32]byte{} && link.Request != f.request {
			f.p.cfg.Logger.Error().Stringer(obs.Request, f.ref).Str(obs.Consumer, link.Writer.Name).
				Msg("a record speaks of another request than the one that was sent; it is not believed")
			return
		}
	}
	f.chain = chain
	switch last := chain.Last(); {
	case chain.Ended() && f.line.Answered == 0:
		f.line.Answered = time.Since(f.arrived)
		f.p.metrics.outcomes.WithLabelValues(string(last.Code)).Inc()
		f.p.metrics.wait.Observe(f.line.Answered.Seconds())
		if sent := max(f.line.Sealed, f.line.Stored); sent > 0 { // the outcome may be heard before that the request is stored
			f.steps.Took(obs.StepWait, f.arrived.Add(sent), f.arrived.Add(f.line.Answered))
		}
		f.steps.Set(obs.Code, string(last.Code))
		f.steps.End(f.arrived.Add(f.line.Answered))
	case last.Kind == envelope.Corrected:
		f.p.metrics.corrections.WithLabelValues(string(last.Code)).Inc()
		f.p.cfg.Logger.Info().Stringer(obs.Request, f.ref).Str(obs.Code, string(last.Code)).
			Msg("what became of an unconfirmed request is known now")
	}
	f.notify()
}

func (f *flight) mark(set func(*reset.Timeline)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set(&f.line)
	f.notify()
}

// notify wakes up who waits; f.mu is held.
func (f *flight) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *flight) ended() (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chain.Ended(), f.changed
}

// open reports whether there is more to hear of the request.
func (f *flight) open() (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chain.Unconfirmed() {
		return time.Since(f.accepted.Time) < reset.Correctable, f.changed
	}
	return !f.chain.Ended(), f.changed
}

// status returns what is known now.
func (f *flight) status() reset.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.p.status(f.t, f.chain, f.arrived, f.line)
}

// await waits for the outcome until the caller's patience ends or it leaves.
func (f *flight) await(ctx context.Context, wait time.Duration) reset.Status {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		ended, changed := f.ended()
		if ended {
			return f.status()
		}
		select {
		case <-changed:
		case <-f.p.dismiss:
			return f.status()
		case <-ctx.Done():
			return f.status()
		}
	}
}

// readEvery is how often the stream is read for a request that is not heard of,
// and readFirst after how long for the first time: the broker loses what it
// shows live with the server that does.
const (
	readFirst = 2 * time.Second
	readEvery = 10 * time.Second
)

// giveUp is when a request is left that could not be closed, because the broker
// is away or shows records that nobody pinned has signed.
const giveUp = reset.Correctable

// follow stays with a request until it has ended, for certain, or the program
// stops: it reads what was not heard live, cancels at the deadline and closes at
// the end of the request's life.
func (f *flight) follow(ctx context.Context) {
	for {
		open, changed := f.open()
		if !open {
			return
		}
		if time.Since(f.arrived) > giveUp {
			f.p.cfg.Logger.Error().Stringer(obs.Request, f.ref).Msg("a request could not be closed; it is tried again every minute for a while, and when a publisher starts")
			return
		}
		next := min(max(time.Since(f.arrived), readFirst), readEvery)
		if left := time.Until(f.deadline()); left > 0 && left < next {
			next = left
		}
		waiting, cancel := context.WithTimeout(ctx, next)
		select {
		case <-changed:
			cancel()
			continue
		case <-f.p.stop:
			cancel()
			return
		case <-waiting.Done():
			cancel()
		}
		f.refresh(ctx)
	}
}

// refresh reads the chain from the stream and closes it if it is time.
func (f *flight) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	chain, err := f.p.read(ctx, f.t, f.ref.ID)
	if err == nil && len(chain) > 0 {
		chain, err = f.p.close(ctx, f.t, chain)
	}
	if err != nil {
		f.p.cfg.Logger.Warn().Stringer(obs.Request, f.ref).AnErr(obs.Cause, err).Msg("reading a request's records")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(chain)
}

// cancel ends the request if nothing was sent for it, for certain.
func (f *flight) cancel(ctx context.Context, o reset.Outcome) {
	ctx, stop := context.WithTimeout(ctx, acceptTimeout)
	defer stop()
	f.mu.Lock()
	chain := f.chain
	f.mu.Unlock()
	if !chain.Cancellable() {
		return
	}
	chain, err := f.p.end(ctx, f.t, chain, envelope.Cancelled, o)
	if err != nil {
		if !errors.Is(err, reset.ErrConflict) {
			f.p.cfg.Logger.Warn().Stringer(obs.Request, f.ref).AnErr(obs.Cause, err).Msg("cancelling a request")
		}
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(chain)
}

// forget lets go of a request that has ended; from now on the stream answers.
func (f *flight) forget() {
	f.steps.End(time.Now()) // of one that has not ended
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	delete(f.t.open, f.ref.ID)
}
