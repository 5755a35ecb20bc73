package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// Times of the switches.
const (
	switchEvery = time.Second     // between two looks
	switchStale = 5 * time.Second // without an answer to a look: the broker is away
)

// Why a switch that the broker shows is not believed, as logs and metrics say it.
const (
	switchUnsigned = "unsigned" // no pinned publisher has signed it for this tenant and name
	switchOlder    = "older"    // a later one was seen
	switchFork     = "fork"     // another one with its number was seen
	switchMissing  = "missing"  // there is none any more
)

func switchReasons() []string {
	return []string{switchUnsigned, switchOlder, switchFork, switchMissing}
}

// switches are a tenant's switches. What was seen last stays in force against
// anything that the broker shows and no publisher has signed later: it can only
// keep what is new from us. A publisher that has just started has seen nothing,
// and takes what is there.
type switches struct {
	t       Tenant
	journal *audit.Journal
	pins    seal.Pins // of publishers
	months  seal.MonthKeys
	log     zerolog.Logger
	metrics metrics

	asking sync.Mutex // held while the broker is asked, so that its answers are heard in their order

	mu   sync.Mutex // guards what follows
	held map[reset.SwitchName]held
	read time.Time // when both were read last
	turn time.Time // when they were last looked at, with an answer or without
	deaf bool      // the last look failed
}

// held is one switch.
type held struct {
	now    reset.Switch
	newest *envelope.Switch // the one that is believed; nil if there was none yet
	judged *reset.Stored    // what the broker showed last; nil if it was not asked yet
}

func newSwitches(t Tenant, journal *audit.Journal, cfg Config, m metrics) *switches {
	s := &switches{
		t: t, journal: journal, pins: cfg.Publishers, months: cfg.Months, metrics: m, held: make(map[reset.SwitchName]held), turn: time.Now(),
		log: cfg.Logger.With().Str(obs.Tenant, t.Name).Logger(),
	}
	for _, name := range reset.SwitchNames() {
		s.held[name] = held{now: reset.Switch{On: true}}
	}
	return s
}

// watch looks at the switches until ctx ends.
func (s *switches) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.look(ctx)
		s.mu.Lock()
		if err != nil && !s.deaf && ctx.Err() == nil {
			s.log.Warn().AnErr(obs.Cause, err).Msg("the tenant's switches cannot be read; they stay as they are")
		}
		s.deaf, s.turn = err != nil, time.Now()
		s.mu.Unlock()
		sleep(ctx, switchEvery)
	}
}

// lastTurn is when the loop of watch came round last.
func (s *switches) lastTurn() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn
}

// look reads both switches.
func (s *switches) look(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	for _, name := range reset.SwitchNames() {
		stored, err := s.t.Broker.Switch(ctx, name)
		if err != nil {
			return err
		}
		s.hear(name, stored)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Now()
	return nil
}

// hear takes note of what the broker shows as the newest value of a switch.
func (s *switches) hear(name reset.SwitchName, stored reset.Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[name]
	if h.judged != nil && h.judged.Seq == stored.Seq && bytes.Equal(h.judged.Data, stored.Data) {
		return
	}
	h.judged = &stored
	next, reason := s.judge(name, h.newest, stored)
	log := s.log.With().Stringer(obs.Switch, name).Logger()
	switch {
	case reason != "":
		// What there is to go by is what was seen before. If that is
		// nothing, somebody keeps it from us: nobody can be harmed by
		// a switch that is off.
		h.now.On = h.now.On && h.newest != nil
		s.metrics.switches.WithLabelValues(reason).Inc()
		log.Error().Str(obs.Reason, reason).Bool(obs.On, h.now.On).Msg("the broker shows a switch that is not believed; it stays as it is, and counts as off if it was not known before")
	case next != nil:
		h.newest, h.now = next, s.shown(next)
		log.Info().Bool(obs.On, next.On).Msg("a switch was set")
	}
	s.held[name] = h
}

// judge returns the switch that stored is, or why it is not believed; neither
// where nobody has ever set it.
func (s *switches) judge(name reset.SwitchName, newest *envelope.Switch, stored reset.Stored) (*envelope.Switch, string) {
	switch {
	case stored.Seq == 0 && newest != nil:
		return nil, switchMissing
	case stored.Seq == 0:
		return nil, ""
	}
	e, err := envelope.ParseSwitch(stored.Data)
	if err != nil || e.Tenant != s.t.Name || e.Name != name {
		return nil, switchUnsigned
	}
	// A key whose pin has ended could date back what it signs, but not before
	// what is known.
	at := e.Time
	if newest != nil && newest.Time.After(at) {
		at = newest.Time
	}
	if !s.pins.Verify(e.Signer, at, seal.KindSwitch, e.Signed(), e.Sig) {
		return nil, switchUnsigned
	}
	switch {
	case newest == nil || e.Number > newest.Number:
		return e, ""
	case e.Number < newest.Number:
		return nil, switchOlder
	case !bytes.Equal(e.Encode(), newest.Encode()):
		return nil, switchFork
	}
	return newest, ""
}

// shown is a switch as callers see it.
func (s *switches) shown(e *envelope.Switch) reset.Switch {
	now := reset.Switch{On: e.On, Set: e.Time}
	key, ok := s.months.Key(seal.Month(e.Month), e.Tenant, e.ID)
	if !ok {
		return now
	}
	plain, err := key.Open(e.Clear(), e.Private)
	if err != nil {
		return now
	}
	if who, err := envelope.ParsePrivate(plain); err == nil {
		now.Source, now.Actor = who.Source, who.Actor
	}
	return now
}

// current returns the switches. Its error is a [*reset.Refusal], as long as they
// were never read.
func (s *switches) current() (reset.Switches, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read.IsZero() {
		return reset.Switches{}, &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter,
			Err: errors.New("the tenant's switches have not been read yet")}
	}
	return reset.Switches{Writeback: s.held[reset.SwitchWriteback].now, Unlock: s.held[reset.SwitchUnlock].now}, nil
}

