// Package consumer is the on-premises side of a request's life: take (step 5),
// claim (6), apply (7), reply (8), release (9). Any number of replicas share
// the work; that they never work on one request twice is the work of the chain
// of records, not of the broker's deliveries.
//
// It applies nothing that a pinned publisher did not sign, for this tenant,
// before its deadline, and touches no password before a durable claim says so.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/guard"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/unseal"
)

// A Queue is where requests wait and their records are kept.
type Queue interface {
	// Append stores a record if the newest of the request has sequence
	// expect. Its errors are reset.ErrConflict, ErrUnknown, ErrUnavailable.
	Append(ctx context.Context, ref reset.Ref, record []byte, expect uint64) (seq uint64, err error)
	// Records returns the records of a request, oldest first.
	Records(ctx context.Context, id reset.ID) ([]reset.Stored, error)
	// Announce says that we are alive.
	Announce(replica string, announcement []byte) error
	// Announcements calls f with what every consumer says.
	Announcements(ctx context.Context, f func([]byte)) error
	audit.Store
}

// A Delivery is a request on its way through this process.
type Delivery struct {
	Data    []byte
	Slot    string // the account's slot token, from the subject
	Attempt uint64 // 1 for the first delivery
	Trace   string // what it says of its trace; nobody has signed that
	Receipt
}

// A Receipt says what becomes of a delivery.
type Receipt interface {
	Progress() error                    // it is being worked on
	Ack(ctx context.Context) error      // it has ended: free the slot
	HandBack(delay time.Duration) error // give it to any replica, after delay
	Drop(reason string) error           // nobody can ever work on it
}

// A Session is one connection to a domain controller, for one request.
type Session interface {
	// Find returns the one account. Its error has a code, or is
	// reset.ErrDirectoryUnavailable.
	Find(ctx context.Context, account reset.Account) (reset.Entry, error)
	// Groups returns the groups that the account found last is in, nested
	// ones included. Its errors are those of Find.
	Groups(ctx context.Context, entry reset.Entry) ([]string, error)
	// Ask finds out by one bind whether password is the account's. Its error
	// is reset.ErrNotAsked if that could have locked the account, or
	// reset.ErrDirectoryUnavailable; then nothing was sent. Any other says
	// that there was no answer that tells.
	Ask(ctx context.Context, entry reset.Entry, password secret.Value) (right bool, err error)
	// Probe returns what a reset would be refused for, as far as that shows
	// without one. Its errors are those of Find.
	Probe(ctx context.Context, entry reset.Entry) error

	// Each of the others sends one modify. Its error has a code for a
	// refusal, is reset.ErrDirectoryUnavailable if nothing was sent, and
	// reset.ErrUnanswered if it was sent and not answered.
	SetPassword(ctx context.Context, entry reset.Entry, password secret.Value) error
	Change(ctx context.Context, entry reset.Entry, current, password secret.Value) error
	Unlock(ctx context.Context, entry reset.Entry) error
	MustChange(ctx context.Context, entry reset.Entry) error
	End()
}

// A Policy is the company's own word on what may be asked of which accounts.
// Its refusals are *reset.Error.
type Policy interface {
	// Before judges what can be judged without knowing the account.
	Before(guard.Ask) error
	// Judge judges the account, and counts what it lets through.
	Judge(guard.Ask, reset.Entry) error
	// Reaches reports whether an account is one that the cloud may know of.
	Reaches(dn string) bool
	// NeedsGroups reports whether Judge looks at the account's groups.
	NeedsGroups() bool
	// Hash names the version of the policy that is in force.
	Hash() [32]byte
}

// Config says what a consumer needs. Everything but SoftStop, Workers and Tracer
// must be set.
type Config struct {
	Tenant     string
	Log        *audit.Log // signs as this replica
	Version    string
	Publishers seal.Pins
	Consumers  seal.Pins // this replica's key and those of the others
	Keys       *unseal.Keyring
	Queue      Queue
	Take       func(context.Context) (Delivery, error) // waits for the next request
	// Directory lends a connection to the domain controller with that
	// dnsHostName, or to the best one if dc is empty.
	Directory func(ctx context.Context, dc string) (Session, error)
	DC        func() string // the domain controller in use; empty while there is none
	Policy    Policy
	Rules     func() envelope.Rules // the domain's rules for passwords, as far as they are known
	Workers   int                   // requests in hand at once; 4 if zero, at most 64
	SoftStop  time.Duration         // what is in hand may take this long after the stop; 10 s if zero
	Logger    zerolog.Logger
	Metrics   prometheus.Registerer
	Tracer    obs.Tracer // nil: there are no traces
}

