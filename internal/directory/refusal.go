package directory

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"writeback/internal/secret"
)

// How long a refused password of the service account is not tried again. Three
// more attempts follow within half an hour, then one an hour: fewer than the
// usual lockout thresholds (5 to 10), each hour's alone in its observation
// window (mostly 30 minutes).
const (
	firstRefusalWait = time.Minute
	maxRefusalWait   = time.Hour
	refusalFactor    = 4
)

// A refusal remembers the password that was refused last, by a hash under a
// key that nobody else has.
type refusal struct {
	key   [32]byte
	mac   []byte // nil if nothing was refused
	wait  time.Duration
	until time.Time
}

func newRefusal() (r refusal) {
	rand.Read(r.key[:])
	return r
}

func (r *refusal) sum(password secret.Value) []byte {
	h := hmac.New(sha256.New, r.key[:])
	password.Reveal(func(b []byte) error { h.Write(b); return nil })
	return h.Sum(nil)
}

// check returns an error if this password must not be tried now.
func (r *refusal) check(password secret.Value, now time.Time) error {
	if r.mac == nil || !now.Before(r.until) || !hmac.Equal(r.mac, r.sum(password)) {
		return nil
	}
	return fmt.Errorf("the service account's password was refused; it is not tried again before %s, "+
		"to not lock the account; a changed password_file is tried at once", r.until.UTC().Format(time.RFC3339))
}

// note remembers that password was refused now.
func (r *refusal) note(password secret.Value, now time.Time) {
	mac := r.sum(password)
	if r.mac != nil && hmac.Equal(r.mac, mac) {
		r.wait = min(r.wait*refusalFactor, maxRefusalWait)
	} else {
		r.wait = firstRefusalWait
	}
	r.mac, r.until = mac, now.Add(r.wait)
}

// forget is called when a bind succeeded.
func (r *refusal) forget() { r.mac = nil }
