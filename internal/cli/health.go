package cli

import (
	"context"
	"flag"

	"writeback/internal/obs"
)

// Health returns the command that says whether a program that runs on this machine
// is ready: what a container's health check asks, where there is no other program
// to ask with. listen returns the address of the program's operations listener,
// which the configuration at a path has.
func Health(program string, listen func(path string) (string, error)) Command {
	run := func(ctx context.Context, args []string, std Streams) error {
		fs := flag.NewFlagSet(program+" health", flag.ContinueOnError)
		fs.SetOutput(std.Err)
		path := fs.String("config", program+".yaml", "configuration `file`")
		if err := Parse(fs, args); err != nil {
			return err
		}
		addr, err := listen(*path)
		if err != nil {
			return Usage(err)
		}
		return obs.AskReady(ctx, addr)
	}
	return Command{Name: "health", About: "asks a " + program + " that runs whether it is ready", Run: run}
}
