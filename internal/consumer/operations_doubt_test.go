package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// Every operation in doubt, from the death of a replica at some place: what is
// repeated, and what it ends as.
func TestOperationsInDoubt(t *testing.T) {
	const nearDeadline = reset.Deadline - time.Second
	tests := []struct {
		name   string
		op     reset.Operation
		must   bool
		age    time.Duration  // of the request when it is taken first
		before func(*account) // it is
		dies   string         // where who took it dies
		after  func(*account) // that
		want   reset.Code
		count  map[string]int // of the modifies that were sent, by the place before
	}{
		{name: "unlock, not sent", op: reset.Unlock, dies: "claimed",
			want: reset.Applied, count: map[string]int{"unlock": 1}},
		{name: "unlock, done", op: reset.Unlock, dies: "unlocked",
			want: reset.Applied, count: map[string]int{"unlock": 1}},
		{name: "unlock, locked again", op: reset.Unlock, dies: "unlocked",
			after: func(a *account) { a.setLocked(true) },
			want:  reset.Applied, count: map[string]int{"unlock": 2}},
		{name: "unlock, not sent before the deadline", op: reset.Unlock, age: nearDeadline, dies: "claimed",
			want: reset.Expired},
		{name: "unlock, done before the deadline", op: reset.Unlock, age: nearDeadline, dies: "unlocked",
			want: reset.Applied, count: map[string]int{"unlock": 1}},
		{name: "unlock, locked again after the deadline", op: reset.Unlock, age: nearDeadline, dies: "unlocked",
			after: func(a *account) { a.setLocked(true) },
			want:  reset.Unconfirmed, count: map[string]int{"unlock": 1}},
		{name: "unlock, refused", op: reset.Unlock, dies: "claimed",
			after: func(a *account) { a.mayUnlock = false },
			want:  reset.NotPermitted, count: map[string]int{"unlock": 1}},

		{name: "change, not sent", op: reset.Change, dies: "claimed",
			want: reset.Applied, count: map[string]int{"send": 1}},
		{name: "change, done", op: reset.Change, dies: "answer",
			want: reset.Applied, count: map[string]int{"send": 1}},
		{name: "change, another current password, not sent", op: reset.Change, dies: "claimed",
			before: func(a *account) { a.set("Another-9") },
			want:   reset.WrongPassword, count: map[string]int{"send": 1}},
		{name: "change, another current password, answer lost", op: reset.Change, dies: "answer",
			before: func(a *account) { a.set("Another-9") },
			want:   reset.WrongPassword, count: map[string]int{"send": 2}},
		{name: "change, done, and locked for a while", op: reset.Change, dies: "answer",
			after: func(a *account) {
				a.setLocked(true)
				time.AfterFunc(time.Minute, func() { a.setLocked(false) })
			},
			want: reset.Applied, count: map[string]int{"send": 1}},

		{name: "probe, not begun", op: reset.Probe, dies: "claimed", want: reset.Applied},
		{name: "probe, answer lost", op: reset.Probe, dies: "probe", want: reset.Applied},
		{name: "probe, past the deadline", op: reset.Probe, age: nearDeadline, dies: "probe", want: reset.Expired},

		{name: "must change, password set", op: reset.Reset, must: true, dies: "answer",
			want: reset.Applied, count: map[string]int{"send": 1, "must": 1}},
		{name: "must change, not sent", op: reset.Reset, must: true, dies: "must",
			want: reset.Applied, count: map[string]int{"send": 1, "must": 2}},
		{name: "must change, done", op: reset.Reset, must: true, dies: "musted",
			want: reset.Applied, count: map[string]int{"send": 1, "must": 2}},
		{name: "must change, refused", op: reset.Reset, must: true, dies: "answer",
			after: func(a *account) { a.mayMust = false },
			want:  reset.AppliedPartly, count: map[string]int{"send": 1, "must": 1}},
		{name: "must change, password set before the deadline", op: reset.Reset, must: true, age: nearDeadline, dies: "answer",
			want: reset.Applied, count: map[string]int{"send": 1, "must": 1}},
		{name: "locked, password set", op: reset.Reset, dies: "answer",
			before: func(a *account) { a.setLocked(true) },
			want:   reset.Applied, count: map[string]int{"send": 1, "unlock": 1}},
		{name: "locked, unlock not sent", op: reset.Reset, dies: "unlock",
			before: func(a *account) { a.setLocked(true) },
			want:   reset.Applied, count: map[string]int{"send": 1, "unlock": 2}},

		{name: "deleted, not sent", op: reset.Reset, dies: "claimed",
			after: func(a *account) { a.remove() }, want: reset.Unconfirmed},
		{name: "deleted, done", op: reset.Reset, dies: "answer",
			after: func(a *account) { a.remove() }, want: reset.Unconfirmed, count: map[string]int{"send": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				if tt.op == reset.Unlock {
					c.account.setLocked(true)
				}
				if tt.before != nil {
					tt.before(c.account)
				}
				r, ref := c.deliver(func(d *draft) { d.header.Operation, d.must = tt.op, tt.must })
				time.Sleep(tt.age)
				defer c.kill(tt.dies, r)()
				if tt.after != nil {
					tt.after(c.account)
				}
				c.finish(1, r, ref)
				if code := c.check(ref); code != tt.want {
					t.Errorf("outcome %s, want %s: %v", code, tt.want, kinds(c.records(ref)))
				}
				if by := c.records(ref).Last().Writer.Name; by != "replica2" {
					t.Errorf("%s had the last word", by)
				}
				for _, what := range []string{"send", "unlock", "must"} {
					if n := c.account.count(what); n != tt.count[what] {
						t.Errorf("%d times at %s, want %d: %v", n, what, tt.count[what], kinds(c.records(ref)))
					}
				}
				if tt.must && tt.want == reset.Applied && c.account.must == 0 {
					t.Error("applied, and its owner need not choose another password")
				}
				if tt.op == reset.Probe && c.account.binds > 0 {
					t.Errorf("%d binds for a probe", c.account.binds)
				}
			})
		})
	}
}

