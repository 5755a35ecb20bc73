package trail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"writeback/internal/reset"
)

// Live is the trail that a broker has.
type Live struct{ Records, Events Log }

// A span is the part of a stream that is read; nothing if from is larger.
type span struct{ from, to uint64 }

// ErrBehind is returned where a stream ends before what was read of it earlier: its
// end was cut off, or it is another one.
var ErrBehind = errors.New("the stream ends before what was read of it earlier")

// Walk implements [Source]. Its error may be [ErrBehind].
func (l Live) Walk(ctx context.Context, r Range, f func(Message) error) error {
	// Events first: a checkpoint that is read then speaks of records that are
	// read too.
	var events, records span
	var err error
	if events.from, events.to, err = l.Events.Bounds(ctx); err != nil {
		return err
	}
	if records.from, records.to, err = l.Records.Bounds(ctx); err != nil {
		return err
	}
	if records.to < r.After.Records {
		return fmt.Errorf("%w: RECORDS at message %d, before %d", ErrBehind, records.to, r.After.Records)
	}
	if events.to < r.After.Events {
		return fmt.Errorf("%w: EVENTS at message %d, before %d", ErrBehind, events.to, r.After.Events)
	}
	if r, err = l.timed(ctx, r, &records); err != nil {
		return err
	}
	if err := cut(ctx, l.Records, &records, r, r.After.Records); err != nil {
		return err
	}
	if err := cut(ctx, l.Events, &events, r, r.After.Events); err != nil {
		return err
	}
	return l.merge(ctx, records, events, f)
}

// timed applies the sequences of a range to the records, and returns the range
// with the times that they stand for, which are for the events.
func (l Live) timed(ctx context.Context, r Range, records *span) (Range, error) {
	// When the first one from seq on was stored.
	at := func(seq uint64) (at time.Time, err error) {
		err = l.Records.Read(ctx, seq, records.to, func(m reset.Message) error {
			at = m.Time
			return errEnd
		})
		if errors.Is(err, errEnd) {
			err = nil
		}
		return at, err
	}
	var err error
	if r.FromSeq > records.from {
		records.from = r.FromSeq
		if r.From, err = at(min(r.FromSeq, records.to)); err != nil {
			return r, err
		}
	}
	if r.ToSeq != 0 && r.ToSeq < records.to {
		if r.To, err = at(r.ToSeq + 1); err != nil {
			return r, err
		}
		records.to = r.ToSeq
	}
	return r, nil
}

// cut applies times, and what was read before, to a stream.
func cut(ctx context.Context, log Log, s *span, r Range, after uint64) error {
	s.from = max(s.from, after+1)
	if !r.From.IsZero() {
		seq, ok, err := log.Since(ctx, r.From)
		if err != nil {
			return err
		}
		if !ok {
			seq = s.to + 1
		}
		s.from = max(s.from, seq)
	}
	if !r.To.IsZero() {
		seq, ok, err := log.Since(ctx, r.To)
		if err != nil {
			return err
		}
		if ok {
			s.to = min(s.to, seq-1)
		}
	}
	return nil
}

// aheadOf is how many messages of a stream are read before those of the other one
// that come first.
const aheadOf = 256

// merge calls f with the messages of both streams, in the order of their times.
func (l Live) merge(ctx context.Context, records, events span, f func(Message) error) error {
	group, ctx := errgroup.WithContext(ctx)
	read := func(log Log, stream string, s span) <-chan Message {
		out := make(chan Message, aheadOf)
		group.Go(func() error {
			defer close(out)
			return log.Read(ctx, s.from, s.to, func(m reset.Message) error {
				select {
				case out <- Message{stream, m}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
		return out
	}
	a, b := read(l.Records, Records, records), read(l.Events, Events, events)
	group.Go(func() error {
		m, ok := <-a
		n, more := <-b
		for ok || more {
			// A stream that ended in an error must not let the other go on.
			if err := ctx.Err(); err != nil {
				return err
			}
			first := ok && (!more || !m.Time.After(n.Time))
			if first {
				if err := f(m); err != nil {
					return err
				}
				m, ok = <-a
				continue
			}
			if err := f(n); err != nil {
				return err
			}
			n, more = <-b
		}
		return nil
	})
	return group.Wait()
}

// follow is how often a stream is asked whether it has grown.
const follow = time.Second

// Follow calls f with what [Live.Walk] would, and then with every later message,
// until ctx ends. Whenever there is no more for now it calls idle.
func (l Live) Follow(ctx context.Context, r Range, f func(Message) error, idle func() error) error {
	tick := time.NewTicker(follow)
	defer tick.Stop()
	for {
		err := l.Walk(ctx, r, func(m Message) error {
			r.After.Pass(m)
			return f(m)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := idle(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
