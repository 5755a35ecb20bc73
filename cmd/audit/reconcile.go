package main

import (
	"context"
	"fmt"

	"writeback/internal/cli"
	"writeback/internal/inspect"
)

func reconcile(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("reconcile", std)
	c.bounds()
	asJSON := c.flags.Bool("json", false, "print the result as JSON")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	if err := c.timed(); err != nil {
		return err
	}
	r := inspect.NewReconciler(c.reader, c.rng.From, c.rng.To)
	asOf, err := c.period(ctx, r.Add)
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
