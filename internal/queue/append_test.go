package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	ctx := within(t, 20*time.Second)
	id := ref()
	first, err := cloud.Append(ctx, id, []byte("accepted"), 0)
	if err != nil {
		t.Fatalf("first record: %v", err)
	}
	second, err := site.Append(ctx, id, []byte("claimed"), first)
	if err != nil {
		t.Fatalf("second record, by the other side: %v", err)
	}
	if second <= first {
		t.Errorf("second record has sequence %d, first %d", second, first)
	}
	refused := []struct {
		name   string
		tenant *queue.Tenant
		expect uint64
	}{
		{"nothing, though there are two", cloud, 0},
		{"nothing, by the other side", site, 0},
		{"the first, though there is a second", site, first},
		{"one that is yet to come", site, second + 1},
	}
	for _, tt := range refused {
		if _, err := tt.tenant.Append(ctx, id, []byte("late"), tt.expect); !errors.Is(err, reset.ErrConflict) {
			t.Errorf("expecting %s: got %v, want %v", tt.name, err, reset.ErrConflict)
		}
	}
	if _, err := cloud.Append(ctx, ref(), []byte("accepted"), 0); err != nil {
		t.Errorf("first record of another request: %v", err)
	}
	for _, tenant := range []*queue.Tenant{cloud, site} {
		got, err := tenant.Records(ctx, id.ID)
		if err != nil || len(got) != 2 || string(got[0].Data) != "accepted" || string(got[1].Data) != "claimed" ||
			got[0].Seq != first || got[1].Seq != second {
			t.Errorf("records are %v, %v; want the two that were written", got, err)
		}
	}
}

func TestAppendRace(t *testing.T) {
	t.Parallel()
	s := start(t)
	pairs := []struct {
		name string
		a, b *queue.Tenant
	}{
		{"two publishers", publisher(t, s), publisher(t, s)},
		{"publisher and consumer", publisher(t, s), consumer(t, s)},
	}
	const rounds = 200
	for _, pair := range pairs {
		ctx := within(t, 60*time.Second)
		for round := range rounds {
			id := ref()
			begin, errs := make(chan struct{}), make(chan error, 2)
			for i, tenant := range []*queue.Tenant{pair.a, pair.b} {
				go func() {
					<-begin
					_, err := tenant.Append(ctx, id, fmt.Appendf(nil, "writer %d", i), 0)
					errs <- err
				}()
			}
			close(begin)
			one, two := <-errs, <-errs
			if one != nil {
				one, two = two, one
			}
			if one != nil || !errors.Is(two, reset.ErrConflict) {
				t.Fatalf("%s, round %d: got %v and %v, want one winner and %v", pair.name, round, one, two, reset.ErrConflict)
			}
			if got, err := pair.a.Records(ctx, id.ID); err != nil || len(got) != 1 {
				t.Fatalf("%s, round %d: %d records are stored (%v), want 1", pair.name, round, len(got), err)
			}
		}
	}
}

// TestAppendUnanswered loses what is said between a publisher and the broker
// while it writes, then heals the line.
func TestAppendUnanswered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		lost  direction
		rival bool // writes first, while nothing of ours arrives
		want  error
	}{
		{"the answer is lost: our own record is found", answers, false, nil},
		{"the record is lost: it is written again", questions, false, nil},
		{"the record is lost and somebody else writes", questions, true, reset.ErrConflict},
	}
	s := start(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, cfg := through(t, s, queue.Publisher)
			ours, direct := connect(t, cfg, queue.Publisher).Tenant("corp"), publisher(t, s)
			stored := live(t, direct)
			ctx := within(t, 20*time.Second)
			id := ref()
			p.lose(tt.lost)
			type result struct {
				seq uint64
				err error
			}
			done := make(chan result, 1)
			go func() {
				seq, err := ours.Append(ctx, id, []byte("ours"), 0)
				done <- result{seq, err}
			}()
			switch {
			case tt.rival:
				if _, err := direct.Append(ctx, id, []byte("theirs"), 0); err != nil {
					t.Fatal(err)
				}
			case tt.lost == answers:
				await(t, stored, id.ID)
			}
			p.heal()
			got := <-done
			if !errors.Is(got.err, tt.want) {
				t.Fatalf("got %v, want %v", got.err, tt.want)
			}
			records, err := direct.Records(ctx, id.ID)
			if err != nil || len(records) != 1 {
				t.Fatalf("%d records are stored (%v), want 1", len(records), err)
			}
			if tt.want == nil && (records[0].Seq != got.seq || string(records[0].Data) != "ours") {
				t.Errorf("got sequence %d, stored is %d %q", got.seq, records[0].Seq, records[0].Data)
			}
		})
	}
}

