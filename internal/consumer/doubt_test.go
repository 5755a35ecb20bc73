package consumer

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/memq"
)

// arrows are the places between two steps of a request's life at a consumer.
var arrows = []string{"find", "claim", "claimed", "send", "answer", "settle", "settled", "ack"}

// stallAt makes the first who comes to an arrow wait there.
func (c *company) stallAt(arrow string, wait func()) {
	switch arrow {
	case "claim", "claimed":
		c.queue.OnAppend(onceAt(envelope.Claimed, arrow == "claimed", wait))
	case "settle", "settled":
		c.queue.OnAppend(onceAt(envelope.Settled, arrow == "settled", wait))
	default:
		var met atomic.Bool
		c.account.at = func(step string) {
			if step == arrow && met.CompareAndSwap(false, true) {
				wait()
			}
		}
	}
}

// A replica stops at any place, for any time, and another takes over: the
// request has one outcome, which is true, one effect, and at most one bind.
func TestStall(t *testing.T) {
	for _, history := range []bool{true, false} {
		for _, arrow := range arrows {
			for _, stall := range []time.Duration{4 * time.Second, 11 * time.Second, 30 * time.Second, 10 * time.Minute} {
				t.Run(fmt.Sprintf("history %t, %s, %s", history, arrow, stall), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newCompany(t)
						if !history {
							c.account.noHistory = true
						}
						r, ref := c.deliver(nil)
						stalled := make(chan struct{})
						c.stallAt(arrow, func() {
							close(stalled)
							time.Sleep(stall)
						})
						var first sync.WaitGroup
						first.Go(func() {
							c.work(0, r)
							if arrow == "ack" {
								close(stalled) // the broker never hears of it
							}
						})
						<-stalled
						time.Sleep(5 * time.Second) // the broker's patience
						c.finish(1, r, ref)
						first.Wait()
						code := c.check(ref)
						if sent := slices.Contains([]string{"answer", "settle", "settled", "ack"}, arrow); code != reset.Applied && (sent || arrow == "find" || arrow == "claim") {
							t.Errorf("outcome %s after a stall at %s: %v", code, arrow, kinds(c.records(ref)))
						}
					})
				})
			}
		}
	}
}

// kill has a replica die at an arrow: it stays there until the test is over.
func (c *company) kill(arrow string, r *receipt) (buried func()) { return c.killAs(0, arrow, r) }

func (c *company) killAs(replica int, arrow string, r *receipt) (buried func()) {
	dead, over := make(chan struct{}), make(chan struct{})
	c.stallAt(arrow, func() {
		close(dead)
		<-over
	})
	var wg sync.WaitGroup
	wg.Go(func() { c.work(replica, r) })
	<-dead
	c.account.at = func(string) {}
	c.queue.OnAppend(nil)
	return func() {
		close(over)
		wg.Wait()
	}
}

// The time from the death of a replica that had claimed to the outcome.
func TestTakeOver(t *testing.T) {
	for arrow, want := range map[string]reset.Code{"claimed": reset.Applied, "answer": reset.Applied, "settle": reset.Applied} {
		t.Run(arrow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill(arrow, r)()
				begun := time.Now()
				said := c.work(1, r)
				if code := c.check(ref); code != want {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
				if took := time.Since(begun); took < reset.TakeOver || took > reset.TakeOver+2*time.Second {
					t.Errorf("taken over after %s, want %s", took, reset.TakeOver)
				}
				if free := time.Since(begun) + said.handedBack; said.acked || free < reset.Window+reset.ModifyTimeout+reset.Grace {
					t.Errorf("acked %t, handed back for %s: the slot is free while a modify may still come", said.acked, said.handedBack)
				}
				// The broker may forget how long it was to keep it.
				c.restart(0)
				if again := c.work(0, r); again.acked || time.Since(begun)+again.handedBack < reset.Window+reset.ModifyTimeout+reset.Grace {
					t.Errorf("delivered again: acked %t, handed back for %s", again.acked, again.handedBack)
				}
				time.Sleep(said.handedBack + reset.TakeOver + reset.ClockSkew)
				if again := c.work(1, r); !again.acked {
					t.Errorf("not acknowledged after the grace, but handed back for %s", again.handedBack)
				}
			})
		})
	}
}

