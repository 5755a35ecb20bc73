package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// TestCluster resets passwords all the time through a broker of three nodes,
// while nodes are lost, give up leading and are restarted. Callers are told what
// became of their requests, or at worst at once that they should come again; and
// the directory has it as they were told.
func TestCluster(t *testing.T) {
	l := startNodes(t, "fake", broker.Nodes)
	c := broker.Watch(l.nodes, l.AdminKeyFile())
	ctx := t.Context()
	// end ends a node with a signal, and waits until it is back.
	end := func(n int, sig syscall.Signal) error {
		name := l.nodes[n].Name
		before := l.endpoints(t).pid(t, name)
		if err := syscall.Kill(before, sig); err != nil {
			return err
		}
		await(t, "the node's restart", func() error {
			if now := l.endpoints(t).pid(t, name); now == before {
				return fmt.Errorf("%s is still process %d", name, now)
			}
			return nil
		})
		return c.AwaitInStep(ctx)
	}
	all := func(sig syscall.Signal) error {
		for n := range broker.Nodes {
			if err := end(n, sig); err != nil {
				return err
			}
		}
		return nil
	}
	endLeader := func(stream string) error {
		n, err := c.Leader(ctx, stream)
		if err != nil {
			return err
		}
		return end(n, syscall.SIGKILL)
	}
	s := newStream(t, l)
	s.await(t, 10)
	for _, fault := range []struct {
		name string
		f    func() error
	}{
		{"a leader gives up leading", func() error {
			return errors.Join(c.StepDown(ctx, "RECORDS"), c.StepDown(ctx, "REQUESTS"), c.AwaitInStep(ctx))
		}},
		{"every node in turn sends its clients away", func() error { return all(syscall.SIGUSR2) }},
		{"every node in turn is restarted", func() error { return all(syscall.SIGTERM) }},
		{"the leader of RECORDS is killed", func() error { return endLeader("RECORDS") }},
		{"the leader of REQUESTS is killed", func() error { return endLeader("REQUESTS") }},
	} {
		begun := time.Now()
		if err := fault.f(); err != nil {
			t.Fatalf("%s: %v", fault.name, err)
		}
		took := time.Since(begun)
		s.await(t, 10)
		t.Logf("%-42s %6s  %s", fault.name, took.Round(10*time.Millisecond), s.report())
	}
	s.end(t)
}

