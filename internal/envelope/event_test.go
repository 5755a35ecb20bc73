package envelope

import (
	"strings"
	"testing"
)

func TestEventRefuses(t *testing.T) {
	checkpoint := func(alter func(*Checkpoint)) Fact {
		c := Checkpoint{From: 5, To: 20, Gaps: []Gap{{First: 7, Count: 2}, {First: 10, Count: 3}}}
		alter(&c)
		return c
	}
	tests := []struct {
		name string
		fact Fact
	}{
		{"a checkpoint from 0", checkpoint(func(c *Checkpoint) { c.From = 0 })},
		{"a checkpoint of nothing", checkpoint(func(c *Checkpoint) { c.From, c.To, c.Gaps = 5, 4, nil })},
		{"a checkpoint beyond all numbers", checkpoint(func(c *Checkpoint) { c.To = maxNumber + 1 })},
		{"a gap before the checkpoint", checkpoint(func(c *Checkpoint) { c.Gaps[0].First = 4 })},
		{"a gap after the checkpoint", checkpoint(func(c *Checkpoint) { c.Gaps[1].First = 21 })},
		{"a gap that ends after the checkpoint", checkpoint(func(c *Checkpoint) { c.Gaps[1].Count = 12 })},
		{"a gap of nothing", checkpoint(func(c *Checkpoint) { c.Gaps[0].Count = 0 })},
		{"gaps that touch", checkpoint(func(c *Checkpoint) { c.Gaps[1].First = 9 })},
		{"gaps in another order", checkpoint(func(c *Checkpoint) { c.Gaps[0], c.Gaps[1] = c.Gaps[1], c.Gaps[0] })},
		{"too many gaps", checkpoint(func(c *Checkpoint) { c.To, c.Gaps = 10_000, manyGaps(MaxGaps+1) })},
		{"a replica without a name", ReplicaSeen{How: FirstSight}},
		{"a sighting of no kind", ReplicaSeen{Replica: "con_1"}},
		{"a sighting of an unknown kind", ReplicaSeen{Replica: "con_1", How: TwoRuns + 1}},
		{"a ticket for nothing", TicketMade{}},
	}
	for _, tt := range tests {
		if _, err := ParseEvent(testEvent(t, tt.fact).Encode()); err != errForm {
			t.Errorf("%s: error %v, want errForm", tt.name, err)
		}
	}
	for _, kind := range []byte{0, byte(lastEventKind) + 1} {
		b := testEvent(t, Stopped{}).Encode()
		if b[1] = kind; EventKind(kind).String() != "unknown" {
			t.Errorf("kind %d has a name", kind)
		}
		if _, err := ParseEvent(b); err != errForm {
			t.Errorf("kind %d: error %v, want errForm", kind, err)
		}
	}
	if _, err := ParseEvent(make([]byte, MaxEvent+1)); err != errForm {
		t.Errorf("an event too large: error %v", err)
	}
}

func manyGaps(n int) (gaps []Gap) {
	for i := range n {
		gaps = append(gaps, Gap{First: uint64(6 + 2*i), Count: 1})
	}
	return gaps
}

// The broker refuses a message of more than 16 KiB with its headers, which are
// a few hundred bytes.
func TestLargestEvent(t *testing.T) {
	for _, f := range []Fact{
		Checkpoint{From: 5, To: 10_000, Gaps: manyGaps(MaxGaps)},
		TokenMade{Token: strings.Repeat("x", 1000), Operations: make([]string, 300), Actors: []string{strings.Repeat("€", 1000)}},
		Started{Version: strings.Repeat("v", 70_000)},
	} {
		e := testEvent(t, f)
		e.Tenant, e.Writer.Name = strings.Repeat("t", 24), strings.Repeat("p", 24)
		b := e.Encode()
		if _, err := ParseEvent(b); err != nil || len(b) > MaxEvent-1024 {
			t.Errorf("the largest %s has %d bytes: %v", f.Kind(), len(b), err)
		}
	}
}
