package lab

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// edit changes a configuration file.
func edit(t *testing.T, path string, change func(node)) {
	t.Helper()
	cfg := readNode(t, path)
	change(cfg)
	if err := write(path, cfg); err != nil {
		t.Fatal(err)
	}
}

// end sends a program a signal and waits until its next run is ready and, of a
// consumer, requests are sealed for it.
func (l *Lab) end(t *testing.T, name, operations string, sig syscall.Signal) {
	t.Helper()
	pid, begun := l.endpoints(t).pid(t, name), time.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	l.awaitNext(t, name, operations, pid)
	if name[:4] != "cons" {
		return
	}
	l.awaitAnnounced(t, name, begun)
}

// awaitNext waits until the run of a program after the one that is process pid is
// ready.
func (l *Lab) awaitNext(t *testing.T, name, operations string, pid int) {
	t.Helper()
	await(t, "the next run of "+name, func() error {
		if l.endpoints(t).pid(t, name) == pid {
			return fmt.Errorf("%s is still process %d", name, pid)
		}
		return ready(t.Context(), name, operations)
	})
}

// awaitAnnounced waits until a replica has said that it is alive.
func (l *Lab) awaitAnnounced(t *testing.T, name string, since time.Time) {
	t.Helper()
	presence, err := inspect(t, l.endpoints(t)).js.KeyValue(t.Context(), "consumers")
	if err != nil {
		t.Fatal(err)
	}
	await(t, name+" says that it is alive", func() error {
		entry, err := presence.Get(t.Context(), name)
		if err == nil && entry.Created().Before(since) {
			err = fmt.Errorf("the last time was %s", entry.Created())
		}
		return err
	})
}

// A stream of callers that reset passwords without a pause, each of an account of
// its own. Behind them stands what a load balancer does: a publisher that is not
// there or not ready is left for the next one.
type callersAt struct {
	t       *testing.T
	doors   []*Endpoints
	stop    chan struct{}
	wg      sync.WaitGroup
	applied atomic.Int64
}

func keepCalling(t *testing.T, l *Lab, doors ...*Endpoints) *callersAt {
	c := &callersAt{t: t, doors: doors, stop: make(chan struct{})}
	for i := range 6 {
		c.wg.Go(func() {
			user, n := l.Directory.Users[i], 0
			for ; ; n++ {
				select {
				case <-c.stop:
					if set := l.fake.Counts(user.SAMAccountName).Passwords; set != n {
						t.Errorf("account %d: %d resets were applied, the password was set %d times", i, n, set)
					}
					return
				default:
				}
				if r, err := c.reset(user.UPN, i, n); err != nil || r.Code != "applied" {
					t.Errorf("account %d, reset %d: %v %s", i, n, err, r.Body)
					return
				}
				c.applied.Add(1)
			}
		})
	}
	return c
}

func (c *callersAt) reset(upn string, i, n int) (r response, err error) {
	for try, begun := 0, time.Now(); time.Since(begun) < 10*time.Second; try++ {
		door := c.doors[(i+n+try)%len(c.doors)]
		r, err = door.post(c.t.Context(), "upn", upn, fmt.Sprintf("Rotating-Word-%d-%d", i, n), fmt.Sprintf("Idempotency-Key: %d-%d", i, n))
		if err == nil && r.Status != http.StatusServiceUnavailable {
			return r, nil
		}
	}
	return r, err
}

// end has no more resets begin, and waits for the last ones.
func (c *callersAt) end() {
	close(c.stop)
	c.wg.Wait()
}

