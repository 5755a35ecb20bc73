package queue_test

import (
	"errors"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
)

func TestEnqueue(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site, js := publisher(t, s), consumer(t, s), operator(t, s)
	ctx := within(t, 30*time.Second)
	account, id := slot(), reset.NewID()
	if err := cloud.Enqueue(ctx, account, id, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Enqueue(ctx, account, id, []byte("first")); err != nil {
		t.Errorf("the same request again: %v", err)
	}
	begun := time.Now()
	if err := cloud.Enqueue(ctx, account, reset.NewID(), []byte("second")); !errors.Is(err, reset.ErrSlotTaken) {
		t.Errorf("another request for the account: got %v, want %v", err, reset.ErrSlotTaken)
	}
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("a taken slot was believed after %s, want 500ms", took)
	}
	if err := cloud.Enqueue(ctx, slot(), reset.NewID(), []byte("other")); err != nil {
		t.Errorf("a request for another account: %v", err)
	}
	if got := subjects(t, js, "REQUESTS"); len(got) != 2 {
		t.Errorf("REQUESTS holds %v, want two requests", got)
	}

	d := take(t, site)
	if string(d.Data) != "first" || d.Attempt != 1 || [16]byte(account) != slotOf(t, d) {
		t.Errorf("took %q of slot %s, attempt %d; want the first request", d.Data, d.Slot, d.Attempt)
	}
	if err := cloud.Enqueue(ctx, account, reset.NewID(), []byte("second")); !errors.Is(err, reset.ErrSlotTaken) {
		t.Errorf("while it is worked on: got %v, want %v", err, reset.ErrSlotTaken)
	}
	// A slot that becomes free while we wait is ours.
	waiting := make(chan error, 1)
	go func() { waiting <- cloud.Enqueue(ctx, account, reset.NewID(), []byte("second")) }()
	if err := d.Ack(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("after the ack: %v", err)
	}
}

func slotOf(t *testing.T, d *queue.Delivery) [16]byte {
	t.Helper()
	id, err := reset.ParseID(d.Slot)
	if err != nil {
		t.Fatal(err)
	}
	return [16]byte(id)
}

// TestEnqueueUnanswered: the broker has the request and its answer is lost, with
// and without a crash. The same id finds it there.
func TestEnqueueUnanswered(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		name := "the line is cut"
		if crash {
			name = "the broker crashes"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			site := consumer(t, s)
			hasten(t, s, site)
			p, cfg := through(t, s, queue.Publisher)
			tenant := connect(t, cfg, queue.Publisher).Tenant("corp")
			p.lose(answers)
			done := make(chan error, 1)
			ctx := within(t, 30*time.Second)
			go func() { done <- tenant.Enqueue(ctx, slot(), reset.NewID(), []byte("ours")) }()
			d := take(t, site) // so it is stored
			if crash {
				s.Kill()
				restart(t, s)
				// A broker that crashed may have forgotten whom it gave
				// the request, and then does not answer an ack of that.
				d = take(t, site)
			}
			p.heal()
			if err := <-done; err != nil {
				t.Errorf("got %v, want to find it there", err)
			}
			if got := subjects(t, operator(t, s), "REQUESTS"); len(got) != 1 {
				t.Errorf("REQUESTS holds %v, want one request", got)
			}
			if err := d.Ack(ctx); err != nil {
				t.Errorf("acknowledging it: %v", err)
			}
		})
	}
}
