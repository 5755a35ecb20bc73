package lab

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit/fakead"
)

var takeOvers = flag.Int("takeovers", 1, "how many consumers to kill while a modify of theirs is not answered")

// TestTakeOver kills a consumer that has claimed a request and sent its modify,
// which is never executed: another finds out and applies it, and an account
// that nobody was working on does not wait.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	e, users := l.endpoints(t), l.Directory.Users
	at, err := connect(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.nc.Close)
	presence, err := at.js.KeyValue(t.Context(), "consumers")
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for i := range *takeOvers {
		user := users[i%len(users)]
		before := l.fake.Counts(user.SAMAccountName).Passwords
		held := l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true, Skip: true})
		r, err := e.post(t.Context(), "upn", user.UPN, fmt.Sprintf("Taken-Over-%d", i), "Prefer: wait=0")
		if err != nil || r.Status != http.StatusAccepted {
			t.Fatalf("accepting: %v %s", err, r.Body)
		}
		<-held.Met()
		var claimed response
		await(t, "the claim", func() error {
			if claimed = l.get(t, e, r.ID); claimed.State != "picked_up" {
				return fmt.Errorf("%s", claimed.Body)
			}
			return nil
		})
		begun := time.Now()
		killed := e.pid(t, claimed.Consumer)
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		idle := users[(i+1)%len(users)]
		wantApplied(t, e, "upn", idle.UPN, fmt.Sprintf("Not-Waiting-%d", i))
		if now := l.get(t, e, r.ID); now.Final {
			t.Errorf("another account's request waited for one that was taken over: %s", now.Body)
		}
		var got response
		await(t, "the outcome", func() error {
			if got = l.get(t, e, r.ID); !got.Final {
				return fmt.Errorf("%s", got.Body)
			}
			return nil
		})
		took = append(took, time.Since(begun))
		// Five seconds until the broker gives it away, ten to watch the claim.
		if d := took[i]; d > 30*time.Second {
			t.Errorf("request %s of %s, killed at %s, was taken over after %s", r.ID, claimed.Consumer, begun.UTC().Format(time.StampMilli), d)
		}
		if n := l.fake.Counts(user.SAMAccountName).Passwords - before; got.Code != string(reset.Applied) || n != 1 {
			t.Errorf("ended as %s, the password was set %d times", got.Body, n)
		}
		if got.Consumer == claimed.Consumer && *takeOvers == 1 {
			t.Errorf("%s was killed and is said to have applied it", got.Consumer)
		}
		held.Release()
		ended := time.Now()
		await(t, "the consumer's restart", func() error {
			if now := l.endpoints(t).pid(t, claimed.Consumer); now == killed {
				return fmt.Errorf("%s is still process %d", claimed.Consumer, now)
			}
			// Until it has announced itself, the next request is not sealed
			// for it, and it could not take that over.
			entry, err := presence.Get(t.Context(), claimed.Consumer)
			if err != nil || entry.Created().Before(ended) {
				return fmt.Errorf("%s has not announced itself: %v", claimed.Consumer, err)
			}
			return nil
		})
		e = l.endpoints(t)
	}
	slices.Sort(took)
	t.Logf("from kill -9 to the outcome, %d times: median %s, longest %s", len(took),
		took[len(took)/2].Round(100*time.Millisecond), took[len(took)-1].Round(100*time.Millisecond))
}
