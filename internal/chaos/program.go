package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"writeback/internal/chaos/proxy"
)

// A Program is a publisher or a consumer behind proxies. It is started again
// when it ends by itself, as a service manager would, and stays away when it was
// killed.
type Program struct {
	Name   string         // of its log, and in reports
	Broker []*proxy.Proxy // one before each server
	AD     *proxy.Proxy   // nil of a publisher
	API    string         // URL; empty of a consumer

	path, log, config string
	args              []string

	busy sync.Mutex // held by a fault that stops the program and starts it again

	mu    sync.Mutex // guards what follows
	run   *run       // nil while it is away
	exits int        // how often it ended by itself
}

// A run is one process.
type run struct {
	cmd    *exec.Cmd
	killed bool // guarded by Program.mu
	ended  chan struct{}
}

// restartPause is how long a program that ended by itself stays away.
const restartPause = time.Second

// Start starts the program at path, or the usual one if that is empty, with
// additions to its environment.
func (p *Program) Start(path string, env ...string) error {
	if path == "" {
		path = p.path
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r := &run{cmd: exec.Command(path, p.args...), ended: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		// The death signal is about the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := r.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		r.cmd.Wait()
		close(r.ended)
		p.again(r, path, env)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = r
	return nil
}

// again starts a program anew that ended by itself.
func (p *Program) again(r *run, path string, env []string) {
	p.mu.Lock()
	byItself := !r.killed
	if byItself {
		p.exits++
	}
	p.mu.Unlock()
	if !byItself {
		return
	}
	timer := time.NewTimer(restartPause)
	defer timer.Stop()
	<-timer.C
	p.mu.Lock()
	over := p.run != r || r.killed
	p.mu.Unlock()
	if !over {
		p.Start(path, env...) // what stands in its way stands in the log
	}
}

// Exits is how often the program ended by itself.
func (p *Program) Exits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exits
}

// Running reports whether the program was not killed.
func (p *Program) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run != nil
}

// Kill kills the program, and returns when it is gone.
func (p *Program) Kill() { p.end(syscall.SIGKILL) }

// killAfter is how long a program may take to stop in an orderly way.
const killAfter = 30 * time.Second

// Stop ends the program in an orderly way, if it can.
func (p *Program) Stop() {
	timer := time.AfterFunc(killAfter, p.Kill)
	defer timer.Stop()
	p.end(syscall.SIGTERM)
}

func (p *Program) end(sig syscall.Signal) {
	p.mu.Lock()
	r := p.run
	if r != nil {
		r.killed = true
	}
	p.mu.Unlock()
	if r == nil {
		return
	}
	if sig != syscall.SIGKILL {
		r.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
	}
	if err := r.cmd.Process.Signal(sig); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-r.ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == r {
		p.run = nil
	}
}

// Signal sends a signal to the program, if it runs.
func (p *Program) Signal(sig syscall.Signal) {
	p.mu.Lock()
	r := p.run
	p.mu.Unlock()
	if r != nil {
		r.cmd.Process.Signal(sig)
	}
}

// Inject adds a fault at all of the program's proxies before the broker.
func (p *Program) Inject(f proxy.Fault) Injections {
	var all Injections
	for _, b := range p.Broker {
		all = append(all, b.Inject(f))
	}
	return all
}

// Injections are one fault at several proxies.
type Injections []*proxy.Injection

// Lift lifts all of them.
func (all Injections) Lift() {
	for _, i := range all {
		i.Lift()
	}
}

// Met returns a channel that is closed when the first of them has met a
// message. It stays open if they are lifted first, and done is closed.
func (all Injections) Met(done <-chan struct{}) <-chan struct{} {
	met := make(chan struct{})
	var once sync.Once
	for _, i := range all {
		go func() {
			select {
			case <-i.Met():
				once.Do(func() { close(met) })
			case <-met:
			case <-done:
			}
		}()
	}
	return met
}
