package ticket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// A store is a tenant's tickets in memory.
type store struct {
	mu    sync.Mutex
	away  bool
	value map[[16]byte][]byte
	seq   map[[16]byte]uint64
}

func (s *store) Ticket(_ context.Context, id [16]byte) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, 0, reset.ErrUnavailable
	}
	return bytes.Clone(s.value[id]), s.seq[id], nil
}

func (s *store) PutTicket(_ context.Context, id [16]byte, value []byte, expect uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		return reset.ErrUnavailable
	case s.seq[id] != expect:
		return reset.ErrConflict
	}
	s.value[id], s.seq[id] = bytes.Clone(value), expect+1
	return nil
}

// A bench is two desks on one store.
type bench struct {
	*Desk
	other    *Desk
	store    *store
	requests map[reset.ID]reset.Status
	ticket   seal.Ticket
	expires  time.Time

	deaf   error    // of the audit
	events []string // that the audit was told of; guarded by store.mu
}

// Tell notes an event, and what the broker keeps of its ticket at that moment.
func (b *bench) Tell(_ context.Context, tenant string, f envelope.Fact, p *envelope.Private) error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if b.deaf != nil {
		return b.deaf
	}
	text := ""
	switch f := f.(type) {
	case envelope.TicketMade:
		text = fmt.Sprintf("%s until %s, stored %t", f.Operation, f.NotAfter.Format(time.RFC3339), b.store.value[f.Ticket] != nil)
	case envelope.TicketUsed:
		k, err := envelope.ParseTicket(b.store.value[f.Ticket])
		text = fmt.Sprintf("%s, used before %t, %v", f.Request, k.Request.ID == f.Request, err)
	}
	b.events = append(b.events, fmt.Sprintf("%s %s %s; for %s by %s of %s at %q", tenant, f.Kind(), text, p.Account.Value, p.Actor.Subject, p.Source, p.Address))
	return nil
}

func (b *bench) Status(_ context.Context, _ string, ref reset.Ref) (reset.Status, error) {
	if st, ok := b.requests[ref.ID]; ok {
		return st, nil
	}
	return reset.Status{}, &reset.Refusal{Code: reset.UnknownRequest}
}

var permit = reset.Permit{
	Tenant: "corp", Account: reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
	Operations: []reset.Operation{reset.Reset}, Actor: reset.Actor{Kind: reset.Self, Subject: "ada"}, Source: "idp",
}

