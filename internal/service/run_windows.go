package service

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/windows/svc"

	"writeback/internal/cli"
	"writeback/internal/eventlog"
)

// Run runs f. If the service manager started this program, it does so as a
// service: what f writes to its error stream are then lines of the log, and go to
// the event log of Windows as far as they are events.
func Run(ctx context.Context, std cli.Streams, f func(ctx context.Context, std cli.Streams, ready func()) error) error {
	managed, err := svc.IsWindowsService()
	if err != nil {
		return fmt.Errorf("finding out whether this is a service: %w", err)
	}
	if !managed {
		return f(ctx, std, func() {})
	}
	events, err := eventlog.Open(Name)
	if err != nil {
		return fmt.Errorf("opening the event log: %w", err)
	}
	defer events.Close()
	std.Err = events
	// Windows tells every service of each user who logs off, which Go takes for
	// SIGTERM: here only the manager's word counts.
	h := handler{ctx: context.WithoutCancel(ctx), f: func(ctx context.Context, ready func()) error { return f(ctx, std, ready) }}
	if err := errors.Join(svc.Run(Name, &h), h.err); err != nil {
		events.Failed(err)
		return err
	}
	return nil
}

// A handler is what the manager's thread calls.
type handler struct {
	ctx context.Context
	f   func(ctx context.Context, ready func()) error
	err error
}

// Execute implements svc.Handler. A failure has exit code 1, upon which the
// manager starts the service again.
func (h *handler) Execute(_ []string, controls <-chan svc.ChangeRequest, reports chan<- svc.Status) (own bool, code uint32) {
	h.err = supervise(h.ctx, controls, kind, func(s status) { reports <- translate(s) }, h.f)
	if h.err != nil {
		return true, 1
	}
	return false, 0
}

func kind(c svc.ChangeRequest) control {
	switch c.Cmd {
	case svc.Stop, svc.Shutdown, svc.PreShutdown:
		return stop
	case svc.Interrogate:
		return interrogate
	}
	return other
}

func translate(s status) svc.Status {
	switch s.state {
	case running:
		return svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown}
	case stopping:
		return svc.Status{State: svc.StopPending, CheckPoint: s.progress, WaitHint: uint32(patience.Milliseconds())}
	}
	return svc.Status{State: svc.StartPending, CheckPoint: s.progress, WaitHint: uint32(patience.Milliseconds())}
}
