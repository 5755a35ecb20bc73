package directory

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long TCP may hold data that the other side has not
// confirmed. It is the time that a modify has: what has not arrived by then
// must not arrive later.
const userTimeout = 5 * time.Second

// setUserTimeout sets TCP_USER_TIMEOUT (RFC 5482) before the connection is
// made, so that it bounds everything that is ever sent on it.
func setUserTimeout(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
