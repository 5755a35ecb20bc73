package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A bench supervises a program that does as its test says.
type bench struct {
	controls chan control
	reports  []string
	ready    chan struct{} // closed: the program is ready
	end      chan error    // how the program ends
	stopped  chan struct{} // closed when the program has heard that it is to stop
	result   chan error
}

func supervised(ctx context.Context) *bench {
	b := &bench{make(chan control), nil, make(chan struct{}), make(chan error), make(chan struct{}), make(chan error, 1)}
	begun := time.Now()
	report := func(s status) {
		name := []string{"starting", "running", "stopping"}[s.state]
		b.reports = append(b.reports, fmt.Sprintf("%s %s %d", time.Since(begun), name, s.progress))
	}
	go func() {
		b.result <- supervise(ctx, b.controls, func(c control) control { return c }, report, func(ctx context.Context, ready func()) error {
			go func() {
				<-b.ready
				ready()
				ready() // twice is once
			}()
			go func() {
				<-ctx.Done()
				close(b.stopped)
			}()
			return <-b.end
		})
	}()
	return b
}

func (b *bench) expect(t *testing.T, result error, want ...string) {
	t.Helper()
	if err := <-b.result; !errors.Is(err, result) {
		t.Errorf("it ended with %v, want %v", err, result)
	}
	synctest.Wait()
	if !slices.Equal(b.reports, want) {
		t.Errorf("reported\n%s\nwant\n%s", strings.Join(b.reports, "\n"), strings.Join(want, "\n"))
	}
}

func TestSupervise(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		run  func(t *testing.T, b *bench, cancel func())
	}{
		{"started, asked, stopped", func(t *testing.T, b *bench, _ func()) {
			time.Sleep(3 * time.Second)
			close(b.ready)
			time.Sleep(time.Minute)
			b.controls <- interrogate
			b.controls <- other
			time.Sleep(1500 * time.Millisecond) // between two reports of progress
			b.controls <- stop
			<-b.stopped
			b.controls <- stop // twice is once
			b.controls <- interrogate
			time.Sleep(4 * time.Second)
			b.end <- nil
			b.expect(t, nil, "0s starting 1", "2s starting 2", "3s running 0", "1m3s running 0", "1m4.5s stopping 1",
				"1m4.5s stopping 1", "1m6s stopping 2", "1m8s stopping 3")
		}},
		{"stopped before it was ready", func(t *testing.T, b *bench, _ func()) {
			time.Sleep(time.Second)
			b.controls <- stop
			<-b.stopped
			close(b.ready) // too late
			time.Sleep(2 * time.Second)
			b.end <- nil
			b.expect(t, nil, "0s starting 1", "1s stopping 1", "2s stopping 2")
		}},
		{"fails at the start", func(t *testing.T, b *bench, _ func()) {
			b.end <- broken
			b.expect(t, broken, "0s starting 1")
			close(b.ready)
			<-b.stopped
		}},
		{"fails later", func(t *testing.T, b *bench, _ func()) {
			close(b.ready)
			time.Sleep(time.Hour)
			b.end <- broken
			b.expect(t, broken, "0s starting 1", "0s running 0")
			<-b.stopped // whatever it left behind
		}},
		{"told to end from elsewhere", func(t *testing.T, b *bench, cancel func()) {
			close(b.ready)
			time.Sleep(time.Second)
			cancel()
			<-b.stopped
			time.Sleep(2 * time.Second)
			b.end <- nil
			b.expect(t, nil, "0s starting 1", "0s running 0", "1s stopping 1", "2s stopping 2")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tt.run(t, supervised(ctx), cancel)
			})
		})
	}
}

// The manager is told of progress well before it loses patience.
func TestPatience(t *testing.T) {
	if patience < 3*reportEvery {
		t.Errorf("the manager waits for %s, and is told every %s", patience, reportEvery)
	}
}

// A recorder is a manager that writes down what is asked of it.
type recorder struct {
	asked []string
	err   map[string]error
}

func (r *recorder) ask(what string, args ...any) error {
	r.asked = append(r.asked, strings.TrimSpace(fmt.Sprintln(append([]any{what}, args...)...)))
	return r.err[what]
}
func (r *recorder) set(program string, args []string, account string) error {
	return r.ask("set", program, args, account)
}
func (r *recorder) setEvents(program string) error { return r.ask("setEvents", program) }
func (r *recorder) start() error                   { return r.ask("start") }
func (r *recorder) stop(context.Context) error     { return r.ask("stop") }
func (r *recorder) remove() error                  { return r.ask("remove") }
func (r *recorder) removeEvents() error            { return r.ask("removeEvents") }

func TestManage(t *testing.T) {
	settings := Settings{Program: `C:\consumer.exe`, Args: []string{"run"}}
	managed := Settings{Program: `C:\consumer.exe`, Args: []string{"run"}, Account: `CORP\writeback$`}
	with := func(s Settings) func(manager) error { return func(m manager) error { return install(m, s) } }
	gone := func(m manager) error { return remove(context.Background(), m) }
	tests := []struct {
		name  string
		do    func(manager) error
		err   map[string]error
		want  string // in the error; none if empty
		asked []string
	}{
		{"install", with(settings), nil, "", []string{`set C:\consumer.exe [run] NT SERVICE\writeback-consumer`, `setEvents C:\consumer.exe`}},
		{"install for a managed account", with(managed), nil, "", []string{`set C:\consumer.exe [run] CORP\writeback$`, `setEvents C:\consumer.exe`}},
		{"install for a user", with(Settings{Account: `CORP\ada`}), nil, `account: "CORP\\ada" is neither`, nil},
		{"install for a managed account of nobody's", with(Settings{Account: `writeback$`}), nil, "is neither", nil},
		{"install by nobody special", with(settings), map[string]error{"set": fmt.Errorf("opening: %w", fs.ErrPermission)},
			"installing the service: access is denied: run this as administrator", []string{`set C:\consumer.exe [run] NT SERVICE\writeback-consumer`}},
		{"install what is being removed", with(settings), map[string]error{"set": errLeaving}, "close the Services window",
			[]string{`set C:\consumer.exe [run] NT SERVICE\writeback-consumer`}},
		{"install without events", with(settings), map[string]error{"setEvents": fs.ErrPermission}, "registering the source of events: access is denied",
			[]string{`set C:\consumer.exe [run] NT SERVICE\writeback-consumer`, `setEvents C:\consumer.exe`}},
		{"remove", gone, nil, "", []string{"stop", "remove", "removeEvents"}},
		{"remove what does not stop", gone, map[string]error{"stop": context.DeadlineExceeded}, "stopping the service: it does not stop", []string{"stop"}},
		{"remove in part", gone, map[string]error{"remove": fs.ErrPermission}, "removing the service: access is denied", []string{"stop", "remove"}},
		{"start", start, nil, "", []string{"start"}},
		{"start what is not there", start, map[string]error{"start": errNotThere}, "run consumer service install first", []string{"start"}},
		{"start what fails", start, map[string]error{"start": errors.New("why")}, "starting the service: why", []string{"start"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &recorder{err: tt.err}
			err := tt.do(m)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if !slices.Equal(m.asked, tt.asked) {
				t.Errorf("asked %q, want %q", m.asked, tt.asked)
			}
		})
	}
}
