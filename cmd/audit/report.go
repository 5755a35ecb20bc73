package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
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
