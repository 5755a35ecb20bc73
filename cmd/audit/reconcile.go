package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"writeback/internal/cli"
	"writeback/internal/inspect"
	"writeback/internal/trail"
)

func reconcile(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("reconcile", std)
	c.bounds()
	asJSON := c.flags.Bool("json", false, "print the result as JSON")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	if c.rng.FromSeq != 0 || c.rng.ToSeq != 0 {
		return cli.Usage(errors.New("-from and -to: must be times"))
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	result, err := c.reconcile(ctx, source)
	if err != nil {
		return err
	}
	if *asJSON {
		err = printJSON(std.Out, result)
	} else {
		err = result.Print(std.Out)
	}
	if n := len(result.Findings); err == nil && n > 0 {
		return fmt.Errorf("%d requests must be looked at", n)
	}
	return err
}

// reconcile reads what is needed of the period that the flags name.
func (c *command) reconcile(ctx context.Context, source trail.Source) (*inspect.Reconciliation, error) {
	r := inspect.NewReconciler(c.reader, c.rng.From, c.rng.To)
	wide := c.rng
	if !wide.From.IsZero() {
		wide.From = wide.From.Add(-inspect.Before)
	}
	if !wide.To.IsZero() {
		wide.To = wide.To.Add(inspect.After)
	}
	var asOf time.Time // of an archive, its end
	if _, live := source.(trail.Live); live {
		asOf = time.Now()
		if !wide.To.IsZero() && wide.To.Before(asOf) {
			asOf = wide.To
		}
	}
	err := source.Walk(ctx, wide, func(m trail.Message) error {
		r.Add(m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.End(asOf), nil
}
