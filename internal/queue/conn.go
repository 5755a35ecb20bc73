// Package queue is the broker: its connection, its streams and subjects, and
// what an answer of it means. It carries the bytes of steps 2, 3, 5, 8 and 9 of
// a request's life and understands none of them. It is the only package that
// knows nats.go.
package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// A Role is a user of the broker. Its name is a part of the only inbox that its
// permissions let it subscribe to.
type Role string

const (
	Publisher   Role = "publisher"
	Consumer    Role = "consumer"
	Auditor     Role = "auditor"
	Provisioner Role = "provisioner"
	System      Role = "system"
	Operator    Role = "operator"
)

// A Conn is a connection that is kept up for ever: it begins to connect in the
// background and comes back after every loss.
type Conn struct {
	nc    *nats.Conn
	later atomic.Pointer[nats.Conn] // the same for what runs before there is one; nil until Connect has it
	js    jetstream.JetStream
	log   zerolog.Logger

	mu      sync.Mutex
	lost    time.Time     // when the connection was lost; zero while it is up
	failed  error         // why the last attempt ended before the broker was asked to let us in
	renewed chan struct{} // closed at the next reconnect
	ends    Ends

	streams map[string]error // why the streams of a tenant cannot be used, by its prefix

	unreached, refused, pulls, streamless obs.Outage // of what is logged
}

// Timings of a connection. A server that hangs is left after two pings without an
// answer, for another one where there is one; a reconnect is never far away.
const (
	pingInterval   = 2 * time.Second
	reconnectWait  = 250 * time.Millisecond
	quickRounds    = 24              // that are so close to each other: about ten seconds of them
	slowWait       = 5 * time.Second // later, at most
	connectTimeout = 5 * time.Second
	awayAfter      = time.Second
)

// Connect returns a connection for role. It returns an error only for what
// trying again cannot cure: a broken configuration or key file.
func Connect(cfg Config, role Role, log zerolog.Logger) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f, err := cfg.read()
	if err != nil {
		return nil, err
	}
	c := &Conn{log: log, lost: time.Now(), renewed: make(chan struct{})}
	d := &dialer{cfg: cfg, log: log, files: f, note: c.noteFailed, read: c.noteFiles, nc: &c.later}
	c.noteFiles(f.ends)
	opts := []nats.Option{
		nats.Name("writeback " + string(role)),
		func(o *nats.Options) error { d.signIn(o); return nil },
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: d.certificate, VerifyConnection: c.notePeer}),
		nats.ClientTLSConfig(nil, d.roots),
		nats.CustomInboxPrefix("_IN." + string(role)),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(round int) time.Duration {
			c.noteAway()
			return reconnectDelay(round)
		}),
		nats.IgnoreAuthErrorAbort(), // a credential may be put right while we run
		nats.IgnoreDiscoveredServers(),
		nats.SkipHostLookup(),
		nats.SetCustomDialer(d),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		// What cannot be sent now fails now: a buffered publish would be
		// stored after its sender has given it up.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(c.onError),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if !errors.Is(err, nats.ErrNoServers) { // what it says after a dial that told us more
				c.noteFailed(err)
			}
		}),
		nats.ConnectHandler(func(nc *nats.Conn) {
			c.setUp()
			c.log.Info().Str(obs.Server, nc.ConnectedServerName()).Msg("broker connected")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.log.Warn().AnErr(obs.Cause, err).Msg("broker disconnected")
			c.mu.Lock()
			defer c.mu.Unlock()
			c.lost, c.failed = time.Now(), err
		}),
		nats.ReconnectHandler(c.onReconnect),
	}
	if !cfg.webSocket() { // which begins with TLS anyway
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if c.nc, err = nats.Connect(strings.Join(cfg.servers(), ","), opts...); err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	c.later.Store(c.nc)
	if c.js, err = jetstream.New(c.nc); err != nil {
		return nil, err
	}
	return c, nil
}

// Server is the name of the server that the connection is to; empty is none.
func (c *Conn) Server() string { return c.nc.ConnectedServerName() }

// AwaitConnected waits until the connection is up or ctx ends, and then says
// why it is not.
func (c *Conn) AwaitConnected(ctx context.Context) error {
	if c.nc.IsConnected() {
		return nil
	}
	status := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(status) // else every call would leave one behind
	for !c.nc.IsConnected() {
		select {
		case <-status:
		case <-ctx.Done():
			c.noteSaid()
			return fmt.Errorf("connecting to the broker: %w", errors.Join(c.why(), ctx.Err()))
		}
	}
	return nil
}

