// Package service runs the consumer under the service manager of Windows, and
// installs it there. What is decided is decided in values that every system
// has; only the calls are of Windows.
//
// It has been compiled, vetted and tested elsewhere, and never run on Windows.
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"writeback/internal/config"
)

// Name is the name of the service, and of its source of events.
const Name = config.Service

// A state is what a service tells its manager of itself.
type state int

const (
	starting state = iota
	running
	stopping
)

// A status is one report to the manager. As long as the progress rises within
// patience, the manager waits for what is starting or stopping.
type status struct {
	state    state
	progress uint32
}

const (
	reportEvery = 2 * time.Second
	patience    = 10 * time.Second
)

// A control is what the manager asks of a service.
type control int

const (
	other control = iota
	stop
	interrogate
)

// supervise runs f as a service does: it reports what f is doing, and ends f's
// context when a control says so, or ctx ends. kind says what a control is. It
// returns what f returns.
func supervise[C any](ctx context.Context, controls <-chan C, kind func(C) control, report func(status), f func(ctx context.Context, ready func()) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f(ctx, sync.OnceFunc(func() { close(up) })) }()
	now := status{state: starting, progress: 1}
	report(now)
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	ended := ctx.Done()
	for {
		select {
		case err := <-done:
			return err
		case <-up:
			up = nil
			if now.state == starting {
				now = status{state: running}
				report(now)
			}
		case <-ended:
			ended = nil
			now = status{state: stopping, progress: 1}
			report(now)
		case c := <-controls:
			switch kind(c) {
			case stop:
				end()
			case interrogate:
				report(now)
			}
		case <-tick.C:
			if now.state != running {
				now.progress++
				report(now)
			}
		}
	}
}

// Settings say how the service is to be installed.
type Settings struct {
	Program string   // path of this program
	Args    []string // its arguments
	Account string   // that it runs as; the service's own virtual account if empty
}

// virtual is the account that Windows makes for the service.
const virtual = `NT SERVICE\` + Name

// account returns the account of s, which must be one without a password of its
// own: the service's, or one whose password the domain keeps.
func (s Settings) account() (string, error) {
	switch {
	case s.Account == "", strings.EqualFold(s.Account, virtual):
		return virtual, nil
	case strings.HasSuffix(s.Account, "$") && strings.Contains(s.Account, `\`):
		return s.Account, nil
	}
	return "", fmt.Errorf(`account: %q is neither %s nor a managed service account such as CORP\writeback$`, s.Account, virtual)
}

// A manager is what is asked of the service manager and its surroundings. What is
// not there is removed without an error; what is there is set again.
type manager interface {
	// set makes the service, or makes it what settings say.
	set(program string, args []string, account string) error
	// setEvents registers program as what has the texts of the service's events.
	setEvents(program string) error
	start() error
	// stop returns when the service has stopped.
	stop(ctx context.Context) error
	remove() error
	removeEvents() error
}

func install(m manager, s Settings) error {
	account, err := s.account()
	if err != nil {
		return err
	}
	if err := m.set(s.Program, s.Args, account); err != nil {
		return fmt.Errorf("installing the service: %w", plain(err))
	}
	if err := m.setEvents(s.Program); err != nil {
		return fmt.Errorf("registering the source of events: %w", plain(err))
	}
	return nil
}

func remove(ctx context.Context, m manager) error {
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("stopping the service: %w", plain(err))
	}
	if err := m.remove(); err != nil {
		return fmt.Errorf("removing the service: %w", plain(err))
	}
	if err := m.removeEvents(); err != nil {
		return fmt.Errorf("removing the source of events: %w", plain(err))
	}
	return nil
}

func start(m manager) error {
	if err := m.start(); err != nil {
		return fmt.Errorf("starting the service: %w", plain(err))
	}
	return nil
}

// plain says what to do about err, where that is known.
func plain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return errors.New("access is denied: run this as administrator, from an elevated prompt")
	case errors.Is(err, errNotThere):
		return errors.New("it is not installed: run consumer service install first")
	case errors.Is(err, errLeaving):
		return errors.New("it is being removed still: close the Services window and whatever else has it open, and try again")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not stop: see its log")
	}
	return err
}

// What a manager's errors may be.
var (
	errNotThere = errors.New("the service does not exist")
	errLeaving  = errors.New("the service is marked for deletion")
)
