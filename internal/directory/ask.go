package directory

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

const asking = "asking for the password"

// Ask finds out whether password is the account's now: it binds as the account
// once, on a connection of its own to the same domain controller, which is
// dropped afterwards. e must be what [Session.Find] found last. What the
// answers mean is in [answer.password].
//
// An error says that it is not known. It wraps [reset.ErrNotAsked] if the
// account must not be asked for, [reset.ErrDirectoryUnavailable] if it could
// not be: in both cases nothing was sent that counts as a sign-in. Else it
// wraps [reset.ErrUnanswered].
//
// A wrong password counts towards the account's lockout: it is not tried if
// the user would have no further wrong one left. It leaves the witness alone.
// A right one does so with pwdLastSet, but may move uSNChanged, since
// lastLogonTimestamp is written now and then. The domain's logs have either as
// a sign-in from this machine.
//
// Right does not say who set it. Windows may take the password before for an
// hour too (OldPasswordAllowedPeriod).
//
// It takes at most the time for a connection, two searches and a bind.
func (s *Session) Ask(ctx context.Context, e reset.Entry, password secret.Value) (right bool, err error) {
	switch err := checkAsked(password); {
	case err != nil:
		return false, notAsked(err)
	case s.found.guid != e.GUID:
		return false, notAsked(errors.New("the account was not found in this session"))
	case e.Privileges.NotAUser || e.Privileges.Ourselves:
		return false, notAsked(errors.New("it is no user's account, or the service account itself"))
	}
	cn, err := s.beside(ctx)
	if err != nil {
		return false, unavailable(asking, err)
	}
	defer cn.close()
	dn, err := s.mayAsk(ctx, e)
	if err != nil {
		return false, err
	}
	cn.wire.sent.Store(false)
	err = password.Reveal(func(b []byte) error {
		// As in [Client.bind]: the library's strings cannot be wiped.
		err := cn.do(ctx, s.client.cfg.BindTimeout, func() error { return cn.ldap.Bind(dn, string(b)) })
		cn.logText(err, b)
		return err
	})
	if err == nil {
		return true, nil
	}
	if a, ok := errors.AsType[*answer](err); ok {
		if right, known := a.password(); known {
			return right, nil
		}
	}
	if !cn.wire.sent.Load() {
		return false, unavailable(asking, err)
	}
	return false, fmt.Errorf("%s: %w: %w", asking, reset.ErrUnanswered, err)
}

// checkAsked returns an error if a bind with v would not say what it seems to:
// one without a password succeeds as nobody (RFC 4513 section 5.1.2), and with
// a NUL in it Samba takes the right one for wrong.
func checkAsked(v secret.Value) error {
	if err := secret.CheckPassword(v); err != nil {
		return err
	}
	return v.Reveal(func(b []byte) error {
		if bytes.IndexByte(b, 0) >= 0 {
			return errors.New("it has a NUL in it")
		}
		return nil
	})
}

// beside opens a second connection to the session's domain controller and
// makes sure that it is that one: counters of wrong passwords do not replicate.
func (s *Session) beside(ctx context.Context) (*conn, error) {
	cn, err := s.client.open(ctx, s.conn.from)
	if err != nil {
		return nil, err
	}
	// Whoever is connected may read the rootDSE (MS-ADTS 3.1.1.3.2).
	entries, err := s.client.search(ctx, cn, object("", "dnsHostName"))
	if err == nil && (len(entries) != 1 || !strings.EqualFold(entries[0].GetEqualFoldAttributeValue("dnsHostName"), s.conn.dc)) {
		err = errors.New("another domain controller than " + s.conn.dc + " answered")
	}
	if err != nil {
		cn.close()
		return nil, err
	}
	return cn, nil
}

// mayAsk returns the name to bind with, if the account's state as one search
// shows it just before allows a bind that may be wrong.
func (s *Session) mayAsk(ctx context.Context, e reset.Entry) (dn string, err error) {
	entries, err := s.client.search(ctx, s.conn, object("<GUID="+hex.EncodeToString(e.GUID[:])+">",
		"userAccountControl", "msDS-User-Account-Control-Computed", "badPwdCount", "badPasswordTime"))
	if a, ok := errors.AsType[*answer](err); ok && !a.later() {
		return "", notAsked(err)
	}
	if err != nil {
		return "", unavailable(asking, err)
	}
	if len(entries) != 1 {
		return "", notAsked(errors.New("the account is gone"))
	}
	if err := askable(entries[0], s.found.rules, time.Now()); err != nil {
		return "", notAsked(err)
	}
	return entries[0].DN, nil
}

// askable returns an error if a wrong bind as e would lock it, or leave its
// user no wrong password before it is locked, or would say nothing.
//
// badPwdCount is the domain controller's own: it counts what was tried there,
// and the PDC emulator's counts everything, since the others ask it before
// they refuse. On another one it may be too low, which is one more reason to
// prefer the PDC emulator.
func askable(e *ldap.Entry, rules policy.Rules, now time.Time) error {
	r := reader{e: e}
	smartcard := r.number("userAccountControl")&flagSmartcard != 0
	locked := r.number("msDS-User-Account-Control-Computed")&flagLockout != 0
	switch {
	case r.err != nil:
		return r.err
	case smartcard:
		return errors.New("no password signs it in, only a smartcard")
	case locked:
		return errors.New("it is locked")
	case !rules.Known:
		return errors.New("the lockout threshold is not known")
	case rules.LockoutThreshold == 0:
		return nil
	}
	// A domain controller where nobody has signed in yet may have no count;
	// neither has one that does not show it.
	wrong := r.attempts()
	if r.err != nil {
		return r.err
	}
	if count, near := wrong.near(rules, now); near {
		return fmt.Errorf("%d wrong passwords of %d that lock it: too near", count, rules.LockoutThreshold)
	}
	return nil
}

// notAsked is the error for what was not tried.
func notAsked(err error) error { return fmt.Errorf("%s: %w: %w", asking, reset.ErrNotAsked, err) }
