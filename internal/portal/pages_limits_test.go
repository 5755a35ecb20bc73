package portal

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
)

// A wave on an account, or from an address, does not keep out who has come
// rightly: one attempt a minute is reserved.
func TestPageLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewPageLimits(PageRates{PerAddress: 30, PerAccount: 5})
		if err != nil {
			t.Fatal(err)
		}
		user := func(name string) reset.Submission {
			return reset.Submission{Tenant: "corp", Account: reset.Account{Kind: reset.UPN, Value: name}}
		}
		near, far := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
		wave, mine := "wave", "mine"
		for i := range 6 {
			if wait := l.Attempt(far, user("ada"), wave); wait != 0 {
				t.Fatalf("attempt %d waits for %s", i, wait) // the sixth is the reserved one
			}
		}
		if wait := l.Attempt(far, user("ada"), wave); wait != time.Minute {
			t.Errorf("a wave on an account waits for %s", wait)
		}
		if wait := l.Attempt(near, user("ada"), mine); wait != 0 {
			t.Errorf("the owner, from elsewhere, waits for %s", wait)
		}
		if wait := l.Attempt(near, user("ada"), mine); wait != time.Minute {
			t.Errorf("the owner, at once again, waits for %s", wait)
		}
		time.Sleep(time.Minute)
		if wait := l.Attempt(near, user("ada"), mine); wait != 0 {
			t.Errorf("a minute later the owner waits for %s", wait)
		}
		if wait := l.Attempt(near, user("bob"), "third"); wait != 0 {
			t.Errorf("another account waits for %s", wait)
		}
		for range 30 {
			l.Attempt(near, user("carl"), "fourth")
		}
		if wait := l.Attempt(near, user("dora"), "fifth"); wait != 0 {
			t.Errorf("from a busy address, the reserved attempt waits for %s", wait)
		}
		if wait := l.Attempt(near, user("dora"), "fifth"); wait == 0 {
			t.Error("from a busy address, everything is let in")
		}
	})
}

func TestPageRates(t *testing.T) {
	if err := DefaultPageRates().Check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []PageRates{{0, 5}, {1_000_001, 5}, {30, 0}, {30, 10_001}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
