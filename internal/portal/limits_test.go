package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
)

// wantTooMany checks that an answer is 429 because of field, and returns how long
// it says to wait.
func wantTooMany(t *testing.T, res *http.Response, field string) time.Duration {
	t.Helper()
	m := read(t, res)
	if res.StatusCode != 429 || m["code"] != "too_many" || m["field"] != field {
		t.Fatalf("got %d %v, want too many of %s", res.StatusCode, m, field)
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("got Retry-After %q", res.Header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

func wantStatus(t *testing.T, what string, res *http.Response, want int) {
	t.Helper()
	if res.StatusCode != want {
		t.Fatalf("%s: got %d %v, want %d", what, res.StatusCode, read(t, res), want)
	}
}

// limited counts the refusals of a limit.
func (b *bench) limited(t *testing.T, limit string) float64 {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "writeback_portal_limited_total" && m.Label[0].GetValue() == limit {
				return m.Counter.GetValue()
			}
		}
	}
	t.Fatalf("nothing is counted of %s", limit)
	return 0
}

func TestDefaultLimits(t *testing.T) {
	if err := DefaultLimits().Check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Limits{
		{0, 1, 1, time.Minute}, {1, 0, 1, time.Minute}, {1, 1, 0, time.Minute}, {1, 1, 1, time.Minute - 1},
		{1_000_001, 1, 1, time.Minute}, {1, 10_001, 1, time.Minute}, {1, 1, 101, time.Minute}, {1, 1, 1, 24*time.Hour + 1},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestBucket(t *testing.T) {
	var b bucket
	take := func(now, want time.Duration) {
		t.Helper()
		if got := b.take(now, 3, time.Minute); got != want {
			t.Errorf("at %s: got %s, want %s", now, got, want)
		}
	}
	for range 3 {
		take(time.Second, 0)
	}
	take(time.Second, 20*time.Second)
	take(11*time.Second, 10*time.Second)
	take(21*time.Second, 0)
	take(21*time.Second, 20*time.Second) // what was refused cost nothing, and one was let through
	for range 3 {
		take(time.Hour, 0)
	}
	take(time.Hour, 20*time.Second) // no more for having waited long
}

// What is counted takes no memory for a name, only for the parts that names fall on,
// and a fresh table has none.
func TestTableDoesNotGrow(t *testing.T) {
	table := newTable[int, bucket]()
	n := 0
	count := func() {
		n++
		table.with(n, func(b *bucket, now time.Duration) { b.take(now, 1, time.Hour) })
	}
	parts := len(table.parts)
	count()
	made := 0
	for _, part := range table.parts {
		if part != nil {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d parts are there for one name, want 1", made)
	}
	for range 20 * parts { // as good as none is left out then
		count()
	}
	if allocated := testing.AllocsPerRun(10_000, count); allocated > 0 {
		t.Errorf("%g allocations for each name when all parts are there", allocated)
	}
	if got := parts * partPlaces; got != places {
		t.Errorf("%d places, want %d", got, places)
	}
}

// Two names on one place share a budget: more is refused, never less.
func TestTableShares(t *testing.T) {
	table := newTable[string, bucket]()
	place := func(name string) uint64 { return maphash.Comparable(table.seed, name) % places }
	other := ""
	for i := 0; other == "" || place(other) != place("ada"); i++ {
		other = strconv.Itoa(i)
	}
	take := func(name string) (wait time.Duration) {
		table.with(name, func(b *bucket, now time.Duration) { wait = b.take(now, 1, time.Hour) })
		return wait
	}
	if take("ada") != 0 || take(other) == 0 {
		t.Errorf("%s does not share ada's budget", other)
	}
	if take(other+"x") != 0 && place(other+"x") != place("ada") {
		t.Error("others share it too")
	}
}

// A caller that asks for too much is told when it may ask again; nobody else is.
func TestRateOfCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		busy, calm := b.add(t, Grant{Rate: 3}), b.add(t, Grant{})
		b.reload(t)
		b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return ended(reset.Outcome{Code: reset.Applied}), nil }
		ask := func(token string) *http.Response {
			b.token = token
			return b.post(goodBody)
		}
		wantStatus(t, "the first", ask(busy), 200)
		b.token = busy
		wantStatus(t, "a question", b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String(), nil)), 200)
		wantStatus(t, "a request that is refused", b.post("{"), 400)
		submitted := len(b.publisher.got)
		if wait := wantTooMany(t, ask(busy), "token"); wait != 20*time.Second {
			t.Errorf("told to wait for %s, want 20s", wait)
		}
		wantTooMany(t, b.do(httptest.NewRequest("GET", "/v1/requests/"+ref.String(), nil)), "token")
		if len(b.publisher.got) != submitted {
			t.Error("it was submitted")
		}
		wantStatus(t, "another caller", ask(calm), 200)

		// Neither a change of the file nor a token that came with it helps.
		b.add(t, Grant{})
		time.Sleep(recheck)
		if wait := wantTooMany(t, ask(busy), "token"); wait != 19*time.Second {
			t.Errorf("told to wait for %s, want 19s", wait)
		}
		time.Sleep(19 * time.Second)
		wantStatus(t, "when it may", ask(busy), 200)
		wantTooMany(t, ask(busy), "token")
		if got := b.limited(t, limitCaller); got != 4 {
			t.Errorf("%g were counted, want 4", got)
		}
	})
}

