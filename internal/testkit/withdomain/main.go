// Withdomain runs a command, usually go test, with a Samba domain that all of
// it shares:
//
//	withdomain go test ./...
//
// The command finds the domain by the environment variable WRITEBACK_DOMAIN.
// Its exit status is the command's (128 and the number of the signal that
// ended it, as in a shell), or 1 when the domain could not be started.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"writeback/internal/testkit/samba"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withdomain COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "withdomain: %v\n", err)
	}
	os.Exit(status)
}

// run returns the exit status of argv, which must end before the domain does.
func run(argv []string) (status int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	d, err := start(signals)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), samba.SharedVariable+"="+d.File())
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	done := make(chan error, 1) // its error says no more than the state
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // if it has ended meanwhile, done tells
		case <-done:
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// start starts a domain unless a signal comes first.
func start(signals <-chan os.Signal) (*samba.Domain, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("stopped by signal: %s", s))
		case <-ctx.Done():
		}
	}()
	return samba.Start(ctx, samba.Options{Log: os.Stderr})
}
