// Package cli is what the mains have in common: commands, signals, exit codes.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"writeback/internal/obs"
	"writeback/internal/secret"
)

// Exit codes of every program.
const (
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // the command line or the configuration is wrong; nothing was tried
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// A Command is one thing that a program does.
type Command struct {
	Name  string
	About string // one line
	Run   func(ctx context.Context, args []string, std Streams) error
}

// A usageError ends the program with exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// Usage marks err, if it is one, as the fault of the command line or the
// configuration.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// Usagef returns a new error like [Usage] does.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Parse parses a command's flags; there must be no other arguments.
func Parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return Usage(err)
	}
	if fs.NArg() != 0 {
		return Usagef("unexpected argument after the flags; see -help")
	}
	return nil
}

// Main runs the command that the arguments name and exits. SIGINT and SIGTERM
// end its context; a second one ends the program at once. Before anything is
// read, the process is made one whose memory nobody is shown.
func Main(program, about string, commands []Command) {
	if err := secret.ProtectProcess(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(exitFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, program, about, commands, os.Args[1:], Streams{os.Stdin, os.Stdout, os.Stderr}))
}

func run(ctx context.Context, program, about string, commands []Command, args []string, std Streams) int {
	usage := func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s\n\nUsage: %s COMMAND [FLAGS]\n\n", program, about, program)
		for _, c := range commands {
			fmt.Fprintf(w, "  %-9s %s\n", c.Name, c.About)
		}
		fmt.Fprintf(w, "\n%s COMMAND -help lists the flags of a command, %s -version says what this is.\n", program, program)
	}
	if len(args) == 0 {
		usage(std.Err)
		return exitUsage
	}
	switch strings.TrimLeft(args[0], "-") {
	case "help", "h":
		usage(std.Out)
		return 0
	case "version":
		fmt.Fprintln(std.Out, obs.BuildText(program))
		return 0
	}
	for _, c := range commands {
		if c.Name != args[0] {
			continue
		}
		err := c.Run(ctx, args[1:], std)
		var wrong usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &wrong):
			fmt.Fprintf(std.Err, "%s %s: %v\n", program, c.Name, err)
			return exitUsage
		}
		fmt.Fprintf(std.Err, "%s %s: %v\n", program, c.Name, err)
		return exitFailed
	}
	fmt.Fprintf(std.Err, "%s: there is no command %q\n\n", program, args[0])
	usage(std.Err)
	return exitUsage
}