// why returns why there is no connection, as far as that is known.
func (c *Conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// noteSaid remembers what the broker, or TLS, said to the last attempt. It waits
// for a dial to end.
func (c *Conn) noteSaid() {
	if nc := c.later.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			c.noteFailed(err)
		}
	}
}

// noteAway logs that there is no connection, if there has been none for a while.
func (c *Conn) noteAway() {
	c.noteSaid()
	if !c.away() {
		return
	}
	err := c.why()
	c.log.WithLevel(c.unreached.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).Msg("the broker cannot be reached; it is tried until it can")
}

// reconnectDelay returns how long to wait after a round of attempts at all
// servers: a quarter to half a second at first, and later up to five seconds.
func reconnectDelay(round int) time.Duration {
	wait := reconnectWait << min(max(round-quickRounds, 0), 8)
	wait = min(wait, slowWait/2)
	return wait + rand.N(wait)
}

// noteFailed remembers why an attempt to connect failed, which nats.go forgets.
func (c *Conn) noteFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// UnknownKey reports whether err, of [Conn.AwaitConnected], says that the broker
// refused to let us sign in.
func UnknownKey(err error) bool {
	// The client has one error for the answer, and the answer's text in others.
	return errors.Is(err, nats.ErrAuthorization) || err != nil && strings.Contains(strings.ToLower(err.Error()), "authorization violation")
}

// CertificateRefused reports whether err, of [Conn.AwaitConnected], is that the
// broker refused our certificate or the lack of one, and what it said of it.
func CertificateRefused(err error) (why string, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" { // an alert of TLS
		return "", false
	}
	return op.Err.Error(), strings.Contains(op.Err.Error(), "certificate")
}

// NoWebSocket reports whether err, of [Conn.AwaitConnected], says that something
// answers at a wss:// address that is no WebSocket.
func NoWebSocket(err error) bool {
	// Neither net/http nor nats.go has an error for it.
	return err != nil && (strings.Contains(err.Error(), "malformed HTTP") || strings.Contains(err.Error(), "invalid websocket connection"))
}

// closeTimeout is how long the broker may take to hear that we leave.
const closeTimeout = time.Second

// Close tells the broker that nothing is to be sent here any more, hands back
// what was on its way, and closes the connection.
func (c *Conn) Close() {
	closed := c.nc.StatusChanged(nats.CLOSED)
	if c.nc.Drain() == nil {
		select {
		case <-closed:
		case <-time.After(closeTimeout):
		}
	}
	c.nc.Close()
}

// onError logs what nats.go reports outside any call. A denied publish shows up
// here only: its sender sees a time-out.
func (c *Conn) onError(nc *nats.Conn, _ *nats.Subscription, err error) {
	level := zerolog.ErrorLevel
	if !nc.IsConnected() { // it refuses us, at every attempt
		level = c.refused.Level(level, err)
	}
	c.log.WithLevel(level).AnErr(obs.Cause, err).Msg("broker error")
}

// setUp notes that there is a connection.
func (c *Conn) setUp() {
	c.unreached.Over()
	c.refused.Over()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.failed = time.Time{}, nil
}

// away reports whether there has been no connection for a while, so that there
// may be none for longer. Finding another server of a cluster takes less.
func (c *Conn) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.lost.IsZero() && time.Since(c.lost) > awayAfter
}

func (c *Conn) onReconnect(nc *nats.Conn) {
	c.setUp()
	c.mu.Lock()
	close(c.renewed)
	c.renewed = make(chan struct{})
	c.mu.Unlock()
	c.log.Info().Str(obs.Server, nc.ConnectedServerName()).Msg("broker connected again")
}

// untilReconnect returns a context that ends with ctx and at the next
// reconnect, when a server may have forgotten what was asked of it.
func (c *Conn) untilReconnect(ctx context.Context) (context.Context, context.CancelFunc) {
	c.mu.Lock()
	renewed := c.renewed
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-renewed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Check returns an error unless the connection is up. It is a check of /readyz, and
// does not wait for a dial to end.
func (c *Conn) Check(context.Context) error {
	c.mu.Lock()
	up := c.lost.IsZero()
	c.mu.Unlock()
	if up {
		return nil
	}
	if err := c.why(); err != nil {
		return fmt.Errorf("the broker cannot be reached: %w", err)
	}
	return errors.New("the broker cannot be reached")
}
