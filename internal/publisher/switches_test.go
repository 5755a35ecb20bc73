package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
)

// second makes the world's publisher another one than p, which goes on, and stops it at the end.
func (w *world) second(t *testing.T, name string) (p *Publisher) {
	t.Helper()
	p, stop := w.Publisher, w.stop
	t.Cleanup(stop)
	w.cfg.Log = audit.NewLog(keys.Signer(t, seal.PurposePublisher, 1), name)
	w.cfg.Metrics = prometheus.NewRegistry()
	w.start()
	w.announce(w.consumer, time.Now())
	return p
}

func change(name reset.SwitchName, on bool) reset.SwitchChange {
	return reset.SwitchChange{
		Tenant: tenantName, Set: map[reset.SwitchName]bool{name: on}, Source: "console", Address: "192.0.2.7",
		Actor: reset.Actor{Kind: reset.Admin, Subject: "grace"},
	}
}

func set(t *testing.T, p *Publisher, name reset.SwitchName, on bool) reset.Switches {
	t.Helper()
	s, err := p.SetSwitches(context.Background(), change(name, on))
	if err != nil {
		t.Fatalf("setting %s: %v", name, err)
	}
	return s
}

func onOff(s reset.Switches) string { return fmt.Sprintf("%t %t", s.Writeback.On, s.Unlock.On) }

func (p *Publisher) shows(t *testing.T) reset.Switches {
	t.Helper()
	s, err := p.Situation(tenantName)
	if err != nil {
		t.Fatal(err)
	}
	return *s.Switches
}

// A switch that is off ends what it is for as operation_off, on record, without
// anything in the queue, at every publisher.
func TestSwitchedOff(t *testing.T) {
	tests := []struct {
		name reset.SwitchName
		off  []reset.Operation
	}{
		{reset.SwitchWriteback, reset.Operations()},
		{reset.SwitchUnlock, []reset.Operation{reset.Unlock}},
	}
	for _, tt := range tests {
		t.Run(tt.name.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				first := w.second(t, "pub2")
				defer func() { w.stop() }()
				set(t, first, tt.name, false)
				time.Sleep(switchEvery)
				synctest.Wait()
				for _, op := range tt.off {
					for _, p := range []*Publisher{first, w.Publisher} {
						s := submission()
						s.Operation = op
						w.Publisher = p
						st, err := w.submit(s, time.Minute)
						if err != nil {
							t.Fatal(err)
						}
						if o := st.Outcome; o.Code != reset.OperationOff || o.Details.Reason != "switch" || !st.Final || st.Consumer != "" {
							t.Errorf("%s ended as %+v", op, st)
						}
						if again := w.status(st.Ref); again.Outcome.Code != reset.OperationOff || again.Outcome.Details.Reason != "switch" {
							t.Errorf("%s, asked again: %+v", op, again)
						}
					}
				}
				if n := w.queue.Taken(); n != 0 {
					t.Errorf("%d requests were put into the queue", n)
				}
				if tt.name == reset.SwitchUnlock {
					w.mustSubmit(0) // of a reset, which unlocks, too
					synctest.Wait()
					if n := w.queue.Taken(); n != 1 {
						t.Errorf("the queue has %d requests, want the reset", n)
					}
				}
				set(t, first, tt.name, true)
				time.Sleep(switchEvery)
				synctest.Wait()
				other := submission()
				other.Operation, other.Account.Value = reset.Unlock, "bob@corp.example.com"
				if st, err := w.submit(other, 0); err != nil || st.Outcome.Code != "" {
					t.Errorf("switched on again: %+v, %v", st, err)
				}
			})
		})
	}
}

// Off is said although no consumer is there: it is the reason that lasts.
func TestSwitchedOffAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		set(t, w.Publisher, reset.SwitchWriteback, false)
		time.Sleep(reset.Presence + time.Second)
		synctest.Wait()
		st, err := w.submit(submission(), time.Minute)
		if err != nil || st.Outcome.Code != reset.OperationOff {
			t.Errorf("without a consumer: %+v, %v", st, err)
		}
	})
}

