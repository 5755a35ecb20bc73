package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/cli"
	"writeback/internal/directory"
	"writeback/internal/guard"
	"writeback/internal/queue"
)

// checkTimeout is how long the broker, and then the directory, may take.
const checkTimeout = 20 * time.Second

// check says what stands in the way of resets, one line a check, and changes
// nothing.
func check(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("consumer check", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	path := fs.String("config", "consumer.yaml", "configuration `file`")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	cfg, err := load(*path)
	if err != nil {
		return cli.Usage(err)
	}
	rules, err := guard.Open(cfg.PolicyFile, func(error) {})
	if err != nil {
		return cli.Usagef("%s: policy_file: %w", *path, err)
	}
	dir, err := directory.New(cfg.Directory, zerolog.Nop())
	if err != nil {
		return cli.Usagef("%s: directory.%w", *path, err)
	}
	defer dir.Close()
	findings := examineBroker(ctx, cfg)
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	policy := rules.Policy()
	return tell(std.Out, append(findings, dir.Examine(ctx, policy.Bases(), policy.Groups())...))
}

// examineBroker checks the way to the broker and what is kept there.
func examineBroker(ctx context.Context, cfg *loaded) []directory.Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	connected := directory.Finding{What: "broker: connection, certificate, sign-in"}
	conn, err := queue.Connect(cfg.Broker, queue.Consumer, zerolog.Nop())
	if err == nil {
		defer conn.Close()
		err = conn.AwaitConnected(ctx)
	}
	if connected.Err = err; err != nil {
		return []directory.Finding{connected}
	}
	return []directory.Finding{connected, {What: "broker: streams", Err: conn.OnPremises(cfg.Tenant).CheckStreams(ctx)}}
}

// tell writes a line for each finding, and below it what would mend it. It
// returns an error if one is bad.
func tell(w io.Writer, findings []directory.Finding) error {
	bad := 0
	for _, f := range findings {
		if f.Err == nil {
			fmt.Fprintf(w, "ok    %s\n", f.What)
			continue
		}
		bad++
		fmt.Fprintf(w, "FAIL  %s: %s\n", f.What, strings.ReplaceAll(f.Err.Error(), "\n", ": ")) // joined errors
		for _, command := range f.Remedy {
			fmt.Fprintf(w, "      %s\n", command)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}
