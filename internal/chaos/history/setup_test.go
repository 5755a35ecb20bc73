package history

import (
	"crypto/sha256"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

var (
	noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	key  = seal.RecordKey{9}
)

func open(l audit.Link) (*envelope.Private, error) { return audit.Private(key, l) }

// A story writes a history, with one publisher and two consumers.
type story struct {
	t            *testing.T
	pub, c1, c2  *audit.Log
	verifier     audit.Verifier
	now          time.Time
	seq          uint64
	ids          byte
	calls        []*Call
	stored       map[reset.Ref][]reset.Stored
	refs         []reset.Ref
	writes       []Write
	accounts     []Account
	parentOfNext map[reset.Ref]*envelope.Record
}

func newStory(t *testing.T) *story {
	t.Helper()
	p, c1, c2 := keys.Signer(t, seal.PurposePublisher, 1), keys.Signer(t, seal.PurposeConsumer, 2), keys.Signer(t, seal.PurposeConsumer, 3)
	return &story{
		t: t, pub: audit.NewLog(p, "pub_1"), c1: audit.NewLog(c1, "con_1"), c2: audit.NewLog(c2, "con_2"),
		verifier: audit.Verifier{Tenant: "corp", Publishers: keys.Pins(t, p.Public()), Consumers: keys.Pins(t, c1.Public(), c2.Public())},
		now:      noon, stored: make(map[reset.Ref][]reset.Stored), parentOfNext: make(map[reset.Ref]*envelope.Record),
	}
}

func (s *story) wait(d time.Duration) { s.now = s.now.Add(d) }

// call begins a request that sets a password, with its accepted record.
func (s *story) call(account, password string) *tale {
	return s.begin(reset.Reset, account, password)
}

func (s *story) begin(op reset.Operation, account, password string) *tale {
	s.ids++
	tale := &tale{s, &Call{Account: account, Operation: op, Password: password}, reset.Ref{Publisher: "pub_1", ID: reset.ID{s.ids}}}
	tale.Ref = tale.ref
	s.calls = append(s.calls, tale.Call)
	s.refs = append(s.refs, tale.ref)
	tale.record(s.pub, envelope.Accepted, "")
	return tale
}

// account says how an account is at the end.
func (s *story) account(name, password string) {
	s.accounts = append(s.accounts, Account{Name: name, First: name + "/0", Passwords: []string{password}})
}

func (s *story) history() History {
	h := History{Writes: s.writes, Accounts: s.accounts}
	for _, c := range s.calls {
		h.Calls = append(h.Calls, *c)
	}
	for _, ref := range s.refs {
		h.Chains = append(h.Chains, Read(s.verifier, open, ref, s.stored[ref]))
	}
	return h
}

// A tale is one request of a story.
type tale struct {
	*story
	*Call
	ref reset.Ref
}

// record adds a record to the chain.
func (r *tale) record(by *audit.Log, kind envelope.Kind, code reset.Code) {
	r.t.Helper()
	rec := &envelope.Record{
		Kind: kind, Tenant: "corp", Publisher: "pub_1", ID: r.ref.ID, Operation: r.Operation, Code: code, Time: r.now, Month: 202611,
	}
	private := envelope.Private{Account: reset.Account{Kind: reset.SAMAccountName, Value: r.Account}}
	if kind == envelope.Settled || kind == envelope.Corrected {
		private.Applied = r.now
	}
	stored := r.stored[r.ref]
	if before := r.parentOfNext[r.ref]; before != nil {
		last := stored[len(stored)-1]
		rec.Parent, rec.ParentSeq = sha256.Sum256(last.Data), last.Seq
		rec.Doubt = before.Doubt || kind == envelope.Claimed && before.Kind == envelope.Claimed
	}
	data, err := by.Record(rec, private, &key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.seq++
	r.stored[r.ref] = append(stored, reset.Stored{Seq: r.seq, Data: data})
	r.parentOfNext[r.ref] = rec
	r.wait(time.Second)
}

func (r *tale) claim(by *audit.Log) { r.record(by, envelope.Claimed, "") }

func (r *tale) write(v Verdict) {
	r.writes = append(r.writes, Write{r.now, r.Account, r.Password, v})
	r.wait(time.Second)
}

func (r *tale) settle(by *audit.Log, code reset.Code) { r.record(by, envelope.Settled, code) }

func (r *tale) tell(state reset.State, code reset.Code) {
	r.Answers = append(r.Answers, Answer{
		Asked: r.now.Add(-100 * time.Millisecond), At: r.now, State: state, Code: code, Final: state == reset.Final && code != reset.Unconfirmed,
	})
	r.wait(time.Second)
}

// good is a history in which much goes wrong, and no promise is broken.
func good(t *testing.T) History {
	t.Helper()
	s := newStory(t)

	a := s.call("plain", "plain/1") // request 1
	a.claim(s.c1)
	a.write(Done)
	a.settle(s.c1, reset.Applied)
	a.tell(reset.Final, reset.Applied)
	a = s.call("plain", "plain/2") // 2
	a.claim(s.c2)
	a.write(Refused)
	a.settle(s.c2, reset.PasswordInHistory)
	a.tell(reset.Final, reset.PasswordInHistory)
	s.account("plain", "plain/1")

	// Applied, the consumer dies, another finds out; a second call meanwhile.
	d := s.call("doubt", "doubt/1") // 3
	d.claim(s.c1)
	d.write(Done)
	d.tell(reset.PickedUp, "")
	second := s.call("doubt", "doubt/2") // 4
	second.record(s.pub, envelope.Cancelled, reset.InProgress)
	second.tell(reset.Final, reset.InProgress)
	s.wait(12 * time.Second)
	d.claim(s.c2)
	d.settle(s.c2, reset.Applied)
	d.tell(reset.Final, reset.Applied)
	s.account("doubt", "doubt/1")

	// Nobody finds out in time; the directory had done it.
	u := s.call("closed", "closed/1") // 5
	u.claim(s.c1)
	u.write(Unseen)
	s.wait(reset.Life)
	u.record(s.pub, envelope.Settled, reset.Unconfirmed)
	u.tell(reset.Final, reset.Unconfirmed)
	s.account("closed", "closed/1")

	// The same, and the truth is found later.
	k := s.call("truth", "truth/1") // 6
	k.claim(s.c1)
	k.write(Done)
	s.wait(reset.Life)
	k.record(s.pub, envelope.Settled, reset.Unconfirmed)
	k.tell(reset.Final, reset.Unconfirmed)
	k.record(s.c2, envelope.Corrected, reset.Applied)
	k.tell(reset.Final, reset.Applied)
	s.account("truth", "truth/1")

	// Unconfirmed, and overtaken by one that was claimed when the broker had
	// long dropped the first.
	o := s.call("older", "older/1") // 7
	o.claim(s.c1)
	o.write(Done)
	s.wait(reset.QueueAge)
	n := s.call("older", "older/2") // 8
	n.claim(s.c2)
	n.write(Done)
	n.settle(s.c2, reset.AppliedPartly)
	n.tell(reset.Final, reset.AppliedPartly)
	s.wait(reset.Life)
	o.record(s.pub, envelope.Settled, reset.Unconfirmed)
	s.account("older", "older/2")

	// The broker is away: refused, though a record is left; one has none.
	x := s.call("away", "away/1") // 9
	x.Ref = reset.Ref{}
	x.Answers = []Answer{{Asked: s.now, At: s.now, Refusal: reset.BrokerUnavailable}}
	s.wait(reset.Deadline)
	x.record(s.pub, envelope.Cancelled, reset.Expired)
	s.calls = append(s.calls, &Call{Account: "nothing", Operation: reset.Reset, Password: "nothing/1",
		Answers: []Answer{{Asked: s.now, At: s.now, Refusal: reset.NoConsumer}}})
	s.account("away", "away/0")
	s.account("nothing", "nothing/0")

	// The publisher dies before it answers; the requests go their way.
	for _, password := range []string{"unheard/1", "unheard/2"} {
		y := s.call("unheard", password) // 10, 11
		y.Ref = reset.Ref{}
		y.Answers = []Answer{{Asked: s.now, At: s.now}}
		y.claim(s.c1)
		y.write(Done)
		y.settle(s.c1, reset.Applied)
	}
	s.account("unheard", "unheard/2")

	// Claimed, given back, claimed again; and an unlock, which sets nothing.
	z := s.call("again", "again/1") // 12
	z.claim(s.c1)
	z.record(s.c1, envelope.Released, "")
	z.claim(s.c2)
	z.write(Done)
	z.settle(s.c2, reset.Applied)
	l := s.begin(reset.Unlock, "again", "") // 13
	l.claim(s.c1)
	l.write(Done)
	l.settle(s.c1, reset.Applied)
	l.tell(reset.Final, reset.Applied)
	s.account("again", "again/1")
	s.accounts[len(s.accounts)-1].PwdLastSet = s.now

	return s.history()
}
