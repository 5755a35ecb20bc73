package consumer

import (
	"context"
	"encoding/hex"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A request that rests gives its place to others and does not wait for one: not
// for a worker that waits for a request, nor for one that hangs.
func TestRestTakesNoWorker(t *testing.T) {
	for _, others := range []string{"idle", "busy"} {
		t.Run(others, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill("claimed", r)()
				hanging := make(chan struct{})
				defer close(hanging)
				on := c.replicas[1]
				on.cfg.Workers, on.slots = 1, make(chan struct{}, 1)
				again := &receipt{Delivery: r.Delivery}
				again.Receipt, again.Attempt = again, 2
				next := 0
				on.cfg.Take = func(ctx context.Context) (Delivery, error) {
					next++
					if next == 1 {
						return again.Delivery, nil
					}
					if next == 2 && others == "busy" {
						other, _ := c.deliver(func(d *draft) { d.header.Slot = [16]byte{2} })
						other.Slot = hex.EncodeToString(append([]byte{2}, make([]byte, 15)...))
						other.Receipt = other
						on.cfg.Directory = func(ctx context.Context, dc string) (Session, error) {
							if dc == "" { // only who has not claimed yet
								select {
								case <-hanging:
								case <-ctx.Done():
									return nil, reset.ErrDirectoryUnavailable
								}
							}
							return c.account.connect("replica2")(ctx, dc)
						}
						return other.Delivery, nil
					}
					<-ctx.Done()
					return Delivery{}, ctx.Err()
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- on.Run(ctx) }()
				time.Sleep(reset.TakeOver + 3*time.Second)
				synctest.Wait()
				if code := c.check(ref); code != reset.Applied {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
				if next < 2 {
					t.Error("nothing else was taken meanwhile")
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// There is a limit to how many requests may rest; the others do not wait.
func TestTooManyRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		defer c.kill("answer", r)()
		on := c.replicas[1]
		for range maxResting {
			on.resting <- struct{}{}
		}
		before, begun := len(c.records(ref)), time.Now()
		if said := c.work(1, r); said.handedBack != reset.TakeOver || time.Since(begun) > 0 || len(c.records(ref)) != before {
			t.Errorf("handed back for %s after %s: %v", said.handedBack, time.Since(begun), kinds(c.records(ref)))
		}
		<-on.resting
		c.work(1, r)
		if code := c.check(ref); code != reset.Applied || len(on.resting) != maxResting-1 {
			t.Errorf("outcome %s, %d places taken", code, len(on.resting))
		}
	})
}

// A request whose chain has grown long is tried less often.
func TestCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dir.set = func() error { return reset.ErrDirectoryUnavailable }
		r, ref := w.deliver(nil)
		for range 10 {
			kinds, _ := w.chain(ref)
			w.run(t.Context(), r)
			want := soon
			if len(kinds) > crowded {
				want = later
			}
			if r.handedBack != want {
				t.Errorf("handed back for %s with %d records, want %s", r.handedBack, len(kinds), want)
			}
		}
	})
}

// What rests at the stop is handed back at once: who has only watched leaves no
// word, who has claimed says that nothing was sent.
func TestStopAtRest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // it was taken
		last  envelope.Kind
		delay time.Duration
	}{
		{"while it watches", 5 * time.Second, envelope.Claimed, reset.TakeOver},
		{"while it waits for the directory", reset.TakeOver + 2*time.Second, envelope.Released, soon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill("answer", r)()
				c.account.setDown("dc1", true)
				c.account.setDown("dc2", true)
				on := c.replicas[1]
				again := &receipt{Delivery: r.Delivery}
				again.Receipt, again.Attempt = again, 2
				on.cfg.Workers, on.cfg.Take = 1, once(again)
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- on.Run(ctx) }()
				time.Sleep(tt.after)
				begun := time.Now()
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > 0 {
					t.Errorf("stopped after %s", took)
				}
				if last := c.records(ref).Last(); last.Kind != tt.last || again.handedBack != tt.delay {
					t.Errorf("handed back for %s: %v", again.handedBack, kinds(c.records(ref)))
				}
			})
		})
	}
}

// The program stops while a claim is written: it is known to be stored, and is
// released.
func TestStopDuringTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.queue.OnAppend(onceAt(envelope.Claimed, false, func() { cancel(errStopping) }))
		r, ref := w.deliver(nil)
		w.run(ctx, r)
		w.expect(ref, "", envelope.Claimed, envelope.Released)
		if w.dir.sets != 0 || r.handedBack != soon {
			t.Errorf("%d modifies, handed back for %s", w.dir.sets, r.handedBack)
		}
	})
}
