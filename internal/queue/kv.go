package queue

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

// value returns the newest value of a key, as the leader of its bucket's stream has
// it; its sequence is 0 where there is none.
func (t *Tenant) value(ctx context.Context, bucket, key string) (reset.Stored, error) {
	m, err := t.get(ctx, "KV_"+bucket, map[string]any{"last_by_subj": "$KV." + bucket + "." + key})
	if err != nil || m == nil {
		return reset.Stored{}, err
	}
	return reset.Stored{Seq: m.Seq, Data: m.Data}, nil
}

// putValue stores a value of a key, if the newest one has sequence expect (0: there
// is none), and returns its own. It repeats an ambiguous write until it is certain or
// ctx ends; its errors are [reset.ErrConflict], [reset.ErrUnknown] and
// [reset.ErrUnavailable]. A broker that is away is not waited for.
func (t *Tenant) putValue(ctx context.Context, bucket, key string, value []byte, expect uint64) (uint64, error) {
	msg := nats.NewMsg(t.prefix + "$KV." + bucket + "." + key)
	msg.Data = value
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(expect, 10))
	msg.Header.Set("Nats-Expected-Stream", "KV_"+bucket)
	return t.swap(ctx, msg, true, func() ([]reset.Stored, error) {
		s, err := t.value(ctx, bucket, key)
		return []reset.Stored{s}, err
	})
}

// Switch returns the newest value of a switch, as the stream's leader has it; its
// sequence is 0 where nobody has ever set it.
func (t *Tenant) Switch(ctx context.Context, name reset.SwitchName) (reset.Stored, error) {
	return t.value(ctx, bucketSwitches, name.String())
}

// PutSwitch stores a value of a switch, if the newest one has sequence expect (0:
// there is none), and returns its own. It repeats an ambiguous write until it is
// certain or ctx ends; its errors are [reset.ErrConflict], [reset.ErrUnknown] and
// [reset.ErrUnavailable].
func (t *Tenant) PutSwitch(ctx context.Context, name reset.SwitchName, value []byte, expect uint64) (uint64, error) {
	return t.putValue(ctx, bucketSwitches, name.String(), value, expect)
}

// Ticket returns what is kept of a ticket, as the stream's leader has it, and the
// sequence that the next [Tenant.PutTicket] expects; nil and 0 if there is none.
func (t *Tenant) Ticket(ctx context.Context, id [16]byte) (value []byte, seq uint64, err error) {
	s, err := t.value(ctx, bucketTickets, hex.EncodeToString(id[:]))
	return s.Data, s.Seq, err
}

// PutTicket stores what is kept of a ticket if the newest has sequence expect (0:
// there is none). It repeats an ambiguous write until it is certain or ctx ends;
// its errors are [reset.ErrConflict], [reset.ErrUnknown] and
// [reset.ErrUnavailable]. A broker that is away is not waited for.
func (t *Tenant) PutTicket(ctx context.Context, id [16]byte, value []byte, expect uint64) error {
	_, err := t.putValue(ctx, bucketTickets, hex.EncodeToString(id[:]), value, expect)
	return err
}
