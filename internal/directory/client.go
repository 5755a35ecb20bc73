package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory/policy"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// idleLimit is how long a connection may have been idle to be used untested.
// Firewalls forget connections after minutes; a domain controller that was
// restarted closes them at once.
const idleLimit = 10 * time.Second

// attemptLimit is how long a domain controller may take to lend a connection
// while there is another to try: less than half of the 5 s that requests have,
// and never more than half of what is left.
const attemptLimit = 2 * time.Second

// A Client keeps connections to the domain controllers of a domain.
type Client struct {
	cfg Config
	tls *tls.Config // but for the name to verify
	log zerolog.Logger

	slots    chan struct{} // holds one for every session
	binding  chan struct{} // holds one while somebody tries a password that is not proven
	locating chan struct{} // holds one while somebody asks DNS

	rules   cache[policy.Rules]      // by DN of the domain, or of a fine-grained policy
	groups  cache[string]            // DN by SID
	members cache[map[[16]byte]bool] // who is in a privileged group, by SID of the domain

	unlocated obs.Outage // of DNS

	trials  sync.WaitGroup  // what runs beside requests
	context context.Context // ends them
	cancel  context.CancelFunc

	mu          sync.Mutex // guards what follows, and most of every controller
	controllers []*controller
	located     time.Time // when DNS was last asked
	pdc         string    // settings of the PDC emulator
	refused     refusal
	domain      policy.Rules
	clock       *time.Duration // by which a domain controller's was last found ahead of ours; nil is not known
	idle        []*conn        // the one used last is at the end
	closed      bool
}

// New returns a client of the domain controllers that cfg names. It does not
// connect.
func New(cfg Config, log zerolog.Logger) (*Client, error) {
	cfg = cfg.withDefaults()
	tlsConfig, err := cfg.trust()
	if err != nil {
		return nil, err
	}
	addresses, err := cfg.addresses()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, tls: tlsConfig, log: log,
		refused:  newRefusal(),
		slots:    make(chan struct{}, cfg.Connections),
		binding:  make(chan struct{}, 1),
		locating: make(chan struct{}, 1),
	}
	c.context, c.cancel = context.WithCancel(context.Background())
	c.replace(addresses)
	return c, nil
}

// Begin lends a connection for one request; [Session.End] gives it back. It is
// one to the PDC emulator if that can be reached, else to the first domain
// controller that can. Begin waits while all connections are lent, and until
// ctx ends it tries every domain controller again and again, with growing
// pauses. A refused password is not tried again, at none of them: that could
// lock the service account. Neither is one that was sent twice and not
// answered. All its errors wrap [reset.ErrDirectoryUnavailable].
func (c *Client) Begin(ctx context.Context) (*Session, error) { return c.begin(ctx, "") }

// BeginAt is Begin for the one domain controller whose dnsHostName is dc, as in
// [reset.Witness]. It is an error if there is none of this name, and while that
// one is left alone.
func (c *Client) BeginAt(ctx context.Context, dc string) (*Session, error) {
	if dc == "" {
		return nil, unavailable("using a domain controller", errors.New("it has no name"))
	}
	return c.begin(ctx, dc)
}

func (c *Client) begin(ctx context.Context, name string) (*Session, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, unavailable("waiting for a connection", context.Cause(ctx))
	}
	cn, err := c.lend(ctx, name)
	if err != nil {
		<-c.slots
		return nil, err
	}
	return &Session{client: c, conn: cn, begun: time.Now()}, nil
}

// lend returns a connection to the domain controller with this name, or to
// the best that can be reached if it is empty.
func (c *Client) lend(ctx context.Context, name string) (*conn, error) {
	const doing = "using a domain controller"
	for {
		if err := c.locate(ctx); err != nil {
			return nil, unavailable("asking DNS for domain controllers", err)
		}
		d, others, wait, err := c.choose(name)
		if err != nil {
			return nil, unavailable(doing, err)
		}
		if wait > 0 && name != "" {
			// Who wants this one and no other asks again. It would keep a
			// connection from those who can be served.
			return nil, unavailable(doing, c.troubles(errors.New(name+" is left alone")))
		}
		if wait > 0 {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
				return nil, unavailable(doing, c.troubles(context.Cause(ctx)))
			}
		}
		cn, err := c.take(ctx, d, others)
		switch {
		case err == nil && name != "" && !strings.EqualFold(cn.dc, name):
			c.note(cn, false) // now it is known which one it is
			c.giveBack(cn)
		case err == nil:
			return cn, nil
		case isOurs(err):
			return nil, unavailable("using "+d.addr.url, err)
		case over(ctx):
			return nil, unavailable(doing, c.troubles(err))
		}
	}
}

