package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

const (
	// followAhead is how many records are asked for at once, so that distance
	// costs little.
	followAhead = 32
	// followLive is how many live records wait until they are looked at. What
	// is too many is read from the stream.
	followLive = 32768
	// followEvery is how often it is looked for records that were not heard live.
	followEvery = 2 * time.Second
)

// Follow shows f every record that was stored since then, the last most of them at
// most, and then every new one as soon as it is stored. It returns when ctx ends, or
// when the broker has no answer.
func (t *Tenant) Follow(ctx context.Context, since time.Time, most uint64, f reset.Follower) error {
	live := make(chan *nats.Msg, followLive)
	sub, err := t.c.nc.ChanSubscribe(t.prefix+"live.*.*.*", live)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	// Before it is looked for the first: what is stored in between is heard live.
	state, err := t.state(ctx, streamRecords)
	if err != nil {
		return err
	}
	first, err := t.get(ctx, streamRecords, map[string]any{"start_time": since.UTC().Format(time.RFC3339Nano), "next_by_subj": "rec.>"})
	if err != nil {
		return err
	}
	next := state.Last + 1
	if first != nil {
		next = first.Seq
	}
	if state.Last >= most && next <= state.Last-most {
		next = state.Last - most + 1
		m, err := t.get(ctx, streamRecords, map[string]any{"seq": next})
		if err != nil {
			return err
		}
		if m != nil {
			since = m.Time
		}
	}
	f.Begin(since)
	if next, err = t.readOn(ctx, next, state.Last, f.Hear); err != nil {
		return err
	}
	f.CaughtUp()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case m := <-live:
			msg, msgErr := received(m)
			if msgErr != nil || msg.Seq < next {
				continue
			}
			if next, err = t.readOn(ctx, next, msg.Seq-1, f.Hear); err == nil {
				f.Hear(reset.Stored{Seq: msg.Seq, Data: msg.Data}, msg.Time)
				next = msg.Seq + 1
			}
		case <-tick.C:
			if state, err = t.state(ctx, streamRecords); err == nil {
				next, err = t.readOn(ctx, next, state.Last, f.Hear)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// readOn calls f with the records from sequence next to sequence last, but for
// those that the stream no longer has, and returns the sequence after them.
func (t *Tenant) readOn(ctx context.Context, next, last uint64, f func(reset.Stored, time.Time)) (uint64, error) {
	for next <= last {
		n := min(followAhead, last-next+1)
		got, errs := make([]*reset.Message, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { got[i], errs[i] = t.get(ctx, streamRecords, map[string]any{"seq": next + i}) })
		}
		wg.Wait()
		for i, m := range got {
			if errs[i] != nil {
				return next, errs[i]
			}
			if m != nil {
				f(reset.Stored{Seq: m.Seq, Data: m.Data}, m.Time)
			}
			next++
		}
	}
	return next, nil
}

// A streamState is what the leader of a stream says of it.
type streamState struct {
	Messages uint64    `json:"messages"`
	First    uint64    `json:"first_seq"`
	Last     uint64    `json:"last_seq"`
	FirstAt  time.Time `json:"first_ts"`
}

func (t *Tenant) state(ctx context.Context, stream string) (streamState, error) {
	var resp struct {
		Error *apiError   `json:"error"`
		State streamState `json:"state"`
	}
	if err := t.api(ctx, "STREAM.INFO."+stream, nil, &resp); err != nil {
		return streamState{}, err
	}
	if resp.Error != nil {
		return streamState{}, fmt.Errorf("stream %s: %w", stream, resp.Error)
	}
	return resp.State, nil
}

// Queued returns how many requests are in the queue, those in hand included, and
// since when the oldest is; zero is none.
func (t *Tenant) Queued(ctx context.Context) (n int, oldest time.Time, err error) {
	s, err := t.state(ctx, streamRequests)
	if err != nil || s.Messages == 0 {
		return 0, time.Time{}, err
	}
	return int(s.Messages), s.FirstAt, nil
}
