package directory

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// A pause doubles until the domain controller has done its work, not only let us
// in; and what is lost while there is no other is short.
func TestPauses(t *testing.T) {
	cfg := valid(t)
	cfg.URLs = []string{"ldaps://dc1", "ldaps://dc2"}
	synctest.Test(t, func(t *testing.T) {
		c, err := New(cfg, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		d := c.controllers[0]
		fail := func(again bool, about time.Duration) {
			t.Helper()
			time.Sleep(time.Second) // of synctest's clock
			began := time.Now()
			time.Sleep(time.Second)
			now := time.Now()
			c.leave(d, began, errors.New("gone"), again)
			if pause := d.until.Sub(now); pause < about/2 || pause > about*3/2+1 {
				t.Errorf("left alone for %s, want about %s", pause, about)
			}
			wait := d.retry.Sub(now)
			if again && wait != 0 || !again && (wait <= 0 || wait > maxWait) {
				t.Errorf("where there is no other the wait is %s", wait)
			}
			first, others, _, err := c.choose("")
			if first != c.controllers[1] || others != again || err != nil {
				t.Errorf("chose %s, others to try: %t, %v", first.addr.url, others, err)
			}
			until := d.until
			c.leave(d, began, errors.New("gone as well"), again)
			if !d.until.Equal(until) {
				t.Error("what began before it was left alone counts again")
			}
		}
		about := firstPause
		for range 10 {
			fail(false, about)
			c.welcome(&conn{from: d})
			if first, _, wait, _ := c.choose(""); first != d || wait != 0 {
				t.Error("a domain controller that is back is not used")
			}
			about = min(2*about, maxPause)
		}
		fail(true, maxPause)
		c.worked(d)
		fail(true, firstPause)

		// Nobody else: the wait is for the one that is due first.
		other := c.controllers[1]
		c.leave(other, time.Now(), errors.New("gone"), false)
		if first, _, wait, _ := c.choose(""); first != d || wait != 0 {
			t.Errorf("chose %s after %s", first.addr.url, wait)
		}
		time.Sleep(time.Second)
		c.leave(d, time.Now(), errors.New("gone"), false)
		if first, others, wait, _ := c.choose(""); others || wait > time.Second*3/2 || wait != max(0, time.Until(first.retry)) {
			t.Errorf("chose %s after %s, others to try: %t", first.addr.url, wait, others)
		}
	})
}
