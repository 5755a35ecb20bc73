package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/testkit/pki"
)

// Nodes is how many servers a cluster has.
const Nodes = 3

// NewClusterFiles makes keys and certificates in dir, for servers that share
// users and route to each other, configured by the file at config.
func NewClusterFiles(dir, config string) ([]*Files, error) {
	ports, err := freePorts(2 * Nodes)
	if err != nil {
		return nil, err
	}
	var names, routes []string
	for i := range Nodes {
		names = append(names, fmt.Sprintf("nats%d", i+1))
		routes = append(routes, fmt.Sprintf("tls://127.0.0.1:%d", ports[Nodes+i]))
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
			"WRITEBACK_ROUTE_PORT="+strconv.Itoa(ports[Nodes+i]),
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

// Signal sends sig to a node: SIGSTOP and SIGCONT make it hang, and go on.
func (c *Cluster) Signal(n int, sig syscall.Signal) error {
	return syscall.Kill(c.servers[n].PID(), sig)
}

// LameDuck tells a node to send its clients away and then to end, and returns
// at once. Its end can be awaited on the channel.
func (c *Cluster) LameDuck(n int) (ended <-chan struct{}, err error) {
	return c.servers[n].done, c.Signal(n, syscall.SIGUSR2)
}

// AwaitMeta waits until all servers that run agree on a leader of the cluster,
// which has the others in step.
func (c *Cluster) AwaitMeta(ctx context.Context) error {
	return c.with(ctx, c.nodes[0].NKeyFile(queue.System), queue.System, func(nc *nats.Conn) error {
		inbox := nc.NewRespInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			return err
		}
		defer sub.Unsubscribe()
		if err := nc.PublishRequest("$SYS.REQ.SERVER.PING.VARZ", inbox, nil); err != nil {
			return err
		}
		leader, inStep := "", 0
		running := c.running()
		for range running {
			m, err := sub.NextMsg(time.Second)
			if err != nil {
				return err
			}
			var varz struct {
				Data struct {
					JetStream struct {
						Meta struct {
							Leader   string
							Replicas []struct{ Current bool }
						}
					}
				}
			}
			if err := json.Unmarshal(m.Data, &varz); err != nil {
				return err
			}
			meta := varz.Data.JetStream.Meta
			if meta.Leader == "" || leader != "" && meta.Leader != leader {
				return errors.New("the servers have not agreed on a leader")
			}
			leader = meta.Leader
			for _, r := range meta.Replicas { // the leader has them
				if r.Current {
					inStep++
				}
			}
		}
		if want := running - 1; inStep < want {
			return fmt.Errorf("%d of %d servers are in step with the leader", inStep, want)
		}
		return nil
	})
}

// running is how many servers run, as far as we run them.
func (c *Cluster) running() int {
	n := len(c.nodes)
	for _, s := range c.servers {
		if s == nil {
			n--
			continue
		}
		select {
		case <-s.done:
			n--
		default:
		}
	}
	return n
}

// Streams are those of a tenant's account.
var Streams = []string{"REQUESTS", "RECORDS", "EVENTS", "KV_consumers", "KV_switches"}

// AwaitInStep waits until every stream, and the durable consumer, has a leader
// and all its replicas are in step with it.
func (c *Cluster) AwaitInStep(ctx context.Context) error {
	if err := c.AwaitMeta(ctx); err != nil {
		return err
	}
	return c.with(ctx, c.admin, "admin", func(nc *nats.Conn) error {
		for _, name := range Streams {
			if err := inStep(nc, "STREAM.INFO."+name); err != nil {
				return err
			}
		}
		return inStep(nc, "CONSUMER.INFO.REQUESTS.consumers")
	})
}

// Leader returns which node leads a stream, once one does.
func (c *Cluster) Leader(ctx context.Context, stream string) (n int, err error) {
	return c.leader(ctx, "STREAM.INFO."+stream)
}

// ConsumerLeader returns which node leads the durable consumer, once one does.
func (c *Cluster) ConsumerLeader(ctx context.Context) (n int, err error) {
	return c.leader(ctx, "CONSUMER.INFO.REQUESTS.consumers")
}

func (c *Cluster) leader(ctx context.Context, call string) (n int, err error) {
	err = c.with(ctx, c.admin, "admin", func(nc *nats.Conn) error {
		info, err := ask(nc, call)
		if err != nil {
			return err
		}
		for i, f := range c.nodes {
			if f.Name == info.Cluster.Leader {
				n = i
				return nil
			}
		}
		return fmt.Errorf("%s: has no leader", call)
	})
	return n, err
}

// StepDown makes the leader of a stream give that up, and waits for the next.
func (c *Cluster) StepDown(ctx context.Context, stream string) error {
	err := c.with(ctx, c.admin, "admin", func(nc *nats.Conn) error {
		_, err := ask(nc, "STREAM.LEADER.STEPDOWN."+stream)
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.Leader(ctx, stream)
	return err
}

// An info is what the broker says of a stream or a consumer.
type info struct {
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
	Cluster struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
		} `json:"replicas"`
	} `json:"cluster"`
}

func ask(nc *nats.Conn, call string) (*info, error) {
	m, err := nc.Request("$JS.API."+call, nil, time.Second)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	i := &info{}
	if err := json.Unmarshal(m.Data, i); err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	if i.Error != nil {
		return nil, fmt.Errorf("%s: %s", call, i.Error.Description)
	}
	return i, nil
}

func inStep(nc *nats.Conn, call string) error {
	i, err := ask(nc, call)
	switch {
	case err != nil:
		return err
	case i.Cluster.Leader == "":
		return fmt.Errorf("%s: has no leader", call)
	}
	for _, r := range i.Cluster.Replicas {
		if !r.Current || r.Offline {
			return fmt.Errorf("%s: %s is not in step", call, r.Name)
		}
	}
	return nil
}

// patience is how long a cluster may take to do what is awaited of it.
const patience = time.Minute

// with tries f with a connection until it returns nil.
func (c *Cluster) with(ctx context.Context, keyFile string, role queue.Role, f func(*nats.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err := backoff.Retry(func() error {
		nc, err := c.dial(keyFile, role)
		if err == nil {
			err = f(nc)
			nc.Close()
		}
		last = err
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

func (c *Cluster) dial(keyFile string, role queue.Role) (*nats.Conn, error) {
	key, err := queue.LoadNKey(keyFile)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(c.nodes[0].CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return nats.Connect(URL(c.nodes), nats.Nkey(public, key.Sign), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}), nats.CustomInboxPrefix("_IN."+string(role)))
}