// Who set a switch is known to publishers, and to nobody who reads the broker.
func TestWhoSetASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		if s := w.shows(t); onOff(s) != "true true" || !s.Writeback.Set.IsZero() {
			t.Errorf("nobody has set any: %+v", s)
		}
		begun := time.Now()
		s := set(t, w.Publisher, reset.SwitchUnlock, false)
		if onOff(s) != "true false" || !s.Unlock.Set.Equal(begun) || s.Unlock.Source != "console" ||
			s.Unlock.Actor != (reset.Actor{Kind: reset.Admin, Subject: "grace"}) || s.Writeback.Source != "" {
			t.Errorf("got %+v", s)
		}
		stored, _ := w.queue.Switch(context.Background(), reset.SwitchUnlock)
		for _, word := range []string{"grace", "console", "192.0.2.7"} {
			if bytes.Contains(stored.Data, []byte(word)) {
				t.Errorf("the broker holds %q", word)
			}
		}
		time.Sleep(time.Minute)
		if s := set(t, w.Publisher, reset.SwitchUnlock, false); !s.Unlock.Set.Equal(begun) {
			t.Errorf("set to what it is: %+v, want what is stored to stay", s.Unlock)
		}
		if again, _ := w.queue.Switch(context.Background(), reset.SwitchUnlock); again.Seq != stored.Seq {
			t.Error("set to what it is, a second value is stored")
		}
	})
}

// What the owner of the broker can show instead of the newest value changes
// nothing, and is logged and counted once.
func TestSwitchNotBelieved(t *testing.T) {
	name := reset.SwitchWriteback
	entry := func(w *world, edit func(*envelope.Switch)) []byte {
		key, _ := w.cfg.Months.Key(seal.MonthOf(time.Now()), tenantName, reset.ID{1})
		e := envelope.Switch{
			Tenant: tenantName, Name: name, On: true, Number: uint64(time.Now().UnixMilli()) + 1000, Time: time.Now(),
			Signer: w.cfg.Log.Public().ID(), ID: reset.ID{1}, Month: uint32(seal.MonthOf(time.Now())),
		}
		edit(&e)
		e.Private, _ = key.Seal(e.Clear(), (&envelope.Private{}).Encode())
		e.Sig = w.cfg.Log.Sign(seal.KindSwitch, e.Signed())
		return e.Encode()
	}
	tests := []struct {
		name, reason string
		show         func(w *world, before, newest []byte) []byte
	}{
		{"an older one, rolled back", switchOlder, func(_ *world, before, _ []byte) []byte { return before }},
		{"none", switchMissing, func(*world, []byte, []byte) []byte { return nil }},
		{"no switch at all", switchUnsigned, func(*world, []byte, []byte) []byte { return []byte("on") }},
		{"one with a signature that is altered", switchUnsigned, func(w *world, _, _ []byte) []byte {
			b := entry(w, func(*envelope.Switch) {})
			b[len(b)-1] ^= 1
			return b
		}},
		{"one that says it is on", switchUnsigned, func(_ *world, _, newest []byte) []byte {
			e, _ := envelope.ParseSwitch(append([]byte(nil), newest...))
			altered := envelope.Switch{Tenant: e.Tenant, Name: e.Name, On: true, Number: e.Number, Time: e.Time,
				Signer: e.Signer, ID: e.ID, Month: e.Month, Private: e.Private, Sig: e.Sig}
			return altered.Encode()
		}},
		{"a consumer's", switchUnsigned, func(w *world, _, _ []byte) []byte {
			e, _ := envelope.ParseSwitch(entry(w, func(e *envelope.Switch) { e.Signer = w.consumer.Public().ID() }))
			e.Sig = w.consumer.Sign(seal.KindSwitch, e.Signed())
			return e.Encode()
		}},
		{"another tenant's", switchUnsigned, func(w *world, _, _ []byte) []byte {
			return entry(w, func(e *envelope.Switch) { e.Tenant = "acme" })
		}},
		{"the other switch", switchUnsigned, func(w *world, _, _ []byte) []byte {
			return entry(w, func(e *envelope.Switch) { e.Name = reset.SwitchUnlock })
		}},
		{"a second one with its number", switchFork, func(w *world, _, newest []byte) []byte {
			n, _ := envelope.ParseSwitch(newest)
			return entry(w, func(e *envelope.Switch) { e.Number = n.Number })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer func() { w.stop() }()
				set(t, w.Publisher, name, true)
				before, _ := w.queue.Switch(context.Background(), name)
				time.Sleep(time.Minute)
				set(t, w.Publisher, name, false)
				newest, _ := w.queue.Switch(context.Background(), name)
				w.queue.ShowSwitch(name, tt.show(w, before.Data, newest.Data))
				time.Sleep(5 * switchEvery)
				synctest.Wait()
				if s := w.shows(t); s.Writeback.On {
					t.Error("it is on")
				}
				for _, reason := range switchReasons() {
					want := 0.0
					if reason == tt.reason {
						want = 1
					}
					if n := testutil.ToFloat64(w.metrics.switches.WithLabelValues(reason)); n != want {
						t.Errorf("%s is counted %v times, want %v", reason, n, want)
					}
				}
				// Setting it mends it, also to what it was.
				if s := set(t, w.Publisher, name, false); s.Writeback.On {
					t.Error("set to off: it is on")
				}
				if stored, _ := w.queue.Switch(context.Background(), name); string(stored.Data) == string(before.Data) {
					t.Error("set to off: what the owner of the broker shows is still there")
				}
				w.second(t, "pub2")
				if s := w.shows(t); s.Writeback.On {
					t.Error("a publisher that started later believes that it is on")
				}
			})
		})
	}
}

