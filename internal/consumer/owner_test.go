package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// TestReplay delivers a request again that was applied, in every way that the
// owner of the broker can: it is not applied again.
func TestReplay(t *testing.T) {
	tests := []struct {
		name  string
		again func(*world, *receipt) // before it is delivered again
		kinds []envelope.Kind        // then on the chain
		code  reset.Code
	}{
		{"as it was", func(*world, *receipt) {}, []envelope.Kind{envelope.Claimed, envelope.Settled}, reset.Applied},
		{"as if for the first time", func(_ *world, r *receipt) { r.Attempt = 1 },
			[]envelope.Kind{envelope.Claimed, envelope.Settled}, reset.Applied},
		{"in another slot", func(_ *world, r *receipt) { r.Slot = "00112233445566778899aabbccddeeff" },
			[]envelope.Kind{envelope.Claimed, envelope.Settled}, reset.Applied},
		{"after the deadline", func(*world, *receipt) { time.Sleep(reset.Deadline + time.Millisecond) },
			[]envelope.Kind{envelope.Claimed, envelope.Settled}, reset.Applied},
		{"without the records since", func(w *world, r *receipt) {
			w.queue.Forget(1)
			r.Attempt = 1
		}, nil, ""},
		{"without the records since, delivered again", func(w *world, _ *receipt) { w.queue.Forget(1) }, nil, ""},
		{"without the records since, after the deadline", func(w *world, r *receipt) {
			w.queue.Forget(1)
			r.Attempt = 1
			time.Sleep(reset.Deadline + time.Millisecond)
		}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, ref := w.deliver(nil)
				w.run(t.Context(), r)
				tt.again(w, r)
				w.run(t.Context(), r)
				w.expect(ref, tt.code, tt.kinds...)
				if w.dir.sets != 1 {
					t.Errorf("%d modifies, want the first one only", w.dir.sets)
				}
				if ended := tt.code != ""; r.acked != ended || (r.handedBack != 0) == ended {
					t.Errorf("acked %t, handed back after %s", r.acked, r.handedBack)
				}
			})
		})
	}
}
