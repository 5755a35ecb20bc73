package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"writeback/internal/cli"
	"writeback/internal/obs"
	"writeback/internal/report"
)

func makeReport(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("report", std)
	c.bounds()
	out := c.flags.String("out", "", "`file` of the page, which is replaced")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	if *out == "" {
		return cli.Usagef("-out: is missing")
	}
	if err := c.timed(); err != nil {
		return err
	}
	r, err := report.New(c.reader, c.rng.From, c.rng.To)
	if err != nil {
		return err
	}
	asOf, err := c.period(ctx, r.Add)
	if err != nil {
		return err
	}
	err = replace(*out, func(page io.Writer) error { return r.Write(page, obs.BuildVersion(), time.Now(), asOf) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.Out, *out)
	return err
}
