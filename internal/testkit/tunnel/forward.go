package tunnel

import (
	"net"
	"sync/atomic"
)

// A Forwarder leads every connection to one address.
type Forwarder struct {
	l     net.Listener
	count atomic.Int64
	ends  ends
}

// Forward starts a forwarder on l, which it closes at its end.
func Forward(l net.Listener, to string) *Forwarder {
	f := &Forwarder{l: l}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			f.count.Add(1)
			f.ends.join(near, far)
		}
	}()
	return f
}

// Connections is how many there were.
func (f *Forwarder) Connections() int { return int(f.count.Load()) }

// Close ends the forwarder and its connections.
func (f *Forwarder) Close() {
	f.l.Close()
	f.ends.close()
}
