package lab

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestRollingStop stops each consumer in turn, as an update does, while resets go
// on: each is applied once, and none waits for anything but a replica that is up.
func TestRollingStop(t *testing.T) {
	l := startLab(t, "fake")
	e, users := l.endpoints(t), l.Directory.Users
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	applied, longest := make([]int, 8), time.Duration(0)
	for i := range applied {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				begun := time.Now()
				r, err := e.post(t.Context(), "upn", users[i].UPN, fmt.Sprintf("Rolling-Word-%d-%d", i, n))
				if err != nil || r.Code != "applied" {
					t.Errorf("account %d: %v %s", i, err, r.Body)
					return
				}
				mu.Lock()
				applied[i]++
				longest = max(longest, time.Since(begun))
				mu.Unlock()
			}
		})
	}
	for range 2 {
		for i := range l.opts.Consumers {
			name := consumerName(i)
			pid := l.endpoints(t).pid(t, name)
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			l.awaitNext(t, name, operations(t, l.Dir, l.opts.Consumers)[name], pid)
		}
	}
	close(stop)
	wg.Wait()
	total := 0
	for i, n := range applied {
		total += n
		if set := l.fake.Counts(users[i].SAMAccountName).Passwords; set != n {
			t.Errorf("account %d: %d resets were applied, the password was set %d times", i, n, set)
		}
	}
	t.Logf("%d resets, the longest took %s", total, longest.Round(time.Millisecond))
}
