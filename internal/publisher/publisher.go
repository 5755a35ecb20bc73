// Package publisher is the cloud side of a request's life: record (step 2),
// seal and publish (3), await (4), show (10). It makes a request durable before
// it says that it has one, and says of an outcome only what a pinned consumer
// signed. It holds nothing that can open what it sealed.
//
// Any number of publishers work side by side: what one of them accepted,
// another can show and, if need be, close.
package publisher

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/obs"
	"writeback/internal/overview"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// A Broker is one tenant's streams.
type Broker interface {
	// Append stores a record if the newest of the request has sequence
	// expect. Its errors are reset.ErrConflict, ErrUnknown, ErrUnavailable.
	Append(ctx context.Context, ref reset.Ref, record []byte, expect uint64) (seq uint64, err error)
	// Enqueue puts a request into its account's slot. Its errors are
	// reset.ErrSlotTaken, ErrUnknown, ErrUnavailable. What is in ctx of a
	// trace goes with it.
	Enqueue(ctx context.Context, slot [16]byte, id reset.ID, request []byte) error
	// Records returns the records of a request, oldest first.
	Records(ctx context.Context, id reset.ID) ([]reset.Stored, error)
	// Scan calls f with every request that has a publisher's record since
	// then, perhaps more than once.
	Scan(ctx context.Context, since time.Time, f func(reset.Ref) error) error
	// Live calls f with every record of this publisher's requests.
	Live(publisher string, f func(reset.ID, reset.Stored)) error
	// Follow shows f the records of all publishers since then, the last most of
	// them at most, and then every new one, until ctx ends or it fails.
	Follow(ctx context.Context, since time.Time, most uint64, f reset.Follower) error
	// Queued returns how many requests are in the queue, and since when the
	// oldest is; the zero time is none.
	Queued(ctx context.Context) (n int, oldest time.Time, err error)
	// Announcements calls f with what every consumer says.
	Announcements(ctx context.Context, f func([]byte)) error
	// Switch returns the newest value of a switch; its sequence is 0 where
	// there is none.
	Switch(ctx context.Context, name reset.SwitchName) (reset.Stored, error)
	// PutSwitch stores a value of a switch, if the newest one has sequence
	// expect. Its errors are those of Append.
	PutSwitch(ctx context.Context, name reset.SwitchName, value []byte, expect uint64) (seq uint64, err error)
	audit.Store
}

// A Tenant is one AD domain.
type Tenant struct {
	Name      string
	Broker    Broker
	Consumers seal.Pins
}

// Config says what a publisher needs.
type Config struct {
	Log        *audit.Log // signs as this instance; its name is a part of every id
	Publishers seal.Pins  // our own key, and others that sign for publishers
	Slots      seal.SlotKey
	Months     seal.MonthKeys
	Tenants    []Tenant
	Version    string // of the software
	Overview   bool   // somebody can look at it: read and keep what [Publisher.Overview] tells of requests
	Logger     zerolog.Logger
	Metrics    prometheus.Registerer
	Tracer     obs.Tracer // nil: there are no traces
}