// TestBrokerHangs: the nodes take connections and say nothing. Callers are told to
// come again, in the end at once, and nothing is done for what they were refused.
func TestBrokerHangs(t *testing.T) {
	t.Parallel()
	l := startNodes(t, "fake", broker.Nodes)
	e, users := l.endpoints(t), l.Directory.Users
	signal := func(sig syscall.Signal) {
		for _, n := range l.nodes {
			if err := syscall.Kill(e.pid(t, n.Name), sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantApplied(t, e, "upn", users[0].UPN, "Before-Word-7")
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	refused := func() time.Duration {
		begun := time.Now()
		r, err := e.post(t.Context(), "upn", users[1].UPN, "Refused-Word-7")
		if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Fatalf("without a broker: %v %d %s", err, r.Status, r.Body)
		}
		return time.Since(begun)
	}
	if took := refused(); took > 7*time.Second {
		t.Errorf("a caller is told after %s that the broker is away", took)
	}
	await(t, "a refusal at once", func() error {
		if took := refused(); took > time.Second {
			return fmt.Errorf("a caller is told after %s that the broker is away", took)
		}
		return nil
	})
	// The publisher dials all the while, which takes 5 s each time.
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		if took := refused(); took > time.Second {
			t.Errorf("a caller is told after %s that the broker is away", took)
		}
	}
	signal(syscall.SIGCONT)
	awaitApplied(t, e, "resetting a password afterwards", users[2].UPN)
	if got := l.fake.Counts(users[1].SAMAccountName); got.Modifies != 0 {
		t.Errorf("for the requests that were refused %d modifies were sent", got.Modifies)
	}
}

// A stream is resets that never cease, each account's after its last.
type stream struct {
	l       *Lab
	e       *Endpoints
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	applied int
	changed chan struct{}
	counts  map[string]int // answers since the last report
	longest map[string]time.Duration
	sent    []sent
}

// A sent request is one that was accepted.
type sent struct {
	id      string
	account int
}

// resetters is how many accounts are reset at the same time.
const resetters = 8

func newStream(t *testing.T, l *Lab) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{l: l, e: l.endpoints(t), cancel: cancel, changed: make(chan struct{}),
		counts: make(map[string]int), longest: make(map[string]time.Duration)}
	t.Cleanup(cancel)
	for i := range resetters {
		s.workers.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				// A request that is on its way is answered, also at the end.
				if err := s.reset(context.WithoutCancel(ctx), i, n); err != nil {
					t.Error(err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return s
}

// reset asks once, and judges the answer.
func (s *stream) reset(ctx context.Context, account, n int) error {
	begun := time.Now()
	r, err := s.e.post(ctx, "upn", s.l.Directory.Users[account].UPN, fmt.Sprintf("Cluster-Word-%d", n), "Prefer: wait=20")
	if err != nil {
		return err
	}
	took := time.Since(begun)
	s.mu.Lock()
	defer s.mu.Unlock()
	what := fmt.Sprintf("%d %s", r.Status, r.Code)
	s.counts[what]++
	s.longest[what] = max(s.longest[what], took)
	switch {
	case r.Status == http.StatusOK && r.Code == "applied":
		s.applied++
		close(s.changed)
		s.changed = make(chan struct{})
	case r.Status == http.StatusAccepted, r.Status == http.StatusConflict && r.Code == "in_progress":
	case r.Status == http.StatusServiceUnavailable && r.Code == "broker_unavailable":
		if r.Header.Get("Retry-After") == "" {
			return fmt.Errorf("503 without Retry-After: %s", r.Body)
		}
		if took > 7*time.Second {
			return fmt.Errorf("503 was said after %s only", took)
		}
	default:
		return fmt.Errorf("a caller is told %d %s", r.Status, r.Body)
	}
	if r.ID != "" {
		s.sent = append(s.sent, sent{r.ID, account})
	}
	return nil
}

// await waits until n more requests were applied.
func (s *stream) await(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for want := s.applied + n; s.applied < want; s.mu.Lock() {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			s.mu.Lock() // for the deferred one
			t.Fatalf("%d requests were applied, want %d", s.applied, want)
		}
	}
}

// report says what callers were told since the last report, and the longest that
// they waited for it.
func (s *stream) report() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		text += fmt.Sprintf("%d x %s (longest %s) ", s.counts[what], what, s.longest[what].Round(10*time.Millisecond))
	}
	clear(s.counts)
	clear(s.longest)
	return text
}

// end stops asking, and compares what callers were told with the directory.
func (s *stream) end(t *testing.T) {
	t.Helper()
	s.cancel()
	s.workers.Wait()
	applied := make([]int, resetters)
	codes := make(map[string]int)
	for _, r := range s.sent {
		var got response
		await(t, "the outcome of "+r.id, func() error {
			if got = s.l.get(t, s.e, r.id); !got.Final {
				return errors.New(got.Body)
			}
			return nil
		})
		codes[got.Code]++
		if got.Code == "applied" {
			applied[r.account]++
		}
	}
	t.Logf("%d requests were accepted: %v", len(s.sent), codes)
	for code := range codes {
		if code != "applied" && code != "in_progress" {
			t.Errorf("%d requests ended as %s", codes[code], code)
		}
	}
	for i, want := range applied {
		if got := s.l.fake.Counts(s.l.Directory.Users[i].SAMAccountName).Passwords; got != want {
			t.Errorf("the password of account %d was set %d times, and callers were told so %d times", i, got, want)
		}
	}
}

// TestNodes: a lab is of one node or three.
func TestNodes(t *testing.T) {
	l, err := Start(t.Context(), Options{
		Bin: binaries(t), NATS: filepath.Join(testkit.Root(t), "nats"), Dir: filepath.Join(t.TempDir(), "lab"),
		Consumers: 1, Nodes: 2, Directory: "fake", Out: &output{},
	})
	if err == nil {
		l.Close()
		t.Fatal("a lab of two nodes starts")
	}
}
