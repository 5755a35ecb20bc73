package consumer

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit/memq"
)

// unheard is a broker that takes no announcement.
type unheard struct{ *memq.Queue }

func (unheard) Announce(string, []byte) error { return reset.ErrUnavailable }

// A consumer whose broker is away works, and one that hangs does not.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.Queue = unheard{w.queue}
		w.cfg.Take = func(ctx context.Context) (Delivery, error) { <-ctx.Done(); return Delivery{}, ctx.Err() }
		var until atomic.Pointer[chan struct{}]
		w.cfg.DC = func() string {
			if until := until.Load(); until != nil {
				<-*until
			}
			return ""
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := w.Alive(); err != nil {
			t.Errorf("while the broker is away: %v", err)
		}
		hang := make(chan struct{})
		until.Store(&hang)
		time.Sleep(standstill - announceEvery)
		if err := w.Alive(); err != nil {
			t.Errorf("after less than %s: %v", standstill, err)
		}
		time.Sleep(2 * announceEvery)
		if w.Alive() == nil {
			t.Error("a consumer that hangs is alive")
		}
		close(hang)
		synctest.Wait()
		if err := w.Alive(); err != nil {
			t.Errorf("once it goes on: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// One that never begins is not alive for ever.
func TestNeverAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if err := w.Alive(); err != nil {
			t.Errorf("at the start: %v", err)
		}
		time.Sleep(standstill + 1)
		if w.Alive() == nil {
			t.Error("a consumer that has not begun for a minute is alive")
		}
	})
}
