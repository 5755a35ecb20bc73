package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/lab"
	"writeback/internal/queue"
	"writeback/internal/reset"
)

// Of what is measured while somebody replays.
const (
	filling     = 10_000 // records of about the right size, so that there is much to read
	fillers     = 32
	auditRounds = 10 // with and without, alternating
	auditCalls  = 4  // callers
)

// audited measures in one run how long resets take while `audit replay` reads
// everything again and again, and while nobody does.
func audited(ctx context.Context, bin string, resets int) error {
	dir, err := os.MkdirTemp("", "writeback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := lab.Start(ctx, lab.Options{
		Bin: bin, NATS: filepath.Join(bin, "..", "nats"), Dir: dir, Consumers: 2, Directory: "fake", Out: io.Discard,
	})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := fill(ctx, l); err != nil {
		return err
	}
	b := &bench{lab: l, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	var alone, along series
	replays := 0
	for range auditRounds {
		for range max(1, resets/auditCalls/auditRounds) {
			if err := alone.run(ctx, auditCalls, b.reset); err != nil {
				return err
			}
		}
		stop := replayAll(ctx, filepath.Join(bin, "audit"), l.AuditFile())
		for range max(1, resets/auditCalls/auditRounds) {
			if err := along.run(ctx, auditCalls, b.reset); err != nil {
				return err
			}
		}
		n, err := stop()
		if err != nil {
			return err
		}
		replays += n
	}
	fmt.Printf("%-8s %-34s %10s %10s %10s\n", "callers", "", "median ms", "p99 ms", "per second")
	alone.print(auditCalls, "resets alone")
	along.print(auditCalls, "resets while somebody replays")
	fmt.Printf("%d replays were begun; ratio at the median: %.2f\n", replays, float64(along.quantile(0.5))/float64(alone.quantile(0.5)))
	return nil
}

func fill(ctx context.Context, l *lab.Lab) error {
	admin := queue.Config{URL: l.Broker.URL(), CAFile: l.Broker.CAFile, NKeyFile: l.AdminKeyFile()}
	conn, err := queue.Connect(admin, queue.Consumer, zerolog.Nop())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.AwaitConnected(ctx); err != nil {
		return err
	}
	record := make([]byte, 900)
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range fillers {
		wg.Go(func() {
			for range filling / fillers {
				if _, err := conn.Own().Append(ctx, reset.Ref{Publisher: "bench", ID: reset.NewID()}, record, 0); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// replayAll replays until it is stopped, and then says how many times.
func replayAll(ctx context.Context, program, config string) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	n := 0
	go func() {
		for ctx.Err() == nil {
			n++
			// It would be on a machine of its own: what counts is what it
			// asks of the broker.
			cmd := exec.CommandContext(ctx, "nice", "-n", "19", program, "replay", "-config", config, "-format", "json")
			cmd.WaitDelay = time.Second
			if err := cmd.Run(); err != nil && ctx.Err() == nil {
				ended <- fmt.Errorf("replaying: %w", err)
				return
			}
		}
		ended <- nil
	}()
	return func() (int, error) {
		cancel()
		return n, <-ended
	}
}
