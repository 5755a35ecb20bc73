package history

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

func TestGood(t *testing.T) {
	for _, v := range good(t).Check() {
		t.Error(v)
	}
	h := good(t)
	h.Writes = nil // as of a directory whose modifies nobody saw
	for _, v := range h.Check() {
		t.Errorf("without the writes: %s", v)
	}
}

// chain, call, write and account find a part of a history.
func (h *History) chain(n byte) *Chain {
	return &h.Chains[slices.IndexFunc(h.Chains, func(c Chain) bool { return c.Ref.ID == reset.ID{n} })]
}

func (h *History) call(password string) *Call {
	return &h.Calls[slices.IndexFunc(h.Calls, func(c Call) bool { return c.Password == password })]
}

func (h *History) write(password string) *Write {
	return &h.Writes[slices.IndexFunc(h.Writes, func(w Write) bool { return w.Password == password })]
}

func (h *History) account(name string) *Account {
	return &h.Accounts[slices.IndexFunc(h.Accounts, func(a Account) bool { return a.Name == name })]
}

// alter changes one record, of which the others know nothing.
func (c *Chain) alter(i int, change func(*audit.Link)) {
	c.Links = slices.Clone(c.Links)
	rec := *c.Links[i].Record
	c.Links[i].Record = &rec
	change(&c.Links[i])
}

func (c *Chain) cut(n int) { c.Links = c.Links[:len(c.Links)-n] }