// attempt returns the context for one attempt at a domain controller, which
// ends early if there are others to try.
func attempt(ctx context.Context, others bool) (context.Context, context.CancelFunc) {
	if !others {
		return ctx, func() {}
	}
	limit := attemptLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no connection in %s", limit.Round(time.Millisecond)))
}

// blame has d left alone because of err, which ended what began at that time,
// unless that is not d's fault.
func (c *Client) blame(ctx context.Context, d *controller, began time.Time, err error) {
	if !over(ctx) && !isOurs(err) {
		c.leave(d, began, err, false)
	}
}

// take returns an idle connection, or else a new one.
func (c *Client) take(ctx context.Context, d *controller, others bool) (*conn, error) {
	began := time.Now()
	for {
		cn := c.pop(d)
		if cn == nil {
			return c.connect(ctx, d, others)
		}
		if cn.alive() && time.Since(cn.used) > idleLimit {
			test, cancel := attempt(ctx, others)
			err := c.inspect(test, cn)
			silent := err != nil && over(test)
			cancel()
			if err != nil {
				d.log.Info().AnErr(obs.Cause, err).Msg("idle connection is unusable")
				cn.broken = true
				// The others are as old, and to wait for each of them in
				// turn would take longer than a new one.
				c.closeIdle(d)
			}
			if silent {
				cn.close()
				c.blame(ctx, d, began, err)
				return nil, err
			}
		}
		if cn.alive() {
			return cn, nil
		}
		cn.close()
	}
}

// pop returns an idle connection to d, nil if there is none.
func (c *Client) pop(d *controller) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, cn := range slices.Backward(c.idle) {
		if cn.from == d {
			c.idle = slices.Delete(c.idle, i, i+1)
			return cn
		}
	}
	return nil
}

// over reports whether ctx has ended, or is about to: the network looks at its
// deadline too, and may do so first.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// giveBack keeps a connection for the next session, or closes it.
func (c *Client) giveBack(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !cn.alive() || !slices.Contains(c.controllers, cn.from) {
		cn.close()
		return
	}
	if len(c.idle) >= c.cfg.Connections {
		c.idle[0].close()
		c.idle = slices.Delete(c.idle, 0, 1)
	}
	c.idle = append(c.idle, cn)
}

// Check makes one new connection and closes it: it returns nil if a domain
// controller can be reached and trusted, the service account can bind, history
// is enforced on resets (or need not be), and the clocks agree. Else its error
// names every domain controller with its reason.
func (c *Client) Check(ctx context.Context) error {
	if err := c.locate(ctx); err != nil {
		return unavailable("asking DNS for domain controllers", err)
	}
	const doing = "using a domain controller"
	last := errors.New("there is none")
	all := c.all()
	for _, d := range all {
		cn, err := c.connect(ctx, d, len(all) > 1)
		if err == nil {
			cn.close()
			return nil
		}
		if last = err; isOurs(err) {
			return unavailable("using "+d.addr.url, err)
		}
		if over(ctx) {
			break
		}
	}
	return unavailable(doing, c.troubles(last))
}

// Close closes the connections. Those that are lent are closed by
// [Session.End].
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.trials.Wait()
	c.closeIdle(nil)
}

// closeIdle closes the idle connections to d, or all of them.
func (c *Client) closeIdle(d *controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = slices.DeleteFunc(c.idle, func(cn *conn) bool {
		if d == nil || cn.from == d {
			cn.close()
			return true
		}
		return false
	})
}

// unavailable is the error for what ended before anything was sent that could
// change something.
func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, reset.ErrDirectoryUnavailable, err)
}
