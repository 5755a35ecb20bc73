package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// Nodes is how many servers a cluster has.
const Nodes = 3

// NewClusterFiles makes keys and certificates in dir, for servers that share
// users and route to each other, configured by the file at config.
func NewClusterFiles(dir, config string) ([]*Files, error) {
	ports, err := testkit.FreePorts(3 * Nodes)
	if err != nil {
		return nil, err
	}
	var names, routes []string
	for i := range Nodes {
		names = append(names, fmt.Sprintf("nats%d", i+1))
		routes = append(routes, fmt.Sprintf("tls://127.0.0.1:%d", ports[2*Nodes+i]))
	}
	files, err := newFiles(dir, config, names, ports)
	if err != nil {
		return nil, err
	}
	// The authority of the routes is another one than that of the listeners.
	own := filepath.Join(dir, "routes")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, err
	}
	ca, err := pki.New(own)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		cert, err := ca.Server(f.Name, []string{"127.0.0.1"})
		if err != nil {
			return nil, err
		}
		f.env = append(f.env,
			"WRITEBACK_ROUTE_HOST=127.0.0.1",
			"WRITEBACK_ROUTE_PORT="+strconv.Itoa(ports[2*Nodes+i]),
			"WRITEBACK_ROUTE_CERT="+strconv.Quote(cert.CertFile),
			"WRITEBACK_ROUTE_KEY="+strconv.Quote(cert.KeyFile),
			"WRITEBACK_ROUTE_CA="+strconv.Quote(ca.CAFile),
			"WRITEBACK_ROUTES=["+strings.Join(routes, ", ")+"]",
		)
	}
	return files, nil
}

// URL is what programs dial that may use any of the servers.
func URL(files []*Files) string {
	var urls []string
	for _, f := range files {
		urls = append(urls, f.URL())
	}
	return strings.Join(urls, ",")
}

// CopyConfig copies the files of nats/ to dir and adds one user to them, an
// administrator of the tenant's account, whose seed it makes at the path that it
// returns. Production has none.
func CopyConfig(from, dir string) (adminKeyFile string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	adminKeyFile = filepath.Join(dir, "admin.nk")
	admin, _, err := queue.MakeNKey(adminKeyFile)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"nats-server.conf", "cluster.conf", "accounts.conf"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return "", err
		}
		const users = "jetstream: enabled\n\n    users: ["
		if name == "accounts.conf" {
			if !bytes.Contains(text, []byte(users)) {
				return "", errors.New("nats/accounts.conf: the tenant's list of users is not found")
			}
			text = bytes.Replace(text, []byte(users), []byte(users+"\n      { nkey: "+admin+" } # an administrator, for looking around"), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", err
		}
	}
	return adminKeyFile, nil
}

// A Cluster is three servers that run as one. Its nodes are counted from 0.
type Cluster struct {
	nodes   []*Files
	binary  string
	admin   string
	servers []*Server
}

// StartCluster starts a cluster with keys and certificates of its own in dir,
// and waits until it can make streams. root is the directory of the repository.
func StartCluster(ctx context.Context, dir, root string) (*Cluster, error) {
	admin, err := CopyConfig(filepath.Join(root, "nats"), dir)
	if err != nil {
		return nil, err
	}
	files, err := NewClusterFiles(dir, filepath.Join(dir, "cluster.conf"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{nodes: files, binary: filepath.Join(root, "bin", "nats-server"), admin: admin, servers: make([]*Server, Nodes)}
	for i := range files {
		if err := c.Restart(ctx, i); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.AwaitMeta(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Watch returns a cluster that something else runs, to look at and to step down
// leaders of. adminKeyFile is what [CopyConfig] made.
func Watch(files []*Files, adminKeyFile string) *Cluster {
	return &Cluster{nodes: files, admin: adminKeyFile}
}

// Close kills what runs.
func (c *Cluster) Close() {
	for i := range c.servers {
		c.Kill(i)
	}
}

// Config is the configuration of a connection to any node.
func (c *Cluster) Config(role queue.Role) queue.Config {
	cfg := c.nodes[0].Config(role)
	cfg.URL = URL(c.nodes)
	return cfg
}

// Node returns the files of one node, for a connection to that one alone. Users
// and authority are the same for all.
func (c *Cluster) Node(n int) *Files { return c.nodes[n] }

// Log returns where a node's log is.
func (c *Cluster) Log(n int) string { return filepath.Join(c.nodes[n].dir, c.nodes[n].Name+".log") }

// Restart starts a node that has ended, and waits until it accepts connections.
func (c *Cluster) Restart(ctx context.Context, n int) (err error) {
	c.servers[n], err = c.nodes[n].Start(ctx, c.binary)
	return err
}

// Kill ends a node as a crash would.
func (c *Cluster) Kill(n int) {
	if s := c.servers[n]; s != nil {
		s.Kill()
	}
}

// Stop ends a node in an orderly way, and returns when it has ended.
func (c *Cluster) Stop(n int) { c.servers[n].Stop() }

// Signal sends sig to a node: SIGSTOP and SIGCONT make it hang, and go on. It
// returns when the node hangs, which is a moment after the signal.
func (c *Cluster) Signal(n int, sig syscall.Signal) error {
	pid := c.servers[n].PID()
	if err := syscall.Kill(pid, sig); err != nil || sig != syscall.SIGSTOP {
		return err
	}
	return backoff.Retry(func() error { return hangs(pid) }, backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Millisecond), 5000))
}

// hangs returns an error unless every thread of a process is stopped.
func hangs(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("process %d has no threads: %w", pid, errors.Join(err, os.ErrProcessDone))
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s: is in state %.1s", path, state)
		}
	}
	return nil
}

// LameDuck tells a node to send its clients away and then to end, and returns
// at once. Its end can be awaited on the channel.
func (c *Cluster) LameDuck(n int) (ended <-chan struct{}, err error) {
	return c.servers[n].done, c.Signal(n, syscall.SIGUSR2)
}
