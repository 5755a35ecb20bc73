package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// cloud returns a publisher's connection through a proxy, and one past it.
func cloud(t *testing.T) (p *Proxy, through, past *queue.Tenant) {
	t.Helper()
	s, err := broker.Start(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	if err := connect(t, s.Config(queue.Provisioner), queue.Provisioner).Provision(t.Context(), 1, queue.DefaultKeep, func(string) {}); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config(queue.Publisher)
	past = connect(t, cfg, queue.Publisher).Tenant("corp")
	p = start(t, Options{Target: cfg.URL[len("tls://"):], Protocol: NATS, CAFile: s.CAFile, Dir: t.TempDir()})
	cfg.URL, cfg.CAFile = "tls://"+p.Addr(), p.CAFile()
	return p, connect(t, cfg, queue.Publisher).Tenant("corp"), past
}

func connect(t *testing.T, cfg queue.Config, role queue.Role) *queue.Conn {
	t.Helper()
	conn, err := queue.Connect(cfg, role, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.AwaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	return conn
}

func isRecord(m *Message) bool {
	return m != nil && m.Verb == "HPUB" && strings.HasPrefix(m.Subject, "corp.rec.") && strings.HasSuffix(m.Subject, ".pub")
}

func publishes(m Message) bool { return m.Direction == ToServer && isRecord(&m) }

func acknowledged(m Message) bool { return isRecord(m.Request) }

// The places of a cut around a publish, and what the broker then has. Whoever
// repeats it finds out.
func TestCutAroundPublish(t *testing.T) {
	p, through, past := cloud(t)
	tests := []struct {
		name   string
		fault  Fault
		tries  int // that pass until the fault is met
		stored bool
	}{
		{"no fault", Fault{Match: publishes}, 0, true},
		{"before the publish", Fault{Match: publishes, Do: Cut}, 0, false},
		{"in the middle of it", Fault{Match: publishes, Do: Tear}, 0, false},
		{"after it", Fault{Match: publishes, Do: CutAfter}, 0, true},
		{"before its answer", Fault{Match: acknowledged, Do: Cut}, 1, true},
		{"the answer gets lost", Fault{Match: acknowledged, Do: Drop}, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fault := p.Inject(tt.fault)
			var held *Injection
			if tt.fault.Do != Forward {
				// No second try before we have looked.
				held = p.Inject(Fault{Match: publishes, Skip: tt.tries, Hold: true})
			}
			ref := reset.Ref{Publisher: "p1", ID: reset.NewID()}
			told := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			go func() {
				_, err := through.Append(ctx, ref, []byte("accepted"), 0)
				told <- err
			}()
			await(t, "the fault", fault.Met())
			if held != nil {
				await(t, "the second try", held.Met())
			} else if err := <-told; err != nil {
				t.Fatal(err)
			}
			records, err := past.Records(ctx, ref.ID)
			if err != nil || (len(records) == 1) != tt.stored {
				t.Fatalf("the broker has %d records (%v), stored is to be %t", len(records), err, tt.stored)
			}
			if held == nil {
				return
			}
			held.Lift()
			if err := <-told; err != nil {
				t.Errorf("the repeated record: %v", err)
			}
			if records, err := past.Records(ctx, ref.ID); err != nil || len(records) != 1 {
				t.Errorf("the broker has %d records (%v), want 1", len(records), err)
			}
		})
	}
}

// A publish that its writer has given up is stored when the line lets it go.
func TestLatePublish(t *testing.T) {
	p, through, past := cloud(t)
	late := p.Inject(Fault{Match: publishes, Hold: true})
	ref := reset.Ref{Publisher: "p1", ID: reset.NewID()}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := through.Append(ctx, ref, []byte("accepted"), 0); !errors.Is(err, reset.ErrUnknown) {
		t.Fatalf("the writer is told %v, want %v", err, reset.ErrUnknown)
	}
	answered := p.Inject(Fault{Match: acknowledged})
	late.Lift()
	await(t, "the answer", answered.Met())
	records, err := past.Records(t.Context(), ref.ID)
	if err != nil || len(records) != 1 {
		t.Errorf("the broker has %d records (%v), want 1", len(records), err)
	}
}
