package publisher

import (
	"context"
	"errors"
	"slices"
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

// facts returns what the events tell so far.
func (w *world) facts() (facts []envelope.Fact) {
	w.t.Helper()
	synctest.Wait()
	for _, s := range w.queue.Events() {
		e, err := w.tenants[tenantName].verify.Event(s)
		if err != nil || !e.Publisher || e.Writer.Name != "pub1" {
			w.t.Fatalf("event %d: %+v, %v", s.Seq, e, err)
		}
		facts = append(facts, e.Fact)
	}
	return facts
}

// Requests cost no events, and checkpoints cover all of their records.
func TestJournalOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		before := len(w.facts())
		for range 20 {
			w.mustSubmit(0)
		}
		if n := len(w.facts()); n != before {
			t.Errorf("there are %d events, want %d", n, before)
		}
		time.Sleep(time.Minute) // of the bubble
		w.stop()
		facts := w.facts()
		kinds := make([]envelope.EventKind, len(facts))
		for i, f := range facts {
			kinds[i] = f.Kind()
		}
		want := []envelope.EventKind{envelope.EventStarted, envelope.EventReplicaSeen, envelope.EventCheckpoint, envelope.EventStopped, envelope.EventCheckpoint}
		if !slices.Equal(kinds, want) {
			t.Fatalf("events are %v, want %v", kinds, want)
		}
		if c := facts[2].(envelope.Checkpoint); c.From != 1 || c.To != 2+20+19 || len(c.Gaps) != 0 {
			t.Errorf("the checkpoint is %+v, want 1 to 41: all but the first request were cancelled, since its slot was taken", c)
		}
	})
}

// Nothing is accepted before the audit has the start of the publisher.
func TestNothingBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		release := w.queue.HoldEvents()
		w.cfg.Log, w.cfg.Metrics = audit.NewLog(keys.Signer(t, seal.PurposePublisher, 1), "pub1"), prometheus.NewRegistry()
		w.start()
		defer func() { w.stop() }()
		var refusal *reset.Refusal
		if _, err := w.submit(submission(), 0); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable {
			t.Errorf("Submit = %v, want %s", err, reset.BrokerUnavailable)
		}
		w.queue.Scan(t.Context(), time.Time{}, func(ref reset.Ref) error {
			t.Errorf("request %s has a record", ref)
			return nil
		})
		release()
		w.mustSubmit(0)
	})
}

func TestReplicaSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		first := w.consumer
		log := func(seed byte, name string) *audit.Log {
			return audit.NewLog(keys.Signer(t, seal.PurposeConsumer, seed), name)
		}
		again, third := log(2, "replica1"), log(2, "replica1")
		begun := len(w.facts())
		steps := []struct {
			by   *audit.Log
			want envelope.Sighting // 0: nothing new
		}{
			{first, 0},
			{log(9, "intruder"), 0}, // not pinned
			{log(2, "replica2"), envelope.FirstSight},
			{again, envelope.NewRun},
			{again, 0},
			{first, envelope.TwoRuns},
			{again, envelope.TwoRuns},
			{first, 0}, // it was said
			{third, envelope.NewRun},
			{first, 0},
			{third, envelope.TwoRuns},
		}
		for i, s := range steps {
			time.Sleep(time.Second) // of the bubble
			w.announce(s.by, time.Now())
			facts := w.facts()[begun:]
			if s.want == 0 {
				if len(facts) != 0 {
					t.Errorf("step %d: %+v", i, facts)
				}
				continue
			}
			begun++
			want := envelope.ReplicaSeen{Replica: s.by.Name(), Run: s.by.Run(), Key: s.by.Public().ID(), How: s.want}
			if len(facts) != 1 || facts[0] != envelope.Fact(want) {
				t.Errorf("step %d: %+v, want %+v", i, facts, want)
			}
		}
	})
}

// Who has a consumer's key can invent runs, and not fill the memory with them.
func TestRunsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		by := keys.Signer(t, seal.PurposeConsumer, 2)
		for range maxRuns + 10 {
			time.Sleep(time.Millisecond) // of the bubble
			w.announce(audit.NewLog(by, "replica1"), time.Now())
		}
		if n := len(w.tenants[tenantName].presence.runs["replica1"].twice); n > maxRuns {
			t.Errorf("%d runs are remembered", n)
		}
	})
}

func TestJournalOfTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		if _, ok := w.Journal("acme"); ok {
			t.Error("there is a journal of a tenant that is not served")
		}
		j, ok := w.Journal(tenantName)
		if !ok {
			t.Fatal("there is no journal")
		}
		want := envelope.NameRevealed{Request: reset.ID{7}}
		if err := j.Write(context.Background(), want, &envelope.Private{Actor: reset.Actor{Kind: reset.Admin, Subject: "ada"}}); err != nil {
			t.Fatal(err)
		}
		facts := w.facts()
		if last := facts[len(facts)-1]; last != envelope.Fact(want) {
			t.Errorf("the last event is %+v", last)
		}
		used := envelope.TicketUsed{Ticket: [16]byte{1}, Request: reset.ID{7}}
		if err := w.Tell(t.Context(), tenantName, used, nil); err != nil {
			t.Fatal(err)
		}
		facts = w.facts()
		if last := facts[len(facts)-1]; last != envelope.Fact(used) {
			t.Errorf("the last event is %+v", last)
		}
		if err := w.Tell(t.Context(), "acme", used, nil); err == nil {
			t.Error("a tenant that is not served can be told of")
		}
		defer w.queue.HoldEvents()()
		var refusal *reset.Refusal
		if err := w.Tell(t.Context(), tenantName, used, nil); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable {
			t.Errorf("without a broker: %v", err)
		}
	})
}

// A switch is set after the audit has the change, and who wanted it.
func TestSwitchIsNotedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		change := reset.SwitchChange{
			Tenant: tenantName, Set: map[reset.SwitchName]bool{reset.SwitchUnlock: false},
			Actor: reset.Actor{Kind: reset.Admin, Subject: "grace"}, Source: "console",
		}
		release := w.queue.HoldEvents()
		if s, err := w.SetSwitches(t.Context(), change); err == nil {
			t.Errorf("without the event: %+v", s)
		}
		if stored, _ := w.queue.Switch(t.Context(), reset.SwitchUnlock); stored.Seq != 0 {
			t.Error("without the event, the switch is stored")
		}
		release()
		if _, err := w.SetSwitches(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		stored, _ := w.queue.Switch(t.Context(), reset.SwitchUnlock)
		value, err := envelope.ParseSwitch(stored.Data)
		if err != nil {
			t.Fatal(err)
		}
		facts := w.facts()
		want := envelope.SwitchChanged{Switch: "unlock", Number: value.Number}
		if last := facts[len(facts)-1]; last != envelope.Fact(want) {
			t.Errorf("the last event is %+v, want %+v", last, want)
		}
		all := w.queue.Events()
		e, err := w.tenants[tenantName].verify.Event(all[len(all)-1])
		if err != nil {
			t.Fatal(err)
		}
		if private, err := audit.PrivateEvent(w.cfg.Months, e); err != nil || private.Actor != change.Actor || private.Source != "console" {
			t.Errorf("the private part is %+v, %v", private, err)
		}
	})
}
