package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
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

const tenantName = "corp"

// A world is a publisher with a broker in memory, and the other side played by
// the test.
type world struct {
	*Publisher
	t        *testing.T
	queue    *memq.Queue
	consumer *audit.Log
	box      []byte
	cfg      Config
	request  [32]byte // that the consumer speaks of; zero: the one that it was sent
	stop     func()
}

// newWorld returns a running publisher that has heard of one consumer. It must
// be called in a synctest bubble.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []func() error{
		func() error { _, err := seal.MakeKey(filepath.Join(dir, "slot.key"), seal.PurposeSlot); return err },
		func() error {
			_, err := seal.MakeMonthKeys(filepath.Join(dir, "record.key"), time.Now(), 2)
			return err
		},
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	slots, err := seal.LoadSlotKey(filepath.Join(dir, "slot.key"))
	if err != nil {
		t.Fatal(err)
	}
	months, err := seal.LoadMonthKeys(filepath.Join(dir, "record.key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, queue: &memq.Queue{}, box: keys.Box(t)}
	signer, consumer := keys.Signer(t, seal.PurposePublisher, 1), keys.Signer(t, seal.PurposeConsumer, 2)
	w.consumer = audit.NewLog(consumer, "replica1")
	w.cfg = Config{
		Log:        audit.NewLog(signer, "pub1"),
		Publishers: keys.Pins(t, signer.Public()),
		Slots:      slots,
		Months:     months,
		Tenants:    []Tenant{{Name: tenantName, Broker: w.queue, Consumers: keys.Pins(t, consumer.Public())}},
		Logger:     zerolog.New(zerolog.NewTestWriter(t)),
		Metrics:    prometheus.NewRegistry(),
		Overview:   true,
	}
	w.start()
	w.announce(w.consumer, time.Now())
	return w
}

// start runs a publisher; a second call is a second one, on the same broker.
func (w *world) start() {
	w.t.Helper()
	p := New(w.cfg)
	w.Publisher = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	synctest.Wait()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run = %v", err)
		}
	}
}

func (w *world) announce(as *audit.Log, at time.Time) {
	a := envelope.Announcement{
		Tenant: tenantName, Replica: as.Name(), Run: as.Run(), Time: at,
		Box: [envelope.BoxSize]byte(w.box), Signer: as.Public().ID(),
	}
	a.Sig = as.Sign(seal.KindAnnounce, a.Signed())
	w.queue.Announce(as.Name(), a.Encode())
}

func submission() reset.Submission {
	return reset.Submission{
		Tenant: tenantName, Source: "test", Operation: reset.Reset,
		Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
		Actor:   reset.Actor{Kind: reset.Self, Subject: "ada"},
	}
}

// write appends a record as a consumer does, after the newest one.
func (w *world) write(as *audit.Log, kind envelope.Kind, code reset.Code) error {
	w.t.Helper()
	data, _ := w.queue.Waiting()
	req, err := envelope.ParseRequest(data)
	if err != nil {
		w.t.Fatal(err)
	}
	h := req.Header
	stored, _ := w.queue.Records(context.Background(), h.ID)
	chain, err := w.tenants[tenantName].verify.Verify(h.ID, stored)
	if err != nil {
		w.t.Fatal(err)
	}
	last := chain.Last()
	rec := envelope.Record{
		Kind: kind, Tenant: h.Tenant, Publisher: h.Publisher, ID: h.ID, Operation: h.Operation, Code: code,
		Time: time.Now(), Parent: last.Hash, ParentSeq: last.Seq, Doubt: last.Doubt, Request: sha256.Sum256(data),
	}
	if w.request != [32]byte{} {
		rec.Request = w.request
	}
	data, err = as.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.queue.Append(context.Background(), reset.Ref{Publisher: h.Publisher, ID: h.ID}, data, last.Seq)
	return err
}

func (w *world) submit(s reset.Submission, wait time.Duration) (reset.Status, error) {
	return w.Submit(context.Background(), s, secret.New([]byte("Correct-Horse-7")), secret.Value{}, wait)
}

func (w *world) mustSubmit(wait time.Duration) reset.Status {
	w.t.Helper()
	status, err := w.submit(submission(), wait)
	if err != nil {
		w.t.Fatalf("Submit = %v", err)
	}
	return status
}

