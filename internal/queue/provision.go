package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Provision creates or updates the streams of the account that c belongs to, and
// calls say with one line for each of them: what it changed, or that nothing
// was to be changed. Then it waits until every replica is in step: until then
// the server that had the only one must not go. Records and events are kept for
// keep, which is [MinKeep] at least.
func (c *Conn) Provision(ctx context.Context, replicas int, keep time.Duration, say func(string)) error {
	if err := c.awaitLeader(ctx); err != nil {
		return err
	}
	for _, want := range streams(replicas, keep) {
		live, err := c.stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if err := c.create(ctx, want); err != nil {
				return fmt.Errorf("creating stream %s: %w", want.Name, err)
			}
			say("stream " + want.Name + ": created")
			continue
		}
		if err != nil {
			return fmt.Errorf("looking at stream %s: %w", want.Name, err)
		}
		err = update("stream "+want.Name, want, live.CachedInfo().Config, say, func() (any, error) {
			s, err := c.js.UpdateStream(ctx, want)
			if err != nil {
				return nil, err
			}
			return s.CachedInfo().Config, nil
		})
		if err != nil {
			return err
		}
	}
	want := workers(replicas)
	live, err := ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return c.js.Consumer(ctx, streamRequests, consumerName)
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if _, err := c.js.CreateConsumer(ctx, streamRequests, want); err != nil {
			return fmt.Errorf("creating consumer %s: %w", consumerName, err)
		}
		say("consumer " + consumerName + ": created")
		return c.awaitInStep(ctx, replicas)
	}
	if err != nil {
		return fmt.Errorf("looking at consumer %s: %w", consumerName, err)
	}
	if err := c.awaitInStep(ctx, replicas); err != nil { // a consumer cannot have more than its stream
		return err
	}
	return update("consumer "+consumerName, want, live.CachedInfo().Config, say, func() (any, error) {
		con, err := c.js.UpdateConsumer(ctx, streamRequests, want)
		if err != nil {
			return nil, err
		}
		return con.CachedInfo().Config, nil
	})
}

// sightPatience is how long the broker is not believed that it lacks streams: a
// cluster that a node has just come back to with nothing may say so for seconds.
const sightPatience = 5 * time.Second

// AllThere returns an error if the broker lacks streams. One that has lost sight of
// its disk must not be given empty ones in their place, which [Conn.Provision] would
// make: a store that the server cannot open is removed for a new stream (nats-server
// 2.15.2).
func (c *Conn) AllThere(ctx context.Context) error {
	if err := c.awaitLeader(ctx); err != nil {
		return err
	}
	begun := time.Now()
	return retry(ctx, func() error {
		missing, err := c.missing(ctx)
		if err != nil {
			return backoff.Permanent(err)
		}
		if len(missing) == 0 {
			return nil
		}
		err = fmt.Errorf("the broker does not have %s. If it never had, run this with -new. Otherwise do not, since that would delete what is there: look at WRITEBACK_NATS_STORE, at what is mounted there, and into its log", strings.Join(missing, ", "))
		if time.Since(begun) > sightPatience {
			return backoff.Permanent(err)
		}
		return err
	})
}

// missing returns the streams that the broker says it does not have.
func (c *Conn) missing(ctx context.Context) (names []string, err error) {
	for _, want := range streams(1, DefaultKeep) {
		_, err := c.stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			names = append(names, want.Name)
		case err != nil:
			return nil, fmt.Errorf("looking at stream %s: %w", want.Name, err)
		}
	}
	return names, nil
}

// awaitLeader waits until a cluster, which may have just been started, has a leader.
func (c *Conn) awaitLeader(ctx context.Context) error {
	err := retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		_, err := c.js.AccountInfo(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for the broker: %w", err)
	}
	return nil
}

// stream looks at a stream.
func (c *Conn) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	return ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return c.js.Stream(ctx, name) })
}

// ask calls f until there is an answer, or ctx ends: one can be lost while servers
// choose who leads.
func ask[T any](ctx context.Context, f func(context.Context) (T, error)) (answer T, err error) {
	err = retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		var err error
		if answer, err = f(ctx); err != nil && ctx.Err() == nil {
			return backoff.Permanent(err) // it is an answer
		}
		return err
	})
	return answer, err
}

// create makes a stream. A leader that has not met all servers yet finds too few
// for the replicas.
func (c *Conn) create(ctx context.Context, want jetstream.StreamConfig) error {
	return retry(ctx, func() error {
		_, err := c.js.CreateStream(ctx, want)
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode != errNoPeers {
			return backoff.Permanent(err)
		}
		return err
	})
}

