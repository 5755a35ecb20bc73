package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/cli"
	"writeback/internal/export"
	"writeback/internal/trail"
)

func exportTrail(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("export", std)
	c.bounds()
	format := c.flags.String("format", "ecs", "ecs: JSON lines with the names of the Elastic Common Schema; archive: the messages as they are, for `audit verify -archive`")
	out := c.flags.String("out", "", "`file` to append to; goes on after its last line")
	size := c.flags.Int64("max-size", 100, "when the file has so many `MB`, or a day is over, it is given another name and a new one begun")
	syslog := c.flags.String("syslog", "", "send to the collector of the configuration; `file` keeps how far it has come")
	follow := c.flags.Bool("follow", false, "go on with what is written from now on, until it is interrupted")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	switch {
	case export.Format(*format) != export.ECSLines && export.Format(*format) != export.ArchiveLines:
		return cli.Usagef("-format: must be ecs or archive")
	case (*out == "") == (*syslog == ""):
		return cli.Usagef("-out or -syslog is needed, and not both")
	case *syslog != "" && c.Syslog == nil:
		return cli.Usagef("-syslog: %s has no section syslog", *c.config)
	case *syslog != "" && export.Format(*format) == export.ArchiveLines:
		return cli.Usagef("-syslog: takes -format ecs only")
	case *size < 1:
		return cli.Usagef("-max-size: must be 1 at least")
	case *follow && len(c.archives) > 0:
		return cli.Usage(errNoGrowth)
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	open := func() (export.Sink, error) {
		if *syslog != "" {
			return export.OpenSyslog(ctx, *c.Syslog, *syslog)
		}
		file, err := export.OpenFile(*out, export.Format(*format), *size<<20)
		if err != nil {
			return nil, backoff.Permanent(err)
		}
		return file, nil
	}
	run := func() error {
		sink, err := open()
		if err != nil {
			return err
		}
		x := &export.Exporter{Reader: c.reader, Format: export.Format(*format), Sink: sink}
		rng := c.rng
		rng.After = sink.At()
		err = walk(ctx, source, rng, *follow, x.Add, sink.Sync)
		if err = errors.Join(err, sink.Close()); errors.Is(err, trail.ErrBehind) {
			return backoff.Permanent(err)
		}
		return err
	}
	// Whoever follows waits for a broker or a collector that is away, and then sends
	// what that may not have.
	var policy backoff.BackOff = &backoff.StopBackOff{}
	if *follow {
		policy = backoff.NewExponentialBackOff(backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	}
	err = backoff.RetryNotify(run, backoff.WithContext(policy, ctx), func(err error, wait time.Duration) {
		fmt.Fprintf(std.Err, "audit export: %v; trying again in %s\n", err, wait.Round(time.Second))
	})
	if *follow && ctx.Err() != nil {
		return ignore(err, context.Canceled) // it is to end like that
	}
	return err
}