// issue makes a ticket and reads its text.
func (b *bench) issue(t *testing.T) (Secret, time.Time) {
	t.Helper()
	text, expires, err := b.Issue(t.Context(), permit, reset.TicketLife)
	if err != nil {
		t.Fatal(err)
	}
	var s Secret
	text.Reveal(func(b []byte) error { s, err = Parse(string(b)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s, expires
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{store: &store{value: map[[16]byte][]byte{}, seq: map[[16]byte]uint64{}}, requests: map[reset.ID]reset.Status{}}
	signer := keys.Signer(t, seal.PurposePublisher, 1)
	empty := &store{value: map[[16]byte][]byte{}, seq: map[[16]byte]uint64{}}
	cfg := Config{Signer: signer, Publishers: keys.Pins(t, signer.Public()), Stores: map[string]Store{"acme": empty, "corp": b.store}, Requests: b, Journal: b}
	b.Desk, b.other = New(cfg), New(cfg)
	b.ticket, b.expires = b.issue(t)
	return b
}

var (
	first  = Session{1}
	second = Session{2}
)

func ref() reset.Ref { return reset.Ref{Publisher: "pub1", ID: reset.NewID()} }

// ended makes a request end.
func (b *bench) ended(r reset.Ref, code reset.Code) {
	b.requests[r.ID] = reset.Status{Ref: r, State: reset.Final, Final: true, Outcome: reset.Outcome{Code: code}}
}

func (b *bench) begin(t *testing.T, s Session) (reset.Ref, error) {
	r := ref()
	_, err := b.Begin(t.Context(), "corp", b.ticket, s, Attempt{Operation: reset.Reset, Request: r, Address: "192.0.2.7"})
	return r, err
}

func (b *bench) look(t *testing.T, s Session) View {
	t.Helper()
	v, err := b.Look(t.Context(), "corp", b.ticket, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Mail scanners and previews fetch links: looking uses nothing up.
func TestLookDoesNotConsume(t *testing.T) {
	b := setup(t)
	before := bytes.Clone(b.store.value[b.ticket.ID()])
	for i := range 100 {
		if v := b.look(t, Session{byte(i)}); v.Err != nil || v.Attempts != MaxAttempts || v.Account != permit.Account || v.Source != permit.Source || v.Actor != permit.Actor || v.ID != b.ticket.ID() {
			t.Fatalf("look %d: %+v", i, v)
		}
	}
	if tenant, err := b.Tenant(t.Context(), b.ticket); tenant != "corp" || err != nil {
		t.Errorf("the ticket is of %q, %v", tenant, err)
	}
	if !bytes.Equal(before, b.store.value[b.ticket.ID()]) {
		t.Error("looking changed it")
	}
	if _, err := b.begin(t, first); err != nil {
		t.Errorf("the first use after many looks: %v", err)
	}
}

// What decides after an attempt is what became of it.
func TestAttempts(t *testing.T) {
	for _, code := range reset.Codes() {
		var want error
		switch code {
		case reset.Applied, reset.AppliedPartly, reset.Unconfirmed:
			want = ErrSpent
		}
		b := setup(t)
		r, err := b.begin(t, first)
		if err != nil {
			t.Fatal(err)
		}
		if v := b.look(t, first); v.Err != ErrBusy || v.Request == nil || v.Request.Ref != r {
			t.Errorf("%s: before it is on record: %+v", code, v)
		}
		b.requests[r.ID] = reset.Status{Ref: r, State: reset.PickedUp}
		if _, err := b.begin(t, first); err != ErrBusy {
			t.Errorf("%s: while it is at work: %v", code, err)
		}
		b.ended(r, code)
		if v := b.look(t, first); v.Err != want || v.Request.Outcome.Code != code || v.Attempts != MaxAttempts-1 {
			t.Errorf("after %s: %v, %+v", code, v.Err, v)
		}
		if _, err := b.begin(t, first); err != want {
			t.Errorf("another attempt after %s: %v, want %v", code, err, want)
		}
	}
	// What is not known spends a ticket; what became known decides then.
	for code, want := range map[reset.Code]error{reset.PasswordInHistory: nil, reset.DirectoryError: nil, reset.Applied: ErrSpent} {
		b := setup(t)
		r, err := b.begin(t, first)
		if err != nil {
			t.Fatal(err)
		}
		b.ended(r, reset.Unconfirmed)
		if _, err := b.begin(t, first); err != ErrSpent {
			t.Errorf("after an unconfirmed one: %v", err)
		}
		b.ended(r, code)
		if _, err := b.begin(t, first); err != want {
			t.Errorf("after an unconfirmed one of which %s became known: %v, want %v", code, err, want)
		}
	}
	b := setup(t)
	for range MaxAttempts {
		r, err := b.begin(t, first)
		if err != nil {
			t.Fatal(err)
		}
		b.ended(r, reset.PasswordInHistory)
	}
	if _, err := b.begin(t, first); err != ErrAttempts {
		t.Errorf("attempt %d: %v", MaxAttempts+1, err)
	}
}

// The first who uses it keeps it.
func TestBoundToOneBrowser(t *testing.T) {
	b := setup(t)
	r, err := b.begin(t, first)
	if err != nil {
		t.Fatal(err)
	}
	b.ended(r, reset.PasswordTooShort)
	v := b.look(t, second)
	if v.Err != ErrForeign || v.Request != nil {
		t.Errorf("another browser sees %+v", v)
	}
	if _, err := b.begin(t, second); err != ErrForeign {
		t.Errorf("another browser: %v", err)
	}
	if err := b.TakeBack(t.Context(), "corp", b.ticket, r); err != nil {
		t.Fatal(err)
	}
	if _, err := b.begin(t, second); err != ErrForeign {
		t.Errorf("another browser, after the attempt was taken back: %v", err)
	}
	if _, err := b.begin(t, first); err != nil {
		t.Errorf("the same browser: %v", err)
	}
}

func TestTakeBack(t *testing.T) {
	b := setup(t)
	r, _ := b.begin(t, first)
	if err := b.TakeBack(t.Context(), "corp", b.ticket, ref()); err != nil || b.look(t, first).Err != ErrBusy {
		t.Errorf("another attempt is taken back: %v", err)
	}
	if err := b.TakeBack(t.Context(), "corp", b.ticket, r); err != nil {
		t.Fatal(err)
	}
	if v := b.look(t, first); v.Err != nil || v.Attempts != MaxAttempts || v.Request != nil {
		t.Errorf("taken back: %+v", v)
	}
}

// Of two publishers that are asked at once, one uses it.
func TestTwoPublishers(t *testing.T) {
	for range 50 {
		b := setup(t)
		begin, errs := make(chan struct{}), make(chan error, 2)
		for i, d := range []*Desk{b.Desk, b.other} {
			go func() {
				<-begin
				_, err := d.Begin(t.Context(), "corp", b.ticket, Session{byte(i + 1)}, Attempt{Operation: reset.Reset, Request: ref()})
				errs <- err
			}()
		}
		close(begin)
		got := []error{<-errs, <-errs}
		if n := slices.Index(got, nil); n < 0 || got[1-n] != ErrBusy && got[1-n] != ErrForeign {
			t.Fatalf("%v; want one to win, the other to know", got)
		}
	}
}

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		r, _ := b.begin(t, first)
		time.Sleep(lost - time.Millisecond)
		if v := b.look(t, first); v.Err != ErrBusy {
			t.Errorf("a request that may be on its way: %v", v.Err)
		}
		time.Sleep(time.Millisecond)
		if v := b.look(t, first); v.Err != nil || v.Attempts != MaxAttempts-1 {
			t.Errorf("a request that never got there: %+v", v)
		}
		b.ended(r, reset.PasswordTooShort)
		time.Sleep(time.Until(b.expires) - time.Millisecond)
		if v := b.look(t, first); v.Err != nil {
			t.Errorf("just before its end: %v", v.Err)
		}
		time.Sleep(time.Millisecond)
		if v := b.look(t, first); v.Err != ErrExpired || v.Request == nil {
			t.Errorf("after its end: %+v", v)
		}
		if _, err := b.begin(t, first); err != ErrExpired {
			t.Errorf("used after its end: %v", err)
		}
		b.ended(r, reset.Applied)
		if v := b.look(t, first); v.Err != ErrSpent || v.Request == nil {
			t.Errorf("its outcome after its end: %+v", v)
		}
	})
}

// The audit knows of a ticket before anybody has it, and of its use before anything
// comes of it.
func TestAuditIsTold(t *testing.T) {
	b := setup(t)
	b.events = nil
	both := permit
	both.Operations = []reset.Operation{reset.Reset, reset.Unlock}
	_, expires, err := b.Issue(t.Context(), both, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.begin(t, first)
	if err != nil {
		t.Fatal(err)
	}
	end := expires.Format(time.RFC3339)
	want := []string{
		`corp ticket_made reset until ` + end + `, stored false; for ada@corp.example.com by ada of idp at ""`,
		`corp ticket_made unlock until ` + end + `, stored false; for ada@corp.example.com by ada of idp at ""`,
		`corp ticket_used ` + r.ID.String() + `, used before false, <nil>; for ada@corp.example.com by ada of idp at "192.0.2.7"`,
	}
	if !slices.Equal(b.events, want) {
		t.Errorf("the audit was told\n%q, want\n%q", b.events, want)
	}
	b = setup(t)
	tickets := len(b.store.value)
	b.deaf = &reset.Refusal{Code: reset.BrokerUnavailable}
	if _, _, err := b.Issue(t.Context(), permit, time.Minute); err != b.deaf || len(b.store.value) != tickets {
		t.Errorf("a ticket that the audit was not told of: %v", err)
	}
	if _, err := b.begin(t, first); err != b.deaf || b.look(t, second).Err != nil || b.look(t, first).Attempts != MaxAttempts {
		t.Errorf("an attempt that the audit was not told of: %v", err)
	}
}

// What is not as a publisher of ours signed it is no ticket.
func TestAltered(t *testing.T) {
	id := func(b *bench) [16]byte { return b.ticket.ID() }
	resign := func(change func(*envelope.Ticket)) func(*testing.T, *bench) {
		return func(t *testing.T, b *bench) {
			k, err := envelope.ParseTicket(b.store.value[id(b)])
			if err != nil {
				t.Fatal(err)
			}
			n := envelope.Ticket{Tenant: k.Tenant, ID: k.ID, Issued: k.Issued, Expires: k.Expires, Private: k.Private, State: k.State, Changed: k.Changed, Signer: k.Signer}
			change(&n)
			n.Sig = b.cfg.Signer.Sign(seal.KindTicket, n.Signed())
			b.store.value[id(b)] = n.Encode()
		}
	}
	for name, alter := range map[string]func(*testing.T, *bench){
		"a bit of it": func(_ *testing.T, b *bench) { b.store.value[id(b)][20] ^= 1 },
		"cut":         func(_ *testing.T, b *bench) { b.store.value[id(b)] = b.store.value[id(b)][:50] },
		"gone":        func(_ *testing.T, b *bench) { delete(b.store.value, id(b)) },
		"another's": func(t *testing.T, b *bench) {
			other, _ := b.issue(t)
			b.store.value[id(b)] = b.store.value[other.ID()]
		},
		"of a stranger": func(t *testing.T, b *bench) {
			cfg := b.cfg
			cfg.Signer = keys.Signer(t, seal.PurposePublisher, 9)
			b.store.seq[id(b)] = 0
			k, _ := envelope.ParseTicket(b.store.value[id(b)])
			k.Signer = cfg.Signer.Public().ID()
			k.Sig = cfg.Signer.Sign(seal.KindTicket, k.Signed())
			b.store.value[id(b)] = k.Encode()
		},
		"of another tenant":  resign(func(k *envelope.Ticket) { k.Tenant = "acme" }),
		"with a longer life": resign(func(k *envelope.Ticket) { k.Expires = k.Expires.Add(time.Hour) }),
		"with another's private part": resign(func(k *envelope.Ticket) {
			k.Private, _ = seal.NewTicket().Seal(k.Bound(), (&envelope.TicketPrivate{Account: permit.Account, Operations: permit.Operations, Actor: permit.Actor}).Encode())
		}),
		"whose private part is of another life": resign(func(k *envelope.Ticket) { k.Expires = k.Expires.Add(-time.Second) }),
		"signed as something else": func(t *testing.T, b *bench) {
			k, _ := envelope.ParseTicket(b.store.value[id(b)])
			k.Sig = b.cfg.Signer.Sign(seal.KindRecord, k.Signed())
			b.store.value[id(b)] = k.Encode()
		},
	} {
		b := setup(t)
		alter(t, b)
		if _, err := b.Look(t.Context(), "corp", b.ticket, first); err != ErrUnknown {
			t.Errorf("%s: Look = %v", name, err)
		}
		if _, err := b.begin(t, first); err != ErrUnknown {
			t.Errorf("%s: Begin = %v", name, err)
		}
	}
	b := setup(t)
	if _, err := b.Tenant(t.Context(), seal.NewTicket()); err != ErrUnknown {
		t.Errorf("a ticket that was never made: %v", err)
	}
	if _, err := b.Look(t.Context(), "acme", b.ticket, first); err != ErrUnknown {
		t.Errorf("at another tenant: %v", err)
	}
	if _, err := b.Look(t.Context(), "none", b.ticket, first); err != ErrUnknown {
		t.Errorf("at no tenant: %v", err)
	}
	if _, err := b.Begin(t.Context(), "corp", b.ticket, first, Attempt{Operation: reset.Unlock, Request: ref()}); err == nil || b.look(t, first).Attempts != MaxAttempts {
		t.Errorf("for what it is not: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	b := setup(t)
	for _, life := range []time.Duration{0, -time.Second, reset.TicketLife + time.Millisecond} {
		if _, _, err := b.Issue(t.Context(), permit, life); err == nil {
			t.Errorf("a life of %s", life)
		}
	}
	elsewhere := permit
	elsewhere.Tenant = "none"
	var refusal *reset.Refusal
	if _, _, err := b.Issue(t.Context(), elsewhere, time.Minute); !errors.As(err, &refusal) || refusal.Code != reset.Forbidden {
		t.Errorf("for a tenant that is not served: %v", err)
	}
	b.store.away = true
	for name, call := range map[string]func() error{
		"issue":     func() error { _, _, err := b.Issue(t.Context(), permit, time.Minute); return err },
		"look":      func() error { _, err := b.Look(t.Context(), "corp", b.ticket, first); return err },
		"tenant":    func() error { _, err := b.Tenant(t.Context(), b.ticket); return err },
		"begin":     func() error { _, err := b.begin(t, first); return err },
		"take back": func() error { return b.TakeBack(t.Context(), "corp", b.ticket, ref()) },
	} {
		if err := call(); !errors.As(err, &refusal) || refusal.Code != reset.BrokerUnavailable {
			t.Errorf("%s without a broker: %v", name, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %x", first, first, first); got != "[secret] [secret] [secret]" {
		t.Errorf("a session prints as %s", got)
	}
}

// What the broker keeps says nothing of the account, and opens nothing.
func TestBrokerReadsNothing(t *testing.T) {
	b := setup(t)
	value := b.store.value[b.ticket.ID()]
	for _, needle := range []string{"ada", "corp.example.com", "idp", string(b.ticket[:]), b.ticket.Text()} {
		if bytes.Contains(value, []byte(needle)) {
			t.Errorf("%q is in what the broker keeps", needle)
		}
	}
}
