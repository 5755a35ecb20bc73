package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/cli"
	"writeback/internal/inspect"
	"writeback/internal/obs"
	"writeback/internal/queue"
	"writeback/internal/trail"
)

// bounds adds the flags that choose a part of the trail.
func (c *command) bounds() {
	c.flags.Func("from", "where to `begin`: a sequence of RECORDS, a time (2026-11-05 or 2026-11-05T12:00:00Z, by the broker's clock), or how long ago (24h); the beginning if left out",
		func(text string) (err error) {
			c.rng.FromSeq, c.rng.From, err = bound(text)
			return err
		})
	c.flags.Func("to", "where to `end`: the same; the end if left out. A sequence is included, a time is not",
		func(text string) (err error) {
			c.rng.ToSeq, c.rng.To, err = bound(text)
			return err
		})
}

func bound(text string) (seq uint64, at time.Time, err error) {
	if seq, err := strconv.ParseUint(text, 10, 64); err == nil && seq > 0 {
		return seq, at, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return 0, time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return 0, at, nil
		}
	}
	return 0, at, errors.New("must be a sequence, a time such as 2026-11-05T12:00:00Z, or how long ago, such as 24h")
}

// errEmpty refuses a range in which nothing can be: that it is whole would say
// nothing.
var errEmpty = errors.New("-from: must be before -to, and not after now")

// ordered checks that there can be something in the range.
func (c *command) ordered() error {
	r := c.rng
	if r.ToSeq != 0 && r.FromSeq > r.ToSeq || !r.To.IsZero() && !r.From.Before(r.To) || r.From.After(time.Now()) {
		return cli.Usage(errEmpty)
	}
	return nil
}

// patience is how long the broker may take to let us in.
const patience = 30 * time.Second

// open returns the trail that the flags name, and what closes it.
func (c *command) open(ctx context.Context) (trail.Source, func(), error) {
	if len(c.archives) > 0 {
		return trail.Archive{Files: c.archives}, func() {}, nil
	}
	log := obs.NewLogger(c.std.Err, "audit").Level(zerolog.ErrorLevel)
	conn, err := queue.Connect(*c.Broker, queue.Auditor, log)
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := conn.AwaitConnected(ctx); err != nil {
		conn.Close()
		return nil, nil, err
	}
	t := conn.Tenant(c.Tenant)
	return trail.Live{Records: t.Log(trail.Records), Events: t.Log(trail.Events)}, conn.Close, nil
}

// errTimes refuses sequences where a period is needed.
var errTimes = errors.New("-from and -to: must be times")

// timed checks that the range is a period.
func (c *command) timed() error {
	if c.rng.FromSeq != 0 || c.rng.ToSeq != 0 {
		return cli.Usage(errTimes)
	}
	return nil
}

// period hands over the part of the trail that says what became of the requests of
// a period, and returns up to when it does; zero is the time of its last message.
func (c *command) period(ctx context.Context, add func(trail.Message)) (asOf time.Time, err error) {
	source, done, err := c.open(ctx)
	if err != nil {
		return asOf, err
	}
	defer done()
	wide, asOf := c.around(source)
	return asOf, source.Walk(ctx, wide, each(add))
}

// around returns the part of the trail that is needed for a period, and the time up
// to which it speaks; zero is that of its last message.
func (c *command) around(source trail.Source) (trail.Range, time.Time) {
	wide := c.rng
	if !wide.From.IsZero() {
		wide.From = wide.From.Add(-inspect.Before)
	}
	if !wide.To.IsZero() {
		wide.To = wide.To.Add(inspect.After)
	}
	if _, live := source.(trail.Live); !live {
		return wide, time.Time{}
	}
	if now := time.Now(); wide.To.IsZero() || now.Before(wide.To) {
		return wide, now
	}
	return wide, wide.To
}

// each is add for a walk that nothing ends.
func each(add func(trail.Message)) func(trail.Message) error {
	return func(m trail.Message) error {
		add(m)
		return nil
	}
}

// errNoGrowth refuses to follow what does not change.
var errNoGrowth = errors.New("-follow: an archive does not grow; leave out -archive")

// walk calls f with every message of a range, and where follow is set then with
// every later one until ctx ends; idle is called whenever there is no more for now.
func walk(ctx context.Context, source trail.Source, rng trail.Range, follow bool, f func(trail.Message) error, idle func() error) error {
	if live, ok := source.(trail.Live); ok && follow {
		return live.Follow(ctx, rng, f, idle)
	}
	return source.Walk(ctx, rng, f)
}
