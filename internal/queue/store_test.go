package queue_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/tenants"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// kills is how often the server is killed: with a cipher of its own, one kill in
// five lost a stream.
const kills = 20

// TestStoreSurvivesKills kills a server with the files of nats/ again and again
// while requests come and go: what it has acknowledged must be there afterwards.
func TestStoreSurvivesKills(t *testing.T) {
	t.Parallel()
	s, err := broker.Start(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill() })
	provision(t, s)
	var stored []reset.Ref
	for range kills {
		stored = append(stored, killedUnderTraffic(t, s)...)
		if s, err = s.Start(t.Context(), binary(t)); err != nil {
			t.Fatal(err)
		}
		if err := connect(t, s.Config(queue.Provisioner), queue.Provisioner).AllThere(within(t, 10*time.Second)); err != nil {
			t.Fatalf("after a kill: %v", err)
		}
	}
	p := publisher(t, s)
	for _, r := range stored {
		if got, err := p.Records(within(t, 10*time.Second), r.ID); err != nil || len(got) != 1 {
			t.Errorf("of %s there are %d records, %v; want the one that was acknowledged", r, len(got), err)
		}
	}
}

// killedUnderTraffic kills the server while requests are stored, taken and
// acknowledged, and returns those whose record it has acknowledged.
func killedUnderTraffic(t *testing.T, s *broker.Server) (stored []reset.Ref) {
	t.Helper()
	p, c := publisher(t, s), consumer(t, s)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var parts sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		parts.Go(func() {
			for ctx.Err() == nil {
				r := ref()
				if _, err := p.Append(ctx, r, []byte("accepted"), 0); err != nil {
					return
				}
				mu.Lock()
				stored = append(stored, r)
				mu.Unlock()
				if err := p.Enqueue(ctx, slot(), r.ID, make([]byte, 4000)); err != nil {
					return
				}
			}
		})
	}
	const enough = 100
	taken := make(chan struct{}, enough)
	for range 4 {
		parts.Go(func() {
			for ctx.Err() == nil {
				d, err := c.Take(ctx)
				if err != nil || d.Ack(ctx) != nil {
					return
				}
				select {
				case taken <- struct{}{}:
				default:
				}
			}
		})
	}
	for range enough {
		<-taken
	}
	s.Kill()
	stop()
	parts.Wait()
	return stored
}

// TestPushAfterLoss: in operator mode, too, streams that a tenant had are not made
// anew unless that is said.
func TestPushAfterLoss(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	push := func(fresh bool) (err error) {
		op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
			b.New = fresh
			err = o.Push(within(t, 20*time.Second), b, "corp")
			return nil
		})
		return err
	}
	if err := push(false); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	op.Stop()
	if err := os.RemoveAll(op.StoreDir); err != nil {
		t.Fatal(err)
	}
	op.restart(t)
	wantError(t, push(false), "tenant corp", "does not have REQUESTS", "-new")
	// That streams were made is known also if a later tenant has trouble.
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		err := o.Add("acme", limits())
		wantError(t, o.Push(within(t, 20*time.Second), b, "acme", "corp"), "tenant corp", "does not have REQUESTS")
		return err
	})
	op.Stop()
	if err := os.RemoveAll(op.StoreDir); err != nil {
		t.Fatal(err)
	}
	op.restart(t)
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		wantError(t, o.Push(within(t, 20*time.Second), b, "acme"), "tenant acme", "does not have REQUESTS")
		return nil
	})
	if err := push(true); err != nil {
		t.Errorf("of a store that is new: %v", err)
	}
}
