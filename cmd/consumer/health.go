package main

import (
	"context"
	"flag"

	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/obs"
)

// health says whether the consumer that runs with a configuration is ready: what
// a container's health check asks, where there is no other program to ask with.
func health(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("consumer health", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	path := fs.String("config", "consumer.yaml", "configuration `file`")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	var s settings
	if err := config.Load(*path, &s); err != nil {
		return cli.Usage(err)
	}
	return obs.AskReady(ctx, s.OperationsListen)
}
