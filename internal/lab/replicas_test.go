package lab

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"writeback/internal/testkit/fakead"
)

// TestReplicas looks at two consumers and a publisher from the outside: the work
// is shared, an account's requests wait for each other, and what is known of a
// request outlives the publisher.
func TestReplicas(t *testing.T) {
	l := startLab(t, "fake")
	e, users := l.endpoints(t), l.Directory.Users
	passwords := func(i int) int { return l.fake.Counts(users[i].SAMAccountName).Passwords }

	t.Run("ten accounts at once", func(t *testing.T) {
		// The directory holds more modifies than one consumer has workers
		// (4), so that both have some in hand at the same time.
		var held []*fakead.Injection
		for range 5 {
			held = append(held, l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true}))
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				r, err := e.post(t.Context(), "upn", users[i].UPN, fmt.Sprintf("Shared-Word-%d", i))
				if err != nil || r.Code != "applied" {
					t.Errorf("account %d: %v %s", i, err, r.Body)
				}
			})
		}
		for _, h := range held {
			select {
			case <-h.Met():
			case <-t.Context().Done():
				t.Fatal("five modifies do not come at once")
			}
		}
		for _, h := range held {
			h.Release()
		}
		wg.Wait()
		// A consumer counts what it has released, which the caller does not
		// wait for.
		await(t, "counting", func() error {
			total, replicas := l.sum(t, `writeback_consumer_outcomes_total{code="applied"}`)
			if total != 10 || replicas != 2 {
				return fmt.Errorf("%d consumers have applied %d requests, want 2 and 10", replicas, total)
			}
			return nil
		})
		for i := range 10 {
			if n := passwords(i); n != 1 {
				t.Errorf("the password of account %d was set %d times", i, n)
			}
		}
	})

	var first response
	t.Run("one key, one request", func(t *testing.T) {
		const key = "Idempotency-Key: key-1"
		first = wantApplied(t, e, "upn", users[10].UPN, "Repeat-Word-7", key)
		again := wantApplied(t, e, "upn", users[10].UPN, "Repeat-Word-7", key)
		if again.ID != first.ID {
			t.Errorf("the repeat is request %s, the first was %s", again.ID, first.ID)
		}
		// The password is not compared: it is not kept.
		other := wantApplied(t, e, "upn", users[10].UPN, "Another-Word-7", key)
		if other.ID != first.ID {
			t.Errorf("the repeat is request %s, the first was %s", other.ID, first.ID)
		}
		if n := passwords(10); n != 1 {
			t.Errorf("the password was set %d times", n)
		}
		r, err := e.post(t.Context(), "upn", users[11].UPN, "Repeat-Word-7", key)
		if err != nil || r.Status != http.StatusUnprocessableEntity || r.Code != "idempotency_conflict" || r.Field != "Idempotency-Key" {
			t.Errorf("another account with the same key: %v %s", err, r.Body)
		}
		if n := l.fake.Counts(users[11].SAMAccountName).Modifies; n != 0 {
			t.Errorf("the conflict set the password %d times", n)
		}
	})

	t.Run("one account, two requests", func(t *testing.T) {
		held := l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
		answer := make(chan response, 1)
		go func() {
			r, err := e.post(t.Context(), "upn", users[12].UPN, "First-Word-7")
			if err != nil {
				t.Error(err)
			}
			answer <- r
		}()
		<-held.Met()
		// By another spelling of the name, which is the same slot.
		second, err := e.post(t.Context(), "upn", strings.ToUpper(users[12].UPN), "Second-Word-7")
		if err != nil || second.Status != http.StatusConflict || second.Code != "in_progress" || !second.Final {
			t.Errorf("the second request: %v %s", err, second.Body)
		}
		held.Release()
		if r := <-answer; r.Code != "applied" {
			t.Errorf("the first request: %s", r.Body)
		}
		if n := passwords(12); n != 1 {
			t.Errorf("the password was set %d times", n)
		}
		// The slot is free again.
		wantApplied(t, e, "upn", users[12].UPN, "Third-Word-7")
	})

	t.Run("every kind of name", func(t *testing.T) {
		for i, name := range kindsOf(userEndpoint{UPN: users[13].UPN, SAMAccountName: users[13].SAMAccountName,
			ObjectGUID: users[13].ObjectGUID, ImmutableID: users[13].ImmutableID}) {
			wantApplied(t, e, name.key, name.value, fmt.Sprintf("Named-Word-%d", i))
		}
		wantApplied(t, e, "sid", users[13].SID, "Named-Word-9")
	})

	// What says that a consumer is alive is in the broker's memory. It is there
	// again before it would have been said anyway, every ten seconds.
	t.Run("a broker that was killed", func(t *testing.T) {
		pid := e.pid(t, "nats")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "the broker's restart", func() error {
			if now := l.endpoints(t).pid(t, "nats"); now == pid {
				return fmt.Errorf("the broker is still process %d", now)
			}
			return nil
		})
		var at inspector
		await(t, "connecting to the broker", func() error {
			var err error
			at, err = connect(l.endpoints(t))
			return err
		})
		defer at.nc.Close()
		begun := time.Now()
		await(t, "both consumers' announcements", func() error {
			if time.Since(begun) > 5*time.Second {
				t.Fatal("no consumer has announced itself in 5 s")
			}
			presence, err := at.js.KeyValue(t.Context(), "consumers")
			if err != nil {
				return err
			}
			keys, err := presence.Keys(t.Context())
			if len(keys) != 2 {
				return fmt.Errorf("consumers %q, %v", keys, err)
			}
			return nil
		})
		awaitApplied(t, e, "resetting a password afterwards", users[15].UPN, "Idempotency-Key: broker")
	})

	t.Run("a publisher that was killed", func(t *testing.T) {
		before := l.get(t, e, first.ID)
		if before.Code != "applied" || !before.Final {
			t.Fatalf("GET of a request that was applied: %s", before.Body)
		}
		pid := e.pid(t, "publisher")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "the publisher's restart", func() error {
			if now := l.endpoints(t).pid(t, "publisher"); now == pid {
				return fmt.Errorf("the publisher is still process %d", now)
			}
			_, err := e.do(t.Context(), http.MethodGet, "/v1/requests/"+first.ID, nil)
			return err
		})
		after := l.get(t, e, first.ID)
		if after.Code != "applied" || !after.Final || after.ID != first.ID {
			t.Errorf("GET of a request of an earlier run: %s", after.Body)
		}
		// It is also the first one of its key, for the run that comes after.
		repeat := wantApplied(t, e, "upn", users[10].UPN, "Repeat-Word-7", "Idempotency-Key: key-1")
		if repeat.ID != first.ID || passwords(10) != 1 {
			t.Errorf("after a restart the repeat is request %s, the first was %s; the password was set %d times",
				repeat.ID, first.ID, passwords(10))
		}
		wantApplied(t, e, "upn", users[14].UPN, "Restart-Word-7")
	})
}

// get asks for a request.
func (l *Lab) get(t testing.TB, e *Endpoints, id string) response {
	t.Helper()
	r, err := e.do(t.Context(), http.MethodGet, "/v1/requests/"+id, nil)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("GET of %s: %v %d %s", id, err, r.Status, r.Body)
	}
	return r
}

// A naming is one way to name an account.
type naming struct{ key, value string }

// kindsOf returns the ways that a user of the endpoints file can be named.
func kindsOf(u userEndpoint) []naming {
	return []naming{
		{"upn", u.UPN}, {"sam_account_name", u.SAMAccountName}, {"object_guid", u.ObjectGUID}, {"immutable_id", u.ImmutableID},
	}
}
