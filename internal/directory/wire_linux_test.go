package directory

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"writeback/internal/reset"
)

// Closing must not deliver anything late.
func TestWireOptions(t *testing.T) {
	w, peer := pair(t)
	raw, err := w.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var timeout int
	var linger *unix.Linger
	if err := raw.Control(func(fd uintptr) {
		timeout, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		linger, _ = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
	}); err != nil {
		t.Fatal(err)
	}
	if timeout != 5000 || linger == nil || linger.Onoff != 1 || linger.Linger != 0 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, SO_LINGER %+v", timeout, linger)
	}
	if time.Duration(timeout)*time.Millisecond > reset.ModifyTimeout {
		t.Error("TCP holds data for longer than a modify may take")
	}
	w.Close()
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the other side reads %v, want a reset", err)
	}
}
