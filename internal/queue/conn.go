// Package queue is the broker: its connection, its streams and subjects, and
// what an answer of it means. It carries the bytes of steps 2, 3, 5, 8 and 9 of
// a request's life and understands none of them. It is the only package that
// knows nats.go.
package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// Config says how to reach the broker.
type Config struct {
	URL      string `yaml:"url"`       // tls://host:port, TLS from the first byte; the port is 4222 if it is left out. Of a cluster all, with commas between
	CAFile   string `yaml:"ca_file"`   // PEM; the broker's certificate is verified against it
	NKeyFile string `yaml:"nkey_file"` // seed of our NATS user, as `init` makes it; never a signing key
}

// Validate checks the configuration without connecting.
func (c Config) Validate() error {
	for server := range strings.SplitSeq(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		switch {
		case err != nil || u.Host == "":
			return errors.New("broker.url: must have the form tls://host:port; several have commas between them")
		case u.Scheme != "tls":
			return fmt.Errorf("broker.url: scheme %q is not possible; the broker is reached over tls:// only", u.Scheme)
		case u.User != nil:
			return errors.New("broker.url: must not hold credentials; they are in nkey_file")
		}
	}
	switch {
	case c.CAFile == "":
		return errors.New("broker.ca_file: is missing")
	case c.NKeyFile == "":
		return errors.New("broker.nkey_file: is missing")
	}
	return nil
}

// A Role is a user of the broker. Its name is a part of the only inbox that its
// permissions let it subscribe to.
type Role string

const (
	Publisher   Role = "publisher"
	Consumer    Role = "consumer"
	Auditor     Role = "auditor"
	Provisioner Role = "provisioner"
	System      Role = "system"
)

// A Conn is a connection that is kept up for ever: it begins to connect in the
// background and comes back after every loss.
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log zerolog.Logger

	mu      sync.Mutex
	lost    time.Time     // when the connection was lost; zero while it is up
	dialErr error         // of the last dial
	renewed chan struct{} // closed at the next reconnect
}

// Timings of a connection. A server that hangs is left after two pings without an
// answer, for another one where there is one; a reconnect is never far away.
const (
	pingInterval   = 2 * time.Second
	reconnectWait  = 250 * time.Millisecond
	connectTimeout = 5 * time.Second
	awayAfter      = time.Second
)

// Connect returns a connection for role. It returns an error only for what
// trying again cannot cure: a broken configuration or key file.
func Connect(cfg Config, role Role, log zerolog.Logger) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	pool, err := loadPool(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("broker.ca_file: %w", err)
	}
	key, err := LoadNKey(cfg.NKeyFile)
	if err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("broker.nkey_file: %w", err)
	}
	c := &Conn{log: log, lost: time.Now(), renewed: make(chan struct{})}
	c.nc, err = nats.Connect(cfg.URL,
		nats.Name("writeback "+string(role)),
		nats.Nkey(public, key.Sign),
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}),
		nats.TLSHandshakeFirst(),
		nats.CustomInboxPrefix("_IN."+string(role)),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.IgnoreAuthErrorAbort(), // a credential may be put right while we run
		nats.IgnoreDiscoveredServers(),
		nats.SkipHostLookup(),
		nats.SetCustomDialer(dialer{c}),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		// What cannot be sent now fails now: a buffered publish would be
		// stored after its sender has given it up.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(c.onError),
		nats.ConnectHandler(func(nc *nats.Conn) {
			c.log.Info().Str(obs.Server, nc.ConnectedServerName()).Msg("broker connected")
			c.setLost(time.Time{})
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.log.Warn().AnErr(obs.Cause, err).Msg("broker disconnected")
			c.setLost(time.Now())
		}),
		nats.ReconnectHandler(c.onReconnect),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
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
			c.mu.Lock()
			defer c.mu.Unlock()
			return fmt.Errorf("connecting to the broker: %w", errors.Join(c.dialErr, c.nc.LastError(), ctx.Err()))
		}
	}
	return nil
}

// A dialer remembers why it could not dial, which nats.go forgets.
type dialer struct{ c *Conn }

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, addr, connectTimeout)
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	d.c.dialErr = err
	return conn, err
}

// UnknownKey reports whether err, of [Conn.AwaitConnected], says that the broker
// refused to let us sign in.
func UnknownKey(err error) bool {
	// The client has one error for the answer, and the answer's text in others.
	return errors.Is(err, nats.ErrAuthorization) || err != nil && strings.Contains(strings.ToLower(err.Error()), "authorization violation")
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
func (c *Conn) onError(_ *nats.Conn, _ *nats.Subscription, err error) {
	c.log.Error().AnErr(obs.Cause, err).Msg("broker error")
}

// setLost notes when the connection was lost; zero is that it is up.
func (c *Conn) setLost(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = at
}

// away reports whether there has been no connection for a while, so that there
// may be none for longer. Finding another server of a cluster takes less.
func (c *Conn) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.lost.IsZero() && time.Since(c.lost) > awayAfter
}

func (c *Conn) onReconnect(nc *nats.Conn) {
	c.log.Info().Str(obs.Server, nc.ConnectedServerName()).Msg("broker connected again")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = time.Time{}
	close(c.renewed)
	c.renewed = make(chan struct{})
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

func loadPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", path)
	}
	return pool, nil
}

// Check returns an error unless the connection is up. It is a check of /readyz, and
// does not wait for a dial to end.
func (c *Conn) Check(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lost.IsZero() {
		return errors.New("the broker cannot be reached")
	}
	return nil
}
