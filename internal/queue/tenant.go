package queue

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/reset"
)

// Names of what a tenant's account holds.
const (
	streamRequests = "REQUESTS"
	streamRecords  = "RECORDS"
	streamEvents   = "EVENTS"
	consumerName   = "consumers"
	bucketPresence = "consumers"
	bucketSwitches = "switches"
	bucketTickets  = "tickets"
	presence       = "$KV." + bucketPresence + "."
	alive          = "alive." // where an announcement is heard once it is stored
)

// A side is who writes a record: it has a subject of its own, and may write to
// no other.
const (
	cloud      = "pub"
	onPremises = "con"
)

// Times of a write.
const (
	attemptTimeout = 800 * time.Millisecond
	firstRetry     = 20 * time.Millisecond
	lastRetry      = 500 * time.Millisecond
	// slotPatience is how long "slot taken" is not believed: on a cluster
	// a slot is freed some 10 ms after the ack that frees it.
	slotPatience = 500 * time.Millisecond
)

// Codes of JetStream's errors. See the server's errors.json.
const (
	errStoreFailed   = 10077 // with errSlotText: slot taken; else any failure to store
	errWrongSequence = 10071
	errWrongUnproved = 10164 // the same, with the rival still in flight
	errTooLarge      = 10054
	errNoMessage     = 10037
	errOutOfStep     = 10063 // of a leader whose copy of the stream is not that of the others, which store the message
	errNotNow        = 10008 // a cluster without a leader
	errNoPeers       = 10005 // or one whose leader knows too few servers
	errSlotText      = "maximum messages per subject exceeded"
	errClosedText    = "store is closed" // of a leader that is being stopped: the others may store the message
)

// An apiError is the broker's definite refusal.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("broker refuses: %d %s", e.ErrCode, e.Description)
}

// refusal returns the JetStream error code of err, or 0.
func refusal(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.ErrCode
	}
	return 0
}

// A Tenant is one tenant's streams as this program sees them.
type Tenant struct {
	c      *Conn
	prefix string // the tenant's name where its account exports to ours
	side   string

	mu      sync.Mutex
	durable jetstream.Consumer // nil until it was looked up
}

// Tenant returns the streams of a tenant as a publisher sees them.
func (c *Conn) Tenant(name string) *Tenant { return &Tenant{c: c, prefix: name + ".", side: cloud} }

// OnPremises returns the streams of a tenant as its consumers see them.
func (c *Conn) OnPremises(name string) *Tenant {
	return &Tenant{c: c, prefix: name + ".", side: onPremises}
}

// Own returns the streams of the account that this connection belongs to, with
// what a consumer does with them. Only an administrator of a tenant's account
// can use them.
func (c *Conn) Own() *Tenant { return &Tenant{c: c, side: onPremises} }

// Append stores a record of request ref, if the newest record of the request
// has sequence expect (0: there is none), and returns its own sequence. It
// repeats an ambiguous write until it is certain or ctx ends; its errors are
// [reset.ErrConflict], [reset.ErrUnknown] and [reset.ErrUnavailable]. A first
// record is not waited with for a broker that is away: nothing exists yet that
// would be lost.
func (t *Tenant) Append(ctx context.Context, ref reset.Ref, record []byte, expect uint64) (uint64, error) {
	msg := nats.NewMsg(t.prefix + "rec." + ref.Publisher + "." + ref.ID.String() + "." + t.side)
	msg.Data = record
	// All writers of a chain send this very expectation: a cluster compares
	// its text while a rival is in flight.
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", "rec.*."+ref.ID.String()+".*")
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(expect, 10))
	msg.Header.Set("Nats-Expected-Stream", streamRecords)
	return t.swap(ctx, msg, expect == 0, func() ([]reset.Stored, error) { return t.Records(ctx, ref.ID) })
}

// swap publishes a message that is to follow the newest one of a chain, which is
// what its headers say. stored returns what the chain has now, to look for our own
// message in.
func (t *Tenant) swap(ctx context.Context, msg *nats.Msg, hasty bool, stored func() ([]reset.Stored, error)) (uint64, error) {
	return t.publish(ctx, msg, hasty, func(err error, ambiguous bool) error {
		switch refusal(err) {
		case errWrongSequence:
			if !ambiguous {
				return backoff.Permanent(reset.ErrConflict)
			}
		case errWrongUnproved:
		default:
			return err
		}
		// The newest may be our own, stored by an attempt that was not
		// answered.
		chain, readErr := stored()
		if readErr != nil {
			return readErr
		}
		var last uint64
		for _, s := range chain {
			if string(s.Data) == string(msg.Data) {
				return readBack(s.Seq)
			}
			last = s.Seq
		}
		// A server that has not heard yet that it leads no longer does not
		// have the newest.
		if newest, ok := newest(err); ok && last < newest {
			return err
		}
		if refusal(err) == errWrongSequence {
			return backoff.Permanent(reset.ErrConflict)
		}
		return err // undecided: the rival may yet lose
	})
}