// A slow domain controller executes the modify after the connection is gone.
func TestExecutedLate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		slow    time.Duration
		age     time.Duration // of the request when it is taken
		history bool
	}{
		{"8 s", 8 * time.Second, 0, true},
		{"8 s, no history", 8 * time.Second, 0, false},
		{"20 s", 20 * time.Second, 0, true},
		{"8 s across the deadline", 8 * time.Second, reset.Deadline - time.Second, true},
		{"20 s across the deadline", 20 * time.Second, reset.Deadline - time.Second, true},
		{"20 s across the deadline, no history", 20 * time.Second, reset.Deadline - time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				if !tt.history {
					c.account.noHistory = true
				}
				c.account.slow = tt.slow
				c.account.at = func(step string) {
					if step == "ask" || step == "find" && c.account.executed > 0 {
						c.account.slow = 0
					}
				}
				r, ref := c.deliver(nil)
				time.Sleep(tt.age)
				c.finish(0, r, ref)
				time.Sleep(time.Minute)
				if code := c.check(ref); code != reset.Applied {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
			})
		})
	}
}

// The answer is lost: what became of the modify is found out at once.
func TestAnswerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lost = true
		r, ref := c.deliver(nil)
		begun := time.Now()
		c.work(0, r)
		if code := c.check(ref); code != reset.Applied || c.account.executed != 1 || c.account.binds != 1 {
			t.Errorf("outcome %s, %d executed, %d binds: %v", code, c.account.executed, c.account.binds, kinds(c.records(ref)))
		}
		if took := time.Since(begun); took > reset.Window+time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// The new password is the one in force, and the replica died before it sent:
// the outcome is the directory's refusal, since it never took it.
func TestSamePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.set(password)
		r, ref := c.deliver(nil)
		defer c.kill("claimed", r)()
		c.finish(1, r, ref)
		if code := c.check(ref); code != reset.PasswordInHistory || c.account.binds != 0 {
			t.Errorf("outcome %s, %d binds: %v", code, c.account.binds, kinds(c.records(ref)))
		}
	})
}

// Somebody else sets another password after ours, or instead of it: theirs
// stays.
func TestSomebodyElse(t *testing.T) {
	for _, arrow := range []string{"claimed", "answer"} {
		t.Run(arrow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				r, ref := c.deliver(nil)
				defer c.kill(arrow, r)()
				c.account.set("Administrators-6")
				c.finish(1, r, ref)
				if code := c.check(ref); code != reset.Unconfirmed || c.account.dcs["dc1"].password.value != "Administrators-6" {
					t.Errorf("outcome %s, password %s: %v", code, c.account.dcs["dc1"].password.value, kinds(c.records(ref)))
				}
			})
		})
	}
}

// A replica that dies after it said that it would ask leaves a request that
// nobody asks about again.
func TestAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lost = true
		r, ref := c.deliver(nil)
		defer c.kill("ask", r)()
		c.finish(1, r, ref)
		if code := c.check(ref); code != reset.Unconfirmed || c.account.binds != 0 {
			t.Errorf("outcome %s, %d binds: %v", code, c.account.binds, kinds(c.records(ref)))
		}
	})
}

