// Soak runs the whole system for a while under a steady, moderate load, with
// restarts now and then, and says whether anything grows that must not: memory,
// goroutines, file descriptors, connections. Every call must have one outcome, and
// the audit must be whole in the end. It reads what Linux says of processes, as root.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"writeback/internal/lab"
)

func main() {
	o := options{out: os.Stdout}
	flag.DurationVar(&o.length, "time", time.Hour, "how long calls are made")
	flag.Float64Var(&o.rate, "rate", 5, "calls a second")
	flag.DurationVar(&o.every, "every", 5*time.Second, "between two samples")
	flag.StringVar(&o.directory, "directory", "fake", "samba or fake")
	flag.StringVar(&o.bin, "bin", "bin", "`directory` of the programs")
	idle := flag.Duration("idle", 0, "instead, leave the system alone for so long, and say what it costs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := lab.Kept("writeback-soak-", func(dir string) error {
		o.dir = dir
		if *idle > 0 {
			return o.idle(ctx, *idle)
		}
		found, err := o.soak(ctx)
		if err == nil && found.bad() > 0 {
			err = fmt.Errorf("%d findings", found.bad())
		}
		return err
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

// options say what is run.
type options struct {
	length, every time.Duration
	rate          float64
	directory     string
	bin, dir      string
	out           io.Writer
}

func (o options) start(ctx context.Context) (*lab.Lab, error) {
	return lab.Start(ctx, lab.Options{
		Bin: o.bin, NATS: filepath.Join(o.bin, "..", "nats"), Dir: o.dir, Consumers: 2, Publishers: 2, Directory: o.directory, Out: o.out,
	})
}
