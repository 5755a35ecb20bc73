package queue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/reset"
)

// A Log is a stream that is kept for the audit, and is read only.
type Log struct {
	t      *Tenant
	stream string
}

// Log returns one of the two streams that an auditor may read, RECORDS or EVENTS.
func (t *Tenant) Log(stream string) *Log { return &Log{t, stream} }

// logPatience is how long the broker may be away while a log is read.
const logPatience = 30 * time.Second

// Bounds returns the first and the last sequence of the log. An empty one has a
// first that is larger than its last.
func (l *Log) Bounds(ctx context.Context) (first, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	state, err := l.t.state(ctx, l.stream)
	if err != nil {
		return 0, 0, err
	}
	if state.Messages == 0 {
		return state.Last + 1, state.Last, nil
	}
	return state.First, state.Last, nil
}

// Since returns the sequence of the first message that was stored at a time or
// later, and false if there is none.
func (l *Log) Since(ctx context.Context, at time.Time) (seq uint64, ok bool, err error) {
	m, err := l.first(ctx, map[string]any{"start_time": at.UTC().Format(time.RFC3339Nano), "next_by_subj": ">"})
	if err != nil || m == nil {
		return 0, false, err
	}
	return m.Seq, true, nil
}

// first asks the stream's leader for the first message that req speaks of; nil is
// none.
func (l *Log) first(ctx context.Context, req map[string]any) (*reset.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	return l.t.get(ctx, l.stream, req)
}

// batchSize is how many messages are asked for at once: the server lets no write
// into the stream while it reads them. batchesAhead is how many batches are asked
// for before the first of them has come, so that distance costs little.
const (
	batchSize    = 100
	batchesAhead = 8
)

// Read calls f with the messages from sequence from to sequence to, both
// included, in their order. One that the stream's leader does not have is left out.
// Nothing is left behind at the broker.
func (l *Log) Read(ctx context.Context, from, to uint64, f func(reset.Message) error) error {
	r := &logReader{l: l, inbox: l.t.c.nc.NewRespInbox() + "."}
	r.answers = make(chan *nats.Msg, 2*batchesAhead*(batchSize+1))
	sub, err := l.t.c.nc.ChanSubscribe(r.inbox+"*", r.answers)
	if err != nil {
		return fmt.Errorf("reading %s: %w", l.stream, err)
	}
	defer sub.Unsubscribe()
	var waiting []*logBatch
	for asked := from; asked <= to || len(waiting) > 0; {
		for asked <= to && len(waiting) < batchesAhead {
			b := &logBatch{want: asked, to: min(to, asked+batchSize-1)}
			r.ask(b)
			waiting = append(waiting, b)
			asked = b.to + 1
		}
		if err := r.await(ctx, waiting); err != nil {
			return fmt.Errorf("reading %s: %w", l.stream, err)
		}
		messages := waiting[0].messages
		waiting = waiting[1:]
		for _, m := range messages {
			if err := f(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// A logBatch is a part of a log that was asked for at once.
type logBatch struct {
	want, to uint64          // what it lacks
	messages []reset.Message // what it has, in their order
	token    string          // of the reply subject
	ended    bool            // there come no more answers
}

// take takes over an answer. After a message that is not the next one, the
// stream's leader is asked what lies between.
func (b *logBatch) take(m *nats.Msg) error {
	if m.Header.Get("Status") != "" && len(m.Header["Nats-Sequence"]) == 0 {
		b.ended = true
		return nil
	}
	msg, err := received(m)
	if err == nil && msg.Seq == b.want && msg.Seq <= b.to {
		b.messages = append(b.messages, msg)
		b.want++
	}
	return err
}

// received reads a message that the server sends of a stream, live or in a batch. What
// it says of a message comes after the headers that its writer has given it.
func received(m *nats.Msg) (reset.Message, error) {
	last := func(header string) string {
		if values := m.Header[header]; len(values) > 0 {
			return values[len(values)-1]
		}
		return ""
	}
	seq, err := strconv.ParseUint(last("Nats-Sequence"), 10, 64)
	if err != nil {
		return reset.Message{}, fmt.Errorf("the broker's answer has no sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, last("Nats-Time-Stamp"))
	if err != nil {
		return reset.Message{}, fmt.Errorf("the broker's answer has no time: %w", err)
	}
	return reset.Message{Seq: seq, Time: at, Subject: last("Nats-Subject"), Data: m.Data}, nil
}

// A logReader is one call of [Log.Read].
type logReader struct {
	l       *Log
	inbox   string
	answers chan *nats.Msg
	tokens  int
}

// ask asks for what a batch lacks. That nothing can be sent shows as silence.
func (r *logReader) ask(b *logBatch) {
	r.tokens++
	b.token, b.ended = strconv.Itoa(r.tokens), false
	body := fmt.Sprintf(`{"seq":%d,"batch":%d}`, b.want, b.to-b.want+1)
	r.l.t.c.nc.PublishRequest(r.l.t.prefix+"$JS.API.DIRECT.GET."+r.l.stream, r.inbox+b.token, []byte(body))
}

// await waits until the first of the batches that are waited for has all that the
// log has of it.
func (r *logReader) await(ctx context.Context, waiting []*logBatch) error {
	b, giveUp := waiting[0], time.Now().Add(logPatience)
	silence := time.NewTimer(attemptTimeout)
	defer silence.Stop()
	for b.want <= b.to {
		if b.ended {
			m, err := r.l.first(ctx, map[string]any{"seq": b.want, "next_by_subj": ">"})
			if err != nil || m == nil || m.Seq > b.to {
				return err
			}
			b.messages = append(b.messages, *m)
			if b.want = m.Seq + 1; b.want > b.to {
				return nil
			}
			r.ask(b)
		}
		select {
		case m := <-r.answers:
			token := strings.TrimPrefix(m.Subject, r.inbox)
			for _, w := range waiting {
				if w.token != token {
					continue
				}
				if err := w.take(m); err != nil {
					return err
				}
			}
			giveUp = time.Now().Add(logPatience)
			silence.Reset(attemptTimeout)
		case <-silence.C:
			if time.Now().After(giveUp) {
				return reset.ErrUnavailable
			}
			r.ask(b)
			silence.Reset(attemptTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