// A wrong current password counts towards a lockout: it is tried once.
func TestWrongPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.set("Another-9")
		r, ref := c.deliver(func(d *draft) { d.header.Operation = reset.Change })
		c.finish(0, r, ref)
		if code := c.check(ref); code != reset.WrongPassword || c.account.attempts != 1 {
			t.Errorf("outcome %s, %d attempts", code, c.account.attempts)
		}
	})
}

// A probe changes nothing: its slot is free at once, even after a doubt. What
// follows a password may be on its way as the password itself may: the slot
// waits for it.
func TestSlot(t *testing.T) {
	t.Run("probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			r, ref := c.deliver(func(d *draft) { d.header.Operation = reset.Probe })
			defer c.kill("probe", r)()
			if said := c.work(1, r); !said.acked {
				t.Errorf("handed back for %s: %v", said.handedBack, kinds(c.records(ref)))
			}
		})
	})
	for _, what := range []string{"unlock", "must"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				c.account.lock(true)
				c.account.at = func(step string) {
					if step == what {
						c.account.locked(func() { c.account.lost = true })
					}
				}
				r, ref := c.deliver(func(d *draft) { d.must = true })
				said := c.work(0, r)
				if code := c.check(ref); code != reset.AppliedPartly {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
				if said.acked || said.handedBack < reset.Grace {
					t.Errorf("acked %t, handed back for %s", said.acked, said.handedBack)
				}
			})
		})
	}
}

// So may the unlock be that comes before a bind.
func TestSlotAfterUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		defer c.kill("answer", r)()
		c.account.setLocked(true)
		c.account.at = func(step string) {
			if step == "unlock" {
				c.account.locked(func() { c.account.lost = true })
			}
		}
		said := c.work(1, r)
		if code := c.check(ref); code != reset.Applied || c.account.count("unlock") != 1 {
			t.Fatalf("outcome %s: %v", code, kinds(c.records(ref)))
		}
		sent := c.account.sent[len(c.account.sent)-1].at
		if free := time.Since(sent) + said.handedBack; free < reset.Window+reset.ModifyTimeout+reset.Grace {
			t.Errorf("the slot is free %s after the unlock was sent", free)
		}
	})
}

