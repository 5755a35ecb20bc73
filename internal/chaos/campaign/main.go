// Campaign breaks the whole system for a while, drawn from a seed, and says what
// broke its promises. The same seed makes the same calls and the same faults in
// the same order; what meets what is up to the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"writeback/internal/chaos"
	"writeback/internal/lab"
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "of everything that is drawn")
	length := flag.Duration("time", 10*time.Minute, "how long calls are made; faults end half a minute earlier")
	nodes := flag.Int("nodes", 1, "of the broker, 1 or 3")
	directory := flag.String("directory", "fake", "fake or samba")
	callers := flag.Int("callers", 8, "how many call at once")
	points := flag.Bool("points", false, "instead, kill programs at every step of a request's life, each once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := lab.Kept("writeback-chaos-", func(dir string) error {
		root, err := os.Getwd()
		if err != nil {
			return err
		}
		opts := chaos.Options{Root: root, Dir: dir, Nodes: *nodes, Directory: *directory, Out: os.Stdout}
		if *points {
			return chaos.RunPoints(ctx, opts)
		}
		found, err := chaos.Campaign{Options: opts, Seed: *seed, Faults: *length - calm, Calls: *length, Callers: *callers}.Run(ctx)
		if err == nil && len(found) > 0 {
			err = fmt.Errorf("%d promises were broken", len(found))
		}
		return err
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "campaign: %v\n", err)
		os.Exit(1)
	}
}

// calm is how long calls are made after the last fault.
const calm = 30 * time.Second
