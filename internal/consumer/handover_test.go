package consumer

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/memq"
)

// A replica that sees no domain controller gives a request in doubt to one that
// may.
func TestDirectoryLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		defer c.kill("answer", r)()
		begun := time.Now()
		see := c.replicas[1].cfg.Directory
		c.replicas[1].cfg.Directory = func(context.Context, string) (Session, error) { return nil, reset.ErrDirectoryUnavailable }
		said := c.work(1, r)
		if took := time.Since(begun); said.handedBack != soon || took < reset.TakeOver+blindFor || took > reset.TakeOver+blindFor+2*later {
			t.Errorf("handed back for %s after %s", said.handedBack, took)
		}
		if last := c.records(ref).Last(); last.Kind != envelope.Released || !last.Doubt {
			t.Errorf("left as %v", kinds(c.records(ref)))
		}
		// Who was not there before need not wait for anybody.
		begun = time.Now()
		c.replicas[1].cfg.Directory = see
		c.restart(1)
		c.work(1, r)
		if code, took := c.check(ref), time.Since(begun); code != reset.Applied || took > 2*time.Second {
			t.Errorf("outcome %s after %s: %v", code, took, kinds(c.records(ref)))
		}
	})
}

// A replica that sees one now and then keeps the request, and so does one that
// would be the last to have it.
func TestDirectoryComesAndGoes(t *testing.T) {
	t.Run("now and then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			c.account.mayUnlock = false
			c.account.down["dc2"] = true
			r, ref := c.deliver(nil)
			defer c.kill("answer", r)()
			c.account.setLocked(true) // it cannot be asked
			go func() {
				for range 4 {
					c.account.setDown("dc1", true)
					time.Sleep(15 * time.Second)
					c.account.setDown("dc1", false)
					time.Sleep(6 * time.Second)
				}
				c.account.setLocked(false)
			}()
			c.work(1, r)
			if code := c.check(ref); code != reset.Applied {
				t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
			}
		})
	})
	t.Run("when the broker has forgotten it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			r, ref := c.deliver(nil)
			defer c.kill("answer", r)()
			time.Sleep(reset.QueueAge - reset.TakeOver)
			c.account.setDown("dc1", true)
			time.AfterFunc(time.Minute, func() { c.account.setDown("dc1", false) })
			c.work(1, r)
			if code := c.check(ref); code != reset.Applied {
				t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
			}
		})
	})
}

// The domain controller that the witness names takes as long to be away as a
// look may take, and the other one its time to answer: a claim is too old when
// the look is over, and something is sent before the deadline all the same.
func TestSlowLooks(t *testing.T) {
	for _, sent := range []bool{false, true} {
		t.Run(fmt.Sprintf("sent %t", sent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				c.account.notice = time.Hour
				r, ref := c.deliver(nil)
				arrow := "claimed"
				if sent {
					arrow = "answer"
					c.account.lag = -1 // nobody can see it
				}
				defer c.kill(arrow, r)()
				c.account.setDown("dc1", true)
				c.account.delay = 2 * time.Second
				time.AfterFunc(reset.Deadline+time.Minute, func() { c.account.setDown("dc1", false) })
				begun := time.Now()
				c.finish(1, r, ref)
				if code := c.check(ref); code != reset.Applied {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
				if took := c.records(ref).Last().Time.Sub(begun); took > 30*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// The broker takes longer to store a claim in doubt than a claim is fresh:
// nothing is sent under it, but under one that is stored in time.
func TestSlowClaimInDoubt(t *testing.T) {
	for _, arrow := range []string{"claimed", "answer"} {
		t.Run(arrow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill(arrow, r)()
				if arrow == "answer" {
					c.account.setLocked(true) // it is to be unlocked first
				}
				slow := 0
				c.queue.OnAppend(func(_ int, record []byte) memq.Fault {
					if kindOf(record) == envelope.Claimed && slow < 4 {
						slow++
						time.Sleep(reset.Window + time.Second)
					}
					return nil
				})
				c.finish(1, r, ref)
				if code := c.check(ref); code != reset.Applied || slow < 4 {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
			})
		})
	}
}

// The deadline passes while a claim in doubt is written: nothing is sent.
func TestDeadlinePassesInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		time.Sleep(reset.Deadline - reset.TakeOver - 2*time.Second)
		defer c.kill("claimed", r)()
		claims := 0
		c.account.delay = time.Second
		c.queue.OnAppend(func(_ int, record []byte) memq.Fault {
			if kindOf(record) == envelope.Claimed {
				if claims++; claims == 1 {
					time.Sleep(reset.Window)
				}
			}
			return nil
		})
		c.finish(1, r, ref)
		if code := c.check(ref); code != reset.Expired || len(c.account.sent) != 0 {
			t.Errorf("outcome %s, %d modifies: %v", code, len(c.account.sent), kinds(c.records(ref)))
		}
	})
}

