package consumer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/guard"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
	"writeback/internal/unseal"
)

const (
	tenantName = "corp"
	password   = "Correct-Horse-7"

	currentPassword = "Wrong-Horse-8"
	staff           = "OU=Staff,DC=corp,DC=example,DC=com"
)

// A world is a consumer with a broker in memory and a scripted directory; the
// test plays the publisher.
type world struct {
	*Consumer
	t         *testing.T
	queue     *memq.Queue
	publisher *audit.Log
	keys      *unseal.Keyring
	dir       *directory
	entry     reset.Entry // that the directory finds
	registry  *prometheus.Registry
}

// A directory does what a test says, and counts.
type directory struct {
	find  func() (reset.Entry, error)
	set   func() error
	begin func(context.Context) error
	ask   func() (bool, error)

	groups, unlock, must, probe error // what these answer
	unlocks, musts, probes      int

	mu    sync.Mutex
	sets  int
	ended int
	seen  [][]byte        // the password's buffer at each set
	ctx   context.Context // of the last set
}

func (d *directory) Find(context.Context, reset.Account) (reset.Entry, error) { return d.find() }

func (d *directory) SetPassword(ctx context.Context, _ reset.Entry, pw secret.Value) error {
	d.mu.Lock()
	d.sets++
	d.ctx = ctx
	pw.Reveal(func(b []byte) error {
		if string(b) != password {
			panic("the directory was given another password")
		}
		d.seen = append(d.seen, b)
		return nil
	})
	d.mu.Unlock()
	return d.set()
}

func (d *directory) Groups(context.Context, reset.Entry) ([]string, error) {
	return []string{"CN=Staff"}, d.groups
}

func (d *directory) Change(ctx context.Context, e reset.Entry, current, pw secret.Value) error {
	current.Reveal(func(b []byte) error {
		if string(b) != currentPassword {
			panic("the directory was given another current password")
		}
		return nil
	})
	return d.SetPassword(ctx, e, pw)
}

func (d *directory) Unlock(context.Context, reset.Entry) error {
	d.unlocks++
	return d.unlock
}

func (d *directory) Probe(context.Context, reset.Entry) error {
	d.probes++
	return d.probe
}

func (d *directory) MustChange(context.Context, reset.Entry) error {
	d.musts++
	return d.must
}

func (d *directory) Ask(context.Context, reset.Entry, secret.Value) (bool, error) { return d.ask() }

func (d *directory) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended++
}

// A policy permits all, but for the errors that a test sets.
type policy struct {
	before, judge error
	groups        bool
	bases         string
	seen          []reset.Entry
}

