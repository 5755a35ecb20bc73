package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit/broker"
)

// take takes the next request.
func take(t *testing.T, tenant *queue.Tenant) *queue.Delivery {
	t.Helper()
	d, err := tenant.Take(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// enqueue puts n requests into slots of their own.
func enqueue(t *testing.T, cloud *queue.Tenant, n int) {
	t.Helper()
	for i := range n {
		if err := cloud.Enqueue(within(t, 20*time.Second), slot(), reset.NewID(), fmt.Appendf(nil, "request %d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

// hasten makes the broker give up on a replica after a second instead of five.
func hasten(t *testing.T, s *broker.Server, replicas ...*queue.Tenant) {
	t.Helper()
	patience(t, s, time.Second, replicas...)
}

// patience sets how long the broker waits for a replica. The replicas work with
// it since they have looked at the consumer before.
func patience(t *testing.T, s *broker.Server, d time.Duration, replicas ...*queue.Tenant) {
	t.Helper()
	cloud := publisher(t, s)
	for _, r := range replicas {
		enqueue(t, cloud, 1)
		if err := take(t, r).Ack(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := pending(t, s).Config
	cfg.AckWait = d
	if _, err := operator(t, s).UpdateConsumer(within(t, 10*time.Second), "REQUESTS", cfg); err != nil {
		t.Fatal(err)
	}
}

// pending says what the broker has handed out.
func pending(t *testing.T, s *broker.Server) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := operator(t, s).Consumer(within(t, 10*time.Second), "REQUESTS", "consumers")
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

func TestTakeShared(t *testing.T) {
	t.Parallel()
	s := start(t)
	const requests = 40
	enqueue(t, publisher(t, s), requests)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	seen, of := make(map[string]int), make([]int, 2)
	var work sync.WaitGroup
	for i := range of {
		replica := consumer(t, s)
		work.Go(func() {
			for {
				d, err := replica.Take(ctx)
				if err != nil {
					return
				}
				if err := d.Ack(ctx); err != nil {
					t.Errorf("acknowledging: %v", err)
				}
				mu.Lock()
				seen[string(d.Data)]++
				of[i]++
				if len(seen) == requests {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if len(seen) != requests || of[0]+of[1] != requests {
		t.Errorf("%d requests were taken %d times, want each of %d once", len(seen), of[0]+of[1], requests)
	}
	if of[0] == 0 || of[1] == 0 {
		t.Errorf("the replicas took %v, want both to have a part", of)
	}
}

// TestTakeHoardsNothing: what a replica did not ask for stays at the broker, for
// the others.
func TestTakeHoardsNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	site := consumer(t, s)
	enqueue(t, publisher(t, s), 10)
	for want := 1; want <= 3; want++ {
		take(t, site)
		if got := pending(t, s); got.NumAckPending != want || got.NumPending != uint64(10-want) {
			t.Errorf("after %d takes, %d are handed out and %d are waiting", want, got.NumAckPending, got.NumPending)
		}
	}
	if got := string(take(t, consumer(t, s)).Data); got != "request 3" {
		t.Errorf("the other replica took %q, want the next one", got)
	}
}

func TestTakeSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	hasten(t, s, site)
	ctx := within(t, 25*time.Second) // a pull that was forgotten would wait for 30 s
	enqueue(t, cloud, 2)
	if err := take(t, site).Ack(ctx); err != nil {
		t.Fatal(err)
	}
	held := take(t, site)
	type taken struct {
		d   *queue.Delivery
		err error
	}
	waiting := make(chan taken, 2)
	for range 2 {
		go func() {
			d, err := site.Take(ctx)
			waiting <- taken{d, err}
		}()
	}
	s.Kill()
	restart(t, s)
	if err := cloud.Enqueue(ctx, slot(), reset.NewID(), []byte("after")); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"after": true, string(held.Data): true}
	for range 2 {
		got := <-waiting
		if got.err != nil {
			t.Fatal(got.err)
		}
		if !want[string(got.d.Data)] {
			t.Errorf("took %q, want one of %v", got.d.Data, want)
		}
		delete(want, string(got.d.Data))
		if err := got.d.Ack(ctx); err != nil {
			t.Errorf("acknowledging %q: %v", got.d.Data, err)
		}
	}
	if got := subjects(t, operator(t, s), "REQUESTS"); len(got) != 0 {
		t.Errorf("REQUESTS holds %v, want nothing", got)
	}
}

// TestTakeBeforeStreams: a consumer may be started before the streams are made.
func TestTakeBeforeStreams(t *testing.T) {
	t.Parallel()
	s := bare(t)
	log := newJournal()
	site := dial(t, s.Config(queue.Consumer), queue.Consumer, zerolog.New(log)).OnPremises("corp")
	done := make(chan error, 1)
	go func() {
		_, err := site.Take(within(t, 20*time.Second))
		done <- err
	}()
	log.await(t, "pulling a request")
	provision(t, s)
	enqueue(t, publisher(t, s), 1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTakeOfAnotherConsumer: a replica does not work with settings that take
// back a promise, and goes on as soon as they are put right.
func TestTakeOfAnotherConsumer(t *testing.T) {
	t.Parallel()
	s := start(t)
	enqueue(t, publisher(t, s), 1)
	hasten(t, s)
	log := newJournal()
	site := dial(t, s.Config(queue.Consumer), queue.Consumer, zerolog.New(log)).OnPremises("corp")
	done := make(chan error, 1)
	go func() {
		_, err := site.Take(within(t, 20*time.Second))
		done <- err
	}()
	log.await(t, "ack_wait from 1s to 5s")
	if got := pending(t, s).NumAckPending; got != 0 {
		t.Errorf("%d requests are handed out, want none", got)
	}
	provision(t, s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTakeEnds(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{true, false} {
		t.Run(fmt.Sprintf("broker up %t", up), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			log := newJournal()
			conn := dial(t, s.Config(queue.Consumer), queue.Consumer, zerolog.New(log))
			log.await(t, "broker connected")
			if !up {
				s.Kill()
				log.await(t, "broker disconnected")
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := conn.OnPremises("corp").Take(ctx)
				done <- err
			}()
			if up {
				awaitPull(t, s)
			}
			cancel()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want %v", err, context.Canceled)
				}
			case <-within(t, 2*time.Second).Done():
				t.Error("Take goes on after its context")
			}
		})
	}
}

// awaitPull waits until a pull request is at the broker.
func awaitPull(t *testing.T, s *broker.Server) {
	t.Helper()
	js := operator(t, s)
	for ctx := within(t, 20*time.Second); ; {
		c, err := js.Consumer(ctx, "REQUESTS", "consumers")
		if err != nil {
			t.Fatal(err)
		}
		if c.CachedInfo().NumWaiting > 0 {
			return
		}
	}
}

// TestDelivery has what a replica can say of a request, each on the request
// that the one before it left.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, one, two := publisher(t, s), consumer(t, s), consumer(t, s)
	hasten(t, s, one, two)
	enqueue(t, cloud, 1)

	first := take(t, one)
	begun := time.Now()
	if err := first.HandBack(300 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	second := take(t, two)
	if took := time.Since(begun); took < 300*time.Millisecond || second.Attempt != 2 {
		t.Errorf("handed back for 300ms, it came after %s as attempt %d", took, second.Attempt)
	}

	// It stays with who reports progress, for three times the ack wait.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	progress := time.NewTicker(250 * time.Millisecond)
	defer progress.Stop()
	taken := make(chan error, 1)
	go func() {
		_, err := one.Take(ctx)
		taken <- err
	}()
	for reporting := true; reporting; {
		select {
		case <-progress.C:
			if err := second.Progress(); err != nil {
				t.Error(err)
			}
		case err := <-taken:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another replica's Take: %v, want none while the first reports progress", err)
			}
			reporting = false
		}
	}

	third := take(t, one) // nobody reports any more
	if third.Attempt != 3 {
		t.Errorf("it came as attempt %d, want 3", third.Attempt)
	}
	if err := third.Drop("nobody can read it"); err != nil {
		t.Fatal(err)
	}
	// The account's slot is free, and what comes next is another request.
	if err := cloud.Enqueue(within(t, 10*time.Second), slotOf(t, third), reset.NewID(), []byte("next")); err != nil {
		t.Fatal(err)
	}
	if got := take(t, two); string(got.Data) != "next" || got.Attempt != 1 {
		t.Errorf("took %q, attempt %d; want the next request", got.Data, got.Attempt)
	}
}

// TestAckLost: an acknowledgement that did not arrive, or whose answer did not, is
// repeated, so that the slot is free.
func TestAckLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		loses direction
	}{{"the question", questions}, {"the answer", answers}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p, cfg := through(t, s, queue.Consumer)
			site := connect(t, cfg, queue.Consumer).OnPremises("corp")
			enqueue(t, publisher(t, s), 1)
			d := take(t, site)
			p.lose(tt.loses)
			done := make(chan error, 1)
			ctx := within(t, 20*time.Second)
			go func() { done <- d.Ack(ctx) }()
			p.awaitLost(t)
			p.heal()
			if err := <-done; err != nil {
				t.Errorf("the ack ends with %v, want it to arrive", err)
			}
			if got := subjects(t, operator(t, s), "REQUESTS"); len(got) != 0 {
				t.Errorf("REQUESTS holds %v, want nothing", got)
			}
		})
	}
}

// TestReplicaDies takes a request with a replica whose line is cut for good.
func TestReplicaDies(t *testing.T) {
	t.Parallel()
	s := start(t)
	p, cfg := through(t, s, queue.Consumer)
	dies, lives := connect(t, cfg, queue.Consumer).OnPremises("corp"), consumer(t, s)
	hasten(t, s, dies, lives)
	enqueue(t, publisher(t, s), 1)
	held := take(t, dies)
	p.lose(questions)
	p.cut()
	d := take(t, lives)
	if d.Attempt != 2 || string(d.Data) != string(held.Data) {
		t.Errorf("the other replica took %q, attempt %d; want %q, attempt 2", d.Data, d.Attempt, held.Data)
	}
	if err := held.Ack(within(t, 300*time.Millisecond)); err == nil {
		t.Error("the dead replica's ack was answered")
	}
	if err := d.Ack(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}

// awaitPulls waits until that many pulls wait at the broker.
func awaitPulls(t *testing.T, s *broker.Server, n int) {
	t.Helper()
	ctx, js := within(t, 20*time.Second), operator(t, s)
	for {
		c, err := js.Consumer(ctx, "REQUESTS", "consumers")
		if err != nil {
			t.Fatal(err)
		}
		if c.CachedInfo().NumWaiting == n {
			return
		}
	}
}

// TestTakeAfterDeath: a replica that is gone has pulls left at the broker. None of
// them gets a request that another replica waits for.
func TestTakeAfterDeath(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, alive := publisher(t, s), consumer(t, s)
	conn := dial(t, s.Config(queue.Consumer), queue.Consumer, zerolog.Nop())
	dead := conn.OnPremises("corp")
	const workers = 4
	for range workers {
		go dead.Take(t.Context())
	}
	awaitPulls(t, s, workers)
	conn.Close()
	enqueue(t, cloud, 1)
	if d := take(t, alive); d.Attempt != 1 {
		t.Errorf("taken at attempt %d: those before went to a replica that is gone", d.Attempt)
	}
}

// TestTakeStops: what is on its way from the broker to a replica that stops waiting
// is given to another at once, and not after the broker's patience.
func TestTakeStops(t *testing.T) {
	t.Parallel()
	s := start(t)
	way, cfg := through(t, s, queue.Consumer)
	cloud, stays := publisher(t, s), consumer(t, s)
	stops := connect(t, cfg, queue.Consumer).OnPremises("corp")
	patience(t, s, time.Minute, stops, stays)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() {
		_, err := stops.Take(ctx)
		ended <- err
	}()
	awaitPulls(t, s, 1)
	release := way.delay()
	defer release()
	enqueue(t, cloud, 1)
	awaitPulls(t, s, 0) // it was sent
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Take = %v", err)
	}
	release()
	take(t, stays)
}