// off returns the outcome of a request for op that is switched off, nil if it is
// not. Its error is that of current.
func (s *switches) off(op reset.Operation) (*reset.Outcome, error) {
	now, err := s.current()
	if err != nil {
		return nil, err
	}
	if o, off := now.Off(op); off {
		return &o, nil
	}
	return nil, nil
}

// stale returns an error if the broker has not shown the switches for a while.
func (s *switches) stale(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.read) > switchStale {
		return errors.New("the broker does not show the switches")
	}
	return nil
}

// setTries is how often a switch is tried to be set while others set it, too.
const setTries = 5

// set makes a switch be as c wants it. The last one to be stored wins, of callers
// that want different things at once.
func (s *switches) set(ctx context.Context, log *audit.Log, name reset.SwitchName, on bool, c reset.SwitchChange) error {
	for try := 1; ; try++ {
		next, after, err := s.draft(ctx, log, name, on, c)
		if next == nil || err != nil {
			return err
		}
		// Before it is in force. If another is stored first, it never will be,
		// and the next try has another number.
		changed := envelope.SwitchChanged{Switch: name.String(), On: on, Number: next.Number}
		if err := s.journal.Write(ctx, changed, who(c)); err != nil {
			return fmt.Errorf("writing the event of a switch: %w: %w", reset.ErrUnavailable, err)
		}
		err = s.put(ctx, name, next.Encode(), after)
		if !errors.Is(err, reset.ErrConflict) || try == setTries {
			return err
		}
	}
}

// draft returns the value that follows the newest one, as next does, and the
// sequence of that one.
func (s *switches) draft(ctx context.Context, log *audit.Log, name reset.SwitchName, on bool, c reset.SwitchChange) (*envelope.Switch, uint64, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	stored, err := s.t.Broker.Switch(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	s.hear(name, stored)
	next, err := s.next(log, name, on, c)
	return next, stored.Seq, err
}

// put stores a value after the one with that sequence.
func (s *switches) put(ctx context.Context, name reset.SwitchName, value []byte, after uint64) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	seq, err := s.t.Broker.PutSwitch(ctx, name, value, after)
	if err == nil {
		s.hear(name, reset.Stored{Seq: seq, Data: value})
	}
	return err
}

// next returns the value that follows the newest one, signed; nil if that is what
// c wants already.
func (s *switches) next(log *audit.Log, name reset.SwitchName, on bool, c reset.SwitchChange) (*envelope.Switch, error) {
	s.mu.Lock()
	newest, judged := s.held[name].newest, s.held[name].judged
	s.mu.Unlock()
	if newest != nil && newest.On == on && bytes.Equal(judged.Data, newest.Encode()) {
		return nil, nil
	}
	now := time.Now()
	month, id := seal.MonthOf(now), reset.NewID()
	e := &envelope.Switch{
		// Greater than what any publisher has seen, also if this one has seen nothing
		// and the broker has lost it: numbers are times, or one more than the last.
		Tenant: s.t.Name, Name: name, On: on, Number: uint64(now.UnixMilli()), Time: now.Truncate(time.Millisecond),
		Signer: log.Public().ID(), ID: id, Month: uint32(month),
	}
	if newest != nil {
		e.Number = max(e.Number, newest.Number+1)
	}
	key, ok := s.months.Key(month, s.t.Name, id)
	if !ok {
		return nil, errors.New("record_key_file has no key for " + month.String() + "; run `publisher init`")
	}
	var err error
	if e.Private, err = key.Seal(e.Clear(), who(c).Encode()); err != nil {
		return nil, err
	}
	e.Sig = log.Sign(seal.KindSwitch, e.Signed())
	// It would be stored for nobody, and its caller told that all is well.
	if _, reason := s.judge(name, newest, reset.Stored{Seq: 1, Data: e.Encode()}); reason != "" {
		return nil, fmt.Errorf("what this publisher signs is not believed (%s): has its key an end date in publishers?", reason)
	}
	return e, nil
}

// who is the private part of what tells of a change.
func who(c reset.SwitchChange) *envelope.Private {
	return &envelope.Private{Actor: c.Actor, Source: c.Source, Address: c.Address}
}
