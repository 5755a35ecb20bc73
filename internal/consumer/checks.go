package consumer

import (
	"context"
	"fmt"
	"time"

	"writeback/internal/reset"
)

// Heard returns an error if this consumer could not announce itself, so that soon
// nothing is sealed for it. It is a check of /readyz.
func (c *Consumer) Heard(context.Context) error {
	if err := c.unheard.Load(); err != nil && *err != nil {
		return fmt.Errorf("this consumer cannot announce itself: %w", *err)
	}
	return nil
}

// Clock returns an error if this machine's clock was found too far from the
// publishers' to work.
func (c *Consumer) Clock(context.Context) error {
	if behind := time.Duration(c.skewed.Load()); behind != 0 {
		return fmt.Errorf("this machine's clock is %s behind the publishers'; at most %s are allowed: set it right",
			behind.Round(time.Millisecond), reset.ClockSkew)
	}
	return nil
}

// standstill is after how long without a turn the loop that announces us cannot be
// merely slow: a turn takes seconds, whatever is away.
const standstill = 6 * announceEvery

// Alive returns an error if the work stands still. It asks the loop that rotates the
// sealing keys, writes the journal and announces us with what the policy and the
// directory say, so that it passes by all that a request needs; and it takes the
// lock of the requests in hand.
func (c *Consumer) Alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if idle := time.Since(c.presence.lastTurn()); idle > standstill {
		return fmt.Errorf("this consumer has not tried to announce itself for %s", idle.Round(time.Second))
	}
	return nil
}
