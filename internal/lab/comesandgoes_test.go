package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/fakead"
)

// A third replica, which joins with the signing key of the first.
const third = "consumer3"

// join starts the third replica.
func (l *Lab) join(t *testing.T) (p *process, config, operations string) {
	t.Helper()
	ops, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(l.path(consumerName(0), "consumer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config = l.path(consumerName(0), third+".yaml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, config, func(cfg node) {
		cfg["replica"], cfg["operations_listen"], cfg["runtime_dir"] = third, ops, filepath.Join(l.runtime, third)
	})
	p, err = l.run(third, l.program("consumer", "run", "-config", config))
	if err == nil {
		err = l.writeEndpoints()
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, config, "http://" + ops
}

// leave ends a process for good.
func (l *Lab) leave(p *process) {
	l.mu.Lock()
	l.processes = slices.DeleteFunc(l.processes, func(other *process) bool { return other == p })
	l.mu.Unlock()
	p.end()
}

// TestReplicaComesAndGoes follows one replica of three from its first announcement
// to its end, with requests that are sealed for it alone when it crashes.
func TestReplicaComesAndGoes(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := newOwner(t, l)
	users := l.Directory.Users
	used := -1
	next := func() int {
		used++
		return used
	}
	recipients := func() int {
		t.Helper()
		c := o.catch(t, users[used], "Counted-Word-"+rand.Text())
		o.send(t, c.subject, c.data)
		return len(parse(t, c.data).Wraps)
	}
	next()
	if n := recipients(); n != 2 {
		t.Fatalf("a request is sealed for %d, want the 2 consumers", n)
	}

	// It joins, and the next request that comes is sealed for it.
	begun := time.Now()
	replica, config, ops := l.join(t)
	l.awaitAnnounced(t, third, begun)
	t.Logf("joined after %s", time.Since(begun).Round(time.Millisecond))
	await(t, "a request that is sealed for three", func() error {
		if n := recipients(); n != 3 {
			return fmt.Errorf("it is sealed for %d", n)
		}
		return nil
	})

	// crash makes a request of which only the third replica has the key, and kills
	// that while the request waits, or is in its hand.
	crash := func(user int, inHand bool) (id string) {
		t.Helper()
		f := newForger(t, l)
		f.boxes = []seal.Box{o.boxOf(t, third)}
		a, err := reset.NewAccount(reset.UPN, users[user].UPN)
		if err != nil {
			t.Fatal(err)
		}
		o.pause(t, time.Now().Add(time.Hour))
		h := f.accept(t, a)
		f.put(t, h.Slot, f.request(t, h, h, a, f.log))
		if inHand {
			held := l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true, Skip: true})
			o.pause(t, time.Time{})
			<-held.Met()
			defer held.Release()
		}
		l.end(t, third, ops, syscall.SIGKILL)
		o.pause(t, time.Time{})
		return reset.Ref{Publisher: f.log.Name(), ID: h.ID}.String()
	}
	for _, tt := range []struct {
		name   string
		tmpfs  bool
		inHand bool
		code   reset.Code
		sets   int
	}{
		{"waiting, with its tmpfs", true, false, reset.Applied, 1},
		{"in hand, with its tmpfs", true, true, reset.Applied, 1},
		{"waiting, without", false, false, reset.Unreadable, 0},
		// Nobody knows the account any more, of which something may have been
		// sent: not known, and after five minutes so for good.
		{"in hand, without", false, true, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.tmpfs {
				edit(t, config, func(cfg node) { delete(cfg, "runtime_dir") })
				l.end(t, third, ops, syscall.SIGTERM)
			}
			begun, user := time.Now(), next()
			id := crash(user, tt.inHand)
			var got response
			await(t, "the outcome", func() error {
				if got = l.get(t, o.e, id); !got.Final && tt.code != "" {
					return errors.New(got.Body)
				}
				return nil
			})
			t.Logf("%q after %s", got.Code, time.Since(begun).Round(time.Second))
			if reset.Code(got.Code) != tt.code {
				t.Errorf("it is %s, want code %q", got.Body, tt.code)
			}
			if n := l.fake.Counts(users[user].SAMAccountName).Passwords; n != tt.sets {
				t.Errorf("the password was set %d times, want %d", n, tt.sets)
			}
			wantApplied(t, o.e, "upn", users[next()].UPN, "Afterwards-Word-7")
		})
	}

	// It leaves. What is sealed for it too, others open.
	l.leave(replica)
	for range 5 {
		wantApplied(t, o.e, "upn", users[next()].UPN, "Left-Word-7")
	}
}

// boxOf returns the sealing key that a replica announces.
func (o *owner) boxOf(t *testing.T, replica string) seal.Box {
	t.Helper()
	presence, err := o.js.KeyValue(t.Context(), "consumers")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := presence.Get(t.Context(), replica)
	if err != nil {
		t.Fatal(err)
	}
	a, err := envelope.ParseAnnouncement(entry.Value())
	if err != nil {
		t.Fatal(err)
	}
	box, err := seal.NewBox(a.Box[:])
	if err != nil {
		t.Fatal(err)
	}
	return box
}
