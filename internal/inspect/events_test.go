package inspect

import (
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

// without returns the messages but the events that f wants out.
func without(messages []trail.Message, f func(e *envelope.Event, at int) bool) []trail.Message {
	var rest []trail.Message
	for i, m := range messages {
		if m.Stream == trail.Events {
			if e, err := envelope.ParseEvent(m.Data); err == nil && f(e, i) {
				continue
			}
		}
		rest = append(rest, m)
	}
	return renumberEvents(rest)
}

// Whoever takes out events alone leaves records that no longer say what is missing.
func TestEventsTakenOut(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(600) })
	run := w.Consumers[0].Log.Run()
	third := len(all) / 3
	for _, tt := range []struct {
		name string
		out  func(e *envelope.Event, at int) bool
		want Kind
	}{
		{"all of them", func(*envelope.Event, int) bool { return true }, Missing},
		{"all of a run", func(e *envelope.Event, _ int) bool { return e.Writer.Run == run }, Missing},
		{"the start of a run", func(e *envelope.Event, _ int) bool {
			return e.Writer.Run == run && e.Fact.Kind() == envelope.EventStarted
		}, Missing},
		{"all after the first third", func(_ *envelope.Event, at int) bool { return at > third }, NoCheckpoint},
		{"the checkpoints of a run from then on", func(e *envelope.Event, at int) bool {
			return at > third && e.Writer.Run == run && e.Fact.Kind() == envelope.EventCheckpoint
		}, NoCheckpoint},
	} {
		rest := without(slices.Clone(all), tt.out)
		if r := inspect(t, w, rest, nil); r.Counts[tt.want] == 0 {
			t.Errorf("%s: %s is not found; the report says %v", tt.name, tt.want, r.FirstFaults)
		}
		for i := range rest { // the streams were made anew
			rest[i].Time = all[len(all)-1].Time
		}
		if r := inspect(t, w, rest, nil); r.Counts[tt.want] == 0 {
			t.Errorf("%s, anew: %s is not found; the report says %v", tt.name, tt.want, r.FirstFaults)
		}
	}
	// Of the last minutes nobody can tell.
	for _, end := range []int{3, 20, 90} {
		if r := inspect(t, w, without(slices.Clone(all[:end]), func(e *envelope.Event, at int) bool { return at > 40 }), nil); !r.Whole() {
			t.Errorf("the first %d messages: %v", end, r.FirstFaults)
		}
	}
}

// A record that was dropped for its age is stored once more: nothing is there of
// the run that has written it, nor what it follows.
func TestReplayOfWhatIsDropped(t *testing.T) {
	w, all := written(t, func(s *script) {
		s.requests(20)
		s.Consumers[0].Stop()
		s.Consumers[0] = life.Start(s.Signers[1], "consumer1", s.Months, s.Consumers[0].Store)
		time.Sleep(24 * time.Hour)
		s.requests(200)
	})
	later := slices.IndexFunc(all, func(m trail.Message) bool { return m.Time.Sub(all[0].Time) > 12*time.Hour })
	for name, old := range map[string]int{
		"an outcome": find(t, all, 3, isRecord(envelope.Settled)), "a beginning": find(t, all, 3, isRecord(envelope.Accepted)),
	} {
		if old >= later {
			t.Fatal("it is not old")
		}
		told := renumberLast(append(slices.Clone(all[later:]), all[old]))
		if r := inspect(t, w, told, nil); r.Counts[Orphan] != 1 || !strings.Contains(r.FirstFaults[0].Sentence, "24h") {
			t.Errorf("%s: %v, remarks %v", name, r.FirstFaults, r.FirstRemark)
		}
	}
	if r := inspect(t, w, all[later:], nil); !r.Whole() {
		t.Errorf("without it: %v", r.FirstFaults)
	}
}