// A rival sets the switch while somebody else is about to.
type rival struct {
	*memq.Queue
	between func()
}

func (r *rival) PutSwitch(ctx context.Context, name reset.SwitchName, value []byte, expect uint64) (uint64, error) {
	if f := r.between; f != nil {
		r.between = nil
		f()
	}
	return r.Queue.PutSwitch(ctx, name, value, expect)
}

// Of two who set a switch at once, the one that is stored last has its way, at both
// publishers.
func TestSwitchSetAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		r := &rival{Queue: w.queue}
		w.cfg.Tenants[0].Broker = r
		first := w.second(t, "pub2")
		r.between = func() { set(t, first, reset.SwitchWriteback, true) }
		set(t, w.Publisher, reset.SwitchWriteback, false)
		time.Sleep(switchEvery)
		synctest.Wait()
		for _, p := range []*Publisher{first, w.Publisher} {
			if s := p.shows(t); s.Writeback.On {
				t.Errorf("%s: it is on", p.cfg.Log.Name())
			}
		}
		for _, reason := range switchReasons() {
			if n := testutil.ToFloat64(w.metrics.switches.WithLabelValues(reason)); n != 0 {
				t.Errorf("%s is counted %v times", reason, n)
			}
		}
	})
}

// A publisher that has seen nothing takes the newest that is signed, and where there
// is one that is not, nothing is written back until somebody sets the switch.
func TestSwitchUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.queue.ShowSwitch(reset.SwitchWriteback, []byte("on"))
		w.second(t, "pub2")
		if s := w.shows(t); s.Writeback.On || !s.Unlock.On {
			t.Errorf("got %+v, want writeback off", s)
		}
		if s := set(t, w.Publisher, reset.SwitchWriteback, true); !s.Writeback.On {
			t.Errorf("set to on: %+v", s)
		}
	})
}

// The pin of the key that a switch was signed with ends, and the switch stays; what
// is signed with that key later, and dated back, counts no more than what came
// after it.
func TestSwitchOutlivesItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		set(t, w.Publisher, reset.SwitchWriteback, false)
		time.Sleep(time.Hour)
		old := seal.Pin{Key: w.cfg.Log.Public(), NotAfter: time.Now().Add(-time.Minute)}
		fresh := keys.Signer(t, seal.PurposePublisher, 7)
		pins, err := seal.NewPins([]seal.Pin{old, {Key: fresh.Public()}})
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Publishers = pins
		w.second(t, "pub2")
		if s := w.shows(t); s.Writeback.On || s.Writeback.Source != "console" {
			t.Errorf("got %+v", s.Writeback)
		}
		show := func(by *seal.Signer, on bool, number time.Time, at time.Time) {
			e := envelope.Switch{Tenant: tenantName, Name: reset.SwitchWriteback, On: on, Number: uint64(number.UnixMilli()), Time: at, Signer: by.Public().ID()}
			e.Sig = by.Sign(seal.KindSwitch, e.Signed())
			w.queue.ShowSwitch(e.Name, e.Encode())
			time.Sleep(2 * switchEvery)
			synctest.Wait()
		}
		show(fresh, true, time.Now(), time.Now())
		if s := w.shows(t); !s.Writeback.On {
			t.Error("set with the new key: it is off")
		}
		show(keys.Signer(t, seal.PurposePublisher, 1), false, time.Now(), old.NotAfter.Add(-time.Second))
		if s := w.shows(t); !s.Writeback.On {
			t.Error("set with the old key, and dated back: it is off")
		}
	})
}

