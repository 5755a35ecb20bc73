package tunnel

import (
	"io"
	"net"
	"sync"
)

// ends are the connections that are open.
type ends struct {
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// join copies between two connections until one of them ends.
func (e *ends) join(near, far net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		near.Close()
		far.Close()
		return
	}
	if e.conns == nil {
		e.conns = make(map[net.Conn]bool)
	}
	e.conns[near], e.conns[far] = true, true
	go e.copy(near, far)
	go e.copy(far, near)
}

// copy copies one direction, and then closes both connections.
func (e *ends) copy(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, to)
	delete(e.conns, from)
}

// close closes all, and what is joined later.
func (e *ends) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for conn := range e.conns {
		conn.Close()
	}
}