// An address counts with all that comes from it, before anything else is looked
// at; another one does not.
func TestRateOfAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.config.Limits.PerAddress = 4
		b.reload(t)
		ask := func(address string, headers ...string) *http.Response {
			r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody))
			r.RemoteAddr = address
			return b.do(r, headers...)
		}
		wantStatus(t, "no token", ask("[2001:db8::1]:1", "Authorization", ""), 401)
		wantStatus(t, "a wrong token", ask("[2001:db8::2]:1", "Authorization", "Bearer wbk_x"), 401)
		r := httptest.NewRequest("GET", "/nothing", nil)
		r.RemoteAddr = "[2001:db8::3]:1"
		wantStatus(t, "no such path", b.do(r), 404)
		wantStatus(t, "a good one", ask("[2001:db8::4]:1"), 200)
		if wait := wantTooMany(t, ask("[2001:db8::5]:1"), "address"); wait != 15*time.Second {
			t.Errorf("told to wait for %s, want 15s", wait)
		}
		wantTooMany(t, ask("[2001:db8::5]:1", "Authorization", ""), "address")
		for _, other := range []string{"[2001:db8:0:1::1]:1", "192.0.2.1:1", "192.0.2.2:1"} {
			wantStatus(t, other, ask(other), 200)
		}
		time.Sleep(15 * time.Second)
		wantStatus(t, "when it may", ask("[2001:db8::5]:1"), 200)
		if got := b.limited(t, limitAddress); got != 2 {
			t.Errorf("%g were counted, want 2", got)
		}
		if !strings.Contains(b.log.String(), `"reason":"address"`) || strings.Contains(b.log.String(), "2001:") {
			t.Errorf("the log says %s", b.log)
		}
	})
}

// A wave on one account stops at that account, whoever the callers are, and
// leaves its other kind of actor a budget of its own.
func TestRateOfAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.config.Limits.PerAccount = 3
		both := []reset.ActorKind{reset.Self, reset.Admin}
		first, second := b.add(t, Grant{ActorKinds: both}), b.add(t, Grant{ActorKinds: both})
		elsewhere := b.add(t, Grant{ActorKinds: both, Tenant: "other"})
		b.reload(t)
		ask := func(token, path, account, kind string) *http.Response {
			b.token = token
			body := fmt.Sprintf(`{"account":{%s},"actor":{"kind":%q}`, account, kind)
			if path == "/v1/resets" {
				body += `,"password":"N3w secret!"`
			}
			return b.postTo(path, body+"}")
		}
		const ada, eve = `"upn":"ada@corp.example.com"`, `"upn":"eve@corp.example.com"`
		wantStatus(t, "a malformed one, which counts nothing", ask(first, "/v1/resets", ada+`,"sid":"S-1-5-21-1-2-3-4"`, "self"), 400)
		wantStatus(t, "the first", ask(first, "/v1/resets", ada, "self"), 200)
		wantStatus(t, "another operation", ask(first, "/v1/probes", ada, "self"), 200)
		wantStatus(t, "another caller, with capitals", ask(second, "/v1/unlocks", `"upn":"ADA@corp.example.com"`, "self"), 200)
		submitted := len(b.publisher.got)
		for _, token := range []string{first, second} {
			if wait := wantTooMany(t, ask(token, "/v1/resets", ada, "self"), "account"); wait != 5*time.Minute {
				t.Errorf("told to wait for %s, want 5m", wait)
			}
		}
		if len(b.publisher.got) != submitted {
			t.Error("it was submitted")
		}
		wantStatus(t, "an administrator", ask(second, "/v1/resets", ada, "admin"), 200)
		wantStatus(t, "another account", ask(first, "/v1/resets", eve, "self"), 200)
		wantStatus(t, "another tenant", ask(elsewhere, "/v1/resets", ada, "self"), 200)
		time.Sleep(5 * time.Minute)
		wantStatus(t, "when it may", ask(first, "/v1/resets", ada, "self"), 200)
		wantTooMany(t, ask(first, "/v1/resets", ada, "self"), "account")
		if got := b.limited(t, limitAccount); got != 3 {
			t.Errorf("%g were counted, want 3", got)
		}
	})
}

