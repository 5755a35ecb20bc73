// Package netns makes two networks for a test, a company's and the one outside,
// with a firewall in between, out of the kernel's network namespaces. Nothing of
// the machine's own network changes, and all of it is gone with the process.
// It needs root; iproute2 and nftables are installed if they are missing.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"writeback/internal/testkit"
)

// Addresses of the two networks (RFC 5737: for documentation, never routed).
const (
	Inside  = "192.0.2.2"
	Broker  = "192.0.2.1" // outside
	Proxy   = "192.0.2.3" // outside
	network = "/24"
)

// A Network is one side.
type Network struct{ file *os.File }

// New makes both sides. There is no firewall yet.
func New(ctx context.Context) (inside, outside *Network, err error) {
	if os.Geteuid() != 0 {
		return nil, nil, errors.New("network namespaces need root")
	}
	for program, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if err := testkit.Install(ctx, program, pkg); err != nil {
			return nil, nil, err
		}
	}
	if inside, err = create(); err == nil {
		outside, err = create()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("making a network namespace, which a container may forbid: %w", err)
	}
	for _, step := range []struct {
		n    *Network
		args string
	}{
		{inside, "link set lo up"},
		{outside, "link set lo up"},
		{outside, "link add wire type veth peer name wire netns " + inside.Path()},
		{inside, "address add " + Inside + network + " dev wire"},
		{outside, "address add " + Broker + network + " dev wire"},
		{outside, "address add " + Proxy + network + " dev wire"},
		{inside, "link set wire up"},
		{outside, "link set wire up"},
	} {
		if err := step.n.run(ctx, "", "ip", strings.Fields(step.args)...); err != nil {
			return nil, nil, err
		}
	}
	return inside, outside, nil
}

// create makes a network namespace that lives as long as its file is open.
func create() (*Network, error) {
	n := &Network{}
	return n, onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
}

// Close gives the network up. It is gone when no socket and no process is in it.
func (n *Network) Close() error { return n.file.Close() }

// Path is where nsenter finds the network, while this process lives.
func (n *Network) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Command makes cmd one that runs in the network.
func (n *Network) Command(cmd *exec.Cmd) *exec.Cmd {
	in := exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--"}, cmd.Args...)...)
	in.Env, in.Dir = cmd.Env, cmd.Dir
	return in
}

// Firewall lets through what was begun inside towards the one address and port,
// and nothing else in either direction. It replaces the one before.
func (n *Network) Firewall(ctx context.Context, address, port string) error {
	return n.run(ctx, fmt.Sprintf(`flush ruleset
table inet firewall {
	chain input {
		type filter hook input priority 0; policy drop;
		iif lo accept
		ct state established accept
	}
	chain output {
		type filter hook output priority 0; policy drop;
		oif lo accept
		ct state established accept
		ip daddr %s tcp dport %s accept
	}
}
`, address, port), "nft", "-f", "-")
}

// Listen listens in the network; what is accepted is served from anywhere.
func (n *Network) Listen(address string) (l net.Listener, err error) {
	err = n.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Reach connects to an address, an IP address and a port, and hangs up.
func (n *Network) Reach(address string, timeout time.Duration) error {
	return n.do(func() error {
		conn, err := net.DialTimeout("tcp", address, timeout)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// run runs a program in the network, with text on its standard input.
func (n *Network) run(ctx context.Context, text, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(text)
	return n.do(func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		return nil
	})
}

// do calls f on a thread that is in the network.
func (n *Network) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread calls f on a thread of its own, which ends with it: another goroutine
// must not find itself in another network.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}
