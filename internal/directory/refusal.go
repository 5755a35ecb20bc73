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
// window (mostly 30 minutes). One that was sent and not answered counts as
// refused, but the attempt that would follow after a minute follows at once, and
// the later ones after a quarter of an hour: most likely the domain controllers
// were away, and the password is right.
const (
	firstRefusalWait = time.Minute
	maxRefusalWait   = time.Hour
	maxUnheardWait   = 15 * time.Minute
	refusalFactor    = 4
)

// A refusal remembers what became of the password that was tried last, by a
// hash under a key that nobody else has.
type refusal struct {
	key   [32]byte
	mac   []byte // nil before the first answer, or lack of one
	right bool   // it was; what follows is about one that was not, or may not have been
	heard bool   // an answer said so
	noted time.Time
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

// is reports whether it is about this password.
func (r *refusal) is(password secret.Value) bool {
	return r.mac != nil && hmac.Equal(r.mac, r.sum(password))
}

// proven reports whether this password was right when it was last tried.
func (r *refusal) proven(password secret.Value) bool { return r.right && r.is(password) }

// check returns an error if this password must not be tried now.
func (r *refusal) check(password secret.Value, now time.Time) error {
	if r.right || !now.Before(r.until) || !r.is(password) {
		return nil
	}
	what := "no domain controller answered whether the service account's password is right"
	if r.heard {
		what = "the service account's password was refused"
	}
	return fmt.Errorf("%s; it is not tried again before %s, to not lock the account; "+
		"a changed password_file is tried at once", what, r.until.UTC().Format(time.RFC3339))
}

// note remembers that password was refused now, or if that was not heard, that
// it may have been. An attempt that began before the last note did so when the
// password was still proven; several such count as one.
func (r *refusal) note(password secret.Value, heard bool, began, now time.Time) {
	again := r.is(password) && !r.right
	beside := again && began.Before(r.noted)
	switch {
	case beside && !heard:
		return
	case !again:
		r.mac, r.right, r.wait, r.until = r.sum(password), false, firstRefusalWait, now
	case !beside && heard:
		r.wait = min(r.wait*refusalFactor, maxRefusalWait)
	case !beside:
		r.wait = min(r.wait*refusalFactor, maxUnheardWait)
	}
	if again || heard {
		r.until = now.Add(r.wait)
	}
	r.heard, r.noted = heard, now
}

// prove remembers that a bind with password succeeded.
func (r *refusal) prove(password secret.Value) { r.mac, r.right = r.sum(password), true }
