package publisher

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var away atomic.Bool
		oldest := time.Now()
		b := &backlog{ask: func(context.Context) (int, time.Time, error) {
			if away.Load() {
				return 0, time.Time{}, errors.New("the broker is away")
			}
			return int(asked.Add(1)), oldest, nil
		}}
		if _, _, ok := b.known(time.Hour); ok {
			t.Error("something is known before the broker was asked")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.watch(ctx)
		synctest.Wait()
		if n, at, ok := b.known(backlogKnown); n != 1 || !at.Equal(oldest) || !ok {
			t.Errorf("known are %d since %s, %t", n, at, ok)
		}
		// Who looks at once gets what was just said.
		if n, _, ok := b.look(ctx); n != 1 || !ok || asked.Load() != 1 {
			t.Errorf("a look has %d, %t after %d questions", n, ok, asked.Load())
		}
		time.Sleep(time.Second)
		if n, _, ok := b.look(ctx); n != 2 || !ok {
			t.Errorf("a later look has %d, %t", n, ok)
		}
		away.Store(true)
		time.Sleep(backlogEvery)
		if n, _, ok := b.known(backlogKnown); n != 2 || !ok {
			t.Errorf("just after the broker went away %d is known, %t", n, ok)
		}
		if _, _, ok := b.look(ctx); ok {
			t.Error("a look has an answer although the broker is away")
		}
		// Who comes next does not wait for the same silence again.
		silent := &backlog{ask: func(ctx context.Context) (int, time.Time, error) {
			<-ctx.Done()
			return 0, time.Time{}, ctx.Err()
		}}
		began := time.Now()
		for range 10 {
			silent.look(ctx)
		}
		if took := time.Since(began); took != queuePatience {
			t.Errorf("ten who look wait for %s, want %s", took, queuePatience)
		}
		time.Sleep(backlogKnown)
		if _, _, ok := b.known(backlogKnown); ok {
			t.Error("something is known although the broker has been away for long")
		}
	})
}
