package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

func start(t *testing.T, opts Options) *Proxy {
	t.Helper()
	p, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
	}
}

// A server takes one connection.
type server struct {
	addr string
	conn chan net.Conn
}

func listen(t *testing.T) server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server{ln.Addr().String(), make(chan net.Conn, 8)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			s.conn <- conn
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return s
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// pair returns both ends of a connection through p.
func pair(t *testing.T, p *Proxy, s server) (client *net.TCPConn, end net.Conn) {
	t.Helper()
	client = dial(t, p)
	select {
	case end = <-s.conn:
	case <-time.After(patience):
		t.Fatal("no connection arrives")
	}
	t.Cleanup(func() { end.Close() })
	return client, end
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// how says how what can be read from conn ends, after some text.
func how(conn net.Conn) string {
	text, err := io.ReadAll(conn)
	switch {
	case err == nil:
		return string(text) + ", end"
	case errors.Is(err, unix.ECONNRESET):
		return string(text) + ", reset"
	}
	return string(text) + ", " + err.Error()
}

// attempt says how a connection is refused: a reset may come before the system
// call that connects has returned.
func attempt(p *Proxy) string {
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	if errors.Is(err, unix.ECONNRESET) {
		return "reset"
	}
	return fmt.Sprint(err)
}

func both(m Message) bool { return m.Verb != "connect" }

func toServer(m Message) bool { return m.Verb != "connect" && m.Direction == ToServer }

func toClient(m Message) bool { return m.Verb != "connect" && m.Direction == ToClient }

// What each action does to the second of two messages from the client, and to
// either end.
func TestActions(t *testing.T) {
	s := listen(t)
	tests := []struct {
		name           string
		do             Action
		client, server string
	}{
		{"cut", Cut, ", reset", ", reset"},
		{"tear", Tear, ", reset", "01, end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, Options{Target: s.addr})
			client, end := pair(t, p, s)
			fault := p.Inject(Fault{Name: tt.name, Match: toServer, Skip: 1, Do: tt.do})
			say(t, client, "first")
			hear(t, end, "first")
			select {
			case <-fault.Met():
				t.Fatal("the first message has met the fault")
			default:
			}
			say(t, client, "0123")
			await(t, "the fault", fault.Met())
			if got := how(client); got != tt.client {
				t.Errorf("the client reads %q, want %q", got, tt.client)
			}
			if got := how(end); got != tt.server {
				t.Errorf("the server reads %q, want %q", got, tt.server)
			}
			if p.Met()[tt.name] != 1 {
				t.Errorf("counted are %v", p.Met())
			}
		})
	}
}

// After a cut that comes after a message, its receiver does not know of it until
// it answers: a domain controller gives up a request whose sender it sees leave.
func TestCutAfter(t *testing.T) {
	s := listen(t)
	p := start(t, Options{Target: s.addr})
	client, end := pair(t, p, s)
	p.Inject(Fault{Match: toServer, Do: CutAfter})
	say(t, client, "question")
	hear(t, end, "question")
	if got := how(client); got != ", reset" {
		t.Errorf("the client reads %q", got)
	}
	say(t, end, "answer")
	if got := how(end); got != ", reset" {
		t.Errorf("the server reads %q", got)
	}
	client, end = pair(t, p, s)
	p.Inject(Fault{Match: toClient, Do: CutAfter})
	say(t, end, "answer")
	hear(t, client, "answer")
	if got := how(end); got != ", reset" {
		t.Errorf("the server reads %q", got)
	}
	pair(t, p, s)
	p.Close() // does not wait for anybody
}

func TestDrop(t *testing.T) {
	s := listen(t)
	p := start(t, Options{Target: s.addr})
	client, end := pair(t, p, s)
	hole := p.Inject(Fault{Name: "hole", Match: toServer, All: true, Do: Drop})
	say(t, client, "lost")
	await(t, "the loss", hole.Met())
	say(t, end, "heard") // the other direction
	hear(t, client, "heard")
	hole.Lift()
	say(t, client, "found")
	hear(t, end, "found")
}

// After a half close the server hears no more, and can still speak.
func TestEndAfter(t *testing.T) {
	s := listen(t)
	p := start(t, Options{Target: s.addr})
	client, end := pair(t, p, s)
	p.Inject(Fault{Match: toServer, Do: EndAfter})
	say(t, client, "last words")
	if got := how(end); got != "last words, end" {
		t.Errorf("the server reads %q", got)
	}
	say(t, client, "nobody hears this")
	say(t, end, "bye")
	hear(t, client, "bye")
}

func TestHold(t *testing.T) {
	s := listen(t)
	t.Run("until it is lifted", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		client, end := pair(t, p, s)
		fault := p.Inject(Fault{Match: toServer, All: true, Hold: true})
		say(t, client, "wait")
		await(t, "the message", fault.Met())
		say(t, end, "meanwhile")
		hear(t, client, "meanwhile")
		end.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := end.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatal("what is held has arrived")
		}
		end.SetReadDeadline(time.Now().Add(patience))
		fault.Lift()
		fault.Lift()
		say(t, client, "ed")
		hear(t, end, "waited")
	})
	t.Run("longer than its sender lives", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		client, end := pair(t, p, s)
		fault := p.Inject(Fault{Match: toServer, Hold: true})
		say(t, client, "my will")
		await(t, "the message", fault.Met())
		client.SetLinger(0)
		client.Close()
		fault.Lift()
		if got := how(end); got != "my will, reset" {
			t.Errorf("the server reads %q", got)
		}
	})
	t.Run("until the line is cut", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		client, end := pair(t, p, s)
		fault := p.Inject(Fault{Match: toServer, Hold: true})
		say(t, client, "lost")
		await(t, "the message", fault.Met())
		p.Cut()
		if got := how(client) + how(end); got != ", reset, reset" {
			t.Errorf("client and server read %q", got)
		}
	})
	t.Run("for a time", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		client, end := pair(t, p, s)
		const delay = 50 * time.Millisecond
		p.Inject(Fault{Match: toClient, Delay: delay})
		begun := time.Now()
		say(t, end, "late")
		hear(t, client, "late")
		if took := time.Since(begun); took < delay {
			t.Errorf("arrived after %s, want %s at least", took, delay)
		}
	})
}

