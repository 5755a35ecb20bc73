package publisher

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/reset"
)

// A hanging broker does not answer for switches, whatever its caller's patience.
type hanging struct {
	Broker
	until atomic.Pointer[chan struct{}]
}

func (h *hanging) Switch(ctx context.Context, name reset.SwitchName) (reset.Stored, error) {
	if until := h.until.Load(); until != nil {
		<-*until
	}
	return h.Broker.Switch(ctx, name)
}

// A publisher whose broker is away works, and one that hangs does not.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		broker := &hanging{Broker: w.queue}
		w.cfg.Tenants[0].Broker = broker
		w.cfg.Metrics = prometheus.NewRegistry()
		w.start()
		defer func() { w.stop() }()
		w.queue.HideSwitches(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := w.Alive(); err != nil {
			t.Errorf("while the broker is away: %v", err)
		}
		hang := make(chan struct{})
		broker.until.Store(&hang)
		time.Sleep(standstill - switchEvery)
		if err := w.Alive(); err != nil {
			t.Errorf("after less than %s: %v", standstill, err)
		}
		time.Sleep(2 * switchEvery)
		if w.Alive() == nil {
			t.Error("a publisher that hangs is alive")
		}
		close(hang)
		synctest.Wait()
		if err := w.Alive(); err != nil {
			t.Errorf("once it goes on: %v", err)
		}
	})
}
