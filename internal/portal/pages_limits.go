package portal

import (
	"fmt"
	"net/netip"
	"time"

	"writeback/internal/reset"
)

// PageRates say how many forms the pages take, each with as many at once; see
// [Limits].
type PageRates struct {
	PerAddress int `yaml:"per_address"` // a minute, from an address (IPv6: a /64): 1 to 1,000,000
	PerAccount int `yaml:"per_account"` // in 15 minutes, for an account name: 1 to 10,000
}

// DefaultPageRates are those in force unless others are configured.
func DefaultPageRates() PageRates { return PageRates{PerAddress: 30, PerAccount: 5} }

// Check returns an error that names the rate that is out of its range.
func (r PageRates) Check() error {
	if r.PerAddress < 1 || r.PerAddress > 1_000_000 {
		return fmt.Errorf("per_address: %d is not between 1 and 1000000", r.PerAddress)
	}
	if r.PerAccount < 1 || r.PerAccount > 10_000 {
		return fmt.Errorf("per_account: %d is not between 1 and 10000", r.PerAccount)
	}
	return nil
}

// PageLimits count what the pages take, in this process alone.
type PageLimits struct {
	all      *limiter
	reserved *table[string, bucket]
}

// NewPageLimits returns limits of which nothing is used up. Its error is that of
// [PageRates.Check].
func NewPageLimits(r PageRates) (*PageLimits, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return &PageLimits{newLimiter(Limits{PerAddress: r.PerAddress, PerAccount: r.PerAccount}), newTable[string, bucket]()}, nil
}

// reservedSpan is how often a page may be tried that was opened rightly, whatever
// others do: a wave of requests in a user's name, or from the address that many
// share, must not keep that user out.
const reservedSpan = time.Minute

// Attempt counts a form that asks for s, from whom its page knows to have come
// rightly, by a ticket or by having signed in; reader names them. It returns how
// long it is until that may be tried, else 0.
func (l *PageLimits) Attempt(a netip.Addr, s reset.Submission, reader string) time.Duration {
	wait := max(l.all.admit(a), l.all.submit(s))
	if wait == 0 {
		return 0
	}
	var reserved time.Duration
	l.reserved.with(reader, func(b *bucket, now time.Duration) { reserved = b.take(now, 1, reservedSpan) })
	return min(wait, reserved)
}
