package consumer

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// announceEvery is how often a replica says that it is alive: three times in
// reset.Presence, so that two lost announcements do not make it absent.
const announceEvery = reset.Presence / 3

// announce keeps the sealing key young and the publishers informed until ctx
// ends. It closes ready once the first announcement is sent, which is after the
// audit has the start of this run and its sealing key.
func (c *Consumer) announce(ctx context.Context, ready chan<- struct{}) error {
	go func() {
		for ctx.Err() == nil && c.cfg.Queue.Announcements(ctx, c.presence.hear) != nil {
			wait(ctx, soon)
		}
	}()
	var noted keyNote
	var outage obs.Outage
	for {
		if err := c.cfg.Keys.Rotate(time.Now()); err != nil {
			return err
		}
		next := announceEvery
		err := c.noteKey(ctx, &noted)
		if err == nil {
			err = c.cfg.Queue.Announce(c.cfg.Log.Name(), c.announcement())
		}
		c.presence.spoke(time.Now(), err == nil)
		c.unheard.Store(&err)
		switch {
		case err != nil:
			next = soon // the broker is away; it is said again at once when it is back
			c.cfg.Logger.WithLevel(outage.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).
				Msg("this consumer cannot announce itself, so that no requests are sealed for it; it is tried until it can")
		case outage.Over():
			c.cfg.Logger.Info().Msg("this consumer has announced itself again")
		}
		if err == nil && ready != nil {
			close(ready)
			ready = nil
		}
		if !wait(ctx, next) {
			return nil
		}
	}
}

// A keyNote is the event that says which sealing key is announced.
type keyNote struct {
	box    seal.BoxID
	stored <-chan struct{} // closed when it is
}

// noteKey makes sure that the audit has the sealing key before it is announced.
// It waits for a moment only: old keys must be deleted in time.
func (c *Consumer) noteKey(ctx context.Context, n *keyNote) error {
	public, made := c.cfg.Keys.Public()
	sum := sha256.Sum256(public)
	if box := seal.BoxID(sum[:16]); n.stored == nil || n.box != box {
		n.box, n.stored = box, c.journal.Note(envelope.SealingKey{Box: box, Made: made}, nil)
	}
	timer := time.NewTimer(soon)
	defer timer.Stop()
	select {
	case <-n.stored:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return errors.New("the event that says so is not stored yet")
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Consumer) announcement() []byte {
	box, made := c.cfg.Keys.Public()
	a := envelope.Announcement{
		Tenant:  c.cfg.Tenant,
		Replica: c.cfg.Log.Name(),
		Run:     c.cfg.Log.Run(),
		Time:    time.Now(),
		Box:     [envelope.BoxSize]byte(box),
		BoxMade: made,
		Version: c.cfg.Version,
		Policy:  c.cfg.Policy.Hash(),
		DC:      c.cfg.DC(),
		Rules:   c.cfg.Rules(),
		Signer:  c.cfg.Log.Public().ID(),
	}
	a.Sig = c.cfg.Log.Sign(seal.KindAnnounce, a.Signed())
	return a.Encode()
}

// presence is which sealing keys the other replicas hold.
type presence struct {
	cfg  Config
	made time.Time

	mu     sync.Mutex
	seen   map[string]held // by replica
	said   time.Time       // when we last said something ourselves, or tried to
	missed time.Time       // when we may last have missed something
}

type held struct {
	at    time.Time // as it says itself
	heard time.Time // by our clock, which may be wrong
	boxes []seal.BoxID
}

func newPresence(cfg Config) *presence {
	return &presence{cfg: cfg, made: time.Now(), seen: make(map[string]held)}
}

// hear takes note of an announcement, if a pinned consumer signed it.
func (p *presence) hear(b []byte) {
	a, err := envelope.ParseAnnouncement(b)
	if err != nil || a.Tenant != p.cfg.Tenant || a.Replica == p.cfg.Log.Name() || time.Until(a.Time) > reset.ClockSkew ||
		!p.cfg.Consumers.Verify(a.Signer, time.Now(), seal.KindAnnounce, a.Signed(), a.Sig) {
		return
	}
	sum := sha256.Sum256(a.Box[:])
	id := seal.BoxID(sum[:16])
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.seen[a.Replica]
	if known && !a.Time.After(before.at) {
		return
	}
	// It still holds the key before this one for a while.
	boxes := []seal.BoxID{id}
	if known && before.boxes[0] != id {
		boxes = append(boxes, before.boxes[0])
	} else if known {
		boxes = before.boxes
	}
	p.seen[a.Replica] = held{at: a.Time, heard: time.Now(), boxes: boxes}
}

// listening is how long a replica that may have missed something cannot say that
// nobody holds a key: the others are heard of once every announceEvery.
const listening = announceEvery + 2*time.Second

// spoke takes note of an announcement of our own. While none can be made, and
// while we stood still, none is heard either.
func (p *presence) spoke(now time.Time, stored bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !stored || now.Sub(p.said) > listening {
		p.missed = now
	}
	p.said = now
}

// lastTurn is when we last said something, or were made to.
func (p *presence) lastTurn() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said.IsZero() {
		return p.made
	}
	return p.said
}

// deaf reports whether we may not have heard of replicas that are alive.
func (p *presence) deaf(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.missed) < listening || !p.said.IsZero() && now.Sub(p.said) > listening
}

// holds reports whether another replica that is alive holds a key that one of
// wraps is for.
func (p *presence) holds(wraps []envelope.Wrap, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.seen {
		if now.Sub(h.heard) > reset.Presence {
			continue
		}
		for _, w := range wraps {
			for _, b := range h.boxes {
				if w.Box == b {
					return true
				}
			}
		}
	}
	return false
}