// What a key has set that was stolen, and is in no list any more, counts as off
// until somebody sets it with another.
func TestSwitchOfAStolenKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		set(t, w.Publisher, reset.SwitchWriteback, true)
		fresh := keys.Signer(t, seal.PurposePublisher, 7)
		w.cfg.Log, w.cfg.Publishers, w.cfg.Metrics = audit.NewLog(fresh, "pub2"), keys.Pins(t, fresh.Public()), prometheus.NewRegistry()
		t.Cleanup(w.stop)
		w.start()
		time.Sleep(switchEvery)
		if s := w.shows(t); onOff(s) != "false true" {
			t.Errorf("got %+v, want what the stolen key has set to be off", s)
		}
		if s := set(t, w.Publisher, reset.SwitchWriteback, true); onOff(s) != "true true" {
			t.Errorf("set with the new key: %+v", s)
		}
	})
}

// Whose own key is not believed any more sets nothing, and does not say that it did.
func TestSwitchWithAnEndedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		pins, err := seal.NewPins([]seal.Pin{{Key: w.cfg.Log.Public(), NotAfter: time.Now().Add(time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Publishers = pins
		w.second(t, "pub2")
		time.Sleep(time.Hour + time.Minute)
		var refusal *reset.Refusal
		if s, err := w.SetSwitches(t.Context(), change(reset.SwitchWriteback, false)); !errors.As(err, &refusal) || refusal.Field != "writeback" {
			t.Errorf("got %+v, %v", s, err)
		}
		if stored, _ := w.queue.Switch(t.Context(), reset.SwitchWriteback); stored.Seq != 0 {
			t.Error("what nobody believes is stored")
		}
	})
}

// Until the switches were read nothing is accepted; afterwards they stay as they
// are while the broker does not show them, and that is said.
func TestSwitchesHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		set(t, w.Publisher, reset.SwitchUnlock, false)
		w.queue.HideSwitches(true)
		time.Sleep(switchStale + 2*switchEvery)
		if s := w.shows(t); onOff(s) != "true false" {
			t.Errorf("got %+v", s)
		}
		if s, _ := w.Situation(tenantName); s.Obstacle == nil || s.Obstacle.Code != reset.BrokerUnavailable || w.Switches(t.Context()) == nil {
			t.Errorf("the obstacle is %v, the check says %v", s.Obstacle, w.Switches(t.Context()))
		}
		w.mustSubmit(0)

		w.second(t, "pub2")
		var refusal *reset.Refusal
		if _, err := w.submit(submission(), 0); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable {
			t.Errorf("a publisher that never read them: %v", err)
		}
		if _, err := w.SetSwitches(t.Context(), change(reset.SwitchUnlock, true)); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable {
			t.Errorf("setting one: %v", err)
		}
		w.queue.HideSwitches(false)
		time.Sleep(2 * switchEvery)
		synctest.Wait()
		if s := w.shows(t); onOff(s) != "true false" {
			t.Errorf("got %+v", s)
		}
		if err := w.Switches(t.Context()); err != nil {
			t.Errorf("the check says %v", err)
		}
	})
}

func TestSituation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		since := time.Now()
		time.Sleep(10 * time.Second)
		w.announce(w.consumer, time.Now())
		s, err := w.Situation(tenantName)
		if err != nil || s.Obstacle != nil || !s.Time.Equal(time.Now()) || len(s.Consumers) != 1 || s.Rules.Known {
			t.Fatalf("got %+v, %v", s, err)
		}
		if c := s.Consumers[0]; c.Replica != "replica1" || !c.Since.Equal(since) || !c.Seen.Equal(time.Now()) {
			t.Errorf("got %+v", c)
		}
		time.Sleep(reset.Presence + time.Second)
		if s, _ := w.Situation(tenantName); s.Obstacle == nil || s.Obstacle.Code != reset.NoConsumer || len(s.Consumers) != 0 {
			t.Errorf("without a consumer: %+v", s)
		}
		w.announce(w.consumer, time.Now())
		if s, _ := w.Situation(tenantName); len(s.Consumers) != 1 || !s.Consumers[0].Since.Equal(time.Now()) {
			t.Errorf("back after a gap: %+v", s)
		}
		time.Sleep(reset.Presence + time.Second)
		w.announce(w.consumer, time.Now().Add(-10*time.Second))
		if s, _ := w.Situation(tenantName); s.Obstacle == nil || s.Obstacle.Code != reset.Clock {
			t.Errorf("with another clock: %+v", s)
		}
		var refusal *reset.Refusal
		if _, err := w.Situation("acme"); !errors.As(err, &refusal) || refusal.Code != reset.Forbidden {
			t.Errorf("of another tenant: %v", err)
		}
	})
}
