package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/obs"
	"writeback/internal/secret"
)

// isOurs reports whether err has nothing to do with the domain controller that
// was tried: another would not make it better.
func isOurs(err error) bool {
	_, ok := errors.AsType[*backoff.PermanentError](err)
	return ok
}

// connect makes one connection and signs in.
func (c *Client) connect(ctx context.Context, d *controller) (_ *conn, err error) {
	password, err := c.cfg.ReadSecret(c.cfg.PasswordFile)
	if err != nil {
		return nil, backoff.Permanent(fmt.Errorf("reading password_file: %w", err))
	}
	defer password.Wipe()
	if password.Empty() {
		// A bind without a password succeeds, as nobody.
		return nil, backoff.Permanent(fmt.Errorf("reading password_file: %s is empty", c.cfg.PasswordFile))
	}
	if err := c.mayTry(password); err != nil {
		return nil, err
	}
	cn, err := c.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			cn.close()
		}
	}()
	if err := c.signIn(ctx, cn, password); err != nil {
		return nil, err
	}
	if err := c.inspect(ctx, cn); err != nil {
		return nil, err
	}
	if err := c.learn(ctx, cn); err != nil {
		return nil, err
	}
	pdc := c.welcome(d)
	event := d.log.Info()
	if cn.hints == "" {
		event = d.log.Warn()
	}
	event.Str(obs.DC, cn.dc).Bool(obs.PDC, pdc).Bool(obs.HistoryCheck, cn.hints != "").Msg("directory connected")
	return cn, nil
}

// signIn binds. Only one caller at a time does, to whichever domain controller,
// so that a password that is refused is refused once. One of which no answer
// says whether it is right is tried once more, since it may have been refused
// all the same.
func (c *Client) signIn(ctx context.Context, cn *conn, password secret.Value) error {
	select {
	case c.binding <- struct{}{}:
		defer func() { <-c.binding }()
	case <-ctx.Done():
		return backoff.Permanent(fmt.Errorf("waiting for another sign-in: %w", context.Cause(ctx)))
	}
	if err := c.mayTry(password); err != nil {
		return err
	}
	cn.wire.sent.Store(false)
	err := c.bind(ctx, cn, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e, heard := errors.AsType[*answer](err); {
	case err == nil:
		c.refused.forget()
		return nil
	case heard && e.result == invalidCredentials:
		c.refused.note(password, true, time.Now())
		return backoff.Permanent(fmt.Errorf("binding as %s: refused: %w", c.cfg.BindDN, err))
	case !heard && cn.wire.sent.Load():
		c.refused.note(password, false, time.Now())
	}
	return fmt.Errorf("binding as %s: %w", c.cfg.BindDN, err)
}

// mayTry returns an error if password was refused and must not be tried now.
func (c *Client) mayTry(password secret.Value) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refused.check(password, time.Now()); err != nil {
		return backoff.Permanent(err)
	}
	return nil
}