func TestConnect(t *testing.T) {
	s := listen(t)
	connect := func(m Message) bool { return m.Verb == "connect" && m.Conn == 2 }
	t.Run("refused", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		p.Inject(Fault{Match: connect, Do: Cut})
		pair(t, p, s)
		if got := attempt(p); got != "reset" {
			t.Errorf("the second client is refused by %q", got)
		}
		pair(t, p, s)
	})
	t.Run("not answered", func(t *testing.T) {
		p := start(t, Options{Target: s.addr})
		hole := p.Inject(Fault{Match: connect, Do: Drop})
		pair(t, p, s)
		client := dial(t, p)
		say(t, client, "is anybody there?")
		await(t, "the connection", hole.Met())
		client.CloseWrite()
		if got := how(client); got != ", end" {
			t.Errorf("the second client reads %q", got)
		}
		if len(s.conn) != 0 {
			t.Error("the server has a second connection")
		}
	})
	t.Run("to nobody", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		p := start(t, Options{Target: ln.Addr().String()})
		if got := attempt(p); got != "reset" {
			t.Errorf("the client is refused by %q", got)
		}
	})
}

// Ends are passed on as they are: an orderly one as that, a reset as that.
func TestEnds(t *testing.T) {
	s := listen(t)
	p := start(t, Options{Target: s.addr})
	client, end := pair(t, p, s)
	say(t, client, "question")
	client.CloseWrite()
	if got := how(end); got != "question, end" {
		t.Errorf("the server reads %q", got)
	}
	say(t, end, "answer")
	end.Close()
	if got := how(client); got != "answer, end" {
		t.Errorf("the client reads %q", got)
	}
	client, end = pair(t, p, s)
	end.(*net.TCPConn).SetLinger(0)
	end.Close()
	if got := how(client); got != ", reset" {
		t.Errorf("the client reads %q", got)
	}
}

// Everything is told of, in the order of each direction, with its fate.
func TestSeen(t *testing.T) {
	s := listen(t)
	var mu sync.Mutex
	var lines []string
	p := start(t, Options{Target: s.addr, Seen: func(m Message, do Action) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, fmt.Sprintf("%s%d,%d", m.Verb, m.Direction, do))
		if both(m) && (m.Number == 2 && m.Before != 3 || m.Size != 3 && m.Number == 1 || m.Conn != 1) {
			t.Errorf("message %+v", m)
		}
	}})
	client, end := pair(t, p, s)
	say(t, client, "one")
	hear(t, end, "one")
	say(t, client, "three")
	hear(t, end, "three")
	say(t, end, "two")
	hear(t, client, "two")
	lost := p.Inject(Fault{Match: toServer, Hold: true, Do: Drop})
	say(t, client, "four")
	await(t, "the message", lost.Met())
	p.Cut()
	how(end)
	p.Close()
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(lines, " "), fmt.Sprintf("connect0,0 0,0 0,0 1,0 0,%d", Cut); got != want {
		t.Errorf("seen: %s, want %s", got, want)
	}
}