func (w *world) status(ref reset.Ref) reset.Status {
	w.t.Helper()
	status, err := w.Status(context.Background(), tenantName, ref)
	if err != nil {
		w.t.Fatalf("Status = %v", err)
	}
	return status
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		go func() {
			time.Sleep(time.Second) // of the bubble: the consumer takes its time
			w.write(w.consumer, envelope.Claimed, "")
			time.Sleep(2 * time.Second)
			w.write(w.consumer, envelope.Settled, reset.Applied)
		}()
		begun := time.Now()
		s := w.mustSubmit(15 * time.Second)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("answered after %s, want 3s: as soon as the outcome is there", took)
		}
		if s.State != reset.Final || s.Outcome.Code != reset.Applied || !s.Final || s.Consumer != "replica1" {
			t.Errorf("status = %+v, want a final applied by replica1", s)
		}
		if l := s.Timeline; l.PickedUp != time.Second || l.Answered != 3*time.Second {
			t.Errorf("timeline = %+v", l)
		}
		if again := w.status(s.Ref); again.Outcome.Code != reset.Applied {
			t.Errorf("asked again: %+v", again)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := w.mustSubmit(time.Second)
		if s.State != reset.Accepted || s.Final || s.Outcome.Code != "" {
			t.Errorf("status = %+v, want accepted and nothing known", s)
		}
		w.write(w.consumer, envelope.Claimed, "")
		if s = w.status(s.Ref); s.State != reset.PickedUp {
			t.Errorf("after the claim: %+v", s)
		}
		w.write(w.consumer, envelope.Settled, reset.PasswordRefused)
		if s = w.status(s.Ref); s.Outcome.Code != reset.PasswordRefused || !s.Final {
			t.Errorf("after the outcome: %+v", s)
		}
	})
}

// What is not heard live is read from the stream, soon.
func TestLiveRecordsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.queue.Deafen()
		go func() {
			w.write(w.consumer, envelope.Claimed, "")
			w.write(w.consumer, envelope.Settled, reset.Applied)
		}()
		begun := time.Now()
		if s := w.mustSubmit(15 * time.Second); s.Outcome.Code != reset.Applied || time.Since(begun) > readFirst+time.Second {
			t.Errorf("status = %+v after %s, want applied after %s", s, time.Since(begun), readFirst)
		}
	})
}

// A stranger's records are not believed, nor do they keep us from the truth.
func TestForgedOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 9), "replica1")
		s := w.mustSubmit(time.Second)
		if err := w.write(stranger, envelope.Claimed, ""); err != nil {
			t.Fatal(err)
		}
		if s = w.status(s.Ref); s.State != reset.Accepted {
			t.Errorf("a stranger's claim is shown: %+v", s)
		}
	})
	// Nor is an outcome that a stranger writes under a consumer's claim.
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 9), "replica1")
		s := w.mustSubmit(time.Second)
		if err := w.write(w.consumer, envelope.Claimed, ""); err != nil {
			t.Fatal(err)
		}
		if err := w.write(stranger, envelope.Settled, reset.Applied); err != nil {
			t.Fatal(err)
		}
		if s = w.status(s.Ref); s.State != reset.PickedUp || s.Final || s.Outcome.Code != "" {
			t.Errorf("a stranger's outcome is shown: %+v", s)
		}
	})
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name string
		do   func(*world)
		want reset.RefusalCode
	}{
		{"no consumer was heard of for 30 s", func(*world) { time.Sleep(reset.Presence + time.Second) }, reset.NoConsumer},
		{"the broker has been away for so long that no consumer is heard of", func(w *world) {
			w.queue.HideSwitches(true)
			time.Sleep(reset.Presence + time.Second)
		}, reset.BrokerUnavailable},
		{"the consumer's clock is behind", func(w *world) {
			time.Sleep(time.Second)
			again := audit.NewLog(keys.Signer(w.t, seal.PurposeConsumer, 2), "replica1")
			w.announce(again, time.Now().Add(-time.Minute))
		}, reset.Clock},
		{"the consumer's clock is ahead", func(w *world) {
			w.announce(w.consumer, time.Now().Add(time.Minute))
		}, reset.Clock},
		{"the broker is away", func(w *world) {
			w.queue.OnAppend(func(int, []byte) memq.Fault { return memq.Away })
		}, reset.BrokerUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer func() { w.stop() }()
				tt.do(w)
				_, err := w.submit(submission(), time.Second)
				var r *reset.Refusal
				if !errors.As(err, &r) || r.Code != tt.want || r.RetryAfter <= 0 {
					t.Errorf("Submit = %v, want %s with a time to retry after", err, tt.want)
				}
				if stored, _ := w.queue.Records(t.Context(), reset.ID{}); len(stored) != 0 {
					t.Errorf("%d records were written", len(stored))
				}
			})
		})
	}
}

func TestOtherTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := w.mustSubmit(0)
		other := submission()
		other.Tenant = "other"
		_, err := w.submit(other, 0)
		var r *reset.Refusal
		if !errors.As(err, &r) || r.Code != reset.Forbidden || r.Field == "" {
			t.Errorf("Submit = %v, want forbidden with a field", err)
		}
		if _, err := w.Status(t.Context(), "other", s.Ref); !errors.As(err, &r) || r.Code != reset.UnknownRequest {
			t.Errorf("Status = %v, want unknown_request", err)
		}
	})
}

// A consumer whose clock was put right is believed again at once.
func TestClockPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.announce(w.consumer, time.Now().Add(10*time.Minute))
		var r *reset.Refusal
		if _, err := w.submit(submission(), 0); !errors.As(err, &r) || r.Code != reset.Clock {
			t.Errorf("Submit = %v, want clock", err)
		}
		time.Sleep(time.Second)
		w.announce(w.consumer, time.Now())
		w.mustSubmit(0)
	})
}

