package inspect

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

// months returns record keys for the fake clock's months.
func months(t *testing.T) seal.MonthKeys {
	t.Helper()
	return keys.Months(t, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), 3)
}

// A script writes a trail; it runs on a fake clock.
type script struct {
	t *testing.T
	*life.World
	memory *life.Memory
}

// written returns what f writes, and whom to believe.
func written(t *testing.T, f func(*script)) (*life.World, []trail.Message) {
	t.Helper()
	months := months(t)
	s := &script{memory: new(life.Memory)}
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		var err error
		s.World, err = life.New(months, life.Side{Memory: s.memory, Name: "pub"}, life.Side{Memory: s.memory, Name: "con"})
		s.must(err)
		f(s)
		s.Stop()
	})
	return s.World, s.memory.Messages()
}

func (s *script) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// cancelled returns a publisher's end of a request, to which the broker has answered
// with an error.
func (s *script) cancelled(r *life.Request, answer error) (kept []byte) {
	s.t.Helper()
	rec := envelope.Record{
		Kind: envelope.Cancelled, Tenant: life.Tenant, Publisher: "pub1", ID: r.ID, Operation: reset.Reset, Code: reset.Expired,
		Time: time.Now(), Parent: r.Last.Hash, ParentSeq: r.Last.Seq,
	}
	_, err := s.Publisher.Log.Append(&rec, envelope.Private{}, nil, func(data []byte) (uint64, error) {
		kept = data
		return 0, answer
	})
	if err == nil {
		s.t.Error("the record is stored")
	}
	return kept
}

// requests writes so many, two seconds each, of every kind there is.
func (s *script) requests(n int) {
	s.t.Helper()
	for i := range n {
		r, err := s.Accept(s.t.Context(), fmt.Sprintf("user%d@corp.example.com", i))
		s.must(err)
		time.Sleep(time.Second)
		con := s.Consumers[i%2]
		step := func(by *life.Writer, kind envelope.Kind, code reset.Code) {
			s.must(r.Write(s.t.Context(), by, kind, code))
		}
		switch i % 5 {
		case 0: // nobody takes it
			step(s.Publisher, envelope.Cancelled, reset.Expired)
		case 1: // handed back once
			step(con, envelope.Claimed, "")
			step(con, envelope.Released, "")
			step(s.Consumers[(i+1)%2], envelope.Claimed, "")
			step(s.Consumers[(i+1)%2], envelope.Settled, reset.Applied)
		case 2: // nobody can say, and then somebody can
			step(con, envelope.Claimed, "")
			step(s.Publisher, envelope.Settled, reset.Unconfirmed)
			step(con, envelope.Corrected, reset.Applied)
		default:
			rival := *r
			step(con, envelope.Claimed, "")
			if i%7 == 3 { // its number is lost: another one was first
				if err := rival.Write(s.t.Context(), s.Publisher, envelope.Cancelled, reset.Expired); err == nil {
					s.t.Fatal("a publisher cancels what is claimed")
				}
			}
			step(con, envelope.Settled, reset.PasswordTooShort)
		}
		time.Sleep(time.Second)
	}
}

// inspect returns the report on messages.
func inspect(t *testing.T, w *life.World, messages []trail.Message, head *Head) *Report {
	t.Helper()
	i, err := New(w.Verifier, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		i.Add(m)
	}
	return i.End()
}

// renumber gives messages the sequences that they have in a stream that was made
// anew.
func renumber(messages []trail.Message) []trail.Message {
	next := make(map[string]uint64)
	for i := range messages {
		next[messages[i].Stream]++
		messages[i].Seq = next[messages[i].Stream]
	}
	return messages
}

// find returns the place of the nth message that is wanted; from the end if n is
// negative.
func find(t *testing.T, messages []trail.Message, n int, want func(*envelope.Record, *envelope.Event) bool) int {
	t.Helper()
	var found []int
	for i, m := range messages {
		rec, err := envelope.ParseRecord(m.Data)
		ev, evErr := envelope.ParseEvent(m.Data)
		if m.Stream == trail.Records && err == nil && want(rec, nil) || m.Stream == trail.Events && evErr == nil && want(nil, ev) {
			found = append(found, i)
		}
	}
	if n < 0 {
		n += len(found)
	}
	if n < 0 || n >= len(found) {
		t.Fatalf("there are only %d such messages", len(found))
	}
	return found[n]
}

func isRecord(kind envelope.Kind) func(*envelope.Record, *envelope.Event) bool {
	return func(r *envelope.Record, _ *envelope.Event) bool { return r != nil && r.Kind == kind }
}

func isEvent(kind envelope.EventKind) func(*envelope.Record, *envelope.Event) bool {
	return func(_ *envelope.Record, e *envelope.Event) bool { return e != nil && e.Fact.Kind() == kind }
}

func drop(messages []trail.Message, at ...int) []trail.Message {
	var rest []trail.Message
	for i, m := range messages {
		if !slices.Contains(at, i) {
			rest = append(rest, m)
		}
	}
	return rest
}

// after returns the messages with m stored behind the one at a place, as if it had
// been stored just after it.
func after(messages []trail.Message, at int, m trail.Message) []trail.Message {
	m.Time = messages[at].Time
	return slices.Insert(slices.Clone(messages), at+1, m)
}

func altered(m trail.Message, at int) trail.Message {
	m.Data = bytes.Clone(m.Data)
	if at < 0 {
		at += len(m.Data)
	}
	m.Data[at] ^= 1
	return m
}

func hash(m trail.Message) [32]byte { return sha256.Sum256(m.Data) }
