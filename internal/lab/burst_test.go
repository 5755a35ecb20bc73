package lab

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

// TestBurst accepts 2,000 requests for as many accounts just after every
// consumer was killed, while publishers still believe in them. When two start,
// all are applied, each once, none late; what waits is on the broker's disk.
func TestBurst(t *testing.T) {
	const requests, callers = 2000, 32
	l := startLab(t, "fake")
	e := l.endpoints(t)
	var users []testkit.User
	for range requests {
		u, err := l.fake.NewUser(fakead.UserSpec{})
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	wantApplied(t, e, "upn", l.Directory.Users[0].UPN, "Warm-Up-Word-1")
	before := memory(t, e.pid(t, "publisher"))
	l.remove("consumer1")
	l.remove("consumer2")

	ids := make([]string, requests)
	next := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				r, err := e.post(t.Context(), "upn", users[i].UPN, fmt.Sprintf("Burst-Word-%d", i), "Prefer: wait=0")
				if err != nil || r.Status != http.StatusAccepted {
					t.Errorf("request %d: %v %s", i, err, r.Body)
				}
				ids[i] = r.ID
			}
		})
	}
	begun := time.Now()
	for i := range requests {
		next <- i
	}
	close(next)
	wg.Wait()
	accepted := time.Since(begun)
	if t.Failed() {
		return
	}
	waiting := memory(t, e.pid(t, "publisher"))
	if err := l.startConsumers(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	for i, id := range ids {
		var r response
		await(t, "the outcome", func() error {
			if r = l.get(t, e, id); !r.Final {
				return fmt.Errorf("%s", r.Body)
			}
			return nil
		})
		if n := l.fake.Counts(users[i].SAMAccountName).Passwords; r.Code != string(reset.Applied) || n != 1 {
			t.Errorf("request %d: %s, the password was set %d times", i, r.Body, n)
		}
	}
	t.Logf("%d requests accepted in %s and applied in %s", requests, accepted.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if err := l.writeEndpoints(); err != nil {
		t.Fatal(err)
	}
	e = l.endpoints(t)
	consumer := max(memory(t, e.pid(t, "consumer1")), memory(t, e.pid(t, "consumer2")))
	after := memory(t, e.pid(t, "publisher"))
	t.Logf("most memory in use: publisher %d MiB before, %d with all waiting, %d at the end; the larger consumer %d", before, waiting, after, consumer)
	// A publisher waits for each request with some 40 KiB, garbage included, and for
	// 10,000 at most. A consumer has only a few at a time.
	if after > before+requests*80/1024 || consumer > 64 {
		t.Error("memory grows with what waits")
	}
}

// remove kills a program for good.
func (l *Lab) remove(name string) {
	l.mu.Lock()
	i := slices.IndexFunc(l.processes, func(p *process) bool { return p.name == name })
	p := l.processes[i]
	l.processes = slices.Delete(l.processes, i, i+1)
	pid := p.pid
	l.mu.Unlock()
	syscall.Kill(pid, syscall.SIGKILL)
	p.end()
}

// memory returns the most memory that a process has had in use, in MiB.
func memory(t *testing.T, pid int) (mib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &mib); err != nil || !ok {
		t.Fatalf("no peak of memory in %s", status)
	}
	return mib / 1024
}