// newest returns the sequence that a refusal names as the newest instead of the
// one that was expected.
func newest(err error) (seq uint64, ok bool) {
	var e *apiError
	if !errors.As(err, &e) || e.ErrCode != errWrongSequence {
		return 0, false
	}
	_, err = fmt.Sscanf(e.Description, "wrong last sequence: %d", &seq)
	return seq, err == nil
}

// alone reports whether err is a refusal that speaks for one server only: it could
// not store what its cluster had agreed on.
func alone(err error) bool {
	var e *apiError
	return errors.As(err, &e) && (e.ErrCode == errOutOfStep || e.ErrCode == errStoreFailed && e.Description == errClosedText)
}

// readBack carries a sequence that was found by reading back out of the retry
// loop.
type readBack uint64

func (readBack) Error() string { return "stored by an earlier attempt" }

// AppendEvent stores the next event of a run, after its event with sequence
// expect (0: it is the first). It repeats an ambiguous write until it is certain
// or ctx ends; its errors are [reset.ErrUnknown] and [reset.ErrUnavailable].
func (t *Tenant) AppendEvent(ctx context.Context, writer string, run [16]byte, event []byte, expect uint64) (uint64, error) {
	subject := "evt." + t.side + "." + writer + "." + hex.EncodeToString(run[:])
	msg := nats.NewMsg(t.prefix + subject)
	msg.Data = event
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", subject)
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(expect, 10))
	msg.Header.Set("Nats-Expected-Stream", streamEvents)
	return t.publish(ctx, msg, false, func(err error, ambiguous bool) error {
		newest, ok := newest(err)
		if !ok {
			return err
		}
		// Nobody else writes to this subject. What is newer than the one
		// before is our own, stored by an attempt that was not answered.
		if ambiguous && newest > expect {
			return readBack(newest)
		}
		// Somebody did, or the broker has lost what it had: go on from
		// there, the checkpoints will tell.
		msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(newest, 10))
		return err
	})
}

// Enqueue puts a request into its account's slot. It repeats an ambiguous write
// with the same id until it is certain or ctx ends; its errors are
// [reset.ErrSlotTaken], [reset.ErrUnknown] and [reset.ErrUnavailable]. After reset.ErrSlotTaken an
// earlier attempt may still be stored, where there was an ambiguous one.
func (t *Tenant) Enqueue(ctx context.Context, slot [16]byte, id reset.ID, request []byte) error {
	msg := nats.NewMsg(t.prefix + "req." + hex.EncodeToString(slot[:]))
	msg.Data = request
	msg.Header.Set("Nats-Msg-Id", id.String())
	msg.Header.Set("Nats-Expected-Stream", streamRequests)
	var taken time.Time // when the slot was first found taken
	_, err := t.publish(ctx, msg, false, func(err error, _ bool) error {
		var e *apiError
		if !errors.As(err, &e) || e.ErrCode != errStoreFailed || e.Description != errSlotText {
			return err
		}
		if taken.IsZero() {
			taken = time.Now()
		}
		if time.Since(taken) > slotPatience {
			return backoff.Permanent(reset.ErrSlotTaken)
		}
		return err
	})
	return err
}

// publish sends msg until the broker has answered for certain. judge is given
// every refusal, and whether an earlier attempt may have been stored; it returns
// a permanent error to end the loop. If hasty, the loop also ends when the broker
// is away and nothing was sent.
func (t *Tenant) publish(ctx context.Context, msg *nats.Msg, hasty bool, judge func(err error, ambiguous bool) error) (uint64, error) {
	ambiguous := false
	attempt := func() (uint64, error) {
		// Asked before: nats.go lets nobody in while it dials.
		if hasty && !ambiguous && t.c.away() {
			return 0, backoff.Permanent(errUnsent)
		}
		seq, err := t.publishOnce(ctx, msg)
		switch {
		case err == nil:
			return seq, nil
		case refusal(err) == errTooLarge:
			return 0, backoff.Permanent(err)
		case refusal(err) != 0:
			ambiguous = ambiguous || alone(err)
			err = judge(err, ambiguous)
			if found := readBack(0); errors.As(err, &found) {
				return uint64(found), nil
			}
			return 0, err
		case !surelyUnsent(err):
			ambiguous = true
		}
		return 0, err
	}
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
		backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0))
	seq, err := backoff.RetryWithData(attempt, backoff.WithContext(policy, ctx))
	switch {
	case err == nil, errors.Is(err, reset.ErrConflict), errors.Is(err, reset.ErrSlotTaken):
		return seq, err
	case ambiguous:
		return 0, fmt.Errorf("%w: %w", reset.ErrUnknown, err)
	default:
		return 0, fmt.Errorf("%w: %w", reset.ErrUnavailable, err)
	}
}

