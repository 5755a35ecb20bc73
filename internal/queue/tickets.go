package queue

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

// Ticket returns what is kept of a ticket, as the stream's leader has it, and the
// sequence that the next [Tenant.PutTicket] expects; nil and 0 if there is none.
func (t *Tenant) Ticket(ctx context.Context, id [16]byte) (value []byte, seq uint64, err error) {
	m, err := t.get(ctx, "KV_"+bucketTickets, map[string]any{"last_by_subj": tickets + hex.EncodeToString(id[:])})
	if err != nil || m == nil {
		return nil, 0, err
	}
	return m.Data, m.Seq, nil
}

// PutTicket stores what is kept of a ticket if the newest has sequence expect (0:
// there is none). It repeats an ambiguous write until it is certain or ctx ends;
// its errors are [reset.ErrConflict], [reset.ErrUnknown] and
// [reset.ErrUnavailable]. A broker that is away is not waited for.
func (t *Tenant) PutTicket(ctx context.Context, id [16]byte, value []byte, expect uint64) error {
	msg := nats.NewMsg(t.prefix + tickets + hex.EncodeToString(id[:]))
	msg.Data = value
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(expect, 10))
	_, err := t.publish(ctx, msg, true, func(err error, ambiguous bool) error {
		switch refusal(err) {
		case errWrongSequence:
			if !ambiguous {
				return backoff.Permanent(reset.ErrConflict)
			}
		case errWrongUnproved:
		default:
			return err
		}
		// The newest may be our own, stored by an attempt that was not answered.
		stored, seq, readErr := t.Ticket(ctx, id)
		switch {
		case readErr != nil:
			return readErr
		case string(stored) == string(value):
			return readBack(seq)
		case refusal(err) == errWrongSequence:
			return backoff.Permanent(reset.ErrConflict)
		}
		return err // undecided: the rival may yet lose
	})
	return err
}
