package consumer

import (
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit/memq"
)

var (
	seeds = flag.Uint64("seeds", 150, "how many runs with faults at random")
	seed  = flag.Uint64("seed", 0, "the seed of the first of them")
)

// Everything at once, at random: two replicas with the same request, stalls at
// any step, answers that are lost, modifies that are executed late, somebody
// else's password, lockouts, domain controllers that go and come back, hang, and
// hear of each other late.
func TestRandomFaults(t *testing.T) {
	outcomes := make(map[reset.Code]int)
	for s := *seed; s < *seed+*seeds; s++ {
		synctest.Test(t, func(t *testing.T) {
			code := randomFaults(t, rand.New(rand.NewPCG(s, 17)))
			outcomes[code]++
		})
		if t.Failed() {
			t.Fatalf("seed %d", s)
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if *seeds < 100 {
		return
	}
	for _, code := range []reset.Code{reset.Applied, reset.Expired, reset.Unconfirmed, reset.AppliedPartly} {
		if outcomes[code] == 0 {
			t.Errorf("no request ended as %s: the faults are not what they should be", code)
		}
	}
}

func randomFaults(t *testing.T, rnd *rand.Rand) reset.Code {
	c := newCompany(t)
	var mu sync.Mutex // of rnd
	chance := func(n int) bool { return rnd.IntN(n) == 0 }
	upTo := func(most time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(most))) }
	draw := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	pause := func(most time.Duration) {
		var d time.Duration
		draw(func() {
			if chance(4) {
				d = upTo(most)
			}
		})
		time.Sleep(d)
	}
	a := c.account
	r, ref := c.deliver(func(d *draft) {
		switch rnd.IntN(6) {
		case 0:
			d.header.Operation = reset.Change
		case 1:
			d.header.Operation = reset.Unlock
			a.lock(true)
		case 2:
			d.must = true
		}
	})
	a.noHistory = chance(2)
	a.mayUnlock, a.mayMust = !chance(5), !chance(5)
	if chance(5) {
		a.set("Another-9") // not what a change says
	}
	if chance(3) {
		a.lag = upTo(time.Minute)
	}
	a.at = func(step string) {
		most := time.Minute
		if step == "send" || step == "unlock" || step == "must" {
			most = reset.ModifyTimeout // what is in the system's hands
		}
		pause(most)
		draw(func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.lost = chance(3)
			a.slow, a.delay, a.notice = 0, 0, 0
			if chance(4) {
				a.slow = upTo(25 * time.Second)
			}
			if chance(4) {
				a.delay, a.notice = upTo(8*time.Second), upTo(8*time.Second)
			}
			a.down["dc1"], a.down["dc2"] = chance(6), chance(6)
			if chance(8) {
				a.lock(!a.dcs["dc1"].locked.value)
			}
			if chance(30) {
				a.write("dc1", func(s *state) { a.store(s, "Administrators-6") })
			}
		})
	}
	c.queue.OnAppend(func(int, []byte) memq.Fault {
		var lost bool
		draw(func() { lost = chance(10) })
		pause(20 * time.Second)
		if lost {
			return memq.Lost
		}
		return nil
	})
	time.Sleep(upTo(reset.Deadline))
	second, after := *r, upTo(time.Second)
	var both sync.WaitGroup
	both.Go(func() { c.finish(0, r, ref) })
	both.Go(func() {
		time.Sleep(after) // the order of what two do at one time would not be the seed's
		c.finish(1, &second, ref)
	})
	both.Wait()
	time.Sleep(reset.Correctable + time.Minute)
	return c.check(ref)
}
