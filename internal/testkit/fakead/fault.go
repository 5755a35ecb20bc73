package fakead

import (
	"sync"

	"github.com/go-ldap/ldap/v3"
)

// An Op is something that clients do and that a fault can meet.
type Op int

// The operations. Connect is met after the TCP connection is accepted and
// before any TLS.
const (
	Connect Op = iota
	Bind
	Search
	Modify
	StartTLS // met before the answer; the handshake follows only if it is a good one
)

// A Reply is what the client gets from a request that met a fault.
type Reply int

// The replies.
const (
	Answer  Reply = iota // the result
	Cut                  // a connection reset (TCP RST)
	Garbage              // bytes that are not BER
	Silence              // nothing, on a connection that stays open
)

// A Fault says what happens to one request. The zero Fault lets it pass, which
// serves to be told of it. Some others:
//
//	Fault{Hold: true}              carried out once released, even if the client is gone
//	Fault{Reply: Cut}              applied, but the client cannot know
//	Fault{Skip: true, Reply: Cut}  lost on the way
//	Refuse(51, "busy")             refused by the server's mood
type Fault struct {
	Hold  bool // wait for Release first
	Skip  bool // do not carry it out
	Reply Reply

	// Code and Text are the result of a request that is skipped and answered.
	Code     int
	Text     string // may hold anything, as a NUL or a line end
	Referral []string
}

// Refuse returns the fault that refuses a request with an LDAP result code and
// a diagnostic message.
func Refuse(code int, text string) Fault { return Fault{Skip: true, Code: code, Text: text} }

// Refer returns the fault that refers to another server, as a result (RFC 4511
// 4.1.10).
func Refer(urls ...string) Fault {
	return Fault{Skip: true, Code: ldap.LDAPResultReferral, Referral: urls,
		Text: "0000202B: RefErr: DSID-0310084A, data 0, 1 access points\n\x00"}
}

// An Injection is a fault that waits for its request.
type Injection struct {
	fault               Fault
	met, released, done chan struct{}
	release             func()
}

// Met returns a channel that is closed when a request has been read and has
// met the fault.
func (i *Injection) Met() <-chan struct{} { return i.met }

// Release lets a held request go on, also one that is yet to come.
func (i *Injection) Release() { i.release() }

// Done returns a channel that is closed when the server is through with the
// request: it is carried out or skipped, and answered or cut. For Silence it
// is closed when the silence begins. It stays open if Close came first.
func (i *Injection) Done() <-chan struct{} { return i.done }

// Inject makes the next operation of one kind, from whichever client, meet f.
// A fault meets one request; several wait in line.
func (s *Server) Inject(op Op, f Fault) *Injection {
	i := &Injection{
		fault: f,
		met:   make(chan struct{}), released: make(chan struct{}), done: make(chan struct{}),
	}
	i.release = sync.OnceFunc(func() { close(i.released) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], i)
	return i
}

// meet takes the fault that waits for op, or returns nil.
func (s *Server) meet(op Op) *Injection {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.faults[op]
	if len(waiting) == 0 {
		return nil
	}
	s.faults[op] = waiting[1:]
	close(waiting[0].met)
	return waiting[0]
}
