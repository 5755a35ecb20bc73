package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports that are given out lie below those that the kernel takes for outgoing
// connections and for listeners that do not care (32768 and up): one that a
// server gives back while it restarts is not taken by whoever comes along.
const (
	firstPort = 15_000
	lastPort  = 32_000
)

// FreePorts returns different TCP ports of 127.0.0.1 that nothing listens on.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := firstPort + rand.N(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close() // when all are found, so that none is found twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("there are no free ports on 127.0.0.1")
}
