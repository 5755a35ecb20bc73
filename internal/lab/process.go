package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"writeback/internal/testkit/samba"
)

// A process is one that the lab keeps alive.
type process struct {
	name, log string
	pid       int // guarded by Lab.mu
	command   func() *exec.Cmd
	stop      chan struct{}
	ended     chan struct{}
}

// A program that ended is started again after a pause, which doubles while it
// does not last for a minute.
const (
	restartPause    = 250 * time.Millisecond
	maxRestartPause = 30 * time.Second
)

// killAfter is how long a process may take to stop in an orderly way.
const killAfter = 30 * time.Second

// run starts a process whose output goes to a log file named after it, and
// starts it again whenever it ends.
func (l *Lab) run(name string, command func() *exec.Cmd) (*process, error) {
	if err := os.MkdirAll(l.path("logs"), 0o700); err != nil {
		return nil, err
	}
	p := &process{name: name, log: l.path("logs", name+".log"), command: command, stop: make(chan struct{}), ended: make(chan struct{})}
	first := make(chan error, 1)
	go func() {
		// The death signal is about the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		pause := restartPause
		for started := first; ; started = nil {
			begun := time.Now()
			err := l.runOnce(p, command, started)
			if err != nil && started != nil {
				return
			}
			if time.Since(begun) > time.Minute {
				pause = restartPause
			}
			select {
			case <-p.stop:
				return
			case <-time.After(pause):
				pause = min(2*pause, maxRestartPause)
			}
		}
	}()
	if err := <-first; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	return p, nil
}

// runOnce runs the process until it ends. first is told whether it started.
func (l *Lab) runOnce(p *process, command func() *exec.Cmd, first chan<- error) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		defer log.Close()
		cmd := command()
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err = cmd.Start(); err == nil {
			l.up(p, cmd.Process.Pid, first == nil)
			if first != nil {
				first <- nil
			}
			err = l.wait(p, cmd)
			l.down(p, err)
			return nil
		}
	}
	if first != nil {
		first <- err
	} else {
		l.say("  %-10s cannot be started again: %v", p.name, err)
	}
	return err
}

// wait waits for the process to end by itself or to be stopped.
func (l *Lab) wait(p *process, cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-p.stop:
	}
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-time.After(killAfter):
		cmd.Process.Kill()
		return <-ended
	}
}

// up notes that a process runs.
func (l *Lab) up(p *process, pid int, again bool) {
	l.mu.Lock()
	p.pid = pid
	l.mu.Unlock()
	if !again {
		l.say("  %-10s pid %-7d %s", p.name, pid, p.log)
		return
	}
	l.say("  %-10s started again as pid %d", p.name, pid)
	if err := l.writeEndpoints(); err != nil {
		l.say("  writing the endpoints file: %v", err)
	}
}

// down says that a process ended, unless it was meant to.
func (l *Lab) down(p *process, err error) {
	l.mu.Lock()
	pid, closing := p.pid, l.closing
	l.mu.Unlock()
	if closing {
		return
	}
	why := "exit status 0"
	if err != nil {
		why = err.Error()
	}
	l.say("  %-10s pid %d died: %s", p.name, pid, strings.TrimSpace(why))
}

// end stops the process and waits until it has ended.
func (p *process) end() {
	close(p.stop)
	<-p.ended
}

// watch keeps a domain alive, which starts and ends by its own means.
func (l *Lab) watch(name, log string, d *samba.Domain) {
	p := &process{name: name, log: log, stop: make(chan struct{}), ended: make(chan struct{})}
	l.processes = append(l.processes, p)
	l.up(p, d.PID(), false)
	go func() {
		defer close(p.ended)
		for {
			select {
			case <-p.stop:
				return
			case <-d.Done():
			}
			l.down(p, errors.New("killed"))
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := d.Restart(ctx)
			cancel()
			if err != nil {
				l.say("  %-10s cannot be started again: %v", name, err)
				return
			}
			l.up(p, d.PID(), true)
		}
	}()
}
