package publisher

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// presence is which consumers of a tenant are alive, and what to seal for them.
type presence struct {
	t    Tenant
	tell func(envelope.ReplicaSeen) // of runs that were not heard of before
	log  zerolog.Logger

	mu     sync.Mutex
	seen   map[string]consumer  // by replica
	runs   map[string]*runs     // by replica: all that were ever heard of
	skewed map[string]time.Time // when a replica was last heard of whose clock is not ours

	malformed, unsigned time.Time // when such an announcement was last heard

	garbled, odd, off obs.Outage               // of what is logged of them
	strangers         map[stranger]*obs.Outage // of what is logged of announcements that are not signed
}

// A stranger is one whose announcements are not signed by a pinned consumer.
type stranger struct {
	replica string
	run     [16]byte
}

// maxStrangers is of how many strangers it is logged that they announce themselves, each
// by itself. Whoever owns the broker can make up any number of them.
const maxStrangers = 64

type consumer struct {
	said  *envelope.Announcement // its last, by its own clock
	since time.Time              // it is heard of without a gap, by its own clock
	box   seal.Box
}

func newPresence(t Tenant, tell func(envelope.ReplicaSeen), log zerolog.Logger) *presence {
	return &presence{
		t: t, tell: tell, log: log.With().Str(obs.Tenant, t.Name).Logger(),
		seen: make(map[string]consumer), runs: make(map[string]*runs), skewed: make(map[string]time.Time),
		strangers: make(map[stranger]*obs.Outage),
	}
}

// logged is where it is noted what was logged of a stranger. Those that are too many
// share one.
func (p *presence) logged(s stranger) *obs.Outage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strangers[s] == nil && len(p.strangers) >= maxStrangers {
		s = stranger{}
	}
	if p.strangers[s] == nil {
		p.strangers[s] = new(obs.Outage)
	}
	return p.strangers[s]
}

// hear takes note of an announcement, if a pinned consumer signed it.
func (p *presence) hear(b []byte) {
	now := time.Now()
	a, err := envelope.ParseAnnouncement(b)
	if err != nil {
		p.log.WithLevel(p.garbled.Level(zerolog.WarnLevel, nil)).Msg("an announcement is malformed")
		p.note(&p.malformed, now)
		return
	}
	log := p.log.With().Str(obs.Consumer, a.Replica).Logger()
	if a.Tenant != p.t.Name || !p.t.Consumers.Verify(a.Signer, now, seal.KindAnnounce, a.Signed(), a.Sig) {
		log.WithLevel(p.logged(stranger{a.Replica, a.Run}).Level(zerolog.WarnLevel, nil)).Msg("an announcement is not signed by a pinned consumer; nothing is sealed for it")
		p.note(&p.unsigned, now)
		return
	}
	box, err := seal.NewBox(a.Box[:])
	if err != nil {
		log.WithLevel(p.odd.Level(zerolog.WarnLevel, errors.New(a.Replica))).AnErr(obs.Cause, err).Msg("an announcement has no usable sealing key")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.seen[a.Replica]
	again := known && before.said.Run == a.Run
	// The first that we hear of a replica may be what the broker has kept; a
	// later one was made just now.
	oldest := reset.Presence + reset.ClockSkew
	if again {
		oldest = reset.ClockSkew
	}
	if again && a.Time.Equal(before.said.Time) {
		return
	}
	switch ahead := a.Time.Sub(now); {
	case ahead > reset.ClockSkew, -ahead > reset.Presence+reset.ClockSkew:
		log.WithLevel(p.off.Level(zerolog.ErrorLevel, errors.New(a.Replica))).Dur(obs.Skew, ahead).Msg("a consumer's clock and ours differ too much; nothing is sealed for it")
		delete(p.seen, a.Replica)
		p.skewed[a.Replica] = now
		return
	case -ahead > oldest:
		// Its clock is behind, or this one was on its way for long: the
		// next one tells. Until then we know no more than before.
		log.WithLevel(p.off.Level(zerolog.WarnLevel, errors.New(a.Replica))).Dur(obs.Skew, ahead).Msg("a consumer's announcement is late, or its clock and ours differ too much; if they all are, nothing is sealed for it any more")
		p.skewed[a.Replica] = now
		return
	}
	if known && a.Time.Before(before.said.Time) {
		return // shown again, perhaps of an earlier run, whose key is gone
	}
	delete(p.skewed, a.Replica)
	next := consumer{said: a, since: a.Time, box: box}
	if again && a.Time.Sub(before.said.Time) <= reset.Presence {
		next.since = before.since
	}
	p.seen[a.Replica] = next
	if !again {
		log.Info().Str(obs.Version, a.Version).Msg("a consumer has announced itself")
		p.sight(a)
	}
}

func (p *presence) note(what *time.Time, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*what = now
}

// show writes into o every consumer that was heard of since this publisher was
// started, and what was heard of others just now.
func (p *presence) show(o *reset.Overview, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.Malformed, o.Unsigned, o.Skewed = lately(p.malformed, now), lately(p.unsigned, now), p.isSkewed(now)
	for _, c := range p.seen {
		o.Replicas = append(o.Replicas, reset.Replica{Consumer: c.shown(), Alive: lately(c.said.Time, now)})
	}
}

// lately reports whether something was heard just now.
func lately(at, now time.Time) bool { return now.Sub(at) <= reset.Presence }

// isSkewed reports whether a consumer was heard just now whose clock is not ours; p.mu is
// held.
func (p *presence) isSkewed(now time.Time) bool {
	for _, at := range p.skewed {
		if lately(at, now) {
			return true
		}
	}
	return false
}

// shown is a consumer as callers see it.
func (c consumer) shown() reset.Consumer {
	a := c.said
	return reset.Consumer{Replica: a.Replica, Version: a.Version, DC: a.DC, Since: c.since, Seen: a.Time, KeyMade: a.BoxMade}
}

// live returns the consumers that are alive, the latest heard of first, one at
// least. Its error is a [*reset.Refusal].
func (p *presence) live(now time.Time) ([]consumer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var live []consumer
	for _, c := range p.seen {
		if lately(c.said.Time, now) {
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		code, detail := reset.NoConsumer, "no consumer was heard of for 30 s"
		if p.isSkewed(now) {
			code, detail = reset.Clock, "the clocks of this server and of the consumers differ by more than 5 s"
		}
		return nil, &reset.Refusal{Code: code, Detail: detail, RetryAfter: retryAfter}
	}
	slices.SortFunc(live, func(a, b consumer) int { return b.said.Time.Compare(a.said.Time) })
	return live, nil
}

// boxes returns the sealing keys of the consumers that are alive, at most
// [seal.MaxRecipients]. Its error is that of live.
func (p *presence) boxes(now time.Time) ([]seal.Box, error) {
	live, err := p.live(now)
	if err != nil {
		return nil, err
	}
	var boxes []seal.Box
	for _, c := range live[:min(len(live), seal.MaxRecipients)] {
		boxes = append(boxes, c.box)
	}
	return boxes, nil
}
