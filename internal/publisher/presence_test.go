package publisher

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// Of each stranger it is said once, however often it announces itself, and of a flood
// of them no more than is bounded.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		var log bytes.Buffer
		w.cfg.Logger, w.cfg.Metrics = zerolog.New(&log).Level(zerolog.WarnLevel), prometheus.NewRegistry()
		w.start()
		defer func() { w.stop() }()
		said := func() int {
			synctest.Wait()
			return bytes.Count(log.Bytes(), []byte("not signed by a pinned consumer"))
		}

		key := keys.Signer(t, seal.PurposeConsumer, 9)
		for n := 1; n <= 2; n++ {
			run := audit.NewLog(key, "replica1")
			for range 20 {
				w.announce(run, time.Now())
				time.Sleep(10 * time.Second)
			}
			if said() != n {
				t.Errorf("after %d runs it was said %d times", n, said())
			}
		}
		for range 3 * maxStrangers {
			w.announce(audit.NewLog(key, "replica1"), time.Now())
		}
		if said() != maxStrangers+1 {
			t.Errorf("of a flood it was said %d times, want %d", said(), maxStrangers+1)
		}
	})
}
