package queue_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit/broker"
)

// events returns what EVENTS holds, oldest first.
func events(t *testing.T, s *broker.Server) (subjects, data []string) {
	t.Helper()
	nc := raw(t, s, aud)
	for seq := 1; ; seq++ {
		m, err := nc.Request("corp.$JS.API.STREAM.MSG.GET.EVENTS", fmt.Appendf(nil, `{"seq":%d}`, seq), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var reply struct {
			Message *struct {
				Subject string
				Data    []byte
			}
		}
		if err := json.Unmarshal(m.Data, &reply); err != nil {
			t.Fatal(err)
		}
		if reply.Message == nil {
			return subjects, data
		}
		subjects, data = append(subjects, reply.Message.Subject), append(data, string(reply.Message.Data))
	}
}

// The events of a run follow each other; those of others do not matter.
func TestAppendEvent(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	ctx := within(t, 20*time.Second)
	run, other := reset.NewID(), reset.NewID()
	var last uint64
	for _, tt := range []struct {
		tenant *queue.Tenant
		writer string
		run    reset.ID
		expect func() uint64
	}{
		{cloud, "p1", run, func() uint64 { return 0 }},
		{site, "r1", other, func() uint64 { return 0 }},
		{site, "r1", run, func() uint64 { return 0 }}, // another writer with the same run
	} {
		seq, err := tt.tenant.AppendEvent(ctx, tt.writer, tt.run, []byte("first"), tt.expect())
		if err != nil {
			t.Fatal(err)
		}
		if last, err = tt.tenant.AppendEvent(ctx, tt.writer, tt.run, []byte("second"), seq); err != nil || last != seq+1 {
			t.Fatalf("the second has sequence %d, the first %d: %v", last, seq, err)
		}
	}
	// Somebody has written here who should not have, or the broker has lost
	// something. That is for an auditor to find: the writer goes on.
	for _, expect := range []uint64{0, last - 1, last + 100} {
		seq, err := site.AppendEvent(ctx, "r1", run, []byte("third"), expect)
		if err != nil || seq != last+1 {
			t.Errorf("expecting %d: sequence %d, %v; want %d", expect, seq, err, last+1)
		}
		last = seq
	}
	got, _ := events(t, s)
	if want := "evt.con.r1." + hex.EncodeToString(run[:]); len(got) != 9 || got[0] != "evt.pub.p1."+hex.EncodeToString(run[:]) || got[8] != want {
		t.Errorf("subjects are %q", got)
	}
}

// TestAppendEventUnanswered loses what is said between a publisher and the broker
// while it writes, then heals the line: the event is there once.
func TestAppendEventUnanswered(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]direction{"the answer is lost": answers, "the event is lost": questions} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p, cfg := through(t, s, queue.Publisher)
			ours := connect(t, cfg, queue.Publisher).Tenant("corp")
			ctx := within(t, 20*time.Second)
			run := reset.NewID()
			first, err := ours.AppendEvent(ctx, "p1", run, []byte("first"), 0)
			if err != nil {
				t.Fatal(err)
			}
			p.lose(lost)
			type result struct {
				seq uint64
				err error
			}
			done := make(chan result, 1)
			go func() {
				seq, err := ours.AppendEvent(ctx, "p1", run, []byte("second"), first)
				done <- result{seq, err}
			}()
			p.awaitLost(t)
			p.heal()
			got := <-done
			if _, data := events(t, s); got.err != nil || got.seq != first+1 || len(data) != 2 || data[1] != "second" {
				t.Errorf("sequence %d, %v; stored are %q", got.seq, got.err, data)
			}
		})
	}
}
