package publisher

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// watched runs Watch and returns what it said, each thing once, when it has ended.
func (w *world) watched(p *Publisher, ref reset.Ref) func() ([]string, error) {
	var said []string
	done := make(chan error, 1)
	go func() {
		done <- p.Watch(w.t.Context(), tenantName, ref, func(st reset.Status) error {
			word := string(st.State)
			if st.Outcome.Code != "" {
				word = string(st.Outcome.Code)
			}
			if len(said) == 0 || said[len(said)-1] != word {
				said = append(said, word)
			}
			return nil
		})
	}()
	return func() ([]string, error) {
		err := <-done
		return said, err
	}
}

// Whoever asks hears each step, at the publisher that has the request, at another
// one and at one that came later; and the truth about an unconfirmed one.
func TestWatch(t *testing.T) {
	for name, other := range map[string]bool{"its own publisher": false, "another publisher": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer func() { w.stop() }()
				s := w.mustSubmit(0)
				p := w.Publisher
				if other {
					cfg := w.cfg
					cfg.Metrics = prometheus.NewRegistry()
					p = New(cfg)
				}
				all := w.watched(p, s.Ref)
				time.Sleep(2 * time.Second)
				w.write(w.consumer, envelope.Claimed, "")
				time.Sleep(reset.Life + readEvery)
				late := w.watched(p, s.Ref)
				time.Sleep(time.Minute)
				if err := w.write(w.consumer, envelope.Corrected, reset.Applied); err != nil {
					t.Fatal(err)
				}
				if got, err := all(); err != nil || !slices.Equal(got, []string{"accepted", "picked_up", "unconfirmed", "applied"}) {
					t.Errorf("heard %v, %v", got, err)
				}
				if got, err := late(); err != nil || !slices.Equal(got, []string{"unconfirmed", "applied"}) {
					t.Errorf("heard late: %v, %v", got, err)
				}
				after := w.watched(p, s.Ref)
				if got, err := after(); err != nil || !slices.Equal(got, []string{"applied"}) {
					t.Errorf("heard in the end: %v, %v", got, err)
				}
			})
		})
	}
}

// An unconfirmed one of which nothing becomes known is given up when nothing can.
func TestWatchGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		begun := time.Now()
		s := w.mustSubmit(0)
		all := w.watched(w.Publisher, s.Ref)
		synctest.Wait()
		w.write(w.consumer, envelope.Claimed, "")
		if got, err := all(); err != nil || !slices.Equal(got, []string{"accepted", "picked_up", "unconfirmed"}) {
			t.Errorf("heard %v, %v", got, err)
		}
		if took := time.Since(begun); took != reset.Correctable {
			t.Errorf("given up after %s, want %s", took, reset.Correctable)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := w.mustSubmit(0)
		none := func(reset.Status) error { t.Error("called for no request"); return nil }
		var refusal *reset.Refusal
		for tenant, ref := range map[string]reset.Ref{"corp": {Publisher: "pub1", ID: reset.NewID()}, "acme": s.Ref} {
			if err := w.Watch(t.Context(), tenant, ref, none); !errors.As(err, &refusal) || refusal.Code != reset.UnknownRequest {
				t.Errorf("%s: %v", tenant, err)
			}
		}
		broken := errors.New("nobody reads any more")
		if err := w.Watch(t.Context(), tenantName, s.Ref, func(reset.Status) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("Watch = %v", err)
		}
		// One that is stuck keeps nobody waiting.
		stuck := make(chan struct{})
		go w.Watch(t.Context(), tenantName, s.Ref, func(reset.Status) error { <-stuck; return broken })
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { left <- w.Watch(ctx, tenantName, s.Ref, func(reset.Status) error { return nil }) }()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("left: %v", err)
		}
		dismissed := w.watched(w.Publisher, s.Ref)
		synctest.Wait()
		w.Dismiss()
		if got, err := dismissed(); err != nil || !slices.Equal(got, []string{"accepted"}) {
			t.Errorf("dismissed: %v, %v", got, err)
		}
		close(stuck)
	})
}

// A request has the id that its producer chose.
func TestChosenID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := submission()
		s.ID = reset.NewID()
		if st, err := w.submit(s, 0); err != nil || st.Ref != w.Ref(s.ID) {
			t.Errorf("accepted as %s, %v; want %s", st.Ref, err, w.Ref(s.ID))
		}
	})
}