// A portal speaks for many users: a wave on one account does not use up its rate.
func TestWaveThroughOneCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.config.Limits.PerAccount, b.config.Limits.WrongPasswords = 2, 1
		b.token = b.add(t, Grant{Rate: 5})
		b.reload(t)
		b.publisher.submit = ends(reset.Outcome{Code: reset.WrongPassword})
		wantStatus(t, "the first change", b.postTo("/v1/changes", goodChange), 422)
		wantTooMany(t, b.postTo("/v1/changes", goodChange), "current_password")
		for range 10 {
			wantTooMany(t, b.post(goodBody), "account")
		}
		b.publisher.submit = ends(reset.Outcome{Code: reset.Applied})
		for i := range 4 {
			wantStatus(t, "another user", b.post(strings.Replace(goodBody, "ada", fmt.Sprint("eve", i), 1)), 200)
		}
		wantTooMany(t, b.post(strings.Replace(goodBody, "ada", "bob", 1)), "token")
	})
}

// Current passwords that are wrong end the changes of an account for a window,
// not only until one would have come back: Active Directory counts those in a row.
func TestWrongPasswords(t *testing.T) {
	const window = 10 * time.Minute
	tests := []struct {
		name   string
		submit func(context.Context, reset.Submission) (reset.Status, error)
		counts bool
	}{
		{"wrong", ends(reset.Outcome{Code: reset.WrongPassword}), true},
		{"right", ends(reset.Outcome{Code: reset.Applied}), false},
		{"right, and the new one refused", ends(reset.Outcome{Code: reset.PasswordTooShort}), false},
		{"locked", ends(reset.Outcome{Code: reset.AccountLocked}), false},
		{"not known", ends(reset.Outcome{Code: reset.Unconfirmed}), true},
		{"not waited for", func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{Ref: ref, Operation: reset.Change, State: reset.Accepted}, nil
		}, true},
		{"not taken", func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{}, &reset.Refusal{Code: reset.NoConsumer}
		}, false},
		{"an error that nobody classified", func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{}, context.DeadlineExceeded
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.config.Limits.WrongPasswords, b.config.Limits.WrongPasswordWindow = 2, window
				b.token = b.add(t, Grant{})
				second := b.add(t, Grant{})
				b.reload(t)
				b.publisher.submit = tt.submit
				change := func() *http.Response { return b.postTo("/v1/changes", goodChange) }
				last := time.Now()
				for range 2 {
					last = time.Now()
					if change().StatusCode == 429 {
						t.Fatal("refused at once")
					}
					time.Sleep(5 * time.Minute)
				}
				b.token = second
				if !tt.counts {
					if change().StatusCode == 429 {
						t.Error("it was counted")
					}
					return
				}
				submitted := len(b.publisher.got)
				wait := wantTooMany(t, change(), "current_password")
				if len(b.publisher.got) != submitted {
					t.Error("it was submitted")
				}
				if got, want := time.Now().Add(wait), last.Add(window+reset.Deadline+reset.ModifyTimeout); !got.Equal(want) {
					t.Errorf("told to come back at %s, want %s", got, want)
				}
				b.publisher.submit = ends(reset.Outcome{Code: reset.Applied})
				wantStatus(t, "a reset", b.post(goodBody), 200)
				wantStatus(t, "another account", b.postTo("/v1/changes", strings.Replace(goodChange, "ada", "eve", 1)), 200)
				time.Sleep(wait - time.Second)
				wantTooMany(t, change(), "current_password")
				time.Sleep(time.Second)
				for range 3 {
					wantStatus(t, "after the window", change(), 200)
				}
				if got := b.limited(t, limitWrong); got != 2 {
					t.Errorf("%g were counted, want 2", got)
				}
			})
		})
	}
}

