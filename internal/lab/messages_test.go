package lab

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

// A forger puts messages into REQUESTS past the publisher, some of them with its
// keys.
type forger struct {
	*inspector
	log    *audit.Log
	slots  seal.SlotKey
	months seal.MonthKeys
	boxes  []seal.Box
}

func newForger(t *testing.T, l *Lab) *forger {
	t.Helper()
	signer, err := seal.LoadSigner(l.path("publisher", "publisher.key"), seal.PurposePublisher)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{inspector: inspect(t, l.endpoints(t)), log: audit.NewLog(signer, "forger")}
	if f.slots, err = seal.LoadSlotKey(l.path("publisher", "slot.key")); err != nil {
		t.Fatal(err)
	}
	if f.months, err = seal.LoadMonthKeys(l.path("publisher", "record.key")); err != nil {
		t.Fatal(err)
	}
	// What to seal for stands in the consumers' announcements.
	o := &owner{f.inspector, l, nil}
	for i := range l.opts.Consumers {
		f.boxes = append(f.boxes, o.boxOf(t, consumerName(i)))
	}
	return f
}

// accept stores the accepted record of a new request for an account and returns
// the request's header.
func (f *forger) accept(t *testing.T, account reset.Account) envelope.Header {
	t.Helper()
	id, now := reset.NewID(), time.Now()
	key, ok := f.months.Key(seal.MonthOf(now), Tenant, id)
	if !ok {
		t.Fatal("record.key has no key for this month")
	}
	rec := envelope.Record{
		Kind: envelope.Accepted, Tenant: Tenant, Publisher: f.log.Name(), ID: id,
		Operation: reset.Reset, Time: now, Month: uint32(seal.MonthOf(now)),
	}
	data, err := f.log.Record(&rec, envelope.Private{Account: account}, &key)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Header{
		Tenant: Tenant, Publisher: f.log.Name(), ID: id, Operation: reset.Reset,
		Slot:     f.slots.Slot(Tenant, account.Kind.String(), account.Canonical()),
		Accepted: now, Deadline: now.Add(reset.Deadline),
		Parent: sha256.Sum256(data), ParentSeq: f.record(t, f.log.Name(), id.String(), data),
		Signer: f.log.Public().ID(),
	}
}

// request returns a request with the header h whose body is sealed under
// another one.
func (f *forger) request(t *testing.T, h, under envelope.Header, account reset.Account, signer *audit.Log) []byte {
	t.Helper()
	key, _ := f.months.Key(seal.MonthOf(h.Accepted), Tenant, h.ID)
	body := envelope.Body{
		Account: account, Password: secret.New([]byte("Forged-Word-7")), Actor: reset.Actor{Kind: reset.Admin},
		Month: uint32(seal.MonthOf(h.Accepted)), RecordKey: key,
	}
	wraps, sealed, err := seal.Body(f.boxes, under.Append(nil), body.Encode())
	if err != nil {
		t.Fatal(err)
	}
	req := envelope.Request{Header: h, Body: sealed}
	for _, w := range wraps {
		req.Wraps = append(req.Wraps, envelope.Wrap{Box: w.Box, Sealed: w.Sealed})
	}
	req.Sig = signer.Sign(seal.KindRequest, req.Signed())
	return req.Encode()
}

// put publishes a message into a slot.
func (f *forger) put(t *testing.T, slot [16]byte, message []byte) {
	t.Helper()
	if _, err := f.js.Publish(t.Context(), "req."+hex.EncodeToString(slot[:]), message); err != nil {
		t.Fatal(err)
	}
}

