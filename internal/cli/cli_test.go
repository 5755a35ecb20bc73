package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"writeback/internal/obs"
)

// commands are one for every way in which a command ends.
func commands() []Command {
	return []Command{
		{"good", "ends well", func(_ context.Context, args []string, std Streams) error {
			_, err := fmt.Fprintf(std.Out, "done %q", args)
			return err
		}},
		{"bad", "does not work", func(context.Context, []string, Streams) error { return errors.New("binding: refused") }},
		{"wrong", "is configured wrongly", func(context.Context, []string, Streams) error {
			return fmt.Errorf("starting: %w", Usage(errors.New("tenant: must not be empty")))
		}},
		{"flags", "has flags", func(_ context.Context, args []string, std Streams) error {
			fs := flag.NewFlagSet("flags", flag.ContinueOnError)
			fs.SetOutput(std.Err)
			n := fs.Int("n", 1, "a number")
			if err := Parse(fs, args); err != nil {
				return err
			}
			_, err := fmt.Fprint(std.Out, *n)
			return err
		}},
		{"copy", "copies", func(_ context.Context, _ []string, std Streams) error {
			_, err := io.Copy(std.Out, std.In)
			return err
		}},
		{"wait", "waits", func(ctx context.Context, _ []string, _ Streams) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}},
	}
}

func TestRun(t *testing.T) {
	stopped, stop := context.WithCancel(context.Background())
	stop()
	tests := []struct {
		name     string
		args     string
		code     int
		out, err string // in what is written; "" for nothing at all
	}{
		{"a command", "good", 0, "done []", ""},
		{"its arguments", "good -a b", 0, `done ["-a" "b"]`, ""},
		{"standard input", "copy", 0, "input", ""},
		{"it fails", "bad", 1, "", "prog bad: binding: refused\n"},
		{"it is stopped", "wait", 1, "", "prog wait: context canceled\n"},
		{"wrong configuration", "wrong", 2, "", "prog wrong: starting: tenant: must not be empty\n"},
		{"flags", "flags -n 7", 0, "7", ""},
		{"unknown flag", "flags -x", 2, "", "flag provided but not defined: -x"},
		{"bad value of a flag", "flags -n x", 2, "", "invalid value"},
		{"argument after the flags", "flags -n 7 c4nary", 2, "", "unexpected argument after the flags"},
		{"help of a command", "flags -help", 0, "", "a number"},
		{"short help of a command", "flags -h", 0, "", "a number"},
		{"no command", "", 2, "", "Usage: prog COMMAND"},
		{"unknown command", "nosuch", 2, "", `prog: there is no command "nosuch"`},
		{"command in capitals", "Good", 2, "", "there is no command"},
		{"flag before the command", "-n good", 2, "", "there is no command"},
		{"help", "help", 0, "Usage: prog COMMAND", ""},
		{"-help", "-help", 0, "Usage: prog COMMAND", ""},
		{"--help", "--help", 0, "Usage: prog COMMAND", ""},
		{"-h", "-h", 0, "Usage: prog COMMAND", ""},
		{"version", "version", 0, obs.BuildText("prog") + "\n", ""},
		{"-version", "-version", 0, obs.BuildText("prog") + "\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			std := Streams{strings.NewReader("input"), &out, &errs}
			code := run(stopped, "prog", "about it", commands(), strings.Fields(tt.args), std)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for what, got := range map[string][2]string{"output": {out.String(), tt.out}, "error": {errs.String(), tt.err}} {
				if (got[0] == "") != (got[1] == "") || !strings.Contains(got[0], got[1]) {
					t.Errorf("standard %s is %q, want %q", what, got[0], got[1])
				}
			}
			if strings.Contains(errs.String(), "c4nary") {
				t.Error("an unexpected argument, which may be a password, is repeated")
			}
		})
	}
}

func TestUsageListsEveryCommand(t *testing.T) {
	var out bytes.Buffer
	run(context.Background(), "prog", "about it", commands(), []string{"help"}, Streams{Out: &out, Err: io.Discard})
	for _, c := range commands() {
		if !strings.Contains(out.String(), "  "+c.Name) || !strings.Contains(out.String(), c.About) {
			t.Errorf("the usage does not list %q:\n%s", c.Name, out.String())
		}
	}
}

func TestUsageErrors(t *testing.T) {
	if Usage(nil) != nil {
		t.Error("Usage(nil) is an error")
	}
	cause := errors.New("cause")
	if err := Usage(cause); !errors.Is(err, cause) || err.Error() != "cause" {
		t.Errorf("Usage hides its cause: %v", err)
	}
	if err := Usagef("count: %d: %w", 7, cause); !errors.Is(err, cause) || err.Error() != "count: 7: cause" {
		t.Errorf("Usagef = %v", err)
	}
}