const (
	DefaultWorkers  = 4
	maxWorkers      = 64
	DefaultSoftStop = 10 * time.Second
)

// errStopping is the cause of a context that ends because the program does.
var errStopping = errors.New("the program is stopping")

// A Consumer is one replica.
type Consumer struct {
	cfg      Config
	verify   audit.Verifier
	presence *presence
	journal  *audit.Journal
	metrics  metrics

	stopping chan struct{} // closed when Run is to end
	slots    chan struct{} // holds one for every request that is worked on
	resting  chan struct{} // and one for every request that rests

	mu     sync.Mutex
	inHand map[reset.ID]bool
	claims map[reset.ID]memory

	skewed atomic.Int64 // nanoseconds that our clock was last found behind; 0 is well
	behind obs.Outage   // of our clock

	unheard atomic.Pointer[error] // why we could not announce ourselves last
}

// New returns a consumer that has not begun to work.
func New(cfg Config) (*Consumer, error) {
	if cfg.Workers == 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.Workers < 1 || cfg.Workers > maxWorkers {
		return nil, fmt.Errorf("workers: %d is not between 1 and %d", cfg.Workers, maxWorkers)
	}
	if cfg.SoftStop == 0 {
		cfg.SoftStop = DefaultSoftStop
	}
	c := &Consumer{
		cfg:      cfg,
		verify:   audit.Verifier{Tenant: cfg.Tenant, Publishers: cfg.Publishers, Consumers: cfg.Consumers},
		presence: newPresence(cfg),
		journal: audit.NewJournal(audit.JournalConfig{
			Log: cfg.Log, Tenant: cfg.Tenant, Store: cfg.Queue, Version: cfg.Version, Logger: cfg.Logger,
		}),
		stopping: make(chan struct{}),
		slots:    make(chan struct{}, cfg.Workers),
		resting:  make(chan struct{}, maxResting),
		inHand:   make(map[reset.ID]bool),
		claims:   make(map[reset.ID]memory),
	}
	c.metrics = newMetrics(cfg.Metrics, c)
	return c, nil
}

// Run works until ctx ends, and then until what is in hand has been finished or
// handed back. It returns early only if the sealing keys cannot be kept.
func (c *Consumer) Run(ctx context.Context) error {
	announced := make(chan struct{})
	failed := make(chan error, 1)
	taking, stopTaking := context.WithCancel(ctx)
	defer stopTaking()
	// What is in hand at the stop is finished, for a while; what rests is
	// handed back at once.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(taking, func() {
		close(c.stopping)
		timer := time.AfterFunc(c.cfg.SoftStop, func() { cancel(errStopping) })
		context.AfterFunc(work, func() { timer.Stop() })
	})()
	defer c.keepJournal(ctx)()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.announce(taking, announced); err != nil {
			failed <- err
			stopTaking()
		}
	})
	select {
	case <-announced:
	case <-taking.Done():
	}
	for range c.cfg.Workers {
		wg.Go(func() {
			for {
				select {
				case c.slots <- struct{}{}:
				case <-taking.Done():
					return
				}
				d, err := c.cfg.Take(taking)
				if err != nil {
					<-c.slots
					return
				}
				wg.Go(func() {
					leave := sync.OnceFunc(func() { <-c.slots })
					defer leave()
					c.work(work, d, leave)
				})
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// keepJournal writes the journal until stop is called, which is when the last
// record was written.
func (c *Consumer) keepJournal(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { c.journal.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// work does what one delivery needs and says so to the broker. It calls leave
// when another delivery may be taken before this one is done with.
func (c *Consumer) work(ctx context.Context, d Delivery, leave func()) {
	watch := c.metrics.steps.Watch(time.Now())
	log := c.cfg.Logger.With().Uint64(obs.Attempt, d.Attempt).Logger()
	f := c.process(ctx, d, watch, leave, &log)
	c.release(ctx, d, f, log, watch)
	watch.End(time.Now())
}

// hold marks a request as in hand. It returns false if it already is: one
// request has one worker in a process.
func (c *Consumer) hold(id reset.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inHand[id] {
		return false
	}
	c.inHand[id] = true
	return true
}

func (c *Consumer) letGo(id reset.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inHand, id)
}
