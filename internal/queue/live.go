package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

// Live calls f with every record of publisher's requests as soon as it is
// stored. It is how answers arrive, but not the only way to read them: what is
// missed here is in the stream.
func (t *Tenant) Live(publisher string, f func(reset.ID, reset.Stored)) error {
	_, err := t.c.nc.Subscribe(t.prefix+"live."+publisher+".*.*", func(m *nats.Msg) {
		tokens := strings.Split(strings.TrimPrefix(m.Subject, t.prefix), ".")
		if len(tokens) != 4 {
			return
		}
		id, err := reset.ParseID(tokens[2])
		msg, msgErr := received(m)
		if err != nil || msgErr != nil {
			return
		}
		f(id, reset.Stored{Seq: msg.Seq, Data: msg.Data})
	})
	if err != nil {
		return fmt.Errorf("listening to live records: %w", err)
	}
	return nil
}

// Announce says that a consumer is alive, for [reset.Presence]. It tries once, and
// returns an error unless the broker has stored it: a connection can be up to a
// cluster that has no leader.
func (t *Tenant) Announce(replica string, announcement []byte) error {
	msg := nats.NewMsg(t.prefix + presence + replica)
	msg.Data = announcement
	_, err := t.publishOnce(context.Background(), msg)
	return err
}

// Announcements calls f with the newest announcement of every consumer, and
// with every later one as it is stored. After an error it does neither, and may be
// called again.
func (t *Tenant) Announcements(ctx context.Context, f func([]byte)) error {
	sub, err := t.c.nc.Subscribe(t.prefix+alive+"*", func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return fmt.Errorf("listening to announcements: %w", err)
	}
	for next := uint64(1); ; {
		m, err := t.get(ctx, "KV_"+bucketPresence, map[string]any{"seq": next, "next_by_subj": presence + "*"})
		if err != nil {
			return errors.Join(fmt.Errorf("reading announcements: %w", err), sub.Unsubscribe())
		}
		if m == nil {
			return nil
		}
		f(m.Data)
		next = m.Seq + 1
	}
}

// A Delivery is a request that was taken from the queue and must be
// acknowledged, handed back or dropped.
type Delivery struct {
	Data    []byte
	Slot    string // last token of its subject
	Attempt uint64 // 1 for the first delivery
	Trace   string // its header [obs.TraceHeader], which says anything that the broker likes

	msg jetstream.Msg
	c   *Conn
}

// pull is how long one pull request waits at the broker. The next follows at
// once, so there is no gap.
const pull = 30 * time.Second

// pullPause is the longest pause after a pull that failed, and pullAlive how often
// the broker says that it still has one: two that do not come, and the next is
// made. The server that had it may be gone and another have taken over.
const (
	pullPause = time.Second
	pullAlive = 2 * time.Second
)

// Take waits for a request, until ctx ends. Every call keeps exactly one pull
// request at the broker, so that a replica never holds what it cannot work on.
func (t *Tenant) Take(ctx context.Context) (*Delivery, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(reconnectWait),
		backoff.WithMaxInterval(pullPause), backoff.WithMaxElapsedTime(0))
	for {
		d, err := t.takeOnce(ctx)
		switch {
		case d != nil:
			t.c.pulls.Over()
			return d, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			t.c.pulls.Over()
			pause.Reset()
			continue
		}
		t.c.log.WithLevel(t.c.pulls.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).Msg("pulling a request")
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

func (t *Tenant) takeOnce(ctx context.Context) (*Delivery, error) {
	ctx, cancel := t.c.untilReconnect(ctx)
	defer cancel()
	if err := t.c.AwaitConnected(ctx); err != nil {
		return nil, err
	}
	consumer, err := t.consumer(ctx)
	if err != nil {
		return nil, err
	}
	lasts := pull
	if deadline, ok := ctx.Deadline(); ok {
		lasts = min(pull, time.Until(deadline))
	}
	// Who stops waiting cannot tell the broker, which may be sending already.
	pulling, cancelPull := context.WithTimeout(context.WithoutCancel(ctx), lasts)
	batch, err := consumer.Fetch(1, jetstream.FetchContext(pulling), jetstream.FetchHeartbeat(min(pullAlive, lasts/4)))
	if err != nil {
		cancelPull()
		return nil, err
	}
	var msg jetstream.Msg
	var ok bool
	select {
	case msg, ok = <-batch.Messages():
		cancelPull()
	case <-ctx.Done():
		go func() {
			defer cancelPull()
			for late := range batch.Messages() {
				late.Nak() // for somebody who waits
			}
		}()
		return nil, ctx.Err()
	}
	if !ok {
		if err := batch.Error(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		return nil, nil
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &Delivery{
		Data:    msg.Data(),
		Slot:    msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:],
		Attempt: meta.NumDelivered,
		Trace:   msg.Headers().Get(obs.TraceHeader),
		msg:     msg,
		c:       t.c,
	}, nil
}

// consumer returns the durable consumer, which is looked up once.
func (t *Tenant) consumer(ctx context.Context) (jetstream.Consumer, error) {
	t.mu.Lock()
	durable := t.durable
	t.mu.Unlock()
	if durable != nil {
		return durable, nil
	}
	js, err := jetstream.NewWithAPIPrefix(t.c.nc, t.prefix+"$JS.API")
	if err != nil {
		return nil, err
	}
	// Nobody answers while the consumer has no leader.
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	durable, err = js.Consumer(ctx, streamRequests, consumerName)
	if err != nil {
		return nil, fmt.Errorf("looking up the durable consumer: %w", err)
	}
	info := durable.CachedInfo()
	live := info.Config
	if diff, err := drift(workers(live.Replicas), live); err != nil || len(diff) != 0 {
		return nil, fmt.Errorf("the durable consumer must be changed: %v; run `publisher streams`", diff)
	}
	if info.Cluster != nil {
		if err := enough(live.Replicas, info.Cluster.Name); err != nil {
			return nil, fmt.Errorf("the durable consumer %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durable = durable
	return durable, nil
}

// Progress tells the broker that the request is being worked on.
func (d *Delivery) Progress() error { return d.msg.InProgress() }

// Ack takes the request off the queue, which frees its account's slot, and
// waits until the broker says so. An acknowledgement that is not answered may have
// gone to a server that is no more, and is repeated until ctx ends.
func (d *Delivery) Ack(ctx context.Context) error {
	return backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		_, err := d.c.nc.RequestWithContext(ctx, d.msg.Reply(), []byte("+ACK"))
		return err
	}, repeated(ctx))
}

// HandBack gives the request to any replica after delay.
func (d *Delivery) HandBack(delay time.Duration) error { return d.msg.NakWithDelay(delay) }

// Drop takes a request off the queue that nobody can ever work on.
func (d *Delivery) Drop(reason string) error { return d.msg.TermWithReason(reason) }
