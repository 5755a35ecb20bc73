package consumer

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

// A fate is what becomes of a delivery.
type fate struct {
	kind   fateKind
	hold   time.Duration // of settled: how long its slot stays taken, for a modify that may still be on its way
	code   reset.Code    // of settled: the outcome that is on the chain; empty if another wrote it
	reason string        // of the other kinds, from a closed list
	delay  time.Duration // of handedBack
	cause  error         // for the log
}

type fateKind int

const (
	settled    fateKind = iota + 1 // the chain has its outcome
	handedBack                     // somebody works on it later
	dropped                        // it is not a request of ours, and never will be
)

// How long a request rests before it is given to a replica again.
const (
	soon     = time.Second     // something outside is expected to change at once
	later    = 5 * time.Second // or not so soon
	ackLimit = 5 * time.Second
)

// release is the one place where a fate becomes an acknowledgement.
func (c *Consumer) release(ctx context.Context, d Delivery, f fate, log zerolog.Logger, watch *obs.Watch) {
	var err error
	took := time.Since(watch.Begun)
	watch.Set(obs.Code, string(f.code))
	watch.Set(obs.Reason, f.reason)
	switch f.kind {
	case settled:
		// Even if we are stopping: a lost ack costs the next replica a
		// look, but a wait for it costs us nothing.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackLimit)
		defer cancel()
		if f.hold > 0 {
			err = d.HandBack(f.hold)
		} else {
			done := watch.Step(obs.StepSettle)
			err = d.Ack(ctx)
			done()
		}
		if f.code == "" {
			log.Info().Msg("request had ended before")
			break
		}
		c.metrics.outcomes.WithLabelValues(string(f.code)).Inc()
		c.metrics.took.Observe(took.Seconds())
		log.Info().Str(obs.Code, string(f.code)).AnErr(obs.Cause, f.cause).Dur(obs.Took, took).Msg("request settled")
	case handedBack:
		err = d.HandBack(f.delay)
		c.metrics.handedBack.WithLabelValues(f.reason).Inc()
		log.WithLevel(levelOf(d.Attempt)).Str(obs.Reason, f.reason).AnErr(obs.Cause, f.cause).Msg("request handed back")
	case dropped:
		err = d.Drop(f.reason)
		c.metrics.dropped.WithLabelValues(f.reason).Inc()
		log.Error().Str(obs.Reason, f.reason).AnErr(obs.Cause, f.cause).Msg("message dropped from the queue: it is not a request of ours")
	default:
		panic("internal error: a delivery without a fate")
	}
	if err != nil {
		log.Warn().AnErr(obs.Cause, err).Msg("telling the broker what became of a request; it will deliver it again")
	}
}

// levelOf returns the level at which it is logged that a request was handed back
// again: while the directory is away that is every few seconds for each request.
func levelOf(attempt uint64) zerolog.Level {
	if attempt&(attempt-1) == 0 { // 1, 2, 4, 8 …
		return zerolog.WarnLevel
	}
	return zerolog.DebugLevel
}
