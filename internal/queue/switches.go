package queue

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

// Switch returns the newest value of a switch, as the stream's leader has it; its
// sequence is 0 where nobody has ever set it.
func (t *Tenant) Switch(ctx context.Context, name reset.SwitchName) (reset.Stored, error) {
	m, err := t.get(ctx, "KV_"+bucketSwitches, map[string]any{"last_by_subj": switches + name.String()})
	if err != nil || m == nil {
		return reset.Stored{}, err
	}
	return reset.Stored{Seq: m.Seq, Data: m.Data}, nil
}

// PutSwitch stores a value of a switch, if the newest one has sequence expect (0:
// there is none), and returns its own. It repeats an ambiguous write until it is
// certain or ctx ends; its errors are [reset.ErrConflict], [reset.ErrUnknown] and
// [reset.ErrUnavailable].
func (t *Tenant) PutSwitch(ctx context.Context, name reset.SwitchName, value []byte, expect uint64) (uint64, error) {
	msg := nats.NewMsg(t.prefix + switches + name.String())
	msg.Data = value
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(expect, 10))
	msg.Header.Set("Nats-Expected-Stream", "KV_"+bucketSwitches)
	return t.swap(ctx, msg, true, func() ([]reset.Stored, error) {
		s, err := t.Switch(ctx, name)
		return []reset.Stored{s}, err
	})
}
