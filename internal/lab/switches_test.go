package lab

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/keys"
)

// A console sets the switches at one of two publishers.
type console struct {
	*owner
	token string
	both  []*Endpoints
}

func startConsole(t *testing.T) *console {
	t.Helper()
	l := startLab(t, "fake")
	first := l.endpoints(t)
	second := l.startFrontDoor(t, "second", nil)
	c := &console{&owner{inspect(t, first), l, first}, l.grant(t, "console", "-operations", "switches", "-rate", "60000"), []*Endpoints{first, second.Endpoints}}
	await(t, "the token is known", func() error {
		for _, e := range c.both {
			if r := c.ask(t, e, http.MethodGet, "/v1/switches", ""); r.Status != http.StatusOK {
				return errors.New(r.Body)
			}
		}
		return nil
	})
	return c
}

func (c *console) ask(t *testing.T, e *Endpoints, method, path, body string) response {
	t.Helper()
	r, err := e.do(t.Context(), method, path, strings.NewReader(body), "Authorization: Bearer "+c.token)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// set sets the switches at one publisher and waits until the other has them.
func (c *console) set(t *testing.T, at int, body, want string) {
	t.Helper()
	if r := c.ask(t, c.both[at], http.MethodPut, "/v1/switches", body); r.Status != http.StatusOK || !strings.HasPrefix(r.Body, want) {
		t.Fatalf("setting %s: %d %s", body, r.Status, r.Body)
	}
	begun := time.Now()
	await(t, "the other publisher has it", func() error {
		if r := c.ask(t, c.both[1-at], http.MethodGet, "/v1/switches", ""); !strings.HasPrefix(r.Body, want) {
			return errors.New(r.Body)
		}
		return nil
	})
	took := time.Since(begun)
	t.Logf("%s was in force at the other publisher after %s", body, took.Round(time.Millisecond))
	if took > 5*time.Second {
		t.Errorf("that is more than a second or two")
	}
}

// wants asks both publishers for an operation; # in fields is another word at each.
func (c *console) wants(t *testing.T, path string, user testkit.User, fields string, status int, want string) {
	t.Helper()
	for i, e := range c.both {
		if r := e.ask(t, c.l.Token, path, user.UPN, strings.ReplaceAll(fields, "#", fmt.Sprint("-", i))); r.Status != status || !strings.Contains(r.Body, want) {
			t.Errorf("%s at publisher %d: %d %s, want %d with %s", path, i, r.Status, r.Body, status, want)
		}
	}
}

// stored returns the newest value of a switch.
func (c *console) stored(t *testing.T, name reset.SwitchName) *jetstream.RawStreamMsg {
	t.Helper()
	kv, err := c.js.Stream(t.Context(), "KV_switches")
	if err != nil {
		t.Fatal(err)
	}
	m, err := kv.GetLastMsgForSubject(t.Context(), "$KV.switches."+name.String())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const switchedOff = `"reason":"switch"`

// TestSwitches turns the tenant's switches off and on while two publishers are at
// work, and has the owner of the broker try to turn them on.
func TestSwitches(t *testing.T) {
	t.Parallel()
	c := startConsole(t)
	users := c.l.Directory.Users
	fresh := func(n int) string { return fmt.Sprintf(`"password":"Fresh-Word-%d#"`, n) }
	count := func(u testkit.User) int { return c.l.fake.Counts(u.SAMAccountName).Passwords }

	t.Run("writeback", func(t *testing.T) {
		before, err := c.js.Stream(t.Context(), "REQUESTS")
		if err != nil {
			t.Fatal(err)
		}
		c.set(t, 0, `{"writeback":false,"actor":{"subject":"grace"}}`, `{"writeback":false,"unlock":true`)
		c.wants(t, "resets", users[0], fresh(0), http.StatusForbidden, switchedOff)
		c.wants(t, "changes", users[0], `"current_password":"x",`+fresh(0), http.StatusForbidden, switchedOff)
		c.wants(t, "unlocks", users[0], "", http.StatusForbidden, switchedOff)
		c.wants(t, "probes", users[0], "", http.StatusForbidden, switchedOff)
		after, err := c.js.Stream(t.Context(), "REQUESTS")
		if err != nil {
			t.Fatal(err)
		}
		if was, is := before.CachedInfo().State.LastSeq, after.CachedInfo().State.LastSeq; was != is || count(users[0]) != 0 {
			t.Errorf("%d requests were put into the queue, and the password was set %d times", is-was, count(users[0]))
		}
		c.set(t, 1, `{"writeback":true}`, `{"writeback":true`)
		c.wants(t, "resets", users[0], fresh(1), http.StatusOK, `"applied"`)
	})

	t.Run("unlock", func(t *testing.T) {
		c.set(t, 1, `{"unlock":false}`, `{"writeback":true,"unlock":false`)
		c.wants(t, "unlocks", users[1], "", http.StatusForbidden, switchedOff)
		c.wants(t, "resets", users[1], fresh(2), http.StatusOK, `"applied"`)
		c.set(t, 0, `{"unlock":true}`, `{"writeback":true,"unlock":true`)
		c.wants(t, "unlocks", users[1], "", http.StatusOK, `"applied"`)
	})

	t.Run("who and when", func(t *testing.T) {
		r := c.ask(t, c.both[1], http.MethodGet, "/v1/switches", "")
		if !strings.Contains(r.Body, `"source":"console"`) || c.ask(t, c.both[0], http.MethodGet, "/v1/switches", "").Body != r.Body {
			t.Errorf("got %s", r.Body)
		}
		c.set(t, 0, `{"unlock":false,"actor":{"subject":"grace@corp.example.com"}}`, `{"writeback":true,"unlock":false`)
		if r := c.ask(t, c.both[1], http.MethodGet, "/v1/switches", ""); !strings.Contains(r.Body, `"subject":"grace@corp.example.com"`) {
			t.Errorf("got %s", r.Body)
		}
		if m := c.stored(t, reset.SwitchUnlock); strings.Contains(string(m.Data), "grace") || strings.Contains(string(m.Data), "console") {
			t.Error("the broker knows who it was")
		}
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			if r, err := c.e.do(t.Context(), method, "/v1/switches", strings.NewReader(`{"unlock":true}`)); err != nil || r.Code != "forbidden" {
				t.Errorf("%s with a token for resets: %v %s", method, err, r.Body)
			}
		}
	})
}

// TestBrokerOwnerSwitches has the owner of the broker put back, forge and remove a
// switch that is off.
func TestBrokerOwnerSwitches(t *testing.T) {
	t.Parallel()
	c := startConsole(t)
	user, name := c.l.Directory.Users[0], reset.SwitchWriteback
	c.set(t, 0, `{"writeback":true,"unlock":true}`, `{"writeback":true`)
	older, other := c.stored(t, name), c.stored(t, reset.SwitchUnlock)
	c.set(t, 0, `{"writeback":false}`, `{"writeback":false`)
	newest, err := envelope.ParseSwitch(c.stored(t, name).Data)
	if err != nil {
		t.Fatal(err)
	}
	stranger := audit.NewLog(keys.Signer(t, seal.PurposePublisher, 99), "pub9")
	forged := *newest
	forged.On, forged.Number, forged.Time = true, newest.Number+1, time.Now()
	forge := func(signer [16]byte) []byte {
		e := envelope.Switch{Tenant: forged.Tenant, Name: forged.Name, On: true, Number: forged.Number, Time: forged.Time,
			Signer: signer, ID: forged.ID, Month: forged.Month, Private: forged.Private}
		e.Sig = stranger.Sign(seal.KindSwitch, e.Signed())
		return e.Encode()
	}
	tests := []struct {
		name, reason string
		show         func() []byte
	}{
		{"puts back an older one", "older", func() []byte { return older.Data }},
		{"signs one with a key of its own", "unsigned", func() []byte { return forge(stranger.Public().ID()) }},
		{"signs one in a publisher's name", "unsigned", func() []byte { return forge(newest.Signer) }},
		{"shows the other switch", "unsigned", func() []byte { return other.Data }},
		{"writes what is no switch", "unsigned", func() []byte { return []byte("on") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, program := range []string{"publisher", "second"} {
				c.logs(t, program, `"reason":"`+tt.reason+`"`, func() error {
					_, err := c.js.Publish(t.Context(), "$KV.switches."+name.String(), tt.show())
					return err
				})
			}
			c.wants(t, "resets", user, `"password":"Fresh-Word-1#"`, http.StatusForbidden, switchedOff)
		})
	}
	t.Run("removes all of them", func(t *testing.T) {
		kv, err := c.js.Stream(t.Context(), "KV_switches")
		if err != nil {
			t.Fatal(err)
		}
		c.logs(t, "second", `"reason":"missing"`, func() error {
			if err := c.js.DeleteStream(t.Context(), "KV_switches"); err != nil {
				return err
			}
			_, err := c.js.CreateStream(t.Context(), kv.CachedInfo().Config)
			return err
		})
		c.wants(t, "resets", user, `"password":"Fresh-Word-1#"`, http.StatusForbidden, switchedOff)
	})
	t.Run("and it is set again", func(t *testing.T) {
		c.set(t, 1, `{"writeback":false}`, `{"writeback":false`)
		if e, err := envelope.ParseSwitch(c.stored(t, name).Data); err != nil || e.On || e.Number <= newest.Number {
			t.Errorf("stored is %+v, %v", e, err)
		}
		c.set(t, 1, `{"writeback":true}`, `{"writeback":true`)
		c.wants(t, "resets", user, `"password":"Fresh-Word-2#"`, http.StatusOK, `"applied"`)
	})
}

// TestStatus asks a publisher before there is a consumer, and after.
func TestStatus(t *testing.T) {
	t.Parallel()
	l, err := Start(t.Context(), Options{
		Bin: binaries(t), NATS: filepath.Join(testkit.Root(t), "nats"), Dir: filepath.Join(t.TempDir(), "lab"),
		Consumers: 2, Directory: "fake", Out: &output{}, Endpoints: filepath.Join(t.TempDir(), "endpoints.json"), Idle: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := l.startPublishers(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.fake.SetPolicy(fakead.Policy{MinLength: 7, Complexity: true, History: 24, LockoutThreshold: 4, LockoutDuration: time.Hour})
	e := l.endpoints(t)
	status := func(want string) (r response) {
		t.Helper()
		await(t, want, func() (err error) {
			if r, err = e.do(t.Context(), http.MethodGet, "/v1/status", nil); err == nil && !strings.Contains(r.Body, want) {
				return errors.New(r.Body)
			}
			return err
		})
		return r
	}
	r := status(`"code":"no_consumer"`)
	if !strings.Contains(r.Body, `"ready":false`) || !strings.Contains(r.Body, `"consumers":[]`) || strings.Contains(r.Body, "rules") ||
		!strings.Contains(r.Body, `"switches":{"writeback":true,"unlock":true}`) {
		t.Errorf("without a consumer: %s", r.Body)
	}
	if r, err := e.post(t.Context(), "upn", l.Directory.Users[0].UPN, "Fresh-Word-1"); err != nil || r.Code != "no_consumer" {
		t.Errorf("a reset without a consumer: %v %s", err, r.Body)
	}
	if err := l.startConsumers(t.Context()); err != nil {
		t.Fatal(err)
	}
	status(`"ready":true`)
	r = status(`"rules":{"min_length":7,"complexity":true,"history":24,"min_age_seconds":0,"lockout_threshold":4,"lockout_window_seconds":3600}`)
	for _, secret := range []string{"consumer1", "consumer2", "127.", "corp.example.com"} {
		if strings.Contains(r.Body, secret) {
			t.Errorf("an ordinary token is told %q: %s", secret, r.Body)
		}
	}
	wantApplied(t, e, "upn", l.Directory.Users[0].UPN, "Fresh-Word-1")

	// The publisher's own limit is 100.
	var codes []string
	for range 3 {
		codes = append(codes, e.ask(t, l.Token, "changes", l.Directory.Users[1].UPN, `"current_password":"Wrong-Guess-1",`+withFresh).Code)
	}
	if got, want := strings.Join(codes, " "), "wrong_password wrong_password too_many"; got != want {
		t.Errorf("of a domain that locks after four wrong passwords: got %s, want %s", got, want)
	}
}