// No bind tells while the account is locked: a reset unlocks it first, if it may.
func TestLockedInDoubt(t *testing.T) {
	for _, tt := range []struct {
		name      string
		permitted bool          // to unlock
		age       time.Duration // of the request when it is taken
		over      time.Duration
		want      reset.Code
	}{
		{"unlocked", true, 0, time.Hour, reset.Applied},
		{"the lockout ends", false, 0, time.Minute, reset.Applied},
		{"it does not end", false, 0, time.Hour, reset.Unconfirmed},
		{"it ends, past the deadline", true, reset.Deadline - time.Second, time.Minute, reset.Applied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				c.account.lost, c.account.mayUnlock = true, tt.permitted
				c.stallAt("answer", func() { c.account.setLocked(true) })
				r, ref := c.deliver(nil)
				time.Sleep(tt.age)
				time.AfterFunc(tt.over, func() { c.account.setLocked(false) })
				c.finish(0, r, ref)
				chain := c.records(ref)
				if code := c.check(ref); code != tt.want {
					t.Errorf("outcome %s, want %s: %v", code, tt.want, kinds(chain))
				}
				if age := time.Since(chain[0].Time); age > reset.Life+2*later {
					t.Errorf("kept for %s, although a publisher has ended it", age)
				}
				if tt.age > 0 && len(chain) > 5 {
					t.Errorf("claimed again and again, to wait: %v", kinds(chain))
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// The domain controller dies with the modify: another takes the same password,
// before the caller's patience ends.
func TestAnotherController(t *testing.T) {
	for _, executed := range []bool{true, false} {
		t.Run(fmt.Sprintf("executed %t", executed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				c.account.lost = executed
				die := func() { c.account.setDown("dc1", true) }
				step := map[bool]string{true: "answer", false: "claimed"}[executed]
				c.stallAt(step, die)
				r, ref := c.deliver(nil)
				begun := time.Now()
				for r.Attempt = 1; !c.records(ref).Ended(); r.Attempt++ {
					time.Sleep(c.work(0, r).handedBack)
				}
				if code := c.check(ref); code != reset.Applied {
					t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
				}
				if took := c.records(ref).Last().Time.Sub(begun); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// The domain controller that may know is away until the end, and no other is
// there: nobody says that nothing was changed.
func TestControllerStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		c.account.lost, c.account.down["dc2"] = true, true
		c.stallAt("answer", func() { c.account.setDown("dc1", true) })
		r, ref := c.deliver(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.finish(0, r, ref)
		}()
		time.Sleep(reset.Life + time.Second)
		c.publisher("close", ref)
		if code := c.check(ref); code != reset.Unconfirmed {
			t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
		}
		<-done
	})
}

// What another domain controller refuses is not the outcome as long as the one
// that may have applied it is away.
func TestRefusedElsewhere(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("back %t", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompany(t)
				c.account.lost, c.account.lag = true, -1
				c.account.refuses["dc2"] = &reset.Error{Code: reset.PasswordTooRecent}
				c.stallAt("answer", func() { c.account.setDown("dc1", true) })
				r, ref := c.deliver(nil)
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.finish(0, r, ref)
				}()
				time.Sleep(time.Minute)
				want := reset.Unconfirmed
				if back {
					want = reset.Applied
					c.account.setDown("dc1", false)
				}
				time.Sleep(reset.Life)
				c.publisher("close", ref)
				if code := c.check(ref); code != want {
					t.Errorf("outcome %s, want %s: %v", code, want, kinds(c.records(ref)))
				}
				<-done
			})
		})
	}
}

// What becomes known after a publisher closed the request is said: nothing had
// been changed, or it had.
func TestCorrected(t *testing.T) {
	t.Run("nothing was changed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			c.account.down["dc2"] = true
			c.account.slow = 100 * time.Hour // lost in the network
			r, ref := c.deliver(nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.finish(0, r, ref)
			}()
			time.Sleep(2 * time.Second)
			c.account.setDown("dc1", true)
			time.Sleep(reset.Life)
			c.publisher("close", ref)
			if code := c.check(ref); code != reset.Unconfirmed {
				t.Fatalf("outcome %s: %v", code, kinds(c.records(ref)))
			}
			c.account.setDown("dc1", false)
			<-done
			if code := c.check(ref); code != reset.Expired {
				t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
			}
			time.Sleep(100 * time.Hour)
		})
	})
	t.Run("not that we do not know either", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			r, ref := c.deliver(nil)
			defer c.kill("answer", r)()
			c.account.set("Administrators-6")
			c.stallAt("settle", func() {
				time.Sleep(reset.Life)
				c.publisher("close", ref)
			})
			said := c.work(1, r)
			if chain := c.records(ref); c.check(ref) != reset.Unconfirmed || chain.Last().Kind != envelope.Settled || said.acked {
				t.Errorf("acked %t: %v", said.acked, kinds(chain))
			}
		})
	})
	t.Run("it was applied", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCompany(t)
			var away atomic.Bool
			away.Store(true)
			c.queue.OnAppend(func(_ int, record []byte) memq.Fault {
				if kindOf(record) != envelope.Settled {
					return nil
				}
				return func(store func()) error {
					if rec, _ := envelope.ParseRecord(record); rec.Code == reset.Applied && away.CompareAndSwap(true, false) {
						time.Sleep(reset.Life + time.Minute) // the broker is away
					}
					return nil
				}
			})
			r, ref := c.deliver(nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.work(0, r)
			}()
			time.Sleep(reset.Life + time.Second)
			c.publisher("close", ref)
			if code := c.check(ref); code != reset.Unconfirmed {
				t.Fatalf("outcome %s: %v", code, kinds(c.records(ref)))
			}
			<-done
			if code := c.check(ref); code != reset.Applied {
				t.Errorf("outcome %s: %v", code, kinds(c.records(ref)))
			}
		})
	})
}
