package inspect

import (
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

// record returns another record after the one at a place, by whoever likes.
func forged(t *testing.T, all []trail.Message, parent int, log *audit.Log, kind envelope.Kind, code reset.Code) trail.Message {
	t.Helper()
	last, err := envelope.ParseRecord(all[parent].Data)
	if err != nil {
		t.Fatal(err)
	}
	rec := envelope.Record{
		Kind: kind, Tenant: life.Tenant, Publisher: last.Publisher, ID: last.ID, Operation: last.Operation, Code: code,
		Time: last.Time, Parent: hash(all[parent]), ParentSeq: all[parent].Seq, Request: last.Request, Doubt: last.Doubt,
	}
	data, err := log.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	side := "con"
	if kind == envelope.Cancelled {
		side = "pub"
	}
	m := trail.Message{Stream: trail.Records, Message: reset.Message{Subject: "rec." + rec.Publisher + "." + rec.ID.String() + "." + side, Data: data}}
	m.Seq = all[len(all)-1].Seq
	return m
}

// Everything that whoever owns the broker, or has a key, can do to a trail.
func TestTampering(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(200) })
	settled := find(t, all, 20, isRecord(envelope.Settled))
	last := find(t, all, -1, isRecord(envelope.Settled))
	accepted := find(t, all, 100, isRecord(envelope.Accepted))
	checkpoint := find(t, all, 4, isEvent(envelope.EventCheckpoint))
	stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 99), "consumer1")
	another := audit.NewLog(w.Signers[1], "consumer1")
	clone := func(i int) []trail.Message { return slices.Clone(all[:i]) }
	replaced := func(i int, m trail.Message) []trail.Message {
		out := slices.Clone(all)
		m.Seq, m.Time = out[i].Seq, out[i].Time
		out[i] = m
		return out
	}
	moved := func(i int, subject string) []trail.Message {
		m := all[i]
		m.Subject = subject
		return replaced(i, m)
	}
	swapped := func(i, j int) []trail.Message {
		out := slices.Clone(all)
		out[i].Data, out[j].Data = out[j].Data, out[i].Data
		out[i].Subject, out[j].Subject = out[j].Subject, out[i].Subject
		return out
	}
	tests := []struct {
		name string
		told []trail.Message
		want []Kind // found among others
	}{
		{"drop a record", drop(all, settled), []Kind{Gap, Missing}},
		{"drop a record, and close the gap", renumber(drop(all, settled)), []Kind{Disorder}},
		{"drop the last outcome", drop(all, last), []Kind{Missing}},
		{"drop an event", drop(all, checkpoint-1, find(t, all, 1, isEvent(envelope.EventStarted))), []Kind{Gap, Missing}},
		{"drop a checkpoint", renumber(drop(all, checkpoint)), []Kind{NoCheckpoint}},
		{"drop the request that came last", renumber(dropRequest(t, all, last)), []Kind{Missing}},
		{"alter what is said", replaced(settled, altered(all[settled], 60)), []Kind{Altered}},
		{"alter a signature", replaced(settled, altered(all[settled], -1)), []Kind{Altered}},
		{"alter the version", replaced(settled, altered(all[settled], 0)), []Kind{Malformed}},
		{"alter an event", replaced(checkpoint, altered(all[checkpoint], -1)), []Kind{Altered}},
		{"swap two records of a request", swapped(settled, settled-1), []Kind{Disorder}},
		{"swap two records of two requests", swapped(settled, last), []Kind{Disorder}},
		{"swap two messages in their order", swapOrder(all, settled, settled-1), []Kind{Gap, Order}},
		{"swap two checkpoints", swapped(checkpoint, find(t, all, 10, isEvent(envelope.EventCheckpoint))), []Kind{NoCheckpoint}},
		{"insert what a stranger has signed", renumberLast(after(all, len(all)-1, forged(t, all, find(t, all, -1, isRecord(envelope.Claimed)), stranger, envelope.Settled, reset.Applied))), []Kind{Stranger}},
		{"sign an outcome with another key", replaced(settled, forged(t, all, settled-1, stranger, envelope.Settled, reset.Applied)), []Kind{Stranger, Missing}},
		{"sign an outcome with a stolen key", replaced(settled, forged(t, all, settled-1, another, envelope.Settled, reset.Applied)), []Kind{Disorder, Missing}},
		{"repeat a record at the end", renumberLast(append(clone(len(all)), all[settled])), []Kind{Repeated}},
		{"repeat the beginning of a request", renumberLast(append(clone(len(all)), all[accepted])), []Kind{Repeated}},
		{"repeat an event", renumberLast(append(clone(len(all)), all[checkpoint])), []Kind{SameNumber}},
		{"tell two stories", renumberLast(append(clone(len(all)), forged(t, all, settled-1, w.Publisher.Log, envelope.Cancelled, reset.Expired))), []Kind{Fork}},
		{"move a record to another request", moved(settled, all[last].Subject), []Kind{Misplaced}},
		{"move an event to another writer", moved(checkpoint, "evt.pub.pub1.00"), []Kind{Misplaced}},
		{"put a record among the events", moveStream(all, settled), []Kind{Malformed, Missing}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := inspect(t, w, tt.told, nil)
			for _, kind := range tt.want {
				if r.Counts[kind] == 0 {
					t.Errorf("%s is not found; the report says %v", kind, r.FirstFaults[:min(5, len(r.FirstFaults))])
				}
			}
			if tt.name == "repeat an event" && r.Faults != 1 {
				t.Errorf("%d faults are found, want 1: %v", r.Faults, r.FirstFaults)
			}
			if r.Whole() || len(r.FirstFaults) == 0 || r.FirstFaults[0].Sentence == "" {
				t.Error("the trail is called whole")
			}
			var out strings.Builder
			if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "FIRST FAULT") || !strings.Contains(out.String(), "NOT WHOLE") {
				t.Errorf("the report is printed as %s", out.String())
			}
		})
	}
}

