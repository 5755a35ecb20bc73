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

	"writeback/internal/obs"
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
	if trace := obs.TraceParentOf(ctx); trace != "" {
		msg.Header.Set(obs.TraceHeader, string(trace))
	}
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
	}, repeated(ctx))
	if err != nil {
		return fmt.Errorf("asking the broker for %s: %w: %w", call, reset.ErrUnavailable, err)
	}
	return nil
}
