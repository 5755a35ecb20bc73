package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit/broker"
)

// A load is requests that go the whole way: accepted record, queue, claim,
// settled record, ack.
type load struct {
	cloud, site []*queue.Tenant
	cancel      context.CancelFunc
	workers     sync.WaitGroup

	mu          sync.Mutex
	done        int
	changed     chan struct{}
	queued      map[string]time.Time // when a request went into the queue, by its id
	ids         []reset.Ref
	write, wait time.Duration // the longest since it was asked
	errs        []error
}

func newLoad(t *testing.T, c *broker.Cluster) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, changed: make(chan struct{}), queued: make(map[string]time.Time)}
	t.Cleanup(cancel)
	for range 2 {
		cloud, site := anywhere(t, c, queue.Publisher).Tenant("corp"), anywhere(t, c, queue.Consumer).OnPremises("corp")
		l.cloud, l.site = append(l.cloud, cloud), append(l.site, site)
		l.workers.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				l.note(l.submit(cloud))
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
		for range 2 {
			l.workers.Go(func() {
				for {
					d, err := site.Take(ctx)
					if err != nil {
						return
					}
					l.note(l.settle(site, d))
				}
			})
		}
	}
	return l
}

func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// submit is what a publisher does with a request.
func (l *load) submit(cloud *queue.Tenant) error {
	ctx, cancel := context.WithTimeout(context.Background(), reset.Deadline)
	defer cancel()
	id := ref()
	seq, err := timed(l, func() (uint64, error) { return cloud.Append(ctx, id, []byte("accepted"), 0) })
	if err != nil {
		return fmt.Errorf("accepting %s: %w", id, err)
	}
	l.mu.Lock()
	l.ids = append(l.ids, id)
	l.queued[id.String()] = time.Now()
	l.mu.Unlock()
	_, err = timed(l, func() (uint64, error) {
		return 0, cloud.Enqueue(ctx, slot(), id.ID, fmt.Appendf(nil, "%s %d", id, seq))
	})
	if err != nil {
		return fmt.Errorf("queueing %s: %w", id, err)
	}
	return nil
}

// settle is what a consumer does with one.
func (l *load) settle(site *queue.Tenant, d *queue.Delivery) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name, last, _ := strings.Cut(string(d.Data), " ")
	id, err := reset.ParseRef(name)
	if err != nil {
		return err
	}
	var seq uint64
	if _, err := fmt.Sscan(last, &seq); err != nil {
		return err
	}
	l.mu.Lock()
	l.wait = max(l.wait, time.Since(l.queued[name]))
	l.mu.Unlock()
	for _, record := range []string{"claimed", "settled"} {
		// No two claims are alike, as in real life.
		data := fmt.Appendf(nil, "%s %s", record, reset.NewID())
		seq, err = timed(l, func() (uint64, error) { return site.Append(ctx, id, data, seq) })
		if errors.Is(err, reset.ErrConflict) && record == "claimed" {
			// Another delivery has done it, or is at it: this one comes
			// again, or comes late from a server that hung.
			if stored, err := site.Records(ctx, id.ID); err == nil && len(stored) == 3 {
				d.Ack(ctx)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", record, id, err)
		}
	}
	d.Ack(ctx) // if it is lost, the request comes again
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func timed(l *load, f func() (uint64, error)) (uint64, error) {
	begun := time.Now()
	seq, err := f()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write = max(l.write, time.Since(begun))
	return seq, err
}

// slowest returns a maximum and begins another.
func (l *load) slowest(of *time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := *of
	*of = 0
	return d.Round(time.Millisecond)
}

// more waits until n more requests have gone the whole way.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	ctx := within(t, time.Minute)
	l.mu.Lock()
	want := l.done + n
	for l.done < want {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d requests went through, want %d; %v", l.done, want, errors.Join(l.errs...))
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
}

// end stops the load and looks at what the broker has of it.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.workers.Wait()
	for _, err := range l.errs {
		t.Error(err)
	}
	counts := make(map[string]int)
	for _, id := range l.ids {
		stored, err := l.cloud[0].Records(within(t, time.Minute), id.ID)
		if err != nil {
			t.Fatal(err)
		}
		var chain []string
		for _, s := range stored {
			word, _, _ := strings.Cut(string(s.Data), " ")
			chain = append(chain, word)
		}
		counts[strings.Join(chain, " ")]++
	}
	t.Logf("%d requests: %v", len(l.ids), counts)
	for chain := range counts {
		// Some still wait in the queue. Who has claimed one, settles it.
		if chain != "accepted" && chain != "accepted claimed settled" {
			t.Errorf("there are requests with the records %q", chain)
		}
	}
	if counts["accepted claimed settled"] < l.done {
		t.Errorf("%d requests are settled, %d were acknowledged as that", counts["accepted claimed settled"], l.done)
	}
}
