package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
	"writeback/internal/secret"
)

// isOurs reports whether err has nothing to do with the domain controller that
// was tried: another would not make it better.
func isOurs(err error) bool {
	_, ok := errors.AsType[*backoff.PermanentError](err)
	return ok
}

// connect makes one connection and signs in, which does not take long if there
// are others to try. If it is d's fault that there is none, d is left alone.
func (c *Client) connect(ctx context.Context, d *controller, others bool) (_ *conn, err error) {
	began, caller := time.Now(), ctx
	password, err := c.password()
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	defer password.Wipe()
	done, err := c.turn(ctx, password)
	if err != nil {
		return nil, err
	}
	defer done() // after d is left alone, so that the next does not try it too
	if err := c.leftSince(d, began); err != nil {
		return nil, err
	}
	since := time.Now()
	ctx, cancel := attempt(ctx, others)
	defer cancel()
	var cn *conn
	defer func() {
		if err != nil {
			c.blame(caller, d, began, err)
		}
		if err != nil && cn != nil {
			cn.close()
		}
	}()
	if cn, err = c.open(ctx, d); err != nil {
		return nil, err
	}
	if err := c.signIn(ctx, cn, password, since); err != nil {
		return nil, err
	}
	done()
	if err := c.inspect(ctx, cn); err != nil {
		return nil, err
	}
	if err := c.learn(ctx, cn); err != nil {
		return nil, err
	}
	now, news := c.welcome(cn)
	level := zerolog.DebugLevel
	switch {
	case news && !now.hints:
		level = zerolog.WarnLevel
	case news:
		level = zerolog.InfoLevel
	}
	d.log.WithLevel(level).Str(obs.DC, now.dc).Bool(obs.PDC, now.pdc).Bool(obs.HistoryCheck, now.hints).Msg("directory connected")
	return cn, nil
}

// password reads the service account's password, which the caller wipes.
func (c *Client) password() (secret.Value, error) {
	password, err := c.cfg.ReadSecret(c.cfg.PasswordFile)
	switch {
	case err != nil:
		return secret.Value{}, fmt.Errorf("reading password_file: %w", err)
	case password.Empty():
		// A bind without a password succeeds, as nobody.
		return secret.Value{}, fmt.Errorf("reading password_file: %s is empty", c.cfg.PasswordFile)
	}
	return password, nil
}

// turn waits until nobody else tries a password that is not proven, at
// whichever domain controller, so that one that is refused is refused once. A
// proven one is waited for by nobody. It is an error if password was refused
// and must not be tried now. done ends the turn; it is safe twice.
func (c *Client) turn(ctx context.Context, password secret.Value) (done func(), err error) {
	done = func() {}
	if proven, err := c.mayTry(password); err != nil || proven {
		return done, err
	}
	select {
	case c.binding <- struct{}{}:
		done = sync.OnceFunc(func() { <-c.binding })
	case <-ctx.Done():
		return done, fmt.Errorf("waiting for another sign-in: %w", context.Cause(ctx))
	}
	proven, err := c.mayTry(password) // now that the other knows
	if err != nil || proven {
		done()
	}
	return done, err
}

// signIn binds, and remembers what that says of the password, whose turn came
// at that time. One of which no answer says whether it is right is tried once
// more, since it may have been refused all the same.
func (c *Client) signIn(ctx context.Context, cn *conn, password secret.Value, since time.Time) error {
	if _, err := c.mayTry(password); err != nil {
		return err // what was proven was refused meanwhile
	}
	cn.wire.sent.Store(false)
	err := c.bind(ctx, cn, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e, heard := errors.AsType[*answer](err); {
	case err == nil:
		c.refused.prove(password)
		return nil
	case heard && e.result == invalidCredentials:
		c.refused.note(password, true, since, time.Now())
		// It is tried again after a minute at the earliest, and so is no flood.
		cn.from.log.Error().AnErr(obs.Cause, err).Msg("the service account's password was refused; nothing can be done until password_file has the right one")
		return backoff.Permanent(fmt.Errorf("binding as %s: refused: %w", c.cfg.BindDN, err))
	case !heard && cn.wire.sent.Load():
		c.refused.note(password, false, since, time.Now())
	}
	return fmt.Errorf("binding as %s: %w", c.cfg.BindDN, err)
}

// mayTry returns an error if password was refused and must not be tried now,
// and else whether it is proven.
func (c *Client) mayTry(password secret.Value) (proven bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refused.check(password, time.Now()); err != nil {
		return false, backoff.Permanent(err)
	}
	return c.refused.proven(password), nil
}

// inDoubt reports whether the password that was tried last is not proven, or
// none was tried.
func (c *Client) inDoubt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.refused.right
}
