package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"writeback/internal/cli"
	"writeback/internal/inspect"
	"writeback/internal/obs"
	"writeback/internal/report"
	"writeback/internal/trail"
)

func makeReport(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("report", std)
	c.bounds()
	out := c.flags.String("out", "", "`file` of the page, which is replaced")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	switch {
	case *out == "":
		return cli.Usagef("-out: is missing")
	case c.rng.FromSeq != 0 || c.rng.ToSeq != 0:
		return cli.Usage(errTimes)
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	r, err := report.New(c.reader, c.rng.From, c.rng.To)
	if err != nil {
		return err
	}
	wide, asOf := c.around(source)
	err = source.Walk(ctx, wide, func(m trail.Message) error {
		r.Add(m)
		return nil
	})
	if err != nil {
		return err
	}
	temporary := *out + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(file)
	err = r.Write(buffer, obs.BuildVersion(), time.Now(), asOf)
	if err := errors.Join(err, buffer.Flush(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, *out); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.Out, *out)
	return err
}

// around returns the part of the trail that says what became of the requests of a
// period, and the time up to which it does; zero is that of its last message.
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
