package chaos

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"writeback/internal/chaos/clock"
	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// strikes carry out a plan.
type strikes struct {
	*System
	ctx     context.Context // of the time in which something may be broken
	skewed  string          // the consumer whose clock can be set wrong
	log     io.Writer
	begun   time.Time
	running sync.WaitGroup
	nodes   [3]sync.Mutex // held by a fault of that node of the broker

	mu  sync.Mutex // guards what follows, and log
	met map[string]int
}

// strike carries out a plan, and returns when nothing is broken any more.
func (s *strikes) strike(all []strike) {
	for _, st := range all {
		if !wait(s.ctx, time.Until(s.begun.Add(st.at))) {
			break
		}
		s.say("%s", st)
		s.running.Go(func() { st.do(s, st) })
	}
	s.running.Wait()
}

func (s *strikes) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.log, format+"\n", args...)
}

// count counts a fault that something has met.
func (s *strikes) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.met[kind]++
}

// failed says that a fault could not be carried out.
func (s *strikes) failed(st strike, err error) { s.say("%s: %v", st.kind, err) }

func (s *strikes) consumer(st strike) *Program  { return s.Consumers[st.on%len(s.Consumers)] }
func (s *strikes) publisher(st strike) *Program { return s.Publishers[st.on%len(s.Publishers)] }

func (s *strikes) any(st strike) *Program {
	all := append(append([]*Program{}, s.Consumers...), s.Publishers...)
	return all[st.on%len(all)]
}

func (s *strikes) brokers() (all []*proxy.Proxy) {
	for _, p := range append(append([]*Program{}, s.Consumers...), s.Publishers...) {
		all = append(all, p.Broker...)
	}
	return all
}

// message lets one message of a program meet a fault, if there comes one.
func (s *strikes) message(st strike, who side, f proxy.Fault) {
	var all Injections
	switch who {
	case consumers:
		all = s.consumer(st).Inject(f)
	case publishers:
		all = s.publisher(st).Inject(f)
	default:
		all = Injections{s.consumer(st).AD.Inject(f)}
	}
	defer all.Lift()
	ctx, cancel := context.WithTimeout(s.ctx, st.lasts)
	defer cancel()
	select {
	case <-all.Met(ctx.Done()):
		s.count(st.kind)
	case <-ctx.Done():
	}
}

// kill kills a program, and starts it again later.
func (s *strikes) kill(st strike, p *Program) {
	if !p.busy.TryLock() {
		return
	}
	defer p.busy.Unlock()
	s.count(st.kind)
	p.Kill()
	wait(s.ctx, st.lasts)
	if err := p.Start(""); err != nil {
		s.failed(st, err)
	}
}

// freeze stops a program in its tracks, for longer than the broker waits for an
// acknowledgement, than a modify may take, or than a claim is taken over after.
func (s *strikes) freeze(st strike, p *Program) {
	if !p.busy.TryLock() {
		return
	}
	defer p.busy.Unlock()
	s.count(st.kind)
	p.Signal(syscall.SIGSTOP)
	wait(s.ctx, st.lasts)
	p.Signal(syscall.SIGCONT)
}

// skew lets a consumer have a wrong clock for a while.
func (s *strikes) skew(st strike, by time.Duration) {
	p := s.consumer(st)
	if !p.busy.TryLock() {
		return
	}
	defer p.busy.Unlock()
	s.count(st.kind)
	if st.whom%2 == 0 {
		by = -by
	}
	p.Kill()
	if err := p.Start(s.skewed, clock.Env(by)); err != nil {
		s.failed(st, err)
	}
	wait(s.ctx, st.lasts)
	p.Kill()
	if err := p.Start(""); err != nil {
		s.failed(st, err)
	}
}

func (s *strikes) cut(st strike) {
	s.count(st.kind)
	for _, b := range s.any(st).Broker {
		b.Cut()
	}
}

// dead lets nothing pass, without a word to anybody.
func (s *strikes) dead(st strike, lines ...*proxy.Proxy) {
	s.count(st.kind)
	for _, l := range lines {
		defer l.Inject(proxy.Fault{Name: st.kind, All: true, Do: proxy.Drop}).Lift()
	}
	wait(s.ctx, st.lasts)
}

// away refuses every connection.
func (s *strikes) away(st strike, lines ...*proxy.Proxy) {
	s.count(st.kind)
	for _, l := range lines {
		defer l.Inject(proxy.Fault{Name: st.kind, All: true, Do: proxy.Cut}).Lift()
		l.Cut()
	}
	wait(s.ctx, st.lasts)
}

// directoryAway takes the domain controller away from all consumers; a real one
// crashes.
func (s *strikes) directoryAway(st strike) {
	if s.opts.Directory == "samba" {
		if err := s.Signal("samba", syscall.SIGKILL); err != nil {
			s.failed(st, err)
		}
	}
	var all []*proxy.Proxy
	for _, p := range s.Consumers {
		all = append(all, p.AD)
	}
	s.away(st, all...)
}

// node locks a node of the broker; ok is false if something else breaks it.
func (s *strikes) node(st strike) (n int, unlock func(), ok bool) {
	n = st.on % s.opts.Nodes
	if !s.nodes[n].TryLock() {
		return 0, nil, false
	}
	return n, s.nodes[n].Unlock, true
}

// killNode kills a node of the broker, which the lab starts again. A single one
// has then forgotten which requests it has seen.
func (s *strikes) killNode(st strike, replay bool) {
	n, unlock, ok := s.node(st)
	if !ok {
		return
	}
	defer unlock()
	if err := s.Signal(s.Node(n), syscall.SIGKILL); err != nil {
		s.failed(st, err) // it is away already
		return
	}
	s.count(st.kind)
	if replay {
		s.replay(st, true)
	}
}

func (s *strikes) freezeNode(st strike) {
	n, unlock, ok := s.node(st)
	if !ok {
		return
	}
	defer unlock()
	if err := s.Signal(s.Node(n), syscall.SIGSTOP); err != nil {
		s.failed(st, err)
		return
	}
	s.count(st.kind)
	wait(s.ctx, st.lasts)
	if err := s.Signal(s.Node(n), syscall.SIGCONT); err != nil {
		s.failed(st, err)
	}
}

// fill fills the disk of the broker's first node for a while. The server then
// gives up storing anything until it is started again.
func (s *strikes) fill(st strike) {
	if !s.nodes[0].TryLock() {
		return
	}
	defer s.nodes[0].Unlock()
	s.count(st.kind)
	path := filepath.Join(s.disk(), "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.failed(st, err)
		return
	}
	for block := make([]byte, 1<<16); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	wait(s.ctx, st.lasts)
	if err := os.Remove(path); err != nil {
		s.failed(st, err)
	}
	// It may have ended by itself, and not come back while there was no room.
	if err := s.Signal(s.Node(0), syscall.SIGKILL); err != nil {
		s.failed(st, err)
	}
}

// replay puts a request into the queue once more, as whoever owns the broker
// could.
func (s *strikes) replay(st strike, same bool) {
	text := s.Requests.Pick(st.whom)
	if text == nil {
		return
	}
	req, err := envelope.ParseRequest(text)
	if err != nil {
		s.failed(st, err)
		return
	}
	id := req.Header.ID
	if !same {
		id = reset.NewID()
	}
	ctx, cancel := context.WithTimeout(s.ctx, meet)
	defer cancel()
	if err := s.Admin.Enqueue(ctx, req.Header.Slot, id, text); err == nil {
		s.count(st.kind)
	}
}
