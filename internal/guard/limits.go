package guard

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"writeback/internal/reset"
)

const day = 24 * time.Hour

// limits say how many requests one replica lets through in any such time. A
// company with several replicas lets through several times as many.
type limits struct {
	PerMinute     int `yaml:"per_minute"`      // requests: 1 to 10,000
	PerHour       int `yaml:"per_hour"`        // requests: 1 to 100,000
	PerAccountDay int `yaml:"per_account_day"` // in 24 hours, for one account: 1 to 1,000
	AdminPerHour  int `yaml:"admin_per_hour"`  // of those in per_hour, by the actor admin: 1 to 100,000
}

func (l limits) check() error {
	for _, limit := range []struct {
		key      string
		value    int
		greatest int // so that what is counted has room in memory
	}{
		{"per_minute", l.PerMinute, 10_000},
		{"per_hour", l.PerHour, 100_000},
		{"per_account_day", l.PerAccountDay, 1_000},
		{"admin_per_hour", l.AdminPerHour, 100_000},
	} {
		if limit.value < 1 || limit.value > limit.greatest {
			return fmt.Errorf("limits.%s: %d is not between 1 and %d", limit.key, limit.value, limit.greatest)
		}
	}
	return nil
}

// counts are the requests that were let through: those of the last hour, and
// for each account that had one in the last day those of a day before it. At 56
// bytes each this is 2 MB where per_hour is 800 all the time, and at most 300 MB
// at the greatest per_hour.
type counts struct {
	mu       sync.Mutex // guards what follows
	all      history
	admin    history
	accounts map[[16]byte]history // by objectGUID
	swept    time.Time
}

// A history is requests in the order of their times.
type history []use

type use struct {
	at      time.Time
	request [32]byte
}

// full reports whether one more at this time would be more than n within span.
func (h history) full(n int, at time.Time, span time.Duration) bool {
	return len(h) >= n && at.Sub(h[len(h)-n].at) < span
}

// with returns h with one more, and without what is span old.
func (h history) with(u use, span time.Duration) history {
	for len(h) > 0 && u.at.Sub(h[0].at) >= span {
		h = h[1:]
	}
	return append(h, u)
}

// admit counts a request for an account, or refuses it.
func (c *counts) admit(ask Ask, account [16]byte, l limits) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := ask.At
	// Workers do not come here in the order in which they read the clock.
	if n := len(c.all); n > 0 && at.Before(c.all[n-1].at) {
		at = c.all[n-1].at
	}
	mine := c.accounts[account]
	known := func(u use) bool { return u.request == ask.Request }
	if ask.Request != [32]byte{} && slices.ContainsFunc(mine, known) {
		return nil
	}
	switch {
	case c.all.full(l.PerMinute, at, time.Minute):
		return exceeded("per_minute", l.PerMinute)
	case c.all.full(l.PerHour, at, time.Hour):
		return exceeded("per_hour", l.PerHour)
	case mine.full(l.PerAccountDay, at, day):
		return exceeded("per_account_day", l.PerAccountDay)
	case ask.Actor == reset.Admin && c.admin.full(l.AdminPerHour, at, time.Hour):
		return exceeded("admin_per_hour", l.AdminPerHour)
	case ask.Operation == reset.Probe:
		return nil
	}
	c.sweep(at)
	u := use{at, ask.Request}
	c.all = c.all.with(u, time.Hour)
	c.accounts[account] = mine.with(u, day)
	if ask.Actor == reset.Admin {
		c.admin = c.admin.with(u, time.Hour)
	}
	return nil
}

// sweep forgets, once an hour, the accounts that were not asked for in a day.
func (c *counts) sweep(at time.Time) {
	if c.accounts != nil && at.Sub(c.swept) < time.Hour {
		return
	}
	c.swept = at
	kept := make(map[[16]byte]history) // a new one, since maps do not shrink
	for account, h := range c.accounts {
		if at.Sub(h[len(h)-1].at) < day {
			kept[account] = h
		}
	}
	c.accounts = kept
}

func exceeded(limit string, n int) error {
	return refusal(reset.OperationOff, "rate", fmt.Sprintf("the policy file's limits.%s, %d, is used up", limit, n))
}
