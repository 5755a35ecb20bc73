package main

import (
	"context"
	"errors"
	"fmt"

	"writeback/internal/cli"
	"writeback/internal/inspect"
	"writeback/internal/trail"
)

// errTimes refuses sequences where a period is needed.
var errTimes = errors.New("-from and -to: must be times")

func reconcile(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("reconcile", std)
	c.bounds()
	asJSON := c.flags.Bool("json", false, "print the result as JSON")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	if c.rng.FromSeq != 0 || c.rng.ToSeq != 0 {
		return cli.Usage(errTimes)
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := inspect.NewReconciler(c.reader, c.rng.From, c.rng.To)
	wide, asOf := c.around(source)
	err = source.Walk(ctx, wide, func(m trail.Message) error {
		r.Add(m)
		return nil
	})
	if err != nil {
		return err
	}
	result := r.End(asOf)
	if *asJSON {
		err = printJSON(std.Out, result)
	} else {
		err = result.Print(std.Out)
	}
	if n := result.Count(); err == nil && n > 0 {
		return fmt.Errorf("%d requests must be looked at", n)
	}
	return err
}
