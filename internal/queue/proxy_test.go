package queue_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

// A proxy stands between a program and the broker and can lose what either
// says. It sees TLS only, which stays end to end.
type proxy struct {
	addr   string
	target string

	mu        sync.Mutex
	loses     direction
	late      chan struct{} // while it is not nil, what the broker says waits until it is closed
	conns     []net.Conn
	lost      chan struct{} // has a value when something was lost
	forwarded sync.WaitGroup
}

type direction int

const (
	nothing   direction = iota
	questions           // what the program says never arrives
	answers             // what the broker says never arrives
)

// through returns a proxy, and the configuration of a connection through it.
func through(t *testing.T, s *broker.Server, role queue.Role) (*proxy, queue.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config(role)
	p := &proxy{addr: l.Addr().String(), target: cfg.URL[len("tls://"):], lost: make(chan struct{}, 1)}
	cfg.URL = "tls://" + p.addr
	p.forwarded.Go(func() { p.serve(l) })
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.forwarded.Wait()
	})
	return p, cfg
}

func (p *proxy) serve(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		p.forwarded.Go(func() { p.forward(far, near, questions) })
		p.forwarded.Go(func() { p.forward(near, far, answers) })
	}
}

func (p *proxy) forward(to, from net.Conn, what direction) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		lost, late := p.loses == what, p.late
		p.mu.Unlock()
		if late != nil && what == answers {
			<-late
		}
		if lost {
			select {
			case p.lost <- struct{}{}:
			default:
			}
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// lose begins to lose what is said in one direction.
func (p *proxy) lose(what direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loses = what
}

// delay makes what the broker says arrive only when the returned function is
// called.
func (p *proxy) delay() (release func()) {
	late := make(chan struct{})
	p.mu.Lock()
	p.late = late
	p.mu.Unlock()
	return sync.OnceFunc(func() { close(late) })
}

// awaitLost waits until something was lost.
func (p *proxy) awaitLost(t *testing.T) {
	t.Helper()
	select {
	case <-p.lost:
	case <-within(t, 20*time.Second).Done():
		t.Fatal("nothing was lost")
	}
}

// heal loses nothing any more. What was lost stays lost: every connection ends.
func (p *proxy) heal() {
	p.lose(nothing)
	p.cut()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