func (p *policy) Before(guard.Ask) error { return p.before }
func (p *policy) NeedsGroups() bool      { return p.groups }
func (p *policy) Reaches(dn string) bool { return p.bases == "" || strings.HasSuffix(dn, p.bases) }
func (p *policy) Hash() [32]byte         { return [32]byte{1} }
func (p *policy) Judge(_ guard.Ask, e reset.Entry) error {
	p.seen = append(p.seen, e)
	return p.judge
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ring, err := unseal.NewKeyring("", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pub, con := keys.Signer(t, seal.PurposePublisher, 1), keys.Signer(t, seal.PurposeConsumer, 2)
	w := &world{
		t: t, queue: &memq.Queue{}, publisher: audit.NewLog(pub, "pub1"), keys: ring, registry: prometheus.NewRegistry(),
		dir: &directory{
			set: func() error { return nil },
		},
		entry: reset.Entry{DN: "CN=Ada," + staff, Witness: reset.Witness{DC: "dc1", USNChanged: 7, PwdLastSet: 1}},
	}
	w.dir.find = func() (reset.Entry, error) { return w.entry, nil }
	w.Consumer, err = New(Config{
		Tenant: tenantName, Log: audit.NewLog(con, "replica1"), Publishers: keys.Pins(t, pub.Public()),
		Consumers: keys.Pins(t, con.Public()), Keys: ring, Queue: w.queue, Policy: &policy{}, DC: func() string { return "" }, Rules: func() envelope.Rules { return envelope.Rules{} },
		Directory: func(ctx context.Context, _ string) (Session, error) {
			if w.dir.begin != nil {
				if err := w.dir.begin(ctx); err != nil {
					return nil, err
				}
			}
			return w.dir, nil
		},
		Logger: zerolog.New(zerolog.NewTestWriter(t)), Metrics: w.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A request on its way, as the test may change it before it is sealed or
// signed.
type draft struct {
	header  envelope.Header
	signer  *audit.Log
	box     []byte
	rebound bool // the body is sealed under another header
	must    bool // must change
	actor   reset.ActorKind
	cut     int // bytes taken off the end
}

// deliver records, seals and delivers a request and returns the delivery's
// receipt, on which the consumer writes its fate.
func (w *world) deliver(change func(*draft)) (*receipt, reset.Ref) {
	w.t.Helper()
	now := time.Now()
	ref := reset.Ref{Publisher: "pub1", ID: reset.NewID()}
	box, _ := w.keys.Public()
	d := draft{
		header: envelope.Header{
			Tenant: tenantName, Publisher: "pub1", ID: ref.ID, Slot: [16]byte{1}, Operation: reset.Reset,
			Accepted: now, Deadline: now.Add(reset.Deadline),
		},
		signer: w.publisher, box: box, actor: reset.Admin,
	}
	if change != nil {
		change(&d)
	}
	rec := envelope.Record{Kind: envelope.Accepted, Tenant: tenantName, Publisher: "pub1", ID: ref.ID,
		Operation: d.header.Operation, Time: now}
	data, err := w.publisher.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	seq, err := w.queue.Append(context.Background(), ref, data, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	d.header.Parent, d.header.ParentSeq = sha256.Sum256(data), seq
	d.header.Signer = d.signer.Public().ID()
	req := envelope.Request{Header: d.header}
	body := envelope.Body{Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"}, Password: secret.New([]byte(password)), Current: secret.New([]byte(currentPassword)), MustChange: d.must, Actor: reset.Actor{Kind: d.actor}}
	recipient, err := seal.NewBox(d.box)
	if err != nil {
		w.t.Fatal(err)
	}
	bound := req.HeaderBytes()
	if d.rebound {
		other := d.header
		other.ID = reset.NewID()
		bound = other.Append(nil)
	}
	wraps, sealed, err := seal.Body([]seal.Box{recipient}, bound, body.Encode())
	if err != nil {
		w.t.Fatal(err)
	}
	req.Wraps, req.Body = []envelope.Wrap{{Box: wraps[0].Box, Sealed: wraps[0].Sealed}}, sealed
	req.Sig = d.signer.Sign(seal.KindRequest, req.Signed())
	encoded := req.Encode()
	slot := [16]byte{1}
	return &receipt{Delivery: Delivery{Data: encoded[:len(encoded)-d.cut], Slot: hex.EncodeToString(slot[:]), Attempt: 1}}, ref
}

// A receipt is a delivery that remembers its fate.
type receipt struct {
	Delivery
	acked, dropped bool
	handedBack     time.Duration // 0 is not
	progress       int
}

func (r *receipt) Progress() error                { r.progress++; return nil }
func (r *receipt) Ack(context.Context) error      { r.acked = true; return nil }
func (r *receipt) HandBack(d time.Duration) error { r.handedBack = d; return nil }
func (r *receipt) Drop(string) error              { r.dropped = true; return nil }

// once is a Take for one worker, which gets r and then nothing.
func once(r *receipt) func(context.Context) (Delivery, error) {
	taken := false
	return func(ctx context.Context) (Delivery, error) {
		if !taken {
			taken = true
			return r.Delivery, nil
		}
		<-ctx.Done()
		return Delivery{}, ctx.Err()
	}
}

// run delivers r once more, or for the first time.
func (w *world) run(ctx context.Context, r *receipt) {
	r.acked, r.dropped, r.handedBack = false, false, 0
	r.Receipt = r
	w.work(ctx, r.Delivery, func() {})
	r.Attempt++
}

// chain returns the kinds of the request's records, and its outcome.
func (w *world) chain(ref reset.Ref) (kinds []envelope.Kind, code reset.Code) {
	w.t.Helper()
	stored, _ := w.queue.Records(context.Background(), ref.ID)
	chain, err := w.verify.Verify(ref.ID, stored)
	if err != nil {
		w.t.Fatalf("the chain that was written is not one: %v", err)
	}
	for _, l := range chain {
		kinds = append(kinds, l.Kind)
	}
	return kinds, chain.Last().Code
}

func (w *world) expect(ref reset.Ref, code reset.Code, kinds ...envelope.Kind) {
	w.t.Helper()
	got, gotCode := w.chain(ref)
	kinds = append([]envelope.Kind{envelope.Accepted}, kinds...)
	if len(got) != len(kinds) {
		w.t.Errorf("records = %v, want %v", got, kinds)
		return
	}
	for i := range got {
		if got[i] != kinds[i] {
			w.t.Errorf("records = %v, want %v", got, kinds)
			return
		}
	}
	if gotCode != code {
		w.t.Errorf("outcome = %q, want %q", gotCode, code)
	}
}

func TestApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		// The claim is on the chain before the directory is asked to change
		// anything.
		w.dir.set = func() error {
			w.expect(ref, "", envelope.Claimed)
			return nil
		}
		w.run(t.Context(), r)
		w.expect(ref, reset.Applied, envelope.Claimed, envelope.Settled)
		if !r.acked || w.dir.sets != 1 || w.dir.ended != 1 {
			t.Errorf("acked %t, %d modifies, %d sessions ended; want true, 1, 1", r.acked, w.dir.sets, w.dir.ended)
		}
		if !bytes.Equal(w.dir.seen[0], make([]byte, len(password))) {
			t.Error("the password is still in memory")
		}
		w.run(t.Context(), r) // the ack was lost
		w.expect(ref, reset.Applied, envelope.Claimed, envelope.Settled)
		if !r.acked || w.dir.sets != 1 {
			t.Errorf("delivered again: acked %t, %d modifies; want true, 1", r.acked, w.dir.sets)
		}
		if n := testutil.ToFloat64(w.metrics.outcomes.WithLabelValues("applied")); n != 1 {
			t.Errorf("outcomes counted = %v, want 1", n)
		}
	})
}

// The line about an outcome says which domain controller had the account, and has no
// name of it.
func TestSettledLine(t *testing.T) {
	for code, set := range map[reset.Code]func() error{
		reset.Applied:      func() error { return nil },
		reset.NotPermitted: func() error { return &reset.Error{Code: reset.NotPermitted, Err: errors.New("result 50")} },
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			w := newWorld(t)
			w.cfg.Logger, w.dir.set = zerolog.New(&log), set
			r, ref := w.deliver(nil)
			w.run(t.Context(), r)
			for _, want := range []string{`"message":"request settled"`, `"code":"` + string(code) + `"`, `"dc":"dc1"`,
				`"operation":"reset"`, `"request":"` + ref.String() + `"`} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the line is %s, want %s in it", &log, want)
				}
			}
			if strings.Contains(log.String(), "ada") || strings.Contains(log.String(), "Ada") {
				t.Errorf("the line names the account: %s", &log)
			}
		})
	}
}

// Every code that a directory can answer is settled and acknowledged.
func TestEveryCodeSettles(t *testing.T) {
	for _, code := range reset.Codes() {
		t.Run(string(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.dir.set = func() error { return &reset.Error{Code: code, Details: reset.Details{MinLength: 14}} }
				r, ref := w.deliver(nil)
				w.run(t.Context(), r)
				w.expect(ref, code, envelope.Claimed, envelope.Settled)
				if !r.acked {
					t.Error("not acknowledged")
				}
			})
		})
	}
}