// The grace ends while the account is read. What is read may be older than what
// came last: it takes another look to say that nothing did.
func TestGraceEndsDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		time.Sleep(reset.Deadline - 3*time.Second)
		begun := time.Now()
		at := func(d time.Duration, f func()) {
			time.AfterFunc(time.Until(begun.Add(d)), func() { c.account.locked(f) })
		}
		// The first replica sends as late as it may, and dies. It is executed
		// as late as it may be.
		c.queue.OnAppend(onceAt(envelope.Claimed, true, func() { time.Sleep(2800 * time.Millisecond) }))
		c.account.slow = 34900 * time.Millisecond
		ctx, die := context.WithCancel(t.Context())
		first := &receipt{Delivery: r.Delivery}
		first.Receipt = first
		dead := make(chan struct{})
		go func() {
			defer close(dead)
			c.replicas[0].work(ctx, first.Delivery, func() {})
		}()
		time.Sleep(100 * time.Millisecond)
		at(5*time.Second, die)
		// The second sees nothing until shortly before the end of the grace.
		at(5*time.Second, func() { c.account.down["dc1"] = true })
		at(33*time.Second, func() { c.account.down["dc1"], c.account.delay = false, 2400*time.Millisecond })
		r.Attempt = 2
		c.work(1, r)
		<-dead
		if code := c.check(ref); code != reset.Applied || c.account.executed != 1 {
			t.Errorf("outcome %s, %d executed: %v", code, c.account.executed, kinds(c.records(ref)))
		}
	})
}

// That there is no account on a domain controller which was not asked before may
// be news from before it was made.
func TestGoneElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lag = -1
		c.account.dcs["dc2"].deleted.value = true
		r, ref := c.deliver(nil)
		defer c.kill("answer", r)()
		c.account.setDown("dc1", true)
		time.AfterFunc(20*time.Second, func() { c.account.setDown("dc1", false) })
		c.finish(1, r, ref)
		if code := c.check(ref); code != reset.Applied {
			t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
		}
	})
}

// A claim of ours whose storing is not known is released when it is found, if
// nothing was sent under it.
func TestOwnClaimIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		n := 0
		w.queue.OnAppend(ambiguous(func(rec *envelope.Record) bool { n++; return n == 1 }, true))
		w.run(t.Context(), r)
		w.expect(ref, reset.Applied, envelope.Claimed, envelope.Released, envelope.Claimed, envelope.Settled)
	})
}

// When a request's life is over, the publishers have it.
func TestLifeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		defer c.kill("answer", r)()
		time.Sleep(reset.Life + time.Millisecond)
		before := len(c.records(ref))
		if said := c.work(1, r); said.handedBack != later || len(c.records(ref)) != before {
			t.Errorf("handed back for %s: %v", said.handedBack, kinds(c.records(ref)))
		}
	})
}

// Our outcome comes after somebody else's claim was closed: what happened under
// that one we do not know, and so do not correct it.
func TestLateAndTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		r, ref := c.deliver(nil)
		wake := make(chan struct{})
		waiting := make(chan struct{})
		c.stallAt("settle", func() {
			close(waiting)
			<-wake
		})
		first := make(chan *receipt, 1)
		go func() { first <- c.work(0, r) }()
		<-waiting
		c.account.setLocked(true)
		c.account.mayUnlock = false // the second finds nothing out
		second := make(chan *receipt, 1)
		go func() { second <- c.work(1, r) }()
		time.Sleep(reset.Life + time.Second)
		c.publisher("close", ref)
		close(wake)
		if said := <-first; said.acked || said.handedBack == 0 {
			t.Errorf("acked %t, handed back for %s", said.acked, said.handedBack)
		}
		if code := c.check(ref); code != reset.Unconfirmed || c.records(ref).Last().Kind != envelope.Settled {
			t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
		}
		if n := testutil.ToFloat64(c.replicas[0].metrics.late); n != 1 {
			t.Errorf("%v outcomes came late, want 1", n)
		}
		<-second
	})
}

// A modify that is sent to another domain controller is looked for there, too:
// the next replica does not take the word of the first one, which has not heard.
func TestSentElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lag = -1
		c.account.refuses["dc1"] = &reset.Error{Code: reset.PasswordTooRecent}
		r, ref := c.deliver(nil)
		defer c.kill("claimed", r)()
		c.account.setDown("dc1", true)
		defer c.killAs(1, "answer", r)()
		c.account.setDown("dc1", false)
		c.restart(0)
		c.finish(0, r, ref)
		if code := c.check(ref); code != reset.Applied {
			t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
		}
	})
}
