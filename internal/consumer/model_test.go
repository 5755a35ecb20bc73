package consumer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
)

// An account is a model of one account in a directory. Its domain controllers
// replicate at once, unless one of them lags.
type account struct {
	mu         sync.Mutex
	current    string   // password
	history    []string // that a reset may not repeat; nil if history is off
	usn        uint64
	pwdLastSet int64
	locked     bool
	mayUnlock  bool
	deleted    bool
	down       map[string]bool // domain controllers
	best       string          // that is preferred

	executed int // modifies that set a password
	refused  int
	binds    int

	// dc2 has not heard of anything yet, and refuses every password.
	apart bool
	// What a test does at a step: it may wait.
	at func(step string)
	// How long a modify takes at the domain controller before it is executed.
	slow time.Duration
	// The answer to a modify that was executed is lost.
	lost bool
}

func newAccount() *account {
	return &account{current: "Before-5", history: []string{"Before-5"}, usn: 7, pwdLastSet: 100, best: "dc1", mayUnlock: true, down: map[string]bool{}, at: func(string) {}}
}

// set sets a password as an administrator would.
func (a *account) set(password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store(password)
}

func (a *account) store(password string) {
	a.current = password
	if a.history != nil {
		a.history = append(a.history, password)
	}
	a.usn++
	a.pwdLastSet++
}

// reset executes a modify at the domain controller.
func (a *account) reset(password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.history, password) {
		a.refused++
		return &reset.Error{Code: reset.PasswordInHistory}
	}
	a.store(password)
	a.executed++
	return nil
}

func (a *account) setLocked(locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.locked = locked
}

// setDown says whether a domain controller is away.
func (a *account) setDown(dc string, down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down[dc] = down
}

func (a *account) away(dc string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.down[dc]
}

// connect is the Directory of a consumer.
func (a *account) connect(_ context.Context, dc string) (Session, error) {
	if dc == "" {
		if dc = a.best; a.away(dc) {
			dc = "dc2"
		}
	}
	if a.away(dc) {
		return nil, reset.ErrDirectoryUnavailable
	}
	return &accountSession{directory: &directory{}, a: a, dc: dc}, nil
}

type accountSession struct {
	*directory // for what a model has no use of
	a          *account
	dc         string
}

func (s *accountSession) Find(context.Context, reset.Account) (reset.Entry, error) {
	s.a.at("find")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if s.a.deleted {
		return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound}
	}
	w := reset.Witness{DC: s.dc, USNChanged: s.a.usn, PwdLastSet: s.a.pwdLastSet}
	if s.a.apart && s.dc == "dc2" {
		w.USNChanged, w.PwdLastSet = 1, 100
	}
	return reset.Entry{DN: "CN=Ada," + staff, GUID: [16]byte{1}, Locked: s.a.locked, Witness: w}, nil
}

func (s *accountSession) SetPassword(ctx context.Context, _ reset.Entry, pw secret.Value) error {
	var password string
	pw.Reveal(func(b []byte) error { password = string(b); return nil })
	s.a.at("send")
	if s.a.away(s.dc) {
		return reset.ErrDirectoryUnavailable
	}
	s.a.mu.Lock()
	slow, refuses := s.a.slow, s.a.apart && s.dc == "dc2"
	s.a.mu.Unlock()
	if refuses {
		return &reset.Error{Code: reset.PasswordTooRecent}
	}
	if slow > 0 {
		// It is executed whatever becomes of the connection.
		time.AfterFunc(slow, func() { s.a.reset(password) })
		time.Sleep(min(slow, reset.ModifyTimeout))
		return reset.ErrUnanswered
	}
	err := s.a.reset(password)
	s.a.at("answer")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if s.a.lost {
		s.a.lost = false
		return reset.ErrUnanswered
	}
	return err
}

func (s *accountSession) Ask(_ context.Context, _ reset.Entry, pw secret.Value) (right bool, err error) {
	s.a.at("ask")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if s.a.locked {
		return false, reset.ErrNotAsked
	}
	s.a.binds++
	pw.Reveal(func(b []byte) error { right = string(b) == s.a.current; return nil })
	return right, nil
}

func (s *accountSession) Unlock(context.Context, reset.Entry) error {
	s.a.mu.Lock()
	if !s.a.mayUnlock {
		s.a.mu.Unlock()
		return &reset.Error{Code: reset.NotPermitted}
	}
	if s.a.locked {
		s.a.locked = false
		s.a.usn++
	}
	s.a.mu.Unlock()
	s.a.at("unlocked")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if s.a.lost {
		s.a.lost = false
		return reset.ErrUnanswered
	}
	return nil
}

func (s *accountSession) MustChange(context.Context, reset.Entry) error {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	s.a.pwdLastSet = 0
	s.a.usn++
	return nil
}

func (s *accountSession) End() {}

// A company is two replicas and the account.
type company struct {
	*world
	replicas [2]*Consumer
	account  *account
}

func newCompany(t *testing.T) *company {
	w := newWorld(t)
	c := &company{world: w, account: newAccount()}
	for i := range c.replicas {
		cfg := w.cfg
		cfg.Log = audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 2), "replica"+string(rune('1'+i)))
		cfg.Policy = &policy{}
		cfg.Directory, cfg.Metrics, cfg.Logger = c.account.connect, prometheus.NewRegistry(), zerolog.Nop()
		replica, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.replicas[i] = replica
	}
	return c
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
			return
		}
		time.Sleep(max(said.handedBack, time.Second))
		if time.Since(accepted) > reset.Deadline {
			c.publisher("cancel", ref)
		}
	}
	time.Sleep(time.Until(accepted.Add(reset.Life)))
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
	switch {
	case !chain.Ended():
		c.t.Errorf("the request has not ended: %v", kinds(chain))
	case code == reset.Applied || code == reset.AppliedPartly:
		if a.executed == 0 {
			c.t.Errorf("%s, and no modify was executed: %v", code, kinds(chain))
		}
	case code != reset.Unconfirmed:
		if a.executed > 0 {
			c.t.Errorf("%s, and a modify was executed: %v", code, kinds(chain))
		}
	}
	if a.history != nil && a.executed > 1 {
		c.t.Errorf("%d modifies were executed: %v", a.executed, kinds(chain))
	}
	if a.binds > 1 {
		c.t.Errorf("the directory was asked %d times", a.binds)
	}
	return code
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