// The policy, the bases and the account's state are looked at once more before a
// modify in doubt: they may have changed.
func TestJudgedInDoubt(t *testing.T) {
	for _, tt := range []struct {
		want   reset.Code
		change func(*policy)
	}{
		{reset.OperationOff, func(p *policy) { p.before = &reset.Error{Code: reset.OperationOff} }},
		{reset.AccountNotFound, func(p *policy) { p.bases = "OU=Elsewhere" }},
		{reset.AccountProtected, func(p *policy) { p.judge = &reset.Error{Code: reset.AccountProtected} }},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill("claimed", r)()
				tt.change(c.policies[1])
				c.finish(1, r, ref)
				if code := c.check(ref); code != tt.want || len(c.account.sent) != 0 {
					t.Errorf("outcome %s, %d modifies sent: %v", code, len(c.account.sent), kinds(c.records(ref)))
				}
			})
		})
	}
}

// What stands in the way of the one bind that a request has.
func TestAsking(t *testing.T) {
	const nearDeadline = reset.Deadline - time.Second
	for _, tt := range []struct {
		name  string
		age   time.Duration
		bind  error
		until time.Duration // the bind may be made
		want  reset.Code
		binds int
		atEnd time.Duration // the outcome is there
	}{
		{"no connection", 0, reset.ErrDirectoryUnavailable, 30 * time.Second, reset.Applied, 1, 36 * time.Second},
		{"no connection, past the deadline", nearDeadline, reset.ErrDirectoryUnavailable, 30 * time.Second, reset.Applied, 1, 36 * time.Second},
		{"near a lockout", 0, reset.ErrNotAsked, 30 * time.Second, reset.Applied, 1, 36 * time.Second},
		{"near a lockout, past the deadline", nearDeadline, reset.ErrNotAsked, 30 * time.Second, reset.Unconfirmed, 0, 11 * time.Second},
		{"no answer", 0, reset.ErrUnanswered, time.Hour, reset.Unconfirmed, 0, 11 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				time.Sleep(tt.age)
				defer c.kill("answer", r)()
				begun := time.Now()
				c.account.bind = tt.bind
				time.AfterFunc(tt.until, func() { c.account.locked(func() { c.account.bind = nil }) })
				c.work(1, r)
				if code := c.check(ref); code != tt.want || c.account.binds != tt.binds {
					t.Errorf("outcome %s, %d binds: %v", code, c.account.binds, kinds(c.records(ref)))
				}
				if took := c.records(ref).Last().Time.Sub(begun); took > tt.atEnd {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// The broker does not say whether it has stored that we are about to ask: who
// finds its own word there, and knows that it has not asked yet, asks.
func TestAskingIsLost(t *testing.T) {
	for _, stored := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			r, ref := c.deliver(nil)
			defer c.kill("answer", r)()
			lost := false
			c.queue.OnAppend(ambiguous(func(rec *envelope.Record) bool {
				first := rec.Asked && !lost
				lost = lost || first
				return first
			}, stored))
			c.finish(1, r, ref)
			if code := c.check(ref); code != reset.Applied || c.account.binds != 1 || !lost {
				t.Errorf("stored %t: outcome %s, %d binds: %v", stored, code, c.account.binds, kinds(c.records(ref)))
			}
		})
	}
}

// Another run of a replica does not know whether the one before has asked.
func TestAskedByAnotherRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lost = true
		r, ref := c.deliver(nil)
		defer c.kill("ask", r)()
		c.restart(0)
		c.work(0, r)
		if code := c.check(ref); code != reset.Unconfirmed || c.account.binds != 0 {
			t.Errorf("outcome %s, %d binds: %v", code, c.account.binds, kinds(c.records(ref)))
		}
	})
}