// NewInstance returns a name for one run of a publisher.
func NewInstance() string {
	var b [5]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// A Publisher is one instance.
type Publisher struct {
	cfg     Config
	tenants map[string]*tenant
	metrics metrics
	work    sync.WaitGroup // carriers of requests
	stop    chan struct{}  // closed when Run is to end
	dismiss chan struct{}  // closed when callers are not to wait any longer
}

// New returns a publisher that does not listen yet.
func New(cfg Config) *Publisher {
	p := &Publisher{cfg: cfg, tenants: make(map[string]*tenant), stop: make(chan struct{}), dismiss: make(chan struct{})}
	p.metrics = newMetrics(cfg.Metrics, p)
	for _, t := range cfg.Tenants {
		verify := audit.Verifier{Tenant: t.Name, Publishers: cfg.Publishers, Consumers: t.Consumers}
		journal := audit.NewJournal(audit.JournalConfig{
			Log: cfg.Log, Tenant: t.Name, Months: cfg.Months, Store: t.Broker, Version: cfg.Version, Logger: cfg.Logger,
		})
		p.tenants[t.Name] = &tenant{
			Tenant:   t,
			verify:   verify,
			day:      overview.New(verify, time.Now()),
			backlog:  &backlog{ask: t.Broker.Queued},
			journal:  journal,
			presence: newPresence(t, p.sighting(journal), cfg.Logger),
			switches: newSwitches(t, journal, cfg, p.metrics),
			open:     make(map[reset.ID]*flight),
		}
	}
	return p
}

// sweepEvery is how often requests are looked for that a publisher which is gone
// has left open, and sweepBack how far back. At the start it is looked as far
// back as all publishers together may have been away.
const (
	sweepEvery = time.Minute
	sweepBack  = 2 * reset.Life
	startBack  = 7 * 24 * time.Hour
)

// Dismiss answers every caller that waits for an outcome with what is known now.
// The requests go on. It is called once, when the program stops.
func (p *Publisher) Dismiss() { close(p.dismiss) }

// stopTimeout is how long the broker may take to store a request that is in
// hand when the program stops.
const stopTimeout = 10 * time.Second

// Run listens for announcements and outcomes, follows the switches and closes what others left open,
// until ctx ends; then it waits until every request in hand is safe with the
// broker, for [stopTimeout] at most. It is called once, and nothing is submitted
// after ctx has ended.
func (p *Publisher) Run(ctx context.Context) error {
	for _, t := range p.tenants {
		if err := t.Broker.Live(p.cfg.Log.Name(), t.hear); err != nil {
			return err
		}
	}
	defer p.keepJournals(ctx)()
	var wg sync.WaitGroup
	for _, t := range p.tenants {
		wg.Go(func() {
			for ctx.Err() == nil && t.Broker.Announcements(ctx, t.presence.hear) != nil {
				sleep(ctx, time.Second)
			}
		})
		wg.Go(func() { t.switches.watch(ctx) })
		wg.Go(func() { t.backlog.watch(ctx) })
		wg.Go(func() {
			if t.journal.Started(ctx) == nil {
				p.sweep(ctx, t)
			}
		})
		if p.cfg.Overview {
			wg.Go(func() { p.follow(ctx, t) })
		}
	}
	<-ctx.Done()
	close(p.stop)
	wg.Wait()
	p.work.Wait()
	return nil
}

// sweep closes, now and every minute, what nobody else will.
func (p *Publisher) sweep(ctx context.Context, t *tenant) {
	ended := make(map[reset.ID]bool) // those of the last round that had
	var outage obs.Outage
	for back := startBack; ctx.Err() == nil; {
		seen := make(map[reset.ID]bool) // and whether it has ended
		err := t.Broker.Scan(ctx, time.Now().Add(-back), func(ref reset.Ref) error {
			if _, ok := seen[ref.ID]; ok || t.flight(ref.ID) != nil {
				return ctx.Err()
			}
			if seen[ref.ID] = ended[ref.ID]; ended[ref.ID] {
				return ctx.Err()
			}
			chain, err := p.read(ctx, t, ref.ID)
			if err == nil && len(chain) > 0 {
				chain, err = p.close(ctx, t, chain)
				seen[ref.ID] = err == nil && chain.Ended()
			}
			if err != nil && ctx.Err() == nil {
				p.cfg.Logger.Warn().Stringer(obs.Request, ref).Str(obs.Tenant, t.Name).AnErr(obs.Cause, err).
					Msg("looking at a request that may have been left open")
			}
			return ctx.Err()
		})
		if err == nil {
			back = sweepBack
			outage.Over()
		} else if ctx.Err() == nil {
			p.cfg.Logger.WithLevel(outage.Level(zerolog.WarnLevel, err)).Str(obs.Tenant, t.Name).AnErr(obs.Cause, err).Msg("looking for requests that were left open")
		}
		ended = seen
		sleep(ctx, sweepEvery)
	}
}

// A tenant is a Tenant with what is known of it right now.
type tenant struct {
	Tenant
	verify   audit.Verifier
	journal  *audit.Journal
	presence *presence
	switches *switches
	day      *overview.Day
	backlog  *backlog

	mu   sync.Mutex
	open map[reset.ID]*flight
}

// flight returns the request with that id if it is in this publisher's hands.
func (t *tenant) flight(id reset.ID) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[id]
}

// hasRoom reports whether another request may be accepted. Those that are being
// accepted right now are not counted: their callers wait for the answer.
func (t *tenant) hasRoom() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) < maxOpen
}

// hear gives a record to the request that it belongs to.
func (t *tenant) hear(id reset.ID, s reset.Stored) {
	if f := t.flight(id); f != nil {
		f.hear(s)
	}
}

// read returns a request's verified chain; it is empty where there is no such
// request.
func (p *Publisher) read(ctx context.Context, t *tenant, id reset.ID) (audit.Chain, error) {
	stored, err := t.Broker.Records(ctx, id)
	if err != nil {
		return nil, err
	}
	return t.verify.Verify(id, stored)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