func (t *Tenant) publishOnce(ctx context.Context, msg *nats.Msg) (uint64, error) {
	// A request that these end is one that may have been sent, unless they
	// were there before.
	if t.c.nc.IsClosed() || ctx.Err() != nil {
		return 0, errUnsent
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := t.c.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Stream string    `json:"stream"`
		Seq    uint64    `json:"seq"`
		Error  *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("reading the broker's acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Stream == "" {
		return 0, errors.New("the broker's acknowledgement names no stream")
	}
	return ack.Seq, nil
}

// errUnsent is of a message that was not given to the connection.
var errUnsent = errors.New("not sent")

// surelyUnsent reports whether err says that the message never reached a
// stream. [nats.ErrConnectionClosed] does not: it also ends a wait for an
// answer. [nats.ErrHeadersNotSupported] is what a connection says of a message
// with headers before it has ever been up.
func surelyUnsent(err error) bool {
	return errors.Is(err, errUnsent) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrHeadersNotSupported)
}

// Records returns the records of one request, oldest first, as the stream's
// leader has them.
func (t *Tenant) Records(ctx context.Context, id reset.ID) ([]reset.Stored, error) {
	var all []reset.Stored
	for next := uint64(1); ; {
		m, err := t.get(ctx, streamRecords, map[string]any{"seq": next, "next_by_subj": "rec.*." + id.String() + ".*"})
		if err != nil || m == nil {
			return all, err
		}
		all = append(all, reset.Stored{Seq: m.Seq, Data: m.Data})
		next = m.Seq + 1
	}
}

// Scan calls f with every request that a publisher has written a record of
// since then. It may name one more than once.
func (t *Tenant) Scan(ctx context.Context, since time.Time, f func(reset.Ref) error) error {
	req := map[string]any{"start_time": since.UTC().Format(time.RFC3339Nano), "next_by_subj": "rec.*.*." + cloud}
	for {
		m, err := t.get(ctx, streamRecords, req)
		if err != nil || m == nil {
			return err
		}
		tokens := strings.Split(m.Subject, ".")
		if len(tokens) == 4 {
			if id, err := reset.ParseID(tokens[2]); err == nil {
				if err := f(reset.Ref{Publisher: tokens[1], ID: id}); err != nil {
					return err
				}
			}
		}
		req = map[string]any{"seq": m.Seq + 1, "next_by_subj": "rec.*.*." + cloud}
	}
}

// get asks the stream's leader for one message; nil is none. A time-out is
// tried again until ctx ends.
func (t *Tenant) get(ctx context.Context, stream string, req map[string]any) (*reset.Message, error) {
	var resp struct {
		Error   *apiError      `json:"error"`
		Message *reset.Message `json:"message"`
	}
	err := t.api(ctx, "STREAM.MSG.GET."+stream, req, &resp)
	switch {
	case err != nil:
		return nil, err
	case resp.Error != nil && resp.Error.ErrCode == errNoMessage:
		return nil, nil
	case resp.Error != nil:
		return nil, resp.Error
	}
	return resp.Message, nil
}

// api makes one request of the JetStream API, again and again until there is
// an answer or ctx ends.
func (t *Tenant) api(ctx context.Context, call string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
		backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0))
	err = backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		reply, err := t.c.nc.RequestWithContext(ctx, t.prefix+"$JS.API."+call, body)
		if err != nil {
			return err
		}
		var refused struct {
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &refused); err != nil {
			return err
		}
		if refused.Error != nil && refused.Error.ErrCode == errNotNow {
			return refused.Error
		}
		return json.Unmarshal(reply.Data, resp)
	}, backoff.WithContext(policy, ctx))
	if err != nil {
		return fmt.Errorf("asking the broker for %s: %w: %w", call, reset.ErrUnavailable, err)
	}
	return nil
}
