package consumer

import (
	"context"
	"crypto/sha256"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/unseal"
)

// facts returns what the events tell so far.
func (w *world) facts() (facts []envelope.Fact) {
	w.t.Helper()
	synctest.Wait()
	for _, s := range w.queue.Events() {
		e, err := w.verify.Event(s)
		if err != nil || e.Publisher || e.Writer.Name != "replica1" || len(e.Event.Private) != 0 {
			w.t.Fatalf("event %d: %+v, %v", s.Seq, e, err)
		}
		facts = append(facts, e.Fact)
	}
	return facts
}

func (w *world) sealingKey() envelope.SealingKey {
	public, made := w.keys.Public()
	sum := sha256.Sum256(public)
	return envelope.SealingKey{Box: [16]byte(sum[:16]), Made: made.UTC().Truncate(time.Microsecond)}
}

// A sealing key is announced, and a request taken, after the audit has the key.
func TestSealingKeyIsNotedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var taken atomic.Bool
		r, ref := w.deliver(nil)
		w.cfg.Take = func(ctx context.Context) (Delivery, error) {
			if !taken.Swap(true) {
				r.Receipt = r
				return r.Delivery, nil
			}
			<-ctx.Done()
			return Delivery{}, ctx.Err()
		}
		release := w.queue.HoldEvents()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(10 * time.Second) // of the bubble
		if synctest.Wait(); taken.Load() || w.queue.Said("replica1") != nil {
			t.Errorf("before the audit has anything: a request was taken: %t; announced: %x", taken.Load(), w.queue.Said("replica1"))
		}
		release()
		time.Sleep(2 * soon)
		first := w.sealingKey()
		want := []envelope.Fact{envelope.Started{}, first}
		if got := w.facts(); !reflect.DeepEqual(got, want) {
			t.Errorf("events are %+v, want %+v", got, want)
		}
		if a, err := envelope.ParseAnnouncement(w.queue.Said("replica1")); err != nil || sha256.Sum256(a.Box[:])[0] != first.Box[0] {
			t.Errorf("the announcement is %+v, %v", a, err)
		}
		if _, code := w.chain(ref); code != reset.Applied {
			t.Errorf("the request's outcome is %q", code)
		}

		// The next key.
		time.Sleep(unseal.Use - time.Minute)
		before := w.queue.Said("replica1")
		release = w.queue.HoldEvents()
		time.Sleep(time.Minute)
		a, err := envelope.ParseAnnouncement(w.queue.Said("replica1"))
		if err != nil || sha256.Sum256(a.Box[:])[0] != first.Box[0] || string(w.queue.Said("replica1")) == string(before) {
			t.Errorf("the announcement is %+v, %v", a, err)
		}
		if next := w.sealingKey(); next == first {
			t.Error("there is no second key")
		}
		release()
		time.Sleep(2 * soon)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var keys []envelope.SealingKey
		var last envelope.Checkpoint
		for _, f := range w.facts() {
			switch f := f.(type) {
			case envelope.SealingKey:
				keys = append(keys, f)
			case envelope.Checkpoint:
				last = f
			}
		}
		if len(keys) != 2 || keys[1] != w.sealingKey() || !last.Final {
			t.Errorf("the keys are %+v, the last checkpoint %+v", keys, last)
		}
	})
}