// retry calls f until it returns nil or a permanent error, or ctx ends.
func retry(ctx context.Context, f func() error) error {
	var last error
	err := backoff.Retry(func() error {
		err := f()
		if last == nil || ctx.Err() == nil { // an attempt that was cut off tells less than the one before
			last = err
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(lastRetry), ctx))
	if err != nil && ctx.Err() != nil {
		return errors.Join(err, last)
	}
	return err
}

// awaitInStep waits until all replicas of all streams have what their leader has.
func (c *Conn) awaitInStep(ctx context.Context, replicas int) error {
	for _, s := range streams(replicas, 0) {
		err := retry(ctx, func() error {
			live, err := c.stream(ctx, s.Name)
			if err != nil {
				return err
			}
			cluster, current := live.CachedInfo().Cluster, 1 // the leader
			for _, r := range cluster.Replicas {
				if r.Current && !r.Offline {
					current++
				}
			}
			if cluster.Leader == "" || current < replicas {
				return fmt.Errorf("%d of %d are in step", current, replicas)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("waiting for the replicas of stream %s: %w", s.Name, err)
		}
	}
	return nil
}

// update calls apply if live is not as wanted, and makes sure that it is then.
func update(what string, want, live any, say func(string), apply func() (any, error)) error {
	diff, err := drift(want, live)
	if err != nil {
		return err
	}
	if len(diff) == 0 {
		say(what + ": nothing to change")
		return nil
	}
	now, err := apply()
	if err != nil {
		return fmt.Errorf("updating %s (%v): %w", what, diff, err)
	}
	if left, err := drift(want, now); err != nil || len(left) != 0 {
		return fmt.Errorf("updating %s: the broker has not taken over %v", what, left)
	}
	for _, d := range diff {
		say(what + ": changed " + d)
	}
	return nil
}

// quiet is how long no further server may have answered for all to have.
const quiet = 500 * time.Millisecond

// CheckDurable returns an error unless so many servers answer at least, and every
// one that does syncs each write to its disk before it acknowledges it. c must be
// in the system account.
func (c *Conn) CheckDurable(ctx context.Context, servers int) error {
	err := retry(ctx, func() error { return c.checkDurable(ctx, servers) })
	if err != nil {
		return fmt.Errorf("asking the servers for their settings: %w", err)
	}
	return nil
}

func (c *Conn) checkDurable(ctx context.Context, servers int) error {
	answered, err := c.askServers(ctx, "$SYS.REQ.SERVER.PING.VARZ", nil, 0, func(varz []byte) error {
		return backoff.Permanent(durable(varz))
	})
	if err == nil && answered < servers {
		// A cluster that was started just now may not have met.
		return fmt.Errorf("%d servers of the broker answer, which are too few for %d replicas", answered, servers)
	}
	return err
}

// CheckRoom returns an error if a server that answers may store less than so many
// bytes. c must be in the system account.
func (c *Conn) CheckRoom(ctx context.Context, bytes int64) error {
	_, err := c.askServers(ctx, "$SYS.REQ.SERVER.PING.VARZ", nil, 0, func(varz []byte) error {
		s, err := settingsOf(varz)
		if err == nil && s.MaxStorage < bytes {
			err = fmt.Errorf("server %s: has room for %d MiB (jetstream.max_file_store), and its tenants may take %d", s.server, s.MaxStorage>>20, bytes>>20)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("asking the servers for their settings: %w", err)
	}
	return nil
}

// askServers asks all servers, gives each one's answer to judge, and returns how
// many there were. It ends when so many as are known have answered, if that is
// not 0, when there are no more for a while, or with an error of judge.
func (c *Conn) askServers(ctx context.Context, subject string, body []byte, known int, judge func([]byte) error) (answered int, err error) {
	inbox := c.nc.NewRespInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe()
	if err := c.nc.PublishRequest(subject, inbox, body); err != nil {
		return 0, err
	}
	reply, err := sub.NextMsgWithContext(ctx)
	for {
		if answered > 0 && errors.Is(err, nats.ErrTimeout) {
			return answered, nil
		}
		if err != nil {
			return answered, err
		}
		if err := judge(reply.Data); err != nil {
			return answered, err
		}
		if answered++; answered == known {
			return answered, nil
		}
		reply, err = sub.NextMsg(quiet)
	}
}

// durable judges what one server says of itself.
func durable(varz []byte) error {
	s, err := settingsOf(varz)
	if err == nil && !s.SyncAlways {
		err = fmt.Errorf("server %s: jetstream.sync_interval is not \"always\": a power failure would lose what it has acknowledged", s.server)
	}
	return err
}

// serverSettings are those of a server's JetStream.
type serverSettings struct {
	server     string
	SyncAlways bool  `json:"sync_always"`
	MaxStorage int64 `json:"max_storage"` // bytes
}

func settingsOf(varz []byte) (serverSettings, error) {
	var resp struct {
		Server struct {
			Name string `json:"name"`
		} `json:"server"`
		Data struct {
			JetStream struct {
				Config *serverSettings `json:"config"`
			} `json:"jetstream"`
		} `json:"data"`
	}
	if err := json.Unmarshal(varz, &resp); err != nil {
		return serverSettings{}, fmt.Errorf("reading a server's settings: %w", err)
	}
	s := resp.Data.JetStream.Config
	if s == nil {
		return serverSettings{}, fmt.Errorf("server %s: has no JetStream", resp.Server.Name)
	}
	s.server = resp.Server.Name
	return *s, nil
}
