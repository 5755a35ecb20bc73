package publisher

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
)

// Nobody takes the request: it is cancelled at its deadline, and not before.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := w.mustSubmit(0)
		time.Sleep(reset.Deadline - time.Second)
		synctest.Wait()
		if s = w.status(s.Ref); s.Final {
			t.Errorf("before the deadline: %+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s = w.status(s.Ref); s.Outcome.Code != reset.Expired || !s.Final {
			t.Errorf("after the deadline: %+v, want expired", s)
		}
	})
}

// A consumer claimed and vanished: nobody knows, and that is said when the
// request's life is over, whoever accepted it.
func TestUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.mustSubmit(0)
		w.write(w.consumer, envelope.Claimed, "")
		w.stop() // the publisher that accepted it goes, and another comes
		w.cfg.Log = audit.NewLog(keys.Signer(t, "publisher", 1), "pub2")
		w.cfg.Metrics = prometheus.NewRegistry()
		w.start()
		defer func() { w.stop() }()
		time.Sleep(reset.Life - time.Second)
		synctest.Wait()
		if got := w.status(s.Ref); got.Final {
			t.Errorf("before the end of its life: %+v", got)
		}
		time.Sleep(sweepEvery + time.Second)
		synctest.Wait()
		if got := w.status(s.Ref); got.Outcome.Code != reset.Unconfirmed || !got.Final {
			t.Errorf("after its life: %+v, want unconfirmed", got)
		}
	})
}

// An accepted record without a request, as a crash leaves it, is closed by the
// next publisher.
func TestLeftOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.mustSubmit(0)
		w.stop()
		time.Sleep(time.Hour)
		w.cfg.Log = audit.NewLog(keys.Signer(t, "publisher", 1), "pub2")
		w.cfg.Metrics = prometheus.NewRegistry()
		w.start()
		defer func() { w.stop() }()
		synctest.Wait()
		if got := w.status(s.Ref); got.Outcome.Code != reset.Expired {
			t.Errorf("status = %+v, want expired", got)
		}
	})
}

func TestSlotTaken(t *testing.T) {
	tests := []struct {
		name  string
		claim bool // a copy of ours was stored after all, and is claimed before the cancel
		want  reset.Code
	}{
		{"another request has the slot", false, reset.InProgress},
		{"our own copy is being worked on", true, reset.Applied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer func() { w.stop() }()
				b := &takenSlot{Queue: w.queue, stored: tt.claim}
				w.tenants[tenantName].Broker = b
				if tt.claim {
					b.before = func() {
						if err := w.write(w.consumer, envelope.Claimed, ""); err != nil {
							t.Error(err)
						}
					}
					go func() {
						time.Sleep(time.Second)
						w.write(w.consumer, envelope.Settled, reset.Applied)
					}()
				}
				if s := w.mustSubmit(15 * time.Second); s.Outcome.Code != tt.want {
					t.Errorf("status = %+v, want %s", s, tt.want)
				}
			})
		})
	}
}

func TestIdempotency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := submission()
		s.IdempotencyKey = "key-1"
		first, err := w.submit(s, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.write(w.consumer, envelope.Claimed, "")
		w.write(w.consumer, envelope.Settled, reset.Applied)

		again, err := w.submit(s, 15*time.Second)
		if err != nil || again.Ref != first.Ref || again.Outcome.Code != reset.Applied {
			t.Errorf("the same again: %+v, %v, want the first outcome", again, err)
		}
		other := s
		other.Source = "another caller"
		if third, err := w.submit(other, 0); err != nil || third.Ref.ID == first.Ref.ID {
			t.Errorf("the key of another caller: %+v, %v, want a request of its own", third, err)
		}
		for name, change := range map[string]func(*reset.Submission){
			"account":   func(s *reset.Submission) { s.Account.Value = "bob@corp.example.com" },
			"operation": func(s *reset.Submission) { s.Operation = reset.Unlock },
			"actor":     func(s *reset.Submission) { s.Actor.Kind = reset.Admin },
		} {
			changed := s
			change(&changed)
			_, err := w.submit(changed, 0)
			var r *reset.Refusal
			if !errors.As(err, &r) || r.Code != reset.IdempotencyConflict {
				t.Errorf("the same key for another %s: %v, want a conflict", name, err)
			}
		}
		time.Sleep(keyReuse + time.Second)
		w.announce(w.consumer, time.Now())
		_, err = w.submit(s, 0)
		var r *reset.Refusal
		if !errors.As(err, &r) || r.Code != reset.IdempotencyConflict {
			t.Errorf("the same a day later: %v, want a conflict", err)
		}
	})
}

// takenSlot is a broker that finds every slot taken, perhaps by a copy of the
// very request that it refuses.
type takenSlot struct {
	*memq.Queue
	stored bool
	before func()
}

func (b *takenSlot) Enqueue(ctx context.Context, slot [16]byte, id reset.ID, data []byte) error {
	if b.stored {
		b.Queue.Enqueue(ctx, slot, id, data)
	}
	if b.before != nil {
		b.before()
	}
	return reset.ErrSlotTaken
}

// An unconfirmed request is listened to until somebody finds out, or nobody can
// any more.
func TestCorrected(t *testing.T) {
	for name, late := range map[string]time.Duration{"soon": time.Minute, "just in time": reset.Correctable - reset.Life - time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer func() { w.stop() }()
				s := w.mustSubmit(0)
				w.write(w.consumer, envelope.Claimed, "")
				time.Sleep(reset.Life + readEvery)
				synctest.Wait()
				if got := w.status(s.Ref); got.Outcome.Code != reset.Unconfirmed {
					t.Fatalf("after its life: %+v, want unconfirmed", got)
				}
				time.Sleep(late)
				if err := w.write(w.consumer, envelope.Corrected, reset.Applied); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := w.status(s.Ref); got.Outcome.Code != reset.Applied || !got.Final {
					t.Errorf("corrected: %+v, want applied", got)
				}
				if n := testutil.ToFloat64(w.metrics.corrections.WithLabelValues("applied")); n != 1 {
					t.Errorf("corrections counted = %v, want 1", n)
				}
				if f := w.tenants[tenantName].flight(s.Ref.ID); f != nil {
					t.Error("the request is still in hand")
				}
			})
		})
	}
}

// More requests than a publisher keeps in hand are refused, and let in again when
// there is room.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		open := w.tenants[tenantName].open
		for range maxOpen {
			open[reset.NewID()] = nil
		}
		_, err := w.Submit(t.Context(), submission(), secret.New([]byte("Correct-Horse-7")), secret.Value{}, 0)
		var refusal *reset.Refusal
		if !errors.As(err, &refusal) || refusal.Code != reset.TooMany || refusal.RetryAfter == 0 {
			t.Errorf("full: %v, want %s", err, reset.TooMany)
		}
		clear(open)
		w.mustSubmit(0)
	})
}
