package consumer

import (
	"context"
	"sync"
	"time"

	"writeback/internal/obs"
)

// A hand is our hold of a delivery. The broker is told that it is being worked
// on, but no longer than was promised last: a worker that hangs must not keep
// others away.
type hand struct {
	delivery Receipt
	leave    func() // lets another delivery be taken beside this one

	mu    sync.Mutex
	until time.Time
}

func newHand(d Receipt, leave func()) *hand { return &hand{delivery: d, leave: leave} }

// keep promises that work goes on, or that a rest ends, within d from now.
func (h *hand) keep(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = time.Now().Add(d)
}

func (h *hand) kept() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.until)
}

// progressEvery is less than half of the time after which the broker gives a
// request to somebody else.
const progressEvery = 2 * time.Second

// keepInHand tells the broker that h is being worked on, as long as that is so.
func (c *Consumer) keepInHand(ctx context.Context, h *hand) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if !h.kept() {
					continue
				}
				if err := h.delivery.Progress(); err != nil {
					c.cfg.Logger.Warn().AnErr(obs.Cause, err).Msg("telling the broker that a request is being worked on")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// maxResting is how many requests may rest in a replica at a time.
const maxResting = 64

// rest waits for d, and lets another request be worked on from now on: requests
// that rest are few, and do not wait for each other, nor for a place among the
// workers. It returns false if the program stops first, or if too many rest.
func (c *Consumer) rest(ctx context.Context, r *request, d time.Duration) bool {
	select {
	case c.resting <- struct{}{}:
		defer func() { <-c.resting }()
	default:
		return false
	}
	r.hand.keep(d + progressEvery)
	r.hand.leave()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stopping:
		return false
	case <-ctx.Done():
		return false
	}
}

func (c *Consumer) isStopping(ctx context.Context) bool {
	select {
	case <-c.stopping:
		return true
	default:
		return ctx.Err() != nil
	}
}
