package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
)

// A follower gives what it hears to a channel, as "begin", "caught up" or the text
// of a record.
type follower chan string

func (f follower) Begin(time.Time) { f <- "begin" }
func (f follower) CaughtUp()       { f <- "caught up" }
func (f follower) Hear(s reset.Stored, at time.Time) {
	if at.IsZero() || s.Seq == 0 {
		f <- "a record without time or sequence"
	}
	f <- string(s.Data)
}

// want waits for what is heard next.
func (f follower) want(t *testing.T, texts ...string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for _, text := range texts {
		select {
		case got := <-f:
			if got != text {
				t.Fatalf("heard %q, want %q", got, text)
			}
		case <-ctx.Done():
			t.Fatalf("did not hear %q", text)
		}
	}
}

// follow has a tenant's records heard until the test ends.
func follow(t *testing.T, tenant *queue.Tenant, since time.Time, most uint64) follower {
	t.Helper()
	f := make(follower, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tenant.Follow(ctx, since, most, f) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, reset.ErrUnavailable) {
			t.Errorf("Follow = %v", err)
		}
	})
	return f
}

// store stores records, each of a request of its own, some of another publisher.
func store(t *testing.T, tenant *queue.Tenant, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		r := ref()
		if i%2 == 1 {
			r.Publisher = "p2"
		}
		if _, err := tenant.Append(within(t, 20*time.Second), r, fmt.Appendf(nil, "record %d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func texts(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("record %d", i))
	}
	return list
}

func TestFollow(t *testing.T) {
	t.Parallel()
	s := start(t)
	tenant, other := publisher(t, s), publisher(t, s)
	empty := follow(t, other, time.Now().Add(-time.Hour), 1000)
	empty.want(t, "begin", "caught up")
	store(t, tenant, 0, 100)
	empty.want(t, texts(0, 100)...)

	all := follow(t, other, time.Now().Add(-time.Hour), 1000)
	all.want(t, append(append([]string{"begin"}, texts(0, 100)...), "caught up")...)
	few := follow(t, other, time.Now().Add(-time.Hour), 7)
	few.want(t, append(append([]string{"begin"}, texts(93, 100)...), "caught up")...)
	none := follow(t, other, time.Now().Add(time.Hour), 1000)
	none.want(t, "begin", "caught up")
	for i := 100; i < 120; i += 5 {
		store(t, tenant, i, i+5)
		for _, f := range []follower{empty, all, few, none} {
			f.want(t, texts(i, i+5)...)
		}
	}
}

// What was not heard live, since the connection was away, is read.
func TestFollowAfterAGap(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := follow(t, publisher(t, s), time.Now().Add(-time.Hour), 1000)
	f.want(t, "begin", "caught up")
	s.Kill()
	restart(t, s)
	tenant := publisher(t, s)
	store(t, tenant, 0, 10)
	f.want(t, texts(0, 10)...)
}

func TestQueued(t *testing.T) {
	t.Parallel()
	s := start(t)
	tenant := publisher(t, s)
	ctx := within(t, 20*time.Second)
	if n, oldest, err := tenant.Queued(ctx); n != 0 || !oldest.IsZero() || err != nil {
		t.Errorf("of nothing: %d, %s, %v", n, oldest, err)
	}
	before := time.Now().Add(-time.Second)
	for range 3 {
		if err := tenant.Enqueue(ctx, slot(), reset.NewID(), []byte("request")); err != nil {
			t.Fatal(err)
		}
	}
	if n, oldest, err := tenant.Queued(ctx); n != 3 || oldest.Before(before) || oldest.After(time.Now()) || err != nil {
		t.Errorf("of three: %d, %s, %v", n, oldest, err)
	}
}
