package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"writeback/internal/directory/policy"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// idleLimit is how long a connection may have been idle to be used untested.
// Firewalls forget connections after minutes; a domain controller that was
// restarted closes them at once.
const idleLimit = 10 * time.Second

// A Client keeps connections to a domain controller.
type Client struct {
	cfg  Config
	addr address
	tls  *tls.Config
	log  zerolog.Logger

	slots   chan struct{} // holds one for every session
	binding chan struct{} // holds one while somebody connects and binds

	refused refusal // guarded by binding

	rules  cache[policy.Rules] // by DN of the domain, or of a fine-grained policy
	groups cache[string]       // DN by SID

	mu     sync.Mutex // guards what follows
	domain policy.Rules
	idle   []*conn // the one used last is at the end
	closed bool
}

// New returns a client of the domain controller that cfg names. It does not
// connect.
func New(cfg Config, log zerolog.Logger) (*Client, error) {
	cfg = cfg.withDefaults()
	addr, tlsConfig, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	return &Client{
		cfg: cfg, addr: addr, tls: tlsConfig,
		log:     log.With().Str(obs.Directory, cfg.URL).Logger(),
		refused: newRefusal(),
		slots:   make(chan struct{}, cfg.Connections),
		binding: make(chan struct{}, 1),
	}, nil
}

// Begin lends a connection for one request; [Session.End] gives it back. It
// waits while all are lent, and until ctx ends it connects again and again,
// with growing pauses. A refused password is not tried again: that could lock
// the service account. All its errors wrap [reset.ErrDirectoryUnavailable].
func (c *Client) Begin(ctx context.Context) (*Session, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, unavailable("waiting for a connection", context.Cause(ctx))
	}
	cn, err := c.lend(ctx)
	if err != nil {
		<-c.slots
		return nil, err
	}
	return &Session{client: c, conn: cn}, nil
}

// lend returns an idle connection, or else a new one.
func (c *Client) lend(ctx context.Context) (*conn, error) {
	for {
		cn, err := c.pop()
		if err != nil {
			return nil, unavailable("using "+c.addr.hostport, err)
		}
		if cn == nil {
			return c.connectUntil(ctx)
		}
		if cn.alive() && time.Since(cn.used) > idleLimit {
			if err := c.inspect(ctx, cn); err != nil {
				c.log.Info().AnErr(obs.Cause, err).Msg("idle connection is unusable")
				cn.broken = true
				// The others are as old, and to wait for each of them in
				// turn would take longer than a new one.
				c.closeIdle()
			}
		}
		if cn.alive() {
			return cn, nil
		}
		cn.close()
	}
}

// pop returns an idle connection, nil if there is none.
func (c *Client) pop() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the client is closed")
	}
	n := len(c.idle)
	if n == 0 {
		return nil, nil
	}
	cn := c.idle[n-1]
	c.idle = c.idle[:n-1]
	return cn, nil
}

// connectUntil connects until it succeeds, is refused for good, or ctx ends.
func (c *Client) connectUntil(ctx context.Context) (*conn, error) {
	// Without the zero, v4 gives up after 15 minutes: ctx decides.
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	var last error
	cn, err := backoff.RetryNotifyWithData(func() (*conn, error) {
		cn, err := c.connect(ctx)
		if last == nil || !over(ctx) {
			last = err // not that the last attempt was cut short
		}
		return cn, err
	}, backoff.WithContext(b, ctx), func(err error, wait time.Duration) {
		c.log.Warn().AnErr(obs.Cause, err).Dur(obs.Wait, wait).Msg("directory not reachable")
	})
	if err != nil {
		return nil, unavailable("using "+c.addr.hostport, last)
	}
	return cn, nil
}

// over reports whether ctx has ended, or is about to: the network looks at its
// deadline too, and may do so first.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// connect makes one connection and binds. Only one caller at a time does, so
// that a password that is refused is refused once.
func (c *Client) connect(ctx context.Context) (_ *conn, err error) {
	select {
	case c.binding <- struct{}{}:
		defer func() { <-c.binding }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	password, err := c.cfg.ReadSecret(c.cfg.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading password_file: %w", err)
	}
	defer password.Wipe()
	if password.Empty() {
		// A bind without a password succeeds, as nobody.
		return nil, fmt.Errorf("reading password_file: %s is empty", c.cfg.PasswordFile)
	}
	if err := c.refused.check(password, time.Now()); err != nil {
		return nil, backoff.Permanent(err)
	}
	cn, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			cn.close()
		}
	}()
	if err := c.bind(ctx, cn, password); err != nil {
		if e, ok := errors.AsType[*answer](err); ok && e.result == invalidCredentials {
			c.refused.note(password, time.Now())
			return nil, backoff.Permanent(fmt.Errorf("binding as %s: refused: %w", c.cfg.BindDN, err))
		}
		return nil, fmt.Errorf("binding as %s: %w", c.cfg.BindDN, err)
	}
	c.refused.forget()
	if err := c.inspect(ctx, cn); err != nil {
		return nil, err
	}
	if err := c.learn(ctx, cn); err != nil {
		return nil, err
	}
	event := c.log.Info()
	if cn.hints == "" {
		event = c.log.Warn()
	}
	event.Str(obs.DC, cn.dc).Bool(obs.HistoryCheck, cn.hints != "").Msg("directory connected")
	return cn, nil
}

// giveBack keeps a connection for the next session, or closes it.
func (c *Client) giveBack(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !cn.alive() {
		cn.close()
		return
	}
	c.idle = append(c.idle, cn)
}

// Check makes one new connection and closes it: it returns nil if the domain
// controller can be reached and trusted, the service account can bind, history
// is enforced on resets (or need not be), and the clocks agree.
func (c *Client) Check(ctx context.Context) error {
	cn, err := c.connect(ctx)
	if err != nil {
		return unavailable("using "+c.addr.hostport, err)
	}
	cn.close()
	return nil
}

// Close closes the connections. Those that are lent are closed by
// [Session.End].
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.closeIdle()
}

func (c *Client) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.idle {
		cn.close()
	}
	c.idle = nil
}

// logText logs what a domain controller said beside its codes, unless it
// repeats one of the values that it was sent. No error has that text.
func (c *Client) logText(err error, sent ...[]byte) {
	if e, ok := errors.AsType[*answer](err); ok {
		c.log.Debug().Str(obs.Result, e.code()).Str(obs.Text, printable(e.text, sent...)).Msg("directory refused")
	}
}

// unavailable is the error for what ended before anything was sent that could
// change something.
func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, reset.ErrDirectoryUnavailable, err)
}