// One name in two forms has one budget for wrong passwords, and both kinds of
// actor share it.
func TestWrongPasswordsOfOneName(t *testing.T) {
	b := setup(t)
	b.config.Limits.WrongPasswords = 2
	b.reload(t)
	b.publisher.submit = ends(reset.Outcome{Code: reset.WrongPassword})
	change := func(account, kind string) *http.Response {
		return b.postTo("/v1/changes", fmt.Sprintf(`{"account":{%s},"actor":{"kind":%q},"password":"N3w secret!","current_password":"x"}`, account, kind))
	}
	const guid, anchor = `"object_guid":"03020100-0504-0706-0809-0a0b0c0d0e0f"`, `"immutable_id":"AAECAwQFBgcICQoLDA0ODw=="`
	wantStatus(t, "the first", change(guid, "self"), 422)
	wantStatus(t, "the second", change(anchor, "admin"), 422)
	wantTooMany(t, change(guid, "admin"), "current_password")
}

// The domain's lockout threshold and window, as announced, narrow the limit and
// never widen it.
func TestWrongPasswordsBelowTheThreshold(t *testing.T) {
	tests := []struct {
		name   string
		rules  reset.Rules
		limit  int
		window time.Duration
	}{
		{"not known", reset.Rules{LockoutThreshold: 4}, 3, 30 * time.Minute},
		{"never locks", reset.Rules{Known: true, LockoutWindow: time.Hour}, 3, 30 * time.Minute},
		{"high", reset.Rules{Known: true, LockoutThreshold: 10, LockoutWindow: time.Minute}, 3, 30 * time.Minute},
		{"five", reset.Rules{Known: true, LockoutThreshold: 5, LockoutWindow: time.Hour}, 3, time.Hour},
		{"four", reset.Rules{Known: true, LockoutThreshold: 4}, 2, 30 * time.Minute},
		{"three", reset.Rules{Known: true, LockoutThreshold: 3}, 1, 30 * time.Minute},
		{"one", reset.Rules{Known: true, LockoutThreshold: 1}, 1, 30 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.config.Limits.WrongPasswords, b.config.Limits.WrongPasswordWindow = 3, 30*time.Minute
				b.token = b.add(t, Grant{})
				b.reload(t)
				b.publisher.submit = ends(reset.Outcome{Code: reset.WrongPassword})
				b.publisher.situation = func(string) (reset.Situation, error) { return reset.Situation{Rules: tt.rules}, nil }
				for range tt.limit {
					wantStatus(t, "a wrong one", b.postTo("/v1/changes", goodChange), 422)
				}
				wait := wantTooMany(t, b.postTo("/v1/changes", goodChange), "current_password")
				if want := tt.window + reset.Deadline + reset.ModifyTimeout; wait != want {
					t.Errorf("told to come back in %s, want %s", wait, want)
				}
			})
		})
	}
}

// The codes that count as a wrong password; a new one does until it is decided.
func TestGuessed(t *testing.T) {
	want := []reset.Code{reset.WrongPassword, reset.DirectoryError, reset.Expired, reset.Unconfirmed}
	for _, code := range reset.Codes() {
		if got := Guessed(code); got != slices.Contains(want, code) {
			t.Errorf("%s: got %t", code, got)
		}
	}
}

// What is refused because of a limit says the same of every account.
func TestTooManySaysNothing(t *testing.T) {
	for _, path := range []string{"/v1/resets", "/v1/changes"} {
		var bodies []string
		for _, code := range []reset.Code{reset.AccountNotFound, reset.WrongPassword} {
			b := setup(t)
			b.config.Limits.PerAccount = 1
			b.reload(t)
			b.publisher.submit = ends(reset.Outcome{Code: code})
			body := goodBody
			if path == "/v1/changes" {
				body = goodChange
			}
			b.postTo(path, body)
			text, err := json.Marshal(read(t, b.postTo(path, body)))
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, string(text))
		}
		if bodies[0] != bodies[1] || !strings.Contains(bodies[0], "too_many") {
			t.Errorf("%s: got %s", path, strings.Join(bodies, "\nand "))
		}
	}
}