// Each mutation of the good history breaks exactly one rule, and the violation
// names who broke it.
func TestBad(t *testing.T) {
	tests := []struct {
		name    string
		rule    Rule
		account string
		mutate  func(*History)
	}{
		{"a request that was acknowledged is gone", Lost, "plain", func(h *History) {
			h.Chains = slices.DeleteFunc(h.Chains, func(c Chain) bool { return c.Ref.ID == reset.ID{2} })
			h.Writes = slices.DeleteFunc(h.Writes, func(w Write) bool { return w.Password == "plain/2" })
		}},
		{"a caller is told that its request is unknown", Lost, "plain", func(h *History) {
			c := h.call("plain/1")
			c.Answers = append(c.Answers, Answer{Refusal: reset.UnknownRequest})
		}},
		{"two calls have one request", Lost, "plain", func(h *History) {
			h.Calls = append(h.Calls, Call{Account: "plain", Operation: reset.Reset, Password: "plain/1", Ref: h.call("plain/1").Ref})
		}},
		{"accepted for ever", Open, "away", func(h *History) { h.chain(9).cut(1) }},
		{"claimed for ever", Open, "closed", func(h *History) {
			h.chain(5).cut(1)
			h.call("closed/1").Answers = nil
		}},
		{"a record that does not follow", Broken, "plain", func(h *History) { h.chain(1).Err = errors.New("record 7 does not follow") }},
		{"a request without a record", Broken, "away", func(h *History) { h.chain(9).Links = nil }},
		{"a request that nobody made", Invented, "nothing", func(h *History) {
			c := *h.chain(9)
			c.Ref.ID, c.Account = reset.ID{99}, "nobody"
			h.Chains = append(h.Chains, c)
			h.Accounts = append(h.Accounts, Account{Name: "nobody", First: "nobody/0", Passwords: []string{"nobody/0"}})
		}},
		{"a password that nobody chose", Invented, "plain", func(h *History) {
			w := *h.write("plain/1")
			w.Password = "plain/77"
			h.Writes = append(h.Writes, w)
		}},
		{"in force is a password that nobody chose", Invented, "plain", func(h *History) { h.account("plain").Passwords = nil }},
		{"told applied, settled as refused", Told, "plain", func(h *History) {
			h.call("plain/2").Answers[0].Code = reset.Applied
		}},
		{"told refused, settled as applied", Told, "plain", func(h *History) {
			h.call("plain/1").Answers[0].Code = reset.PasswordRefused
		}},
		{"told that it is unconfirmed for good", Told, "plain", func(h *History) {
			h.call("plain/1").Answers[0].Code = reset.Unconfirmed
		}},
		{"told expired, and the truth is another", Told, "truth", func(h *History) {
			h.call("truth/1").Answers[0].Code = reset.Expired
		}},
		{"told before it was written", Told, "plain", func(h *History) {
			a := &h.call("plain/1").Answers[0]
			a.At = a.At.Add(-2 * time.Second)
		}},
		{"told an outcome, and then none", Told, "plain", func(h *History) {
			c := h.call("plain/1")
			a := c.Answers[0]
			c.Answers = append(c.Answers, Answer{Asked: a.At.Add(time.Second), At: a.At.Add(2 * time.Second), State: reset.PickedUp})
		}},
		{"applied, and the directory was never asked", NoEffect, "plain", func(h *History) {
			h.Writes = slices.DeleteFunc(h.Writes, func(w Write) bool { return w.Password == "plain/1" })
		}},
		{"applied, and the directory has refused", NoEffect, "plain", func(h *History) { h.write("plain/1").Verdict = Refused }},
		{"applied, and the first password is in force", NoEffect, "plain", func(h *History) { h.account("plain").Passwords = []string{"plain/0"} }},
		{"two passwords are in force", NoEffect, "plain", func(h *History) { h.account("plain").Passwords = []string{"plain/0", "plain/1"} }},
		{"refused, and set", False, "plain", func(h *History) { h.write("plain/2").Verdict = Done }},
		{"refused, and in force", False, "plain", func(h *History) { h.account("plain").Passwords = []string{"plain/2"} }},
		{"cancelled, and in force", False, "doubt", func(h *History) { h.account("doubt").Passwords = []string{"doubt/2"} }},
		{"expired, and in force", False, "away", func(h *History) { h.account("away").Passwords = []string{"away/1"} }},
		{"turned away, and in force", False, "nothing", func(h *History) { h.account("nothing").Passwords = []string{"nothing/1"} }},
		{"turned away, and worked on", False, "unheard", func(h *History) {
			h.call("unheard/1").Answers[0].Refusal = reset.BrokerUnavailable
			h.call("unheard/2").Answers[0].Refusal = reset.BrokerUnavailable
		}},
		{"settled as expired, and set", False, "again", func(h *History) {
			c := h.chain(12)
			c.alter(len(c.Links)-1, func(l *audit.Link) { l.Code = reset.Expired })
			h.call("again/1").Answers = nil
			h.account("again").Passwords = []string{"again/0"}
		}},
		{"the directory answered after the deadline", Late, "plain", func(h *History) {
			c := h.chain(1)
			c.Applied = c.Links[0].Time.Add(reset.Deadline + 8*time.Second + time.Millisecond)
		}},
		{"set after the deadline", Late, "closed", func(h *History) {
			// With a claim just before it, so that nothing else is wrong.
			w, c := h.write("closed/1"), h.chain(5)
			w.Verdict, w.At = Done, c.Links[0].Time.Add(reset.Deadline+9*time.Second)
			c.alter(1, func(l *audit.Link) { l.Time = w.At.Add(-time.Second) })
		}},
		{"pwdLastSet is after the deadline", Late, "closed", func(h *History) {
			h.account("closed").PwdLastSet = h.chain(5).Links[0].Time.Add(reset.Deadline + 9*time.Second)
		}},
		{"claimed while another is at work", Order, "plain", func(h *History) {
			h.chain(2).alter(1, func(l *audit.Link) { l.Seq = h.chain(1).Links[1].Seq + 1 })
			h.chain(1).alter(2, func(l *audit.Link) { l.Seq += 2 })
		}},
		{"claimed before the broker has dropped the one before it", Order, "older", func(h *History) {
			h.chain(8).alter(1, func(l *audit.Link) { l.Time = h.chain(7).Links[0].Time.Add(reset.QueueAge - time.Second) })
			h.write("older/2").At = h.chain(8).Links[1].Time
		}},
		{"an older password comes back", Order, "older", func(h *History) { h.account("older").Passwords = []string{"older/1"} }},
		{"an older password was set last", Order, "older", func(h *History) {
			i := slices.IndexFunc(h.Writes, func(w Write) bool { return w.Password == "older/1" })
			h.Writes[i], h.Writes[i+1] = h.Writes[i+1], h.Writes[i]
		}},
		{"a modify before its claim", NoClaim, "plain", func(h *History) {
			w := h.write("plain/1")
			w.At = h.chain(1).Links[1].Time.Add(-time.Millisecond)
		}},
		{"a modify long after its claim", NoClaim, "plain", func(h *History) {
			w := h.write("plain/1")
			w.At = h.chain(1).Links[1].Time.Add(9 * time.Second)
		}},
		{"a modify for a call that was turned away", NoClaim, "nothing", func(h *History) {
			h.Writes = append(h.Writes, Write{At: noon, Account: "nothing", Password: "nothing/1", Verdict: Refused})
		}},
		{"an unlock that nobody claimed", NoClaim, "nothing", func(h *History) {
			h.Writes = append(h.Writes, Write{At: noon, Account: "nothing", Verdict: Done})
		}},
		{"set twice", Twice, "plain", func(h *History) {
			w := *h.write("plain/1")
			h.Writes = slices.Insert(h.Writes, 1, w)
		}},
		{"taken over at once", TooSoon, "doubt", func(h *History) {
			h.chain(3).alter(2, func(l *audit.Link) { l.Time = h.chain(3).Links[1].Time.Add(9 * time.Second) })
		}},
	}
	broken := make(map[Rule]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := good(t)
			tt.mutate(&h)
			found := h.Check()
			if len(found) == 0 {
				t.Fatal("nothing was found")
			}
			for _, v := range found {
				if v.Rule != tt.rule {
					t.Errorf("found %s, want only %s", v, tt.rule)
				}
				broken[v.Rule] = true
			}
			names := func(v Violation) bool {
				return v.Account == tt.account || tt.account == "nothing" && v.Account == "nobody"
			}
			if !slices.ContainsFunc(found, names) {
				t.Errorf("found %v, want account %s", found, tt.account)
			}
			h.Slack = time.Hour // but for the rules about time it does not matter
			timed := tt.rule == Late || tt.rule == TooSoon || strings.Contains(tt.name, "before") || strings.Contains(tt.name, "long after") ||
				tt.name == "claimed while another is at work"
			if quiet := len(h.Check()) == 0; quiet != timed {
				t.Errorf("with a slack of an hour there is no violation: %t, want %t", quiet, timed)
			}
		})
	}
	for _, rule := range Rules() {
		if !broken[rule] {
			t.Errorf("no history breaks %s", rule)
		}
	}
}

