package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// A link is a client's connection, and the one to the target that belongs to
// it.
type link struct {
	p      *Proxy
	number int
	gone   chan struct{} // closed by cut

	mu        sync.Mutex
	near, far *net.TCPConn // far is nil at first
	isGone    bool
	asked     map[string]*Message // requests without an answer, by tag
}

// serve runs until both directions have ended.
func (l *link) serve() {
	defer l.end()
	switch l.meet(Message{Conn: l.number, Verb: "connect"}) {
	case Forward:
	case Drop:
		io.Copy(io.Discard, l.near) // until the client leaves
		return
	default:
		l.cut()
		return
	}
	near, far, err := l.connect()
	if err != nil {
		l.cut()
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { l.pump(near, far, ToClient) })
	l.pump(far, near, ToServer)
	answers.Wait()
}

// connect makes the connection to the target, and shakes hands with both where
// TLS ends here.
func (l *link) connect() (near, far net.Conn, err error) {
	conn, err := net.DialTimeout("tcp", l.p.opts.Target, dialTimeout)
	if err != nil {
		return nil, nil, err
	}
	tcp := conn.(*net.TCPConn)
	l.mu.Lock()
	l.far = tcp
	if l.isGone {
		abort(tcp)
	}
	l.mu.Unlock()
	if l.p.near == nil {
		return l.near, tcp, nil
	}
	limit := time.Now().Add(dialTimeout)
	l.near.SetDeadline(limit)
	tcp.SetDeadline(limit)
	server, client := tls.Server(l.near, l.p.near), tls.Client(tcp, l.p.far)
	for _, conn := range []*tls.Conn{client, server} {
		if err := conn.Handshake(); err != nil {
			return nil, nil, err
		}
	}
	l.near.SetDeadline(time.Time{})
	tcp.SetDeadline(time.Time{})
	return server, client, nil
}

// pump passes on what goes one way until nothing comes any more.
func (l *link) pump(to, from net.Conn, way Direction) {
	r := bufio.NewReaderSize(from, 32<<10)
	before := 0
	for n := 1; ; n++ {
		m, err := l.p.opts.Protocol.read(r, way)
		if err == io.EOF { // and not io.ErrUnexpectedEOF
			closeWrite(to)
			return
		} else if err != nil {
			l.cut()
			return
		}
		m.Conn, m.Direction, m.Number, m.Before, m.Size = l.number, way, n, before, len(m.raw)
		before += m.Size
		l.pair(&m)
		raw, then := m.raw, l.meet(m)
		switch then {
		case Drop:
			continue
		case Cut:
			l.cut()
			return
		case Tear:
			raw = raw[:len(raw)/2]
			l.cutFrom(way)
		case CutAfter:
			// First, so that no answer can pass.
			l.cutFrom(way)
		}
		if _, err := to.Write(raw); err != nil {
			l.cut()
			return
		}
		switch then {
		case CutAfter:
			return // the other side finds out when it answers
		case Tear:
			closeWrite(to) // in order, so that what was written arrives
			return
		case EndAfter:
			closeWrite(to)
			io.Copy(io.Discard, from)
			return
		}
	}
}

// pair finds the request that m answers, or keeps m as a request.
func (l *link) pair(m *Message) {
	if m.tag == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Direction == ToServer {
		request := *m
		request.raw = nil
		l.asked[m.tag] = &request
		return
	}
	if m.Request = l.asked[m.tag]; m.Request != nil && !m.more() {
		delete(l.asked, m.tag)
	}
}

// more reports whether m is not the last answer to its request.
func (m *Message) more() bool { return m.Verb == "entry" || m.Verb == "reference" }

// cut resets both connections. It is safe twice.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	abort(l.near)
	if l.far != nil {
		abort(l.far)
	}
}

// cutFrom resets the connection that messages of one direction come from.
func (l *link) cutFrom(way Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	from := l.near
	if way == ToClient {
		from = l.far
	}
	abort(from)
}

// leave lets nothing wait any more. l.mu must be held.
func (l *link) leave() {
	if !l.isGone {
		l.isGone = true
		close(l.gone)
	}
}

// end closes what a link has left open.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.near.Close()
	if l.far != nil {
		l.far.Close()
	}
}

func abort(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// closeWrite says that nothing more will come.
func closeWrite(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		t.CloseWrite()
		conn = t.NetConn()
	}
	conn.(*net.TCPConn).CloseWrite()
}