// A program was killed and started again just before what is read begins, and a
// record of its earlier run comes late.
func TestLateRecordOfAnEarlierRun(t *testing.T) {
	var from int
	var killed *life.Writer
	w, all := written(t, func(s *script) {
		s.requests(20)
		r, err := s.Accept(s.t.Context(), "late@corp.example.com")
		s.must(err)
		killed = s.Consumers[0]
		s.Consumers[0] = life.Start(s.Signers[1], "consumer1", s.Months, killed.Store)
		from = len(s.memory.Messages())
		s.must(s.Consumers[0].Journal.Write(s.t.Context(), envelope.SealingKey{}, nil))
		time.Sleep(time.Second)
		s.must(r.Write(s.t.Context(), killed, envelope.Claimed, ""))
		s.must(r.Write(s.t.Context(), s.Publisher, envelope.Settled, reset.Unconfirmed))
		s.requests(100)
		killed.Stop()
	})
	all = without(all, func(e *envelope.Event, at int) bool { return at > from && e.Writer.Run == killed.Log.Run() })
	if r := inspect(t, w, all[from:], nil); !r.Whole() {
		t.Errorf("from message %d: %v", from, r.FirstFaults)
	}
}

// Where the broker did not answer, whether something is missing cannot be known, but
// that it cannot is said.
func TestUnknown(t *testing.T) {
	var kept []byte
	w, all := written(t, func(s *script) {
		s.requests(5)
		r, err := s.Accept(s.t.Context(), "ada@corp.example.com")
		s.must(err)
		kept = s.cancelled(r, reset.ErrUnknown)
		time.Sleep(2 * time.Minute)
		s.requests(5)
	})
	if r := inspect(t, w, all, nil); !r.Whole() || r.Unknown != 1 {
		t.Errorf("of %d numbers nothing is known, faults: %v", r.Unknown, r.FirstFaults)
	}
	rec, err := envelope.ParseRecord(kept)
	if err != nil {
		t.Fatal(err)
	}
	late := trail.Message{Stream: trail.Records, Message: reset.Message{Subject: "rec.pub1." + rec.ID.String() + ".pub", Data: kept}}
	if r := inspect(t, w, renumberLast(append(slices.Clone(all), late)), nil); !r.Whole() || r.Unknown != 0 {
		t.Errorf("it was stored all the same: of %d numbers nothing is known, faults: %v", r.Unknown, r.FirstFaults)
	}
}

// The clocks of two servers differ, so that a range that ends at a time has an event
// and lacks a record that was stored before it.
func TestEndOfRange(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(200) })
	end := find(t, all, -8, isEvent(envelope.EventCheckpoint))
	checkpoint, err := envelope.ParseEvent(all[end].Data)
	if err != nil {
		t.Fatal(err)
	}
	seen := find(t, all[:end], -1, func(r *envelope.Record, _ *envelope.Event) bool {
		return r != nil && r.Writer.Run == checkpoint.Writer.Run && r.Writer.Number <= checkpoint.Fact.(envelope.Checkpoint).To
	})
	var part []trail.Message
	for i, m := range all[:end+1] {
		if i < seen || m.Stream == trail.Events {
			part = append(part, m)
		}
	}
	i, err := New(w.Verifier, nil)
	if err != nil {
		t.Fatal(err)
	}
	i.EndsEarly()
	for _, m := range part {
		i.Add(m)
	}
	if r := i.End(); !r.Whole() {
		t.Errorf("of a part: %v", r.FirstFaults)
	}
	if r := inspect(t, w, part, nil); r.Counts[Missing] == 0 {
		t.Errorf("of all there is: %v", r.FirstFaults)
	}
}

// A program that is killed soon leaves its start and no checkpoint.
func TestKilledSoon(t *testing.T) {
	var killed *life.Writer
	w, all := written(t, func(s *script) {
		s.requests(5)
		first := s.Consumers[0]
		first.Stop()
		killed = life.Start(s.Signers[1], "consumer1", s.Months, first.Store)
		s.Consumers[0] = killed
		s.requests(5)
		s.Consumers[0] = life.Start(s.Signers[1], "consumer1", s.Months, first.Store)
		s.requests(200)
		killed.Stop()
	})
	all = without(all, func(e *envelope.Event, _ int) bool {
		return e.Writer.Run == killed.Log.Run() && e.Fact.Kind() != envelope.EventStarted
	})
	if r := inspect(t, w, all, nil); !r.Whole() || r.Runs != 5 {
		t.Errorf("after %d runs: %v", r.Runs, r.FirstFaults)
	}
}
