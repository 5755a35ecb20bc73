package queue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
)

func TestSwitch(t *testing.T) {
	t.Parallel()
	s := start(t)
	one, two := publisher(t, s), publisher(t, s)
	ctx := within(t, 20*time.Second)
	if got, err := one.Switch(ctx, reset.SwitchWriteback); err != nil || got.Seq != 0 {
		t.Fatalf("nobody has set it: got %v, %v", got, err)
	}
	if _, err := one.PutSwitch(ctx, reset.SwitchWriteback, []byte("off"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := one.PutSwitch(ctx, reset.SwitchUnlock, []byte("other"), 0); err != nil {
		t.Fatalf("the other switch: %v", err)
	}
	stored, err := two.Switch(ctx, reset.SwitchWriteback)
	if err != nil || string(stored.Data) != "off" || stored.Seq == 0 {
		t.Fatalf("got %v, %v", stored, err)
	}
	for _, expect := range []uint64{0, stored.Seq + 1} {
		if _, err := two.PutSwitch(ctx, reset.SwitchWriteback, []byte("late"), expect); !errors.Is(err, reset.ErrConflict) {
			t.Errorf("expecting %d: got %v, want %v", expect, err, reset.ErrConflict)
		}
	}
	if _, err := two.PutSwitch(ctx, reset.SwitchWriteback, []byte("on"), stored.Seq); err != nil {
		t.Fatal(err)
	}
	if got, err := one.Switch(ctx, reset.SwitchWriteback); err != nil || string(got.Data) != "on" || got.Seq <= stored.Seq {
		t.Errorf("got %v, %v", got, err)
	}
}

// Of two publishers that set a switch at once, one is told that the other did.
func TestSwitchRace(t *testing.T) {
	t.Parallel()
	s := start(t)
	pair := []*queue.Tenant{publisher(t, s), publisher(t, s)}
	ctx := within(t, 60*time.Second)
	for round := range 50 {
		stored, err := pair[0].Switch(ctx, reset.SwitchUnlock)
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, len(pair))
		for i, tenant := range pair {
			go func() {
				_, err := tenant.PutSwitch(ctx, reset.SwitchUnlock, fmt.Appendf(nil, "round %d, publisher %d", round, i), stored.Seq)
				errs <- err
			}()
		}
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		if first != nil || !errors.Is(second, reset.ErrConflict) {
			t.Fatalf("round %d: got %v and %v, want one winner and %v", round, first, second, reset.ErrConflict)
		}
	}
}

// A write whose answer is lost is found; one that is lost is made again.
func TestSwitchUnanswered(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]direction{"the answer": answers, "the value": questions} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p, cfg := through(t, s, queue.Publisher)
			ours := connect(t, cfg, queue.Publisher).Tenant("corp")
			p.lose(lost)
			type result struct {
				seq uint64
				err error
			}
			done, ctx := make(chan result), within(t, 30*time.Second)
			go func() {
				seq, err := ours.PutSwitch(ctx, reset.SwitchWriteback, []byte("off"), 0)
				done <- result{seq, err}
			}()
			p.awaitLost(t)
			p.heal()
			said := <-done
			stored, err := publisher(t, s).Switch(ctx, reset.SwitchWriteback)
			if said.err != nil || err != nil || stored.Seq != said.seq || string(stored.Data) != "off" {
				t.Errorf("got %+v, stored is %v, %v", said, stored, err)
			}
		})
	}
}
