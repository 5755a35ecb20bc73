package queue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"writeback/internal/reset"
)

func TestTickets(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, b := publisher(t, s), publisher(t, s)
	ctx := within(t, 20*time.Second)
	id := slot()
	if value, seq, err := a.Ticket(ctx, id); value != nil || seq != 0 || err != nil {
		t.Errorf("a ticket that was never made is %q, %d, %v", value, seq, err)
	}
	if err := a.PutTicket(ctx, id, []byte("made"), 0); err != nil {
		t.Fatal(err)
	}
	if err := b.PutTicket(ctx, id, []byte("made again"), 0); !errors.Is(err, reset.ErrConflict) {
		t.Errorf("a second ticket of one name: %v", err)
	}
	value, seq, err := b.Ticket(ctx, id)
	if string(value) != "made" || seq == 0 || err != nil {
		t.Fatalf("the other publisher reads %q, %d, %v", value, seq, err)
	}
	if err := b.PutTicket(ctx, id, []byte("used"), seq); err != nil {
		t.Fatal(err)
	}
	if err := a.PutTicket(ctx, id, []byte("used too"), seq); !errors.Is(err, reset.ErrConflict) {
		t.Errorf("a change of what was changed meanwhile: %v", err)
	}
	if value, next, err := a.Ticket(ctx, id); string(value) != "used" || next <= seq || err != nil {
		t.Errorf("after all of it there is %q, %d, %v", value, next, err)
	}
	if value, _, err := a.Ticket(ctx, slot()); value != nil || err != nil {
		t.Errorf("another ticket is %q, %v", value, err)
	}
	s.Kill()
	if err := a.PutTicket(ctx, slot(), []byte("made"), 0); !errors.Is(err, reset.ErrUnavailable) && !errors.Is(err, reset.ErrUnknown) {
		t.Errorf("without a broker: %v", err)
	}
}

// Of two publishers that use a ticket at once, one wins.
func TestTicketRace2Publishers(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 60*time.Second)
	a, b := publisher(t, s), publisher(t, s)
	for round := range 100 {
		id := slot()
		if err := a.PutTicket(ctx, id, []byte("made"), 0); err != nil {
			t.Fatal(err)
		}
		_, seq, err := a.Ticket(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		begin, errs := make(chan struct{}), make(chan error, 2)
		go func() { <-begin; errs <- a.PutTicket(ctx, id, fmt.Appendf(nil, "a %d", round), seq) }()
		go func() { <-begin; errs <- b.PutTicket(ctx, id, fmt.Appendf(nil, "b %d", round), seq) }()
		close(begin)
		first, second := <-errs, <-errs
		if (first == nil) == (second == nil) || first != nil && !errors.Is(first, reset.ErrConflict) || second != nil && !errors.Is(second, reset.ErrConflict) {
			t.Fatalf("round %d: %v and %v; want one to win, the other to know", round, first, second)
		}
	}
}
