package inspect

import (
	"strings"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

func TestWhole(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(200) })
	r := inspect(t, w, all, nil)
	if !r.Whole() || r.Remarks != 0 {
		t.Errorf("an untouched trail: %v %v", r.FirstFaults, r.FirstRemark)
	}
	if r.Requests != 200 || r.Open != 0 || r.CutChains != 0 || r.Runs != 3 {
		t.Errorf("the report says %+v", r)
	}
	if n := uint64(len(all)); r.Records.Count+r.Events.Count != n || r.Covered+r.Uncovered != n {
		t.Errorf("the report covers %d and %d of %d messages", r.Covered, r.Uncovered, n)
	}
	// Only the last checkpoint of each run has none that speaks for it.
	if r.Uncovered != 3 {
		t.Errorf("%d records and events are not covered, want 3", r.Uncovered)
	}
	var out strings.Builder
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "WHOLE: nothing") || strings.Contains(out.String(), "FAULT") {
		t.Errorf("the report is printed as %s", out.String())
	}
}

// That nothing is wrong with nothing must not sound as if something was verified.
func TestNothing(t *testing.T) {
	w, _ := written(t, func(*script) {})
	var out strings.Builder
	if err := inspect(t, w, nil, nil).Print(&out); err != nil || strings.Contains(out.String(), "WHOLE") || !strings.Contains(out.String(), "NOTHING was there") {
		t.Errorf("a report on nothing is printed as %s", out.String())
	}
}

// Whatever part of a whole trail is read, no fault is found in it.
func TestWholeInParts(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(400) })
	for _, part := range [][2]int{{1, len(all)}, {50, len(all)}, {501, 900}, {0, 700}, {900, 1000}, {len(all) - 60, len(all)}} {
		r := inspect(t, w, all[part[0]:part[1]], nil)
		if !r.Whole() {
			t.Errorf("messages %v: %v", part, r.FirstFaults[0])
		}
		if part[0] > 100 && r.CutChains == 0 && r.Requests == 0 {
			t.Errorf("messages %v: no request is counted", part)
		}
	}
}

// A replica that had nothing to do for long goes on in the middle of what is read.
func TestIdleReplicaInParts(t *testing.T) {
	w, all := written(t, func(s *script) {
		s.requests(10)
		busy := s.Consumers[0]
		second := s.Consumers[1]
		s.Consumers[1] = busy
		for range 10 {
			s.requests(5)
			time.Sleep(10 * time.Minute)
		}
		s.Consumers[1] = second
		s.requests(10)
	})
	for from := 30; from < len(all); from += 7 {
		if r := inspect(t, w, all[from:], nil); !r.Whole() {
			t.Fatalf("from message %d: %v", from, r.FirstFaults)
		}
	}
}

// A program that is killed leaves records without a checkpoint, and another run.
func TestKilled(t *testing.T) {
	var killed *life.Writer
	w, all := written(t, func(s *script) {
		s.requests(50)
		killed = s.Consumers[0]
		s.Consumers[0] = life.Start(s.Signers[1], "consumer1", s.Months, killed.Store)
		time.Sleep(time.Second)
		s.requests(50)
		killed.Stop()
	})
	i := find(t, all, -1, func(_ *envelope.Record, e *envelope.Event) bool { return e != nil && e.Writer.Run == killed.Log.Run() })
	var without []trail.Message // what the killed run wrote afterwards
	for n, m := range all {
		if e, err := envelope.ParseEvent(m.Data); m.Stream == trail.Records || err != nil || e.Writer.Run != killed.Log.Run() || n < i-1 && m.Time.Before(all[0].Time.Add(100*time.Second)) {
			without = append(without, m)
		}
	}
	r := inspect(t, w, renumberEvents(without), nil)
	if !r.Whole() || r.Runs != 4 || r.Uncovered < 4 {
		t.Errorf("after a crash: %+v", r)
	}
}

func renumberEvents(messages []trail.Message) []trail.Message {
	n := uint64(0)
	for i := range messages {
		if messages[i].Stream == trail.Events {
			n++
			messages[i].Seq = n
		}
	}
	return messages
}

// Nothing happens for long, at night and at the weekend.
func TestQuiet(t *testing.T) {
	w, all := written(t, func(s *script) {
		for range 5 {
			s.requests(3)
			time.Sleep(70 * time.Hour)
		}
	})
	if r := inspect(t, w, all, nil); !r.Whole() || r.Uncovered != 3 {
		t.Errorf("after some quiet days %d are not covered, faults: %v", r.Uncovered, r.FirstFaults)
	}
}

// Requests that ended are forgotten, and so is everything else.
func TestMemoryDoesNotGrow(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(1500) })
	i, err := New(w.Verifier, nil)
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, m := range all {
		i.Add(m)
		held := len(i.chains.open) + len(i.chains.unconfirmed)
		for _, r := range i.runs.all {
			held += len(r.have) + len(r.waiting)
		}
		most = max(most, held)
	}
	// An unconfirmed request is remembered for half an hour, that is 900
	// requests, and a number for a minute.
	if most > 900/5*2+3*100 {
		t.Errorf("of %d messages, %d things were remembered at once", len(all), most)
	}
	if r := i.End(); !r.Whole() {
		t.Error(r.FirstFaults[0])
	}
}

func TestRemarks(t *testing.T) {
	w, all := written(t, func(s *script) {
		s.requests(5)
		r, err := s.Accept(s.t.Context(), "late@corp.example.com")
		s.must(err)
		time.Sleep(time.Hour)
		s.must(r.Write(s.t.Context(), s.Publisher, envelope.Cancelled, reset.Expired))
		s.requests(5)
	})
	for i := range all {
		if m := &all[i]; m.Stream == trail.Records && m.Seq > 10 {
			m.Time = m.Time.Add(time.Hour)
		}
	}
	r := inspect(t, w, all, nil)
	if r.Remarks == 0 || !strings.Contains(r.FirstRemark[0].Sentence, "was stored 1h0m") {
		t.Errorf("remarks: %v", r.FirstRemark)
	}
}
