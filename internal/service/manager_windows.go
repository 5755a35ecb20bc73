package service

import (
	"context"
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"writeback/internal/secret"
)

const (
	displayName = "writeback consumer"
	description = "Applies password resets from the cloud to Active Directory. Dials out only."

	// maxStop is how long Windows waits for the service before it shuts down:
	// soft_stop may be 80 s, and a modify that is on its way is waited for.
	maxStop = 2 * time.Minute
	// calm is how long the service must run for its failures to be forgotten.
	calm = 10 * time.Minute
)

// Install makes the service, or makes it what s says.
func Install(s Settings) error { return manage(func(m manager) error { return install(m, s) }) }

// Remove stops the service and undoes what [Install] did.
func Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxStop)
	defer cancel()
	return manage(func(m manager) error { return remove(ctx, m) })
}

// Start starts the service.
func Start() error { return manage(start) }

func manage(f func(manager) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return plain(err)
	}
	defer m.Disconnect()
	return f(local{m})
}

// local is the service manager of this machine.
type local struct{ *mgr.Mgr }

// with calls f with the service.
func (l local) with(f func(*mgr.Service) error) error {
	s, err := l.OpenService(Name)
	if err != nil {
		return known(err)
	}
	defer s.Close()
	return known(f(s))
}

// known gives the errors that plain can explain the names that it knows.
func known(err error) error {
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		return errNotThere
	case errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE):
		return errLeaving
	}
	return err
}

func (l local) set(program string, args []string, account string) error {
	line := syscall.EscapeArg(program)
	for _, a := range args {
		line += " " + syscall.EscapeArg(a)
	}
	cfg := mgr.Config{
		ServiceType:      windows.SERVICE_WIN32_OWN_PROCESS,
		StartType:        mgr.StartAutomatic,
		DelayedAutoStart: true,
		ErrorControl:     mgr.ErrorNormal,
		BinaryPathName:   line,
		ServiceStartName: account,
		DisplayName:      displayName,
		Description:      description,
		SidType:          windows.SERVICE_SID_TYPE_UNRESTRICTED, // for the access lists of its files
	}
	err := l.with(func(s *mgr.Service) error { return s.UpdateConfig(cfg) })
	if errors.Is(err, errNotThere) {
		s, e := l.CreateService(Name, program, cfg, args...)
		if e != nil {
			return known(e)
		}
		err = s.Close()
	}
	if err != nil {
		return err
	}
	return l.with(func(s *mgr.Service) error {
		if err := s.SetRecoveryActions([]mgr.RecoveryAction{
			{Type: mgr.ServiceRestart, Delay: time.Second},
			{Type: mgr.ServiceRestart, Delay: 5 * time.Second},
			{Type: mgr.ServiceRestart, Delay: 15 * time.Second},
		}, uint32(calm.Seconds())); err != nil {
			return err
		}
		if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
			return err
		}
		wait := uint32(maxStop.Milliseconds()) // SERVICE_PRESHUTDOWN_INFO
		if err := windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, (*byte)(unsafe.Pointer(&wait))); err != nil {
			return err
		}
		return setEnvironment("GODEBUG=" + secret.Clobber)
	})
}

// setEnvironment sets what the manager gives the service beside its account's
// environment.
func setEnvironment(variables ...string) error {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\`+Name, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer key.Close()
	return key.SetStringsValue("Environment", variables)
}

func (l local) setEvents(program string) error {
	if err := l.removeEvents(); err != nil {
		return err
	}
	return eventlog.Install(Name, program, false, eventlog.Info|eventlog.Warning|eventlog.Error)
}

func (l local) removeEvents() error {
	if err := eventlog.Remove(Name); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return err
	}
	return nil
}

func (l local) start() error {
	err := l.with(func(s *mgr.Service) error { return s.Start() })
	if errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return nil
	}
	return err
}

func (l local) stop(ctx context.Context) error {
	err := l.with(func(s *mgr.Service) error {
		now, err := s.Control(svc.Stop)
		switch {
		case errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE):
			return nil
		case errors.Is(err, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL):
			err = nil // it is stopping already
		}
		for err == nil && now.State != svc.Stopped {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(200 * time.Millisecond): // the manager has no event for it
			}
			now, err = s.Query()
		}
		return err
	})
	if errors.Is(err, errNotThere) {
		return nil
	}
	return err
}

func (l local) remove() error {
	err := l.with(func(s *mgr.Service) error { return s.Delete() })
	if errors.Is(err, errNotThere) {
		return nil
	}
	return err
}
