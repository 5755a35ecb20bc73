package consumer

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
)

// A company is two replicas and the account.
type company struct {
	*world
	replicas [2]*Consumer
	policies [2]*policy
	account  *account
}

func newCompany(t *testing.T) *company {
	w := newWorld(t)
	c := &company{world: w, account: newAccount()}
	for i := range c.replicas {
		cfg := w.cfg
		c.policies[i] = &policy{}
		cfg.Policy = c.policies[i]
		cfg.Metrics, cfg.Logger = prometheus.NewRegistry(), zerolog.Nop()
		c.replicas[i] = c.start(i, cfg)
	}
	return c
}

// start returns a new run of a replica.
func (c *company) start(i int, cfg Config) *Consumer {
	c.t.Helper()
	name := "replica" + string(rune('1'+i))
	cfg.Log = audit.NewLog(keys.Signer(c.t, seal.PurposeConsumer, 2), name)
	cfg.Directory = c.account.connect(name)
	replica, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return replica
}

// restart begins another run of a replica, on a machine that has not changed.
func (c *company) restart(i int) {
	cfg := c.replicas[i].cfg
	cfg.Metrics = prometheus.NewRegistry()
	c.replicas[i] = c.start(i, cfg)
}

// deliver has the account watch over the first request that there is.
func (c *company) deliver(change func(*draft)) (*receipt, reset.Ref) {
	c.t.Helper()
	r, ref := c.world.deliver(change)
	if c.account.accepted.IsZero() {
		c.account.accepted = time.Now()
		c.account.newest = func() *envelope.Record {
			stored, _ := c.queue.Records(context.Background(), ref.ID)
			rec, err := envelope.ParseRecord(stored[len(stored)-1].Data)
			if err != nil {
				return nil
			}
			return rec
		}
	}
	return r, ref
}

// work has a replica work on a copy of the delivery, and returns what it said.
func (c *company) work(replica int, r *receipt) *receipt {
	copied := &receipt{Delivery: r.Delivery}
	copied.Receipt = copied
	copied.Attempt = 1
	if stored, _ := c.queue.Records(c.t.Context(), c.ref(r).ID); len(stored) > 1 || r.Attempt > 1 {
		copied.Attempt = 2
	}
	c.replicas[replica].work(c.t.Context(), copied.Delivery, func() {})
	return copied
}

func (c *company) ref(r *receipt) reset.Ref {
	req, err := envelope.ParseRequest(r.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	return reset.Ref{Publisher: req.Header.Publisher, ID: req.Header.ID}
}

// finish delivers r to a replica, as the broker would, until it is acknowledged
// or too old, and closes it as a publisher would.
func (c *company) finish(replica int, r *receipt, ref reset.Ref) {
	c.t.Helper()
	req, err := envelope.ParseRequest(r.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	accepted := req.Header.Accepted
	for time.Since(accepted) < reset.QueueAge {
		said := c.work(replica, r)
		r.Attempt++
		if said.acked {
			c.account.locked(func() { c.account.freed = true })
			return
		}
		time.Sleep(max(said.handedBack, time.Second))
		if time.Since(accepted) > reset.Deadline {
			c.publisher("cancel", ref)
		}
	}
	// Not both at one time: their order would be another in every run.
	time.Sleep(time.Until(accepted.Add(reset.Life)) + time.Duration(replica)*time.Millisecond)
	c.publisher("close", ref)
}

// publisher ends a request as publishers do, if it may.
func (c *company) publisher(what string, ref reset.Ref) {
	c.t.Helper()
	chain := c.records(ref)
	last := chain.Last()
	rec := envelope.Record{Kind: envelope.Cancelled, Code: reset.Expired, Tenant: tenantName, Publisher: ref.Publisher, ID: ref.ID,
		Operation: last.Operation, Time: time.Now(), Parent: last.Hash, ParentSeq: last.Seq, Request: last.Request, Doubt: last.Doubt, Asked: last.Asked}
	switch {
	case chain.Ended(), what == "cancel" && !chain.Cancellable():
		return
	case !chain.Cancellable():
		rec.Kind, rec.Code = envelope.Settled, reset.Unconfirmed
	}
	data, err := c.world.publisher.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.queue.Append(c.t.Context(), ref, data, last.Seq)
}

func (c *company) records(ref reset.Ref) audit.Chain {
	c.t.Helper()
	stored, _ := c.queue.Records(c.t.Context(), ref.ID)
	chain, err := c.verify.Verify(ref.ID, stored)
	if err != nil {
		c.t.Fatalf("the chain that was written is not one: %v", err)
	}
	return chain
}

// check holds the promises against what became of a request.
func (c *company) check(ref reset.Ref) reset.Code {
	c.t.Helper()
	chain := c.records(ref)
	code, a := chain.Last().Code, c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.problems {
		c.t.Errorf("%s: %v", p, kinds(chain))
	}
	done := a.executed // what the request asks for
	if chain.Last().Operation == reset.Unlock {
		done = a.unlocked
	}
	switch {
	case !chain.Ended():
		c.t.Errorf("the request has not ended: %v", kinds(chain))
	case code == reset.Applied || code == reset.AppliedPartly:
		if done == 0 && (chain.Last().Operation == reset.Reset || chain.Last().Operation == reset.Change) {
			c.t.Errorf("%s, and no modify was executed: %v", code, kinds(chain))
		}
	case code != reset.Unconfirmed:
		if done > 0 {
			c.t.Errorf("%s, and a modify was executed: %v", code, kinds(chain))
		}
	}
	if a.binds > 1 {
		c.t.Errorf("the directory was asked %d times", a.binds)
	}
	for i, l := range chain {
		for _, m := range a.sent {
			if l.Kind == envelope.Released && m.reached && m.claim == (claimID{chain[i-1].Writer.Name, chain[i-1].Writer.Number}) {
				c.t.Errorf("released, and a modify was sent: %v", kinds(chain))
			}
		}
	}
	return code
}

// count returns how often a modify was sent.
func (a *account) count(what string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.sent {
		if m.what == what {
			n++
		}
	}
	return n
}

func kinds(chain audit.Chain) (names []string) {
	for _, l := range chain {
		name := l.Kind.String()
		if l.Doubt {
			name += "?"
		}
		names = append(names, name)
	}
	return names
}

// kindOf returns a record's kind.
func kindOf(record []byte) envelope.Kind {
	rec, err := envelope.ParseRecord(record)
	if err != nil {
		return 0
	}
	return rec.Kind
}

// onceAt returns a fault for the broker that waits at the first record of kind,
// before it is stored or after.
func onceAt(kind envelope.Kind, after bool, wait func()) func(int, []byte) memq.Fault {
	var met atomic.Bool
	return func(_ int, record []byte) memq.Fault {
		if kindOf(record) != kind || !met.CompareAndSwap(false, true) {
			return nil
		}
		return func(store func()) error {
			if !after {
				wait()
			}
			store()
			if after {
				wait()
			}
			return nil
		}
	}
}

// ambiguous returns a fault for the broker that does not say whether it has
// stored those records.
func ambiguous(those func(*envelope.Record) bool, stored bool) func(int, []byte) memq.Fault {
	return func(_ int, record []byte) memq.Fault {
		rec, err := envelope.ParseRecord(record)
		if err != nil || !those(rec) {
			return nil
		}
		if stored {
			return memq.Lost
		}
		return func(func()) error { return reset.ErrUnknown }
	}
}
