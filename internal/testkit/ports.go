package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports that are given out lie below those that the kernel takes for outgoing
// connections and for listeners that do not care (32768 and up): one that a
// server gives back while it restarts is not taken by whoever comes along.
const (
	firstPort = 15_000
	lastPort  = 32_000
)

// FreePorts returns different TCP ports of 127.0.0.1 that nothing listens on, and that
// no other process was given which still runs: it may not listen yet, or for a while.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := firstPort + rand.N(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if !claim(port) {
			l.Close()
			continue
		}
		defer l.Close() // when all are found, so that none is found twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("there are no free ports on 127.0.0.1")
}

// claim takes a port for this process, and reports whether it was to be had. What is
// taken is a name of a socket without a file (unix(7), abstract), which the kernel
// gives back when this process ends, however it ends; the socket is kept until then.
func claim(port int) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: fmt.Sprintf("@writeback-port-%d", port)}); err != nil {
		syscall.Close(fd)
		return false
	}
	return true
}