// more waits for resets that begin now.
func (c *callersAt) more(n int64) {
	c.t.Helper()
	want := c.applied.Load() + 6 + n
	await(c.t, "more resets", func() error {
		if got := c.applied.Load(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

// TestKeyRotation replaces publisher.key, and the consumer.key of one replica, as
// docs/keys.md says, while two publishers and two consumers work without a
// pause. No reset fails, and the old keys are believed nowhere afterwards, but for
// what they signed before.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	second := l.startFrontDoor(t, "second", nil)
	ops := operations(t, l.Dir, 2)
	ops["second"] = second.operations
	configs := map[string]string{
		"publisher": l.path("publisher", "publisher.yaml"), "second": l.path("publisher", "second.yaml"),
		"consumer1": l.path("consumer1", "consumer.yaml"), "consumer2": l.path("consumer2", "consumer.yaml"),
	}
	order := []string{"consumer1", "consumer2", "publisher", "second"}
	e := l.endpoints(t)
	first := wantApplied(t, e, "upn", l.Directory.Users[9].UPN, "Before-Word-7")
	traffic := keepCalling(t, l, e, second.Endpoints)
	traffic.more(10)

	// The new keys are made, and pinned beside the old ones.
	oldPublisher, newPublisher := replacement(t, l, "publisher", l.path("publisher"))
	oldConsumer, newConsumer := replacement(t, l, "consumer", l.path("consumer1"))
	pin := func(list any, old, fresh seal.PublicKey, end any) []any {
		var pins []any
		if list != nil {
			pins = list.([]any)
		}
		var kept []any
		for _, p := range pins {
			if key := p.(node)["key"]; key != old.String() && key != fresh.String() {
				kept = append(kept, p)
			}
		}
		ending := node{"key": old.String()}
		if end != nil {
			ending["not_after"] = end
		}
		return append(kept, ending, node{"key": fresh.String()})
	}
	round := func(end any) {
		t.Helper()
		for _, name := range order {
			edit(t, configs[name], func(cfg node) {
				cfg["publishers"] = pin(cfg["publishers"], oldPublisher.Public(), newPublisher.Public(), end)
				if tenants, ok := cfg["tenants"]; ok {
					tenant := tenants.([]any)[0].(node)
					tenant["consumers"] = pin(tenant["consumers"], oldConsumer.Public(), newConsumer.Public(), end)
				} else {
					cfg["consumers"] = pin(cfg["consumers"], oldConsumer.Public(), newConsumer.Public(), end)
				}
			})
			l.end(t, name, ops[name], syscall.SIGTERM)
		}
		traffic.more(10)
	}
	round(nil)

	// Each program goes over.
	swap(t, l.path("publisher", "new", "publisher.key"), l.path("publisher", "publisher.key"))
	swap(t, l.path("consumer1", "new", "consumer.key"), l.path("consumer1", "consumer.key"))
	for _, name := range []string{"publisher", "second", "consumer1"} {
		l.end(t, name, ops[name], syscall.SIGTERM)
	}
	traffic.more(10)

	// The old ones end.
	round(time.Now().UTC())
	traffic.end()
	t.Logf("%d resets", traffic.applied.Load())

	if got := l.get(t, e, first.ID); got.Code != "applied" || !got.Final {
		t.Errorf("a reset from before: %s", got.Body)
	}
	l.wantRefused(t, oldPublisher, oldConsumer)
	wantApplied(t, e, "upn", l.Directory.Users[9].UPN, "After-Word-7")
}

// replacement makes a new signing key with `init` in a directory below dir, and
// returns the old and the new one.
func replacement(t *testing.T, l *Lab, program, dir string) (old, fresh *seal.Signer) {
	t.Helper()
	if err := os.Mkdir(dir+"/new", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.publicKey(t.Context(), program, dir+"/new"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		path string
		to   **seal.Signer
	}{{dir, &old}, {dir + "/new", &fresh}} {
		var err error
		if *s.to, err = seal.LoadSigner(s.path+"/"+program+".key", seal.Purpose(program)); err != nil {
			t.Fatal(err)
		}
	}
	return old, fresh
}

func swap(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// wantRefused tries what a thief has who can also write anything into the broker:
// a request with the one key, and a sealing key with the other.
func (l *Lab) wantRefused(t *testing.T, publisher, consumer *seal.Signer) {
	t.Helper()
	o := newOwner(t, l)
	user := l.Directory.Users[8]
	a, err := reset.NewAccount(reset.UPN, user.UPN)
	if err != nil {
		t.Fatal(err)
	}
	if publisher != nil {
		f := newForger(t, l)
		f.log = audit.NewLog(publisher, "thief")
		h := f.accept(t, a)
		message := f.request(t, h, h, a, f.log)
		o.logs(t, "consumer", "unknown_signer", func() error {
			f.put(t, h.Slot, message)
			return nil
		})
		if n := l.fake.Counts(user.SAMAccountName).Modifies; n != 0 {
			t.Errorf("the directory got %d modifies for a request with the old key", n)
		}
	}
	if consumer != nil {
		thief := audit.NewLog(consumer, consumerName(0))
		ann := envelope.Announcement{
			Tenant: Tenant, Replica: consumerName(0), Run: thief.Run(), Time: time.Now(),
			Box: [envelope.BoxSize]byte(keys.Box(t)), Signer: thief.Public().ID(),
		}
		ann.Sig = thief.Sign(seal.KindAnnounce, ann.Signed())
		o.logs(t, "publisher", "not signed by a pinned consumer", func() error {
			_, err := o.js.Publish(t.Context(), "$KV.consumers."+consumerName(0), ann.Encode())
			return err
		})
	}
}