// renumberLast gives the last message the next sequence.
func renumberLast(messages []trail.Message) []trail.Message {
	last := &messages[len(messages)-1]
	last.Seq = 0
	for _, m := range messages {
		if m.Stream == last.Stream {
			last.Seq = max(last.Seq, m.Seq)
		}
	}
	last.Seq++
	last.Time = messages[len(messages)-2].Time
	return messages
}

func dropRequest(t *testing.T, messages []trail.Message, at int) []trail.Message {
	t.Helper()
	of := func(m trail.Message) string {
		rec, err := envelope.ParseRecord(m.Data)
		if m.Stream != trail.Records || err != nil {
			return ""
		}
		return rec.ID.String()
	}
	var rest []trail.Message
	for _, m := range messages {
		if of(m) != of(messages[at]) {
			rest = append(rest, m)
		}
	}
	return rest
}

func swapOrder(messages []trail.Message, i, j int) []trail.Message {
	out := slices.Clone(messages)
	out[i], out[j] = out[j], out[i]
	return out
}

func moveStream(messages []trail.Message, at int) []trail.Message {
	out := slices.Clone(messages)
	out[at].Stream = trail.Events
	return renumber(out)
}

// All that a run has written is gone. Its requests begin with a publisher's record,
// and publishers note whom they hear of.
func TestRunIsGone(t *testing.T) {
	w, all := written(t, func(s *script) {
		for _, c := range s.Consumers {
			s.must(s.Publisher.Journal.Write(s.t.Context(), envelope.ReplicaSeen{Replica: c.Log.Name(), Run: c.Log.Run(), Key: c.Log.Public().ID(), How: envelope.FirstSight}, nil))
		}
		s.requests(1)
	})
	var rest []trail.Message
	for _, m := range all {
		if !strings.Contains(m.Subject, "consumer2") {
			rest = append(rest, m)
		}
	}
	if r := inspect(t, w, all, nil); !r.Whole() {
		t.Errorf("an untouched trail: %v", r.FirstFaults)
	}
	if r := inspect(t, w, renumber(rest), nil); r.Counts[Missing] != 1 || !strings.Contains(r.FirstFaults[0].Sentence, "a run of consumer2") {
		t.Errorf("a whole run was taken out: %v", r.FirstFaults)
	}
}

// A copy of a replica's key and configuration runs elsewhere at the same time.
func TestTwoProgramsWithOneIdentity(t *testing.T) {
	w, all := written(t, func(s *script) {
		s.requests(20)
		copied := life.Start(s.Signers[1], "consumer1", s.Months, s.Consumers[0].Store)
		both := []*life.Writer{s.Consumers[0], copied}
		for i := range 40 {
			s.Consumers[0] = both[i%2]
			s.requests(4)
		}
		s.Consumers[0] = both[0]
		copied.Stop()
	})
	r := inspect(t, w, all, nil)
	if r.Counts[TwoRuns] != 1 || r.Faults != 1 {
		t.Errorf("two runs at once: %d faults, %v", r.Faults, r.FirstFaults)
	}
}

