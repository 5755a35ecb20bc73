package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"writeback/internal/cli"
	"writeback/internal/reset"
	"writeback/internal/trail"
)

func replay(ctx context.Context, args []string, std cli.Streams) error {
	c := newCommand("replay", std)
	c.bounds()
	var filter trail.Filter
	text := func(name string, value *string, usage string) { c.flags.StringVar(value, name, "", usage) }
	text("account", &filter.Account, "only what is about the account of this `name`, as it was asked for")
	text("actor", &filter.Actor, "only what this `subject` asked for")
	text("source", &filter.Source, "only what came through this `caller`")
	text("operation", &filter.Operation, "only this `operation`: reset, change, unlock or probe")
	text("code", &filter.Code, "only outcomes with this `code`")
	text("consumer", &filter.Consumer, "only what this `replica` wrote")
	text("request", &filter.Request, "only this `request`, as a timeline")
	format := c.flags.String("format", "", "table, json (a line an entry) or timeline; a table if left out, and a timeline of one request")
	follow := c.flags.Bool("follow", false, "go on with what is written from now on, until it is interrupted")
	checkpoint := c.flags.String("checkpoint", "", "`file` that says how far the last run came; goes on from there, and writes it")
	if err := c.load(args); err != nil {
		return ignore(err, errValid)
	}
	if *format == "" {
		*format = "table"
		if filter.Request != "" {
			*format = "timeline"
		}
	}
	out := bufio.NewWriterSize(std.Out, 64<<10)
	printer := trail.NewPrinter(*format, out)
	switch {
	case printer == nil:
		return cli.Usagef("-format: must be one of %s", strings.Join(trail.Formats(), ", "))
	case *format == "timeline" && filter.Request == "":
		return cli.Usagef("-format timeline: needs -request")
	case *follow && len(c.archives) > 0:
		return cli.Usage(errNoGrowth)
	case filter.Operation != "":
		if _, err := reset.ParseOperation(filter.Operation); err != nil {
			return cli.Usagef("-operation: %w", err)
		}
	}
	var at trail.Position
	if *checkpoint != "" {
		if err := readJSON(*checkpoint, &at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return cli.Usagef("-checkpoint: %w", err)
		}
		c.rng.After = at
	}
	source, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	// What was printed is on its way to the reader before the checkpoint says so.
	keep := func() error {
		if err := out.Flush(); err != nil || *checkpoint == "" {
			return err
		}
		return writeJSON(*checkpoint, at)
	}
	entry := func(m trail.Message) error {
		at.Pass(m)
		if e := c.reader.Read(m); filter.Match(e) {
			return printer.Print(e)
		}
		return nil
	}
	err = walk(ctx, source, c.rng, *follow, entry, keep)
	return errors.Join(err, keep())
}

// ignore returns err unless it is the other one.
func ignore(err, other error) error {
	if errors.Is(err, other) {
		return nil
	}
	return err
}

func readJSON(file string, v any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	return replace(file, func(out io.Writer) error { return printJSON(out, v) })
}

// replace replaces a file as a whole with what write writes.
func replace(path string, write func(io.Writer) error) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(file)
	if err := errors.Join(write(buffer), buffer.Flush(), file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
