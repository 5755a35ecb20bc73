package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/seal"
)

// A Store keeps the events of one tenant.
type Store interface {
	// AppendEvent stores the next event of a run, after the one with
	// sequence expect (0: it is the first). It tries until that is certain or
	// ctx ends; its errors are reset.ErrUnknown and ErrUnavailable.
	AppendEvent(ctx context.Context, writer string, run [16]byte, event []byte, expect uint64) (seq uint64, err error)
}

// JournalConfig says what a journal needs.
type JournalConfig struct {
	Log     *Log
	Tenant  string
	Months  seal.MonthKeys // what encrypts private parts; empty on premises
	Store   Store
	Version string // of the software
	Logger  zerolog.Logger
}

// A Journal writes the events of one run for one tenant, one after the other,
// and its checkpoints. What cannot be written now waits, [MaxWaiting] at most.
type Journal struct {
	cfg     JournalConfig
	ledger  *ledger
	started chan struct{} // closed when the first event is stored
	queue   chan *note

	writing atomic.Int64 // how many events Run has in hand: one or none

	mu      sync.Mutex
	lost    uint64
	through time.Time // a checkpoint covers all that was written before; zero before Run

	// What follows belongs to Run.
	last     uint64   // sequence of the newest event
	previous [32]byte // hash of the newest checkpoint
	covered  uint64   // its To
}

// MaxWaiting is how many events wait for a broker that is away.
const MaxWaiting = 1024

// A note is an event that is to be written.
type note struct {
	at      time.Time
	fact    envelope.Fact
	private *envelope.Private
	stored  chan struct{} // closed when it is
}

// checkpointEvery is how long what was written stays without a checkpoint.
const checkpointEvery = time.Minute

// slow is how long an event may take before the log says so, and stopTimeout how
// long the last ones may when the program stops.
const (
	slow        = 5 * time.Second
	stopTimeout = 5 * time.Second
)

// NewJournal returns a journal that writes nothing before it runs.
func NewJournal(cfg JournalConfig) *Journal {
	cfg.Logger = cfg.Logger.With().Str(obs.Tenant, cfg.Tenant).Logger()
	return &Journal{
		cfg: cfg, ledger: cfg.Log.ledger(cfg.Tenant),
		started: make(chan struct{}), queue: make(chan *note, MaxWaiting),
	}
}

// ErrFull is returned for an event that finds too many others waiting.
var ErrFull = errors.New("too many events wait to be written")

// Note has an event written soon, and closes what it returns when that is done.
// It does not wait. An event that finds too many others waiting is lost, which
// the log, [Journal.Lost] and the next checkpoint say. private is nil if nothing
// is personal.
func (j *Journal) Note(f envelope.Fact, private *envelope.Private) <-chan struct{} {
	if n := j.enqueue(f, private); n != nil {
		return n.stored
	}
	return nil
}

// Write returns when an event is stored, so that what it announces may be done.
// An error says that it is not known to be; it may be written later all the
// same. private is nil if nothing is personal.
func (j *Journal) Write(ctx context.Context, f envelope.Fact, private *envelope.Private) error {
	n := j.enqueue(f, private)
	if n == nil {
		return ErrFull
	}
	select {
	case <-n.stored:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Started returns when the start of this run is stored, so that work may begin.
func (j *Journal) Started(ctx context.Context) error {
	select {
	case <-j.started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Lost returns how many events could not be written, ever.
func (j *Journal) Lost() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}

// Covered returns the time before which all that was written is covered by a
// checkpoint: the last one's, or now if nothing was written since that is worth
// one. It is zero before the journal runs.
func (j *Journal) Covered(now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.through.IsZero() || j.ledger.worthy() {
		return j.through
	}
	return now
}

func (j *Journal) cover(at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.through = at
}

// Waiting returns how many events wait until they are stored.
func (j *Journal) Waiting() int { return len(j.queue) + int(j.writing.Load()) }

func (j *Journal) enqueue(f envelope.Fact, private *envelope.Private) *note {
	n := &note{at: time.Now(), fact: f, private: private, stored: make(chan struct{})}
	select {
	case j.queue <- n:
		return n
	default:
		j.lose(f, ErrFull)
		return nil
	}
}

// lose takes note of an event that will not be written.
func (j *Journal) lose(f envelope.Fact, cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost++
	j.cfg.Logger.Error().Stringer(obs.Event, f.Kind()).AnErr(obs.Cause, cause).Msg("an event for the audit is lost")
}

// Run writes the start of this run, then events and checkpoints until ctx ends,
// then what still waits, the stop and the last checkpoint, for [stopTimeout] at
// most. It is called once, and nothing is to be noted after ctx has ended.
func (j *Journal) Run(ctx context.Context) {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, cancel) })()
	j.cover(time.Now())
	if !j.write(ctx, time.Now(), envelope.Started{Version: j.cfg.Version}, nil) {
		// The broker was never there, and so nothing was done.
		for len(j.queue) > 0 {
			j.lose((<-j.queue).fact, ctx.Err())
		}
		return
	}
	close(j.started)
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case n := <-j.queue:
			j.writeNote(writing, n)
		case <-j.ledger.full:
			j.checkpoint(writing, false)
		case <-tick.C:
			j.checkpoint(writing, false)
		case <-ctx.Done():
		}
	}
	for len(j.queue) > 0 {
		j.writeNote(writing, <-j.queue)
	}
	j.write(writing, time.Now(), envelope.Stopped{}, nil)
	j.checkpoint(writing, true)
}

func (j *Journal) writeNote(ctx context.Context, n *note) {
	if j.write(ctx, n.at, n.fact, n.private) {
		close(n.stored)
	}
}

func (j *Journal) checkpoint(ctx context.Context, final bool) {
	now := time.Now()
	c, ok := j.ledger.cut(final)
	if !ok {
		return
	}
	if c.From != j.covered+1 {
		j.cfg.Logger.Error().Uint64(obs.From, j.covered+1).Uint64(obs.To, c.From-1).
			Msg("no checkpoint will cover these records: there was none for too long")
	}
	c.Previous, c.Lost = j.previous, j.Lost()
	if j.write(ctx, time.Now(), c, nil) {
		j.cover(now)
	}
}

// write stores an event, for as long as it takes or until ctx ends.
func (j *Journal) write(ctx context.Context, at time.Time, f envelope.Fact, private *envelope.Private) bool {
	j.writing.Add(1)
	defer j.writing.Add(-1)
	c, isCheckpoint := f.(envelope.Checkpoint)
	number := j.ledger.begin(isCheckpoint)
	data, err := j.sign(number, at, f, private)
	hash := sha256.Sum256(data)
	if err == nil {
		complaint := time.AfterFunc(slow, func() {
			j.cfg.Logger.Warn().Stringer(obs.Event, f.Kind()).Msg("an event for the audit cannot be written; it is tried until it can")
		})
		var seq uint64
		if seq, err = j.cfg.Store.AppendEvent(ctx, j.cfg.Log.name, j.cfg.Log.run, data, j.last); err == nil {
			j.last = seq
		}
		complaint.Stop()
		j.ledger.end(number, fateOf(err), hash)
	} else {
		j.ledger.end(number, void, hash)
	}
	if err != nil {
		j.lose(f, err)
		return false
	}
	if isCheckpoint {
		j.previous, j.covered = hash, c.To
	}
	return true
}