// TestMessagesThatAreNoRequests puts messages into REQUESTS that nobody asked
// for. Each is logged with its reason on premises, counted, and taken off the
// queue; where a pinned publisher signed it, its request ends as unreadable. The
// consumers go on: the account can be reset at once afterwards.
func TestMessagesThatAreNoRequests(t *testing.T) {
	l := startLab(t, "fake")
	e, f := l.endpoints(t), newForger(t, l)
	account := func(i int) reset.Account {
		a, err := reset.NewAccount(reset.UPN, l.Directory.Users[i].UPN)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	seed := make([]byte, 32)
	rand.Read(seed)
	strange, err := seal.NewSigner(seal.PurposePublisher, seed)
	if err != nil {
		t.Fatal(err)
	}
	stranger := audit.NewLog(strange, "stranger")
	const unreadable = "unreadable"

	tests := []struct {
		name string
		// message returns what is put into the slot of account i, and the
		// request that it belongs to, if it has a record.
		message func(t *testing.T, a reset.Account, slot *[16]byte) ([]byte, reset.ID)
		reason  string // of the drop, or unreadable
		log     string
	}{
		{"garbage", func(*testing.T, reset.Account, *[16]byte) ([]byte, reset.ID) {
			return []byte("hello"), reset.ID{}
		}, "not_a_request", "not_a_request"},
		{"nothing", func(*testing.T, reset.Account, *[16]byte) ([]byte, reset.ID) {
			return nil, reset.ID{}
		}, "not_a_request", "not_a_request"},
		{"a request with a byte too many", func(t *testing.T, a reset.Account, _ *[16]byte) ([]byte, reset.ID) {
			h := f.accept(t, a)
			return append(f.request(t, h, h, a, f.log), 0), reset.ID{}
		}, "not_a_request", "not_a_request"},
		{"signed by a key that is not pinned", func(t *testing.T, a reset.Account, _ *[16]byte) ([]byte, reset.ID) {
			h := f.accept(t, a)
			h.Signer = stranger.Public().ID()
			return f.request(t, h, h, a, stranger), reset.ID{}
		}, "unknown_signer", "unknown_signer"},
		{"signed by another key in the name of the publisher", func(t *testing.T, a reset.Account, _ *[16]byte) ([]byte, reset.ID) {
			h := f.accept(t, a)
			return f.request(t, h, h, a, stranger), reset.ID{}
		}, "unknown_signer", "unknown_signer"},
		{"for another tenant", func(t *testing.T, a reset.Account, _ *[16]byte) ([]byte, reset.ID) {
			h := f.accept(t, a)
			h.Tenant = "other"
			return f.request(t, h, h, a, f.log), reset.ID{}
		}, "other_tenant", "other_tenant"},
		{"bound to another header", func(t *testing.T, a reset.Account, _ *[16]byte) ([]byte, reset.ID) {
			h, other := f.accept(t, a), f.accept(t, a)
			return f.request(t, h, other, a, f.log), h.ID
		}, unreadable, "the sealed body cannot be opened"},
		{"in another slot", func(t *testing.T, a reset.Account, slot *[16]byte) ([]byte, reset.ID) {
			h := f.accept(t, a)
			*slot = [16]byte{1, 2, 3}
			return f.request(t, h, h, a, f.log), h.ID
		}, unreadable, "the request is not in its own slot"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, user := account(i), l.Directory.Users[i]
			slot := f.slots.Slot(Tenant, a.Kind.String(), a.Canonical())
			message, id := tt.message(t, a, &slot)
			series := fmt.Sprintf("writeback_consumer_dropped_total{reason=%q}", tt.reason)
			if tt.reason == unreadable {
				series = fmt.Sprintf("writeback_consumer_outcomes_total{code=%q}", tt.reason)
			}
			before, _ := l.sum(t, series)
			logged := bytes.Count(l.consumerLogs(t), []byte(tt.log))

			f.put(t, slot, message)
			await(t, "taking the message off the queue", func() error {
				if n := f.waiting(t); n != 0 {
					return fmt.Errorf("REQUESTS holds %d messages", n)
				}
				if after, _ := l.sum(t, series); after != before+1 {
					return fmt.Errorf("%s is %d, was %d", series, after, before)
				}
				if n := bytes.Count(l.consumerLogs(t), []byte(tt.log)); n != logged+1 {
					return fmt.Errorf("%q is in the consumers' logs %d times, was %d", tt.log, n, logged)
				}
				return nil
			})

			if tt.reason == unreadable {
				path := "/v1/requests/" + reset.Ref{Publisher: f.log.Name(), ID: id}.String()
				r, err := e.do(t.Context(), http.MethodGet, path, nil)
				if err != nil || !r.Final || r.Code != unreadable {
					t.Errorf("GET %s: %v %s, want unreadable", path, err, r.Body)
				}
			}
			if n := l.fake.Counts(user.SAMAccountName).Modifies; n != 0 {
				t.Errorf("the directory got %d modifies", n)
			}
			wantApplied(t, e, "upn", user.UPN, fmt.Sprintf("Wanted-Word-%d", i))
		})
	}

	// A message of an attacker who repeats what he has seen does nothing
	// again, since the request has its outcome.
	t.Run("a request that has ended", func(t *testing.T) {
		a, user := account(10), l.Directory.Users[10]
		h := f.accept(t, a)
		message := f.request(t, h, h, a, f.log)
		f.put(t, h.Slot, message)
		await(t, "applying a request of the publisher's key", func() error {
			if l.fake.Counts(user.SAMAccountName).Passwords != 1 || f.waiting(t) != 0 {
				return errors.New("it is not applied")
			}
			return nil
		})
		f.put(t, h.Slot, message)
		await(t, "taking the repeated request off the queue", func() error {
			if !strings.Contains(string(l.consumerLogs(t)), "request had ended before") || f.waiting(t) != 0 {
				return errors.New("it is still there")
			}
			return nil
		})
		if n := l.fake.Counts(user.SAMAccountName).Passwords; n != 1 {
			t.Errorf("the password was set %d times", n)
		}
	})
}

// consumerLogs returns what all consumers have logged.
func (l *Lab) consumerLogs(t testing.TB) []byte {
	t.Helper()
	var all []byte
	for i := range l.opts.Consumers {
		all = append(all, l.log(t, consumerName(i))...)
	}
	return all
}

// log returns what a program has logged.
func (l *Lab) log(t testing.TB, program string) []byte {
	t.Helper()
	text, err := os.ReadFile(l.path("logs", program+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
