package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is a program of its own when a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("WRITEBACK_TEST_PROGRAM") == "" {
		os.Exit(m.Run())
	}
	hold := make(chan struct{})
	Main("prog", "about it", []Command{
		{"graceful", "ends when it is told to", func(ctx context.Context, _ []string, std Streams) error {
			fmt.Fprintln(std.Out, "up")
			<-ctx.Done()
			fmt.Fprintln(std.Out, "stopped")
			return nil
		}},
		{"stubborn", "does not", func(ctx context.Context, _ []string, std Streams) error {
			fmt.Fprintln(std.Out, "up")
			<-ctx.Done()
			fmt.Fprintln(std.Out, "stopping")
			<-hold
			return nil
		}},
		{"bad", "fails", func(context.Context, []string, Streams) error { return errors.New("refused") }},
	})
}

// program starts a command and returns it with its output.
func program(t *testing.T, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "WRITEBACK_TEST_PROGRAM=1")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewReader(pipe)
}

func expect(t *testing.T, out *bufio.Reader, want string) {
	t.Helper()
	if got, err := out.ReadString('\n'); strings.TrimSpace(got) != want {
		t.Fatalf("the program says %q (%v), want %q", got, err, want)
	}
}

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd, out := program(t, "graceful")
		expect(t, out, "up")
		cmd.Process.Signal(sig)
		expect(t, out, "stopped")
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

// Once the first signal has been heard, the handler is gone and the next one
// kills. The handler goes just after the context ends, so signals are repeated, but not
// so fast that they meet within Go's own handler, which does not always survive that.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd, out := program(t, "stubborn")
	expect(t, out, "up")
	cmd.Process.Signal(syscall.SIGTERM)
	expect(t, out, "stopping")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for tick := time.Tick(10 * time.Millisecond); ; {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
				t.Errorf("the program ended with %v", cmd.ProcessState)
			}
			return
		case <-tick:
		}
	}
}

func TestExitCode(t *testing.T) {
	for args, want := range map[string]int{"bad": 1, "nosuch": 2, "help": 0} {
		cmd, _ := program(t, args)
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s exits with %d, want %d", args, got, want)
		}
	}
}