// A consumer that was heard of before is known to speak now: one whose clock is
// behind is noticed, but an announcement that was on its way for long says
// nothing against it.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		late := func() { w.announce(w.consumer, time.Now().Add(-reset.ClockSkew-time.Millisecond)) }
		var r *reset.Refusal
		for range 3 {
			time.Sleep(10 * time.Second)
			late()
			w.mustSubmit(0)
		}
		time.Sleep(10 * time.Second)
		late()
		if _, err := w.submit(submission(), 0); !errors.As(err, &r) || r.Code != reset.Clock {
			t.Errorf("Submit = %v, want clock", err)
		}
		w.announce(w.consumer, time.Now())
		w.mustSubmit(0)
	})
}

// When the program stops, callers are told what is known instead of being cut
// off.
func TestDismiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		go func() {
			time.Sleep(2 * time.Second)
			w.Dismiss()
		}()
		begun := time.Now()
		s := w.mustSubmit(time.Minute)
		if took := time.Since(begun); took != 2*time.Second || s.State != reset.Accepted {
			t.Errorf("answered after %s with %+v, want 2s and accepted", took, s)
		}
	})
}

// An outcome that speaks of another request than the one that was sent is not
// believed, whoever signed it.
func TestOutcomeOfAnotherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		s := w.mustSubmit(time.Second)
		w.request = [32]byte{1}
		if err := w.write(w.consumer, envelope.Claimed, ""); err != nil {
			t.Fatal(err)
		}
		if s = w.status(s.Ref); s.State != reset.Accepted {
			t.Errorf("the claim is shown: %+v", s)
		}
	})
}

// Nothing is sealed for a consumer that is not pinned.
func TestUnknownConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.announce(audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 9), "intruder"), time.Now())
		w.mustSubmit(0)
		data, _ := w.queue.Waiting()
		req, err := envelope.ParseRequest(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(req.Wraps) != 1 {
			t.Errorf("sealed for %d consumers, want 1", len(req.Wraps))
		}
	})
}

// What a replica has said later is not taken back by showing what it said
// before, be it in the same run or in the one before.
func TestOldAnnouncement(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer func() { w.stop() }()
			old := w.queue.Said("replica1")
			time.Sleep(2 * time.Second)
			w.box = keys.Box(t)
			now := w.consumer
			if restarted {
				now = audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 2), "replica1")
			}
			w.announce(now, time.Now())
			w.queue.Announce("replica1", old)
			w.mustSubmit(0)
			data, _ := w.queue.Waiting()
			req, err := envelope.ParseRequest(data)
			if err != nil {
				t.Fatal(err)
			}
			box, err := seal.NewBox(w.box)
			if err != nil {
				t.Fatal(err)
			}
			if len(req.Wraps) != 1 || req.Wraps[0].Box != box.ID {
				t.Errorf("restarted %t: the request is not sealed for the newest key alone", restarted)
			}
		})
	}
}

// TestTwoStories has the broker show the publisher nothing of what the consumer
// wrote: it says that the request has expired, although it was applied. The
// records that both signed have one parent, which proves it.
func TestTwoStories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.queue.Deafen()
		s := w.mustSubmit(0)
		if err := w.write(w.consumer, envelope.Claimed, ""); err != nil {
			t.Fatal(err)
		}
		if err := w.write(w.consumer, envelope.Settled, reset.Applied); err != nil {
			t.Fatal(err)
		}
		consumers, _ := w.queue.Records(t.Context(), s.Ref.ID)
		w.queue.Forget(consumers[0].Seq)
		time.Sleep(reset.Deadline + readEvery)
		if s = w.status(s.Ref); s.Outcome.Code != reset.Expired {
			t.Errorf("status = %+v, want expired", s)
		}
		publishers, _ := w.queue.Records(t.Context(), s.Ref.ID)
		var second []audit.Link
		for _, story := range [][]reset.Stored{consumers, publishers} {
			chain, err := w.tenants[tenantName].verify.Verify(s.Ref.ID, story)
			if err != nil || len(chain) < 2 {
				t.Fatalf("a story of %d records: %v", len(story), err)
			}
			second = append(second, chain[1])
		}
		if second[0].Parent != second[1].Parent || second[0].Hash == second[1].Hash {
			t.Error("the two stories do not prove a fork")
		}
	})
}

func TestPasswordIsWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		for _, away := range []bool{false, true} {
			w.queue.OnAppend(func(int, []byte) memq.Fault {
				if away {
					return memq.Away
				}
				return nil
			})
			b, c := []byte("Correct-Horse-7"), []byte("Wrong-Horse-8")
			w.Submit(t.Context(), submission(), secret.New(b), secret.New(c), time.Second)
			if !bytes.Equal(b, make([]byte, len(b))) || !bytes.Equal(c, make([]byte, len(c))) {
				t.Errorf("broker away: %t: the password is still in memory", away)
			}
		}
	})
}