// TestWriteUnknown ends a write while it cannot be known what became of it. To
// say that nothing was stored would be wrong.
func TestWriteUnknown(t *testing.T) {
	t.Parallel()
	s := start(t)
	tests := []struct {
		name string
		lost direction
		end  func(cancel context.CancelFunc, p *proxy, c *queue.Conn)
	}{
		{"the caller gives up, stored", answers, func(cancel context.CancelFunc, _ *proxy, _ *queue.Conn) { cancel() }},
		{"the caller gives up, not stored", questions, func(cancel context.CancelFunc, _ *proxy, _ *queue.Conn) { cancel() }},
		{"the connection is closed by us", answers, func(cancel context.CancelFunc, _ *proxy, c *queue.Conn) { c.Close(); cancel() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, cfg := through(t, s, queue.Publisher)
			conn := connect(t, cfg, queue.Publisher)
			direct := publisher(t, s)
			stored := live(t, direct)
			ctx, cancel := context.WithCancel(within(t, 20*time.Second))
			defer cancel()
			p.lose(tt.lost)
			id, done := ref(), make(chan error, 1)
			go func() {
				_, err := conn.Tenant("corp").Append(ctx, id, []byte("ours"), 0)
				done <- err
			}()
			if tt.lost == answers {
				await(t, stored, id.ID)
			} else {
				p.awaitLost(t)
			}
			tt.end(cancel, p, conn)
			if err := <-done; !errors.Is(err, reset.ErrUnknown) || errors.Is(err, reset.ErrUnavailable) {
				t.Errorf("got %v, want %v alone", err, reset.ErrUnknown)
			}
		})
	}
}

// TestNothingIsStoredLater writes while the broker is certainly away: the write
// fails, and the broker has nothing of it when it is back.
func TestNothingIsStoredLater(t *testing.T) {
	t.Parallel()
	// away returns a connection whose broker is down, and what starts it.
	tests := []struct {
		name string
		away func(t *testing.T) (conn *queue.Conn, back func() *broker.Server)
	}{
		{"never up", func(t *testing.T) (*queue.Conn, func() *broker.Server) {
			files, err := broker.NewFiles(t.TempDir(), testkit.Root(t)+"/nats/nats-server.conf")
			if err != nil {
				t.Fatal(err)
			}
			return dial(t, files.Config(queue.Publisher), queue.Publisher, zerolog.Nop()), func() *broker.Server {
				s, err := files.Start(t.Context(), binary(t))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Kill)
				provision(t, s)
				return s
			}
		}},
		{"killed", func(t *testing.T) (*queue.Conn, func() *broker.Server) {
			s, log := start(t), newJournal()
			conn := dial(t, s.Config(queue.Publisher), queue.Publisher, zerolog.New(log))
			if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			log.await(t, "broker disconnected")
			return conn, func() *broker.Server { restart(t, s); return s }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, back := tt.away(t)
			tenant := conn.Tenant("corp")
			for name, write := range writes(tenant) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if err := write(ctx); !errors.Is(err, reset.ErrUnavailable) || errors.Is(err, reset.ErrUnknown) {
					t.Errorf("%s: got %v, want %v alone", name, err, reset.ErrUnavailable)
				}
			}
			if conn.Check(t.Context()) == nil {
				t.Error("Check finds nothing wrong with a broker that is away")
			}
			s := back()
			if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			// What a buffer held would arrive before this. That the broker is
			// back is noted a moment after the connection is up.
			id, ctx := ref(), within(t, 20*time.Second)
			_, err := tenant.Append(ctx, id, []byte("after"), 0)
			for errors.Is(err, reset.ErrUnavailable) && ctx.Err() == nil {
				_, err = tenant.Append(ctx, id, []byte("after"), 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			js := operator(t, s)
			if got := subjects(t, js, "RECORDS"); len(got) != 1 || got["rec.p1."+id.ID.String()+".pub"] != 1 {
				t.Errorf("RECORDS holds %v, want only what was written after the broker was back", got)
			}
			if got := subjects(t, js, "REQUESTS"); len(got) != 0 {
				t.Errorf("REQUESTS holds %v, want nothing", got)
			}
			if got := subjects(t, js, "EVENTS"); len(got) != 0 {
				t.Errorf("EVENTS holds %v, want nothing", got)
			}
		})
	}
}

