package directory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// maxAnswer bounds what a domain controller may answer to one request, in
// bytes. A rootDSE has about 10 KiB; the LDAP library has no bound of its own.
const maxAnswer = 1 << 20

// A wire is the TCP connection below TLS. It knows whether anything left, so
// that "nothing was sent" is a fact and not a guess from the library's errors.
type wire struct {
	net.Conn              // not the TCPConn, whose ReadFrom would bypass Write
	sent     atomic.Bool  // the kernel took at least one byte since it was cleared
	left     atomic.Int64 // bytes that may still be read
}

// dial connects. Whatever happens to the connection later, closing it discards
// what TCP has not delivered yet.
func dial(ctx context.Context, resolver *net.Resolver, hostport string) (*wire, error) {
	d := net.Dialer{Control: setUserTimeout, Resolver: resolver}
	conn, err := d.DialContext(ctx, "tcp", hostport)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("%s is not a TCP connection", hostport)
	}
	// Zero: close sends a reset and drops the send buffer.
	if err := tcp.SetLinger(0); err != nil {
		conn.Close()
		return nil, err
	}
	w := &wire{Conn: tcp}
	w.left.Store(maxAnswer)
	return w, nil
}

// Write marks the wire before it writes, and takes the mark back only if the
// kernel took nothing. TLS never calls it twice at a time.
func (w *wire) Write(b []byte) (int, error) {
	before := w.sent.Swap(true)
	n, err := w.Conn.Write(b)
	if n == 0 && err != nil && !before {
		w.sent.Store(false)
	}
	return n, err
}

func (w *wire) Read(b []byte) (int, error) {
	if w.left.Load() <= 0 {
		return 0, errors.New("the answer is too large")
	}
	n, err := w.Conn.Read(b)
	w.left.Add(-int64(n))
	return n, err
}
