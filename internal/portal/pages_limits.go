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
	PerAddress int `yaml:"per_address"` // a minute, from an address (IPv6: a /64): default 30, at most 1,000,000
	PerAccount int `yaml:"per_account"` // in 15 minutes, for an account name: default 5, at most 10,000
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
	rates     PageRates
	addresses *table[netip.Prefix, bucket]
	accounts  *table[owner, bucket]
	reserved  *table[[16]byte, bucket]
}

// NewPageLimits returns limits of which nothing is used up.
func NewPageLimits(r PageRates) *PageLimits {
	return &PageLimits{r, newTable[netip.Prefix, bucket](), newTable[owner, bucket](), newTable[[16]byte, bucket]()}
}

// reservedSpan is how often a page may be tried that was opened rightly, whatever
// others do: a wave of requests in a user's name, or from the address that many
// share, must not keep that user out.
const reservedSpan = time.Minute

// Attempt counts a form that asks for s, from whom page knows to have come rightly,
// by a ticket or by having signed in. It returns how long it is until that may
// be tried, else 0.
func (l *PageLimits) Attempt(a netip.Addr, s reset.Submission, page [16]byte) time.Duration {
	var address, account time.Duration
	l.addresses.with(networkOf(a), func(b *bucket, now time.Duration) {
		address = b.take(now, l.rates.PerAddress, addressSpan)
	})
	l.accounts.with(owner{s.Tenant, s.Account.Canonical(), s.Actor.Kind}, func(b *bucket, now time.Duration) {
		account = b.take(now, l.rates.PerAccount, accountSpan)
	})
	wait := max(address, account)
	if wait == 0 {
		return 0
	}
	var reserved time.Duration
	l.reserved.with(page, func(b *bucket, now time.Duration) { reserved = b.take(now, 1, reservedSpan) })
	return min(wait, reserved)
}