func TestRead(t *testing.T) {
	s := newStory(t)
	r := s.call("ada", "ada/1")
	r.claim(s.c1)
	r.settle(s.c1, reset.Applied)
	stored := s.stored[r.ref]
	altered := bytes.Clone(stored[1].Data)
	altered[len(altered)-1] ^= 1
	c := Read(s.verifier, open, r.ref, stored)
	if c.Err != nil || len(c.Links) != 3 || c.Account != "ada" || c.Applied.IsZero() {
		t.Errorf("the chain is %+v", c)
	}
	tests := []struct {
		name   string
		ref    reset.Ref
		stored []reset.Stored
		links  int
		open   func(audit.Link) (*envelope.Private, error)
	}{
		{"a record is missing", r.ref, []reset.Stored{stored[0], stored[2]}, 1, open},
		{"a record was altered", r.ref, []reset.Stored{stored[0], {Seq: stored[1].Seq, Data: altered}}, 1, open},
		{"of another publisher", reset.Ref{Publisher: "pub_2", ID: r.ref.ID}, stored, 0, open},
		{"of another request", reset.Ref{Publisher: "pub_1", ID: reset.ID{9, 9}}, stored, 0, open},
		{"a private part of another key", r.ref, stored, 0, func(l audit.Link) (*envelope.Private, error) { return audit.Private([32]byte{1}, l) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if c := Read(s.verifier, tt.open, tt.ref, tt.stored); c.Err == nil || len(c.Links) != tt.links {
				t.Errorf("%d links and error %v, want %d links and an error", len(c.Links), c.Err, tt.links)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	h := good(t)
	h.chain(9).cut(1)
	var out strings.Builder
	if err := h.Print(&out, map[string]int{"kill consumer": 3, "cut after the modify": 2}, h.Check()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"14 calls, 13 requests, 11 modifies, 13 claims; 2 requests were claimed more than once, 1 outcomes were corrected\n",
		"faults:\n       2  cut after the modify\n       3  kill consumer\n",
		"       7  applied\n", "       1  applied_partly\n", "       1  open\n", "       2  unconfirmed\n",
		"       2  no answer\n", "       1  refused: broker_unavailable\n", "       1  picked_up\n",
		"violations: 1\n  open: request pub_1-09000000000000000000000000000000, account away: its last record is accepted",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	if err := h.Print(fullDisk{}, nil, nil); !errors.Is(err, errFull) {
		t.Errorf("Print returns %v, want %v", err, errFull)
	}
}

var errFull = errors.New("the disk is full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
