package publisher

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

func (w *world) overview() reset.Overview {
	w.t.Helper()
	synctest.Wait()
	w.tenants[tenantName].backlog.at = time.Time{} // no time passes here
	o, err := w.Overview(context.Background(), tenantName)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// An overview follows a request from the queue to its outcome, and a publisher that
// is started later finds the same in the records.
func TestOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		status := w.mustSubmit(0)
		if o := w.overview(); o.Queued != 1 || !o.QueueKnown || len(o.Recent) != 0 || len(o.Replicas) != 1 || !o.Replicas[0].Alive || o.Replicas[0].InHand != 0 {
			t.Errorf("queued: %+v", o)
		}
		w.write(w.consumer, envelope.Claimed, "")
		if o := w.overview(); o.Replicas[0].InHand != 1 {
			t.Errorf("in hand: %+v", o.Replicas)
		}
		time.Sleep(time.Second)
		w.write(w.consumer, envelope.Settled, reset.Applied)
		check := func() {
			t.Helper()
			o := w.overview()
			if len(o.Recent) != 1 || o.Recent[0].Ref != status.Ref || o.Recent[0].Code != reset.Applied || o.Recent[0].Took != time.Second || o.Reading {
				t.Errorf("recent: %+v", o)
			}
			if r := o.Replicas[0]; r.Replica != "replica1" || r.InHand != 0 || r.Applied != 1 || r.Median < time.Second {
				t.Errorf("replica: %+v", r)
			}
		}
		check()
		w.stop()
		w.cfg.Log, w.cfg.Metrics = audit.NewLog(keys.Signer(t, seal.PurposePublisher, 1), "pub1"), prometheus.NewRegistry()
		w.start()
		w.announce(w.consumer, time.Now())
		defer func() { w.stop() }()
		check()
		w.announce(w.consumer, time.Now())
		time.Sleep(reset.Presence + time.Second)
		if o := w.overview(); o.Replicas[0].Alive || o.Replicas[0].Seen.IsZero() || o.Obstacle == nil {
			t.Errorf("after it has gone: %+v", o.Replicas)
		}
	})
}

// Where nobody can look at it, no record is read for it.
func TestNoOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.cfg.Log, w.cfg.Metrics, w.cfg.Overview = audit.NewLog(keys.Signer(t, seal.PurposePublisher, 1), "pub1"), prometheus.NewRegistry(), false
		w.start()
		defer func() { w.stop() }()
		w.announce(w.consumer, time.Now())
		w.mustSubmit(0)
		w.write(w.consumer, envelope.Claimed, "")
		w.write(w.consumer, envelope.Settled, reset.Applied)
		if o := w.overview(); len(o.Recent) != 0 || o.Replicas[0].Applied != 0 || !o.QueueKnown || len(o.Replicas) != 1 {
			t.Errorf("%+v", o)
		}
	})
}

// What is wrong with consumers that are not believed is told apart.
func TestOverviewTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 9), "stranger")
		late := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 2), "late")
		for _, tt := range []struct {
			name                        string
			say                         func()
			malformed, unsigned, skewed bool
		}{
			{"nothing", func() {}, false, false, false},
			{"malformed", func() { w.queue.Announce("x", []byte("no announcement")) }, true, false, false},
			{"unsigned", func() { w.announce(stranger, time.Now()) }, false, true, false},
			{"skewed", func() { w.announce(late, time.Now().Add(time.Minute)) }, false, false, true},
		} {
			tt.say()
			if o := w.overview(); o.Malformed != tt.malformed || o.Unsigned != tt.unsigned || o.Skewed != tt.skewed {
				t.Errorf("%s: malformed %t, unsigned %t, skewed %t", tt.name, o.Malformed, o.Unsigned, o.Skewed)
			}
			time.Sleep(reset.Presence + time.Second)
		}
	})
}

// A publisher whose keys are over is told apart from a broker that hides something.
func TestOverviewUnkeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.queue.HideSwitches(true)
		time.Sleep(switchStale + 2*switchEvery)
		if o := w.overview(); o.Obstacle == nil || o.Unkeyed {
			t.Errorf("without switches: %v, unkeyed %t", o.Obstacle, o.Unkeyed)
		}
		w.cfg.Months = seal.MonthKeys{}
		w.Publisher.cfg.Months = w.cfg.Months
		if o := w.overview(); o.Obstacle == nil || !o.Unkeyed {
			t.Errorf("without keys: %v, unkeyed %t", o.Obstacle, o.Unkeyed)
		}
	})
}

// Names are shown once it is on record, with who wanted to know, and not before.
func TestReveal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		status := w.mustSubmit(0)
		v := reset.Viewer{Tenant: tenantName, Source: "desk", Address: "192.0.2.1", Actor: reset.Actor{Kind: reset.Admin, Subject: "grace"}}
		before := len(w.facts())
		course, err := w.Course(t.Context(), tenantName, status.Ref)
		if err != nil || len(course.Steps) != 1 || course.Steps[0].Kind != "accepted" || !course.Steps[0].Publisher {
			t.Errorf("Course = %+v, %v", course, err)
		}
		if n := len(w.facts()); n != before {
			t.Errorf("a look at a course writes %d events", n-before)
		}
		names, err := w.Reveal(t.Context(), v, status.Ref)
		if err != nil || names.Account != submission().Account || names.Actor != submission().Actor || names.Source != "test" {
			t.Errorf("Reveal = %+v, %v", names, err)
		}
		facts := w.facts()
		if fact, ok := facts[len(facts)-1].(envelope.NameRevealed); len(facts) != before+1 || !ok || fact.Request != status.Ref.ID {
			t.Errorf("events: %+v", facts[before:])
		}
		stored := w.queue.Events()
		entry, err := w.tenants[tenantName].verify.Event(stored[len(stored)-1])
		if err != nil {
			t.Fatal(err)
		}
		who, err := audit.PrivateEvent(w.cfg.Months, entry)
		if err != nil || who.Actor != v.Actor || who.Source != v.Source || who.Address != v.Address {
			t.Errorf("it was %+v, %v", who, err)
		}
		var refusal *reset.Refusal
		w.queue.HoldEvents()
		if names, err := w.Reveal(t.Context(), v, status.Ref); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable || names != (reset.Names{}) {
			t.Errorf("without a record: %+v, %v", names, err)
		}
		for _, ref := range []reset.Ref{{Publisher: "pub2", ID: status.Ref.ID}, {Publisher: "pub1", ID: reset.NewID()}} {
			if _, err := w.Reveal(t.Context(), v, ref); !errors.As(err, &refusal) || refusal.Code != reset.UnknownRequest {
				t.Errorf("of %s: %v", ref, err)
			}
			if _, err := w.Course(t.Context(), tenantName, ref); !errors.As(err, &refusal) || refusal.Code != reset.UnknownRequest {
				t.Errorf("of %s: %v", ref, err)
			}
		}
	})
}
