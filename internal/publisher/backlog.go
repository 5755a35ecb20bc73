package publisher

import (
	"context"
	"sync"
	"time"
)

// How often the broker is asked how many requests wait, how old an answer may be
// that the page shows, and one that metrics show: more than two were missed then.
const (
	backlogEvery  = 5 * time.Second
	backlogFresh  = 500 * time.Millisecond
	backlogKnown  = 3 * backlogEvery
	queuePatience = time.Second // how long the broker may take to say it
)

// A backlog is what waits in a tenant's queue, as far as the broker has said.
type backlog struct {
	ask func(context.Context) (int, time.Time, error)

	turn   sync.Mutex // is held by who asks
	failed time.Time  // when the broker last did not answer; guarded by turn

	mu     sync.Mutex // guards what follows
	n      int
	oldest time.Time // since when the oldest request is there; zero is none
	at     time.Time // when the broker said so; zero is never
}

// known returns what the broker said at most age ago; ok is false if it did not.
func (b *backlog) known(age time.Duration) (n int, oldest time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n, b.oldest, !b.at.IsZero() && time.Since(b.at) <= age
}

// look asks the broker, unless it has just said it; ok is false if it does not
// answer in time.
func (b *backlog) look(ctx context.Context) (n int, oldest time.Time, ok bool) {
	b.turn.Lock()
	defer b.turn.Unlock()
	if n, oldest, ok = b.known(backlogFresh); ok {
		return n, oldest, true
	}
	if time.Since(b.failed) <= backlogFresh {
		return 0, time.Time{}, false // who waited for their turn do not wait again
	}
	ctx, cancel := context.WithTimeout(ctx, queuePatience)
	defer cancel()
	n, oldest, err := b.ask(ctx)
	if err != nil {
		b.failed = time.Now()
		return 0, time.Time{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n, b.oldest, b.at = n, oldest, time.Now()
	return n, oldest, true
}

// watch looks again and again until ctx ends.
func (b *backlog) watch(ctx context.Context) {
	for ctx.Err() == nil {
		b.look(ctx)
		sleep(ctx, backlogEvery)
	}
}
