package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"writeback/internal/cli"
	"writeback/internal/inspect"
	"writeback/internal/trail"
)

// errFaults ends `audit verify` with exit code 1.
var errFaults = errors.New("the trail is not whole")

func verify(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("verify", std)
	c.bounds()
	headFile := c.flags.String("head", "", "`file` that `audit head` made earlier: what it knows must still be there")
	asJSON := c.flags.Bool("json", false, "print the report as JSON")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	var head *inspect.Head
	if *headFile != "" {
		if c.rng != (trail.Range{}) {
			return cli.Usagef("-head: needs everything; leave out -from and -to")
		}
		head = new(inspect.Head)
		if err := readJSON(*headFile, head); err != nil {
			return cli.Usagef("-head: %w", err)
		}
	}
	inspector, err := inspect.New(c.reader.Verifier, head)
	if err != nil {
		return cli.Usagef("-head: %s: %w", *headFile, err)
	}
	if c.rng.ToSeq != 0 || !c.rng.To.IsZero() {
		inspector.EndsEarly()
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	begun := time.Now()
	err = source.Walk(ctx, c.rng, each(inspector.Add))
	if err != nil {
		return err
	}
	report := inspector.End()
	if *asJSON {
		err = printJSON(std.Out, report)
	} else {
		err = report.Print(std.Out)
		fmt.Fprintf(std.Err, "read in %s\n", time.Since(begun).Round(time.Millisecond))
	}
	if err == nil && !report.Whole() {
		return errFaults
	}
	return err
}

func head(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("head", std)
	out := c.flags.String("out", "", "`file` to keep it in; it is printed if left out")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	// Of the records only the last one matters.
	if live, ok := source.(trail.Live); ok {
		_, last, err := live.Records.Bounds(ctx)
		if err != nil {
			return err
		}
		c.rng.After.Records = max(last, 1) - 1
	}
	maker := inspect.NewHeadMaker(c.reader.Verifier, time.Now())
	err = source.Walk(ctx, c.rng, each(maker.Add))
	if err != nil {
		return err
	}
	h := maker.Head()
	if *out == "" {
		return printJSON(std.Out, h)
	}
	if err := writeJSON(*out, h); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "%s: %d records, %d events, checkpoints of %d writers\n", *out, h.Records.Seq, h.Events.Seq, len(h.Writers))
	return nil
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
