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
)

// How long the broker and the directory may take. Of a domain with thousands of
// containers all are read.
const (
	brokerTimeout    = 6 * time.Second // a first attempt and more
	directoryTimeout = time.Minute
)

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
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	policy := rules.Policy()
	return tell(std.Out, append(findings, dir.Examine(ctx, policy.Bases(), policy.Groups())...))
}

// tell writes a line for each finding, and below it what would mend it. It
// returns an error if one stands in the way.
func tell(w io.Writer, findings []directory.Finding) error {
	bad := 0
	for _, f := range findings {
		switch {
		case f.Err == nil:
			fmt.Fprintf(w, "ok    %s\n", f.What)
			continue
		case f.Advice:
			fmt.Fprint(w, "note  ")
		default:
			bad++
			fmt.Fprint(w, "FAIL  ")
		}
		fmt.Fprintf(w, "%s: %s\n", f.What, strings.ReplaceAll(f.Err.Error(), "\n", ": ")) // joined errors
		for _, command := range f.Remedy {
			fmt.Fprintf(w, "      %s\n", command)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}
