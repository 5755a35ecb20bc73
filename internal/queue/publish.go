package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

// Times of a write, or a question.
const (
	attemptTimeout = 800 * time.Millisecond
	firstRetry     = 20 * time.Millisecond
	lastRetry      = 500 * time.Millisecond
	// slotPatience is how long "slot taken" is not believed: on a cluster
	// a slot is freed some 10 ms after the ack that frees it.
	slotPatience = 500 * time.Millisecond
	// stalePatience is how long a server is not believed that does not have what
	// we know is stored: one that hung hears within a second that it leads no longer.
	stalePatience = 3 * time.Second
)

// repeated is how soon an attempt is repeated, until ctx ends.
func repeated(ctx context.Context) backoff.BackOff {
	return backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry),
		backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0)), ctx)
}

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

// swap publishes a message that is to follow the newest one of a chain, which is
// what its headers say. stored returns what the chain has now, to look for our own
// message in.
func (t *Tenant) swap(ctx context.Context, msg *nats.Msg, hasty bool, stored func() ([]reset.Stored, error)) (uint64, error) {
	var begun time.Time // when a server first knew less than we do
	return t.publish(ctx, msg, hasty, func(err error, ambiguous bool) error {
		switch refusal(err) {
		case errWrongSequence:
			if stale(err, msg) {
				if begun.IsZero() {
					begun = time.Now()
				}
				if time.Since(begun) < stalePatience {
					return err
				}
			}
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
// not store what its cluster had agreed on, or it still takes itself for the leader.
// Another may have stored msg.
func alone(err error, msg *nats.Msg) bool {
	var e *apiError
	return errors.As(err, &e) && (e.ErrCode == errOutOfStep || e.ErrCode == errStoreFailed && e.Description == errClosedText || stale(err, msg))
}

// stale reports whether err is from a server that does not have what msg is to
// follow, which was acknowledged: one that hung, and has not heard of its successor.
func stale(err error, msg *nats.Msg) bool {
	newest, ok := newest(err)
	expect, parseErr := strconv.ParseUint(msg.Header.Get("Nats-Expected-Last-Subject-Sequence"), 10, 64)
	return ok && parseErr == nil && newest < expect
}

// readBack carries a sequence that was found by reading back out of the retry
// loop.
type readBack uint64

func (readBack) Error() string { return "stored by an earlier attempt" }

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
			ambiguous = ambiguous || alone(err, msg)
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
	seq, err := backoff.RetryWithData(attempt, repeated(ctx))
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
