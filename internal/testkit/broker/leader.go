package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
)

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
var Streams = []string{"REQUESTS", "RECORDS", "EVENTS", "KV_consumers", "KV_switches", "KV_tickets"}

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
	call := "STREAM.INFO." + stream
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