// writes are the kinds of write, with an id and a slot of their own.
func writes(tenant *queue.Tenant) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := tenant.Append(ctx, ref(), []byte("before"), 0)
			return err
		},
		"AppendEvent": func(ctx context.Context) error {
			_, err := tenant.AppendEvent(ctx, "p1", reset.NewID(), []byte("before"), 0)
			return err
		},
		"Enqueue": func(ctx context.Context) error {
			return tenant.Enqueue(ctx, slot(), reset.NewID(), []byte("before"))
		},
	}
}

func TestWriteAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := connect(t, s.Config(queue.Publisher), queue.Publisher)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, write := range writes(conn.Tenant("corp")) {
		if err := write(ended); !errors.Is(err, reset.ErrUnavailable) || errors.Is(err, reset.ErrUnknown) {
			t.Errorf("%s after its context: got %v, want %v alone", name, err, reset.ErrUnavailable)
		}
	}
	conn.Close()
	for name, write := range writes(conn.Tenant("corp")) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := write(ctx); !errors.Is(err, reset.ErrUnavailable) || errors.Is(err, reset.ErrUnknown) {
			t.Errorf("%s after Close: got %v, want %v alone", name, err, reset.ErrUnavailable)
		}
	}
	js := operator(t, s)
	if got := subjects(t, js, "RECORDS"); len(got) != 0 {
		t.Errorf("RECORDS holds %v, want nothing", got)
	}
}

// TestRecordTooLarge: the streams take 16 KiB.
func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	tenant := publisher(t, start(t))
	if _, err := tenant.Append(within(t, 20*time.Second), ref(), bytes.Repeat([]byte("a"), 15<<10), 0); err != nil {
		t.Errorf("15 KiB: %v", err)
	}
	if _, err := tenant.Append(within(t, 20*time.Second), ref(), bytes.Repeat([]byte("a"), 17<<10), 0); !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("17 KiB: got %v, want %v", err, reset.ErrUnavailable)
	}
}

// TestFirstRecordWithoutBroker: who asks for something new is told at once that
// the broker is away; what exists already is held on to.
func TestFirstRecordWithoutBroker(t *testing.T) {
	t.Parallel()
	s, journal := start(t), newJournal()
	conn := dial(t, s.Config(queue.Publisher), queue.Publisher, zerolog.New(journal))
	if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	tenant := conn.Tenant("corp")
	s.Kill()
	// What is sent before that is noticed may have arrived.
	journal.await(t, "broker disconnected")
	begun := time.Now()
	if _, err := tenant.Append(within(t, 20*time.Second), ref(), []byte("accepted"), 0); !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, reset.ErrUnavailable)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	begun = time.Now()
	if _, err := tenant.Append(within(t, 20*time.Second), ref(), []byte("accepted"), 0); !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, reset.ErrUnavailable)
	}
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("later it took %s to say so, want to hear it at once", took)
	}
	ctx := within(t, 20*time.Second)
	id, done := ref(), make(chan error, 1)
	go func() {
		// It finds no such record when the broker is back, and is refused.
		_, err := tenant.Append(ctx, id, []byte("cancelled"), 7)
		done <- err
	}()
	restart(t, s)
	if err := <-done; !errors.Is(err, reset.ErrConflict) {
		t.Errorf("a later record: got %v, want %v", err, reset.ErrConflict)
	}
}