// A record that lost the race was signed, and the broker could have kept it.
func TestRefusedRecordComesLater(t *testing.T) {
	var kept []byte
	w, all := written(t, func(s *script) {
		s.requests(20)
		r, err := s.Accept(s.t.Context(), "ada@corp.example.com")
		s.must(err)
		// The broker keeps this one, says that another was first, and lets the
		// true end of the request be written.
		kept = s.cancelled(r, reset.ErrConflict)
		time.Sleep(2 * time.Minute)
		s.requests(5)
	})
	open := find(t, all, 20, isRecord(envelope.Accepted))
	rec, err := envelope.ParseRecord(kept)
	if err != nil || rec.ParentSeq != all[open].Seq {
		t.Fatalf("what was kept follows %d, %v", rec.ParentSeq, err)
	}
	late := trail.Message{Stream: trail.Records, Message: reset.Message{Subject: all[open].Subject, Data: kept}}
	r := inspect(t, w, renumberLast(append(slices.Clone(all), late)), nil)
	if r.Counts[Refused] != 1 {
		t.Errorf("a record that was never stored is there: %v", r.FirstFaults)
	}
}

// Only who looked before knows that an end was cut off.
func TestHead(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(100) })
	at := func(n int) *Head {
		h := NewHeadMaker(w.Verifier, time.Now())
		for _, m := range all[:n] {
			h.Add(m)
		}
		return h.Head()
	}
	h := at(300)
	if len(h.Writers) != 3 || h.Records.Seq == 0 || h.Events.Seq == 0 {
		t.Fatalf("the head is %+v", h)
	}
	if r := inspect(t, w, all, h); !r.Whole() {
		t.Errorf("a trail that has grown: %v", r.FirstFaults)
	}
	if r := inspect(t, w, all[:300], h); !r.Whole() {
		t.Errorf("a trail that has not: %v", r.FirstFaults)
	}
	if r := inspect(t, w, all[:200], h); r.Counts[CutOff] == 0 {
		t.Errorf("an end that was cut off is not found: %v", r.FirstFaults)
	}
	if r := inspect(t, w, nil, h); r.Counts[CutOff] == 0 {
		t.Error("an empty trail is whole")
	}
	var later []trail.Message
	for _, m := range all {
		if m.Stream == trail.Events || m.Seq > h.Records.Seq {
			later = append(later, m)
		}
	}
	if r := inspect(t, w, later, h); r.Counts[CutOff] != 1 || !strings.Contains(r.FirstFaults[0].Sentence, "not old enough") {
		t.Errorf("a beginning that was cut off is not found: %v", r.FirstFaults)
	}
	old := *h
	old.Records.Time = old.Records.Time.Add(-2 * leastKept)
	if r := inspect(t, w, later, &old); r.Counts[CutOff] != 0 {
		t.Errorf("a beginning that was dropped for its age: %v", r.FirstFaults)
	}
	without := drop(all, find(t, all, int(h.Writers[0].Seq)-1, func(_ *envelope.Record, e *envelope.Event) bool { return e != nil }))
	if r := inspect(t, w, renumber(without), h); r.Counts[CutOff] == 0 {
		t.Errorf("a checkpoint of the head that was taken out is not found: %v", r.FirstFaults)
	}
	// Another trail of the same writers, of which nothing is missing.
	var records []trail.Message
	for _, m := range all {
		if m.Stream == trail.Records && m.Seq == h.Records.Seq {
			continue
		}
		records = append(records, m)
	}
	if r := inspect(t, w, records, h); r.Counts[CutOff] == 0 {
		t.Errorf("the last record of the head that was taken out is not found: %v", r.FirstFaults)
	}
	forged := *h
	forged.Writers = slices.Clone(h.Writers)
	forged.Writers[0].Checkpoint = altered(trail.Message{Message: reset.Message{Data: h.Writers[0].Checkpoint}}, -1).Data
	if _, err := New(w.Verifier, &forged); err == nil {
		t.Error("a head with a checkpoint that nobody has signed is taken")
	}
	other := *h
	other.Tenant = "acme"
	if _, err := New(w.Verifier, &other); err == nil {
		t.Error("a head of another tenant is taken")
	}
}
