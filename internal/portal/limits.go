package portal

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"writeback/internal/reset"
)

// Limits say how much a portal takes from one address and for one account name,
// whoever the callers are. Each caller's own rate is in its grant. A limit is
// reached after that many at once, and lets through as many in each span that
// follows, evenly. All are counted in this process alone and from its start:
// of N publishers, N times as many get through.
type Limits struct {
	PerAddress          int           `yaml:"per_address"`           // a minute, of all requests from an address (IPv6: a /64): 1 to 1,000,000
	PerAccount          int           `yaml:"per_account"`           // in 15 minutes, for an account name by its owner, and as many by administrators: 1 to 10,000
	WrongPasswords      int           `yaml:"wrong_passwords"`       // current passwords that may be wrong in a row for an account name: 1 to 100
	WrongPasswordWindow time.Duration `yaml:"wrong_password_window"` // without a change before they are forgotten: 1m to 24h
}

// DefaultLimits are those in force unless others are configured. Addresses are
// mostly those of portals, so that theirs is that of ten callers with
// [DefaultRate]. An account is asked for once or twice by people, and once a
// minute by a monitor with probes. Three wrong passwords leave two before the
// lowest lockout threshold that is commonly recommended, 5, is reached.
func DefaultLimits() Limits {
	return Limits{PerAddress: 1200, PerAccount: 15, WrongPasswords: 3, WrongPasswordWindow: 30 * time.Minute}
}

const (
	addressSpan = time.Minute
	accountSpan = 15 * time.Minute
	rateSpan    = time.Minute
)

// Check returns an error that names the limit that is out of its range.
func (l Limits) Check() error {
	for _, limit := range []struct {
		key             string
		value, greatest int
	}{
		{"per_address", l.PerAddress, 1_000_000},
		{"per_account", l.PerAccount, 10_000},
		{"wrong_passwords", l.WrongPasswords, 100},
	} {
		if limit.value < 1 || limit.value > limit.greatest {
			return fmt.Errorf("limits.%s: %d is not between 1 and %d", limit.key, limit.value, limit.greatest)
		}
	}
	if w := l.WrongPasswordWindow; w < time.Minute || w > 24*time.Hour {
		return fmt.Errorf("limits.wrong_password_window: %s is not between 1m and 24h", w)
	}
	return nil
}

// places is how many different names a table tells apart. Two names share a place
// with a chance of 1 in 262,144. Whatever a caller names, it cannot keep many of
// them used up: of those of accounts, with the default limits, 1,200 a minute from
// one address that each come back within a minute, 0.5 %; of those of wrong
// passwords 1,200 × 32 min / 3 = 12,800, 5 %.
const places = 1 << 18

// partPlaces is how many places are made at once, when a name falls on one of them:
// most publishers hear of a few thousand names.
const partPlaces = 64

// A table has something for each of any number of names, in memory that is bounded:
// at most that of all places. Names that fall on one place share it: they are then
// limited together, which errs on the safe side. Which names these are depends on a
// random seed, so that nobody can choose them.
type table[N comparable, P any] struct {
	seed  maphash.Seed
	start time.Time

	mu    sync.Mutex // guards what follows
	parts [places / partPlaces]*[partPlaces]P
}

func newTable[N comparable, P any]() *table[N, P] {
	return &table[N, P]{seed: maphash.MakeSeed(), start: time.Now()}
}

// with calls f with the place of name and the time since the table was made.
func (t *table[N, P]) with(name N, f func(*P, time.Duration)) {
	i := maphash.Comparable(t.seed, name) % places
	t.mu.Lock()
	defer t.mu.Unlock()
	part := &t.parts[i/partPlaces]
	if *part == nil {
		*part = new([partPlaces]P)
	}
	f(&(*part)[i%partPlaces], time.Since(t.start))
}

// A bucket says when all that was taken from it has come back. The zero bucket
// is full.
type bucket time.Duration

// take takes one of n, which come back evenly within span. If there is none it
// returns how long it is until there is one, else 0.
func (b *bucket) take(now time.Duration, n int, span time.Duration) time.Duration {
	each := span / time.Duration(n)
	back := max(time.Duration(*b), now) + each
	if wait := back - span - now; wait > 0 {
		return wait
	}
	*b = bucket(back)
	return 0
}

// give puts back one that was taken of n in span.
func (b *bucket) give(n int, span time.Duration) { *b -= bucket(span / time.Duration(n)) }

// An owner is an account name, as the one who asks for it sees it. Its owner and
// administrators have a budget each, so that a wave of requests in a user's name
// does not keep the help desk from that account, nor the other way round.
type owner struct {
	tenant, name string // the canonical name, whatever kind it is of
	actor        reset.ActorKind
}

// A limiter counts against [Limits].
type limiter struct {
	Limits
	addresses *table[netip.Prefix, bucket]
	accounts  *table[owner, bucket]
}

func newLimiter(l Limits) *limiter {
	return &limiter{l, newTable[netip.Prefix, bucket](), newTable[owner, bucket]()}
}

// The limits, as logs and metrics name them.
const (
	limitAddress = "address"
	limitCaller  = "caller"
	limitAccount = "account"
	limitWrong   = "wrong_passwords"
	limitStreams = "streams"
)

func limitNames() []string {
	return []string{limitAddress, limitCaller, limitAccount, limitWrong, limitStreams}
}

// admit counts a request from an address. Those whose address is not known count
// together.
func (l *limiter) admit(a netip.Addr) (wait time.Duration) {
	l.addresses.with(networkOf(a), func(b *bucket, now time.Duration) {
		wait = b.take(now, l.PerAddress, addressSpan)
	})
	return wait
}

// networkOf returns what counts as one address: of IPv6 a /64, which one customer
// has at least. It is zero where there is no address.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	network, _ := a.Prefix(bits)
	return network
}

// submit counts a request for an account.
func (l *limiter) submit(s reset.Submission) (wait time.Duration) {
	l.accounts.with(owner{s.Tenant, s.Account.Canonical(), s.Actor.Kind}, func(b *bucket, now time.Duration) {
		wait = b.take(now, l.PerAccount, accountSpan)
	})
	return wait
}

// tooMany is the refusal for what is beyond a limit. It says the same whether
// there is such an account or not.
func tooMany(limit string, wait time.Duration, caller Entry) *reset.Refusal {
	r := &reset.Refusal{Code: reset.TooMany, RetryAfter: time.Duration(math.Ceil(wait.Seconds())) * time.Second}
	switch limit {
	case limitAddress:
		r.Field, r.Detail = "address", "has sent too many requests"
	case limitCaller:
		r.Field, r.Detail = caller.Kind(), fmt.Sprintf("is for %d requests a minute", caller.Rate)
	case limitAccount:
		r.Field, r.Detail = "account", "was asked for too often"
	case limitStreams:
		r.Field, r.Detail = "events", "has too many streams open; ask for the request instead"
	case limitWrong:
		r.Field, r.Detail = "current_password", "of this account was wrong too often"
	}
	return r
}
