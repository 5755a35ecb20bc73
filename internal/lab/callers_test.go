package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

// A frontDoor is a publisher beside the lab's own, with limits as they are
// outside of a lab.
type frontDoor struct {
	*Endpoints // of the lab, but for its API
	operations string
}

// startFrontDoor starts a publisher whose configuration is the lab's own with
// some keys changed; nil removes one.
func (l *Lab) startFrontDoor(t *testing.T, name string, changes node) *frontDoor {
	t.Helper()
	f := l.configureFrontDoor(t, name, changes)
	if _, err := l.run(name, l.program("publisher", "serve", "-config", l.path("publisher", name+".yaml"))); err != nil {
		t.Fatal(err)
	}
	await(t, name+" is ready and has heard of a consumer", func() error {
		if err := ready(t.Context(), name, f.operations); err != nil {
			return err
		}
		resp, err := http.Get(f.operations + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		checks := map[string]string{}
		if err := json.NewDecoder(resp.Body).Decode(&checks); err != nil || checks["consumers"] != "ok" {
			return fmt.Errorf("%v, %v", checks, err)
		}
		return nil
	})
	return f
}

// configureFrontDoor writes the configuration of such a publisher.
func (l *Lab) configureFrontDoor(t *testing.T, name string, changes node) *frontDoor {
	t.Helper()
	cfg := readNode(t, l.path("publisher", "publisher.yaml"))
	for _, key := range []string{"listen", "operations_listen"} {
		var err error
		if cfg[key], err = freeAddress(); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range changes {
		if cfg[key] = value; value == nil {
			delete(cfg, key)
		}
	}
	if err := write(l.path("publisher", name+".yaml"), cfg); err != nil {
		t.Fatal(err)
	}
	f := &frontDoor{l.endpoints(t), fmt.Sprintf("http://%s", cfg["operations_listen"])}
	f.APIURL = fmt.Sprintf("http://%s", cfg["listen"])
	if cfg["tls"] != nil {
		f.APIURL = fmt.Sprintf("https://%s", cfg["listen"])
	}
	return f
}

// grant makes a token with `publisher token`.
func (l *Lab) grant(t *testing.T, source string, flags ...string) string {
	t.Helper()
	text, err := l.call(t.Context(), "publisher", append([]string{"token", "-file", l.tokensFile(), "-tenant", Tenant, "-source", source,
		"-names", "upn,object_guid", "-operations", "reset,change,unlock,probe", "-actors", "self,admin"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ask posts fields and the account to a route.
func (e *Endpoints) ask(t *testing.T, token, path, upn, fields string, headers ...string) response {
	t.Helper()
	if fields != "" {
		fields = "," + fields
	}
	r, err := e.do(t.Context(), http.MethodPost, "/v1/"+path, bytes.NewReader(fmt.Appendf(nil, `{"account":{"upn":%q}%s}`, upn, fields)),
		append([]string{"Authorization: Bearer " + token, "Prefer: wait=60"}, headers...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantLimited checks that an answer is 429 for a field, and says when to come back.
func wantLimited(t *testing.T, r response, field string) {
	t.Helper()
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if r.Status != http.StatusTooManyRequests || r.Code != "too_many" || r.Field != field || err != nil || seconds < 1 {
		t.Errorf("got %d %s, Retry-After %q; want too many of %s", r.Status, r.Body, r.Header.Get("Retry-After"), field)
	}
}

// counter returns what a publisher counts.
func (f *frontDoor) counter(t *testing.T, series string) string {
	t.Helper()
	for _, line := range strings.Split(metrics(t, f.operations), "\n") {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return rest
		}
	}
	t.Fatalf("there is no series %s", series)
	return ""
}

// TestLimits sends waves of requests to a publisher that has the limits which hold
// unless others are configured.
func TestLimits(t *testing.T) {
	l := startLab(t, "fake")
	f := l.startFrontDoor(t, "front", node{"limits": nil})
	users := l.Directory.Users

	t.Run("a wave on one account", func(t *testing.T) {
		first, second := l.grant(t, "first"), l.grant(t, "second")
		await(t, "the tokens are known", func() error {
			if r := f.ask(t, second, "probes", users[9].UPN, ""); r.Status != http.StatusOK {
				return fmt.Errorf("%s", r.Body)
			}
			return nil
		})
		var mu sync.Mutex
		var wg sync.WaitGroup
		limited := 0
		for i := range 40 {
			wg.Go(func() {
				token := []string{first, second}[i%2]
				r := f.ask(t, token, "probes", users[0].UPN, `"actor":{"kind":"self"}`)
				if r.Status == http.StatusTooManyRequests {
					wantLimited(t, r, "account")
					mu.Lock()
					defer mu.Unlock()
					limited++
				}
			})
		}
		wg.Wait()
		if limited != 25 {
			t.Errorf("%d of 40 were limited, want all but 15", limited)
		}
		wantLimited(t, f.ask(t, first, "resets", users[0].UPN, withFresh+`,"actor":{"kind":"self"}`), "account")
		if r := f.ask(t, first, "resets", users[0].UPN, withFresh); r.Code != "applied" {
			t.Errorf("the help desk cannot help: %s", r.Body)
		}
		if r := f.ask(t, second, "resets", users[1].UPN, withFresh+`,"actor":{"kind":"self"}`); r.Code != "applied" {
			t.Errorf("another account: %s", r.Body)
		}
		if got := f.counter(t, `writeback_portal_limited_total{limit="account"}`); got != "26" {
			t.Errorf("%s were counted, want 26", got)
		}
	})

	t.Run("a caller that asks for too much", func(t *testing.T) {
		slow, other := l.grant(t, "slow", "-rate", "2"), l.grant(t, "other")
		await(t, "the tokens are known", func() error {
			if r := f.ask(t, other, "probes", users[9].UPN, ""); r.Status != http.StatusOK {
				return fmt.Errorf("%s", r.Body)
			}
			return nil
		})
		for range 2 {
			if r := f.ask(t, slow, "probes", users[2].UPN, ""); r.Code != "applied" {
				t.Errorf("%s", r.Body)
			}
		}
		r := f.ask(t, slow, "probes", users[2].UPN, "")
		wantLimited(t, r, "token")
		if !strings.Contains(r.Body, "token is for 2 requests a minute") {
			t.Errorf("got %s", r.Body)
		}
		if r := f.ask(t, other, "probes", users[2].UPN, ""); r.Code != "applied" {
			t.Errorf("another caller: %s", r.Body)
		}
	})

	// An account of a domain that locks after five wrong passwords. The lab's own
	// publisher, which takes a hundred, shows that they would lock it.
	t.Run("guessing a password", func(t *testing.T) {
		token := l.grant(t, "guesser")
		guess := func(e *Endpoints, u testkit.User) string {
			r := e.ask(t, token, "changes", u.UPN, `"current_password":"Wrong-Guess-1",`+withFresh)
			if r.Status == http.StatusTooManyRequests {
				wantLimited(t, r, "current_password")
			}
			return r.Code
		}
		for _, tt := range []struct {
			publisher *Endpoints
			want      string // of six guesses, and of one change with the right password by the lab's own
		}{
			{f.Endpoints, "wrong_password wrong_password wrong_password too_many too_many too_many applied"},
			{l.endpoints(t), "wrong_password wrong_password wrong_password wrong_password wrong_password account_locked account_locked"},
		} {
			u, err := l.fake.NewUser(fakead.UserSpec{Password: current})
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.fake.NewPolicy(fakead.PolicySpec{
				Name: "for " + u.SAMAccountName, Precedence: 1, AppliesTo: []string{u.SAMAccountName},
				Policy: fakead.Policy{MinLength: 7, LockoutThreshold: 5},
			})
			if err != nil {
				t.Fatal(err)
			}
			await(t, "the token is known", func() error {
				if r := tt.publisher.ask(t, token, "probes", u.UPN, ""); r.Status != http.StatusOK {
					return fmt.Errorf("%s", r.Body)
				}
				return nil
			})
			var codes []string
			for range 6 {
				codes = append(codes, guess(tt.publisher, u))
			}
			codes = append(codes, l.endpoints(t).ask(t, token, "changes", u.UPN, withChange).Code)
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		}
	})

	t.Run("a wave from one address", func(t *testing.T) {
		near := l.startFrontDoor(t, "near", node{"limits": node{"per_address": 5}, "trusted_proxies": []string{"127.0.0.1/32"}})
		from := func(address string) response {
			return near.ask(t, "none", "probes", users[3].UPN, "", "X-Forwarded-For: "+address)
		}
		for range 5 {
			if r := from("192.0.2.1"); r.Status != http.StatusUnauthorized {
				t.Errorf("got %s", r.Body)
			}
		}
		wantLimited(t, from("192.0.2.1"), "address")
		wantLimited(t, from("192.0.2.2, 192.0.2.1"), "address")
		if r := near.ask(t, near.APIToken, "probes", users[3].UPN, "", "X-Forwarded-For: 192.0.2.2"); r.Code != "applied" {
			t.Errorf("another address: %s", r.Body)
		}
	})
}

// TestNoSuchAccount compares what callers are told of accounts that they may not
// learn of: that do not exist, and that are outside of the policy's bases. It logs
// how long that takes, which is for people to compare.
func TestNoSuchAccount(t *testing.T) {
	l := startLab(t, "fake")
	e := l.endpoints(t)
	own := regexp.MustCompile(`"(id|accepted|finished|consumer|timings_ms)":("[^"]*"|\{[^}]*\}),?`)
	s := &fakeStage{l.fake}
	hidden := someone(person{parent: "CN=Users,DC=corp,DC=example,DC=com"})(t, s)
	for path, fields := range map[string]string{"resets": withFresh, "changes": withChange, "unlocks": "", "probes": ""} {
		var answers []string
		for _, upn := range []string{"nobody@corp.example.com", hidden.UPN} {
			r := e.ask(t, l.Token, path, upn, fields)
			answers = append(answers, fmt.Sprint(r.Status, " ", own.ReplaceAllString(r.Body, "")))
		}
		if answers[0] != answers[1] || !strings.Contains(answers[0], "account_not_found") {
			t.Errorf("%s: nobody is answered with\n%sand an account out of reach with\n%s", path, answers[0], answers[1])
		}
		if !s.opens(hidden, current) {
			t.Errorf("%s: the password of an account out of reach was changed", path)
		}
	}
	took := map[string][]time.Duration{}
	for range 100 {
		for _, upn := range []string{"nobody@corp.example.com", hidden.UPN} {
			begun := time.Now()
			e.ask(t, l.Token, "probes", upn, "")
			took[upn] = append(took[upn], time.Since(begun))
		}
	}
	for upn, list := range took {
		slices.Sort(list)
		t.Logf("a probe of %s: median %s, 90 of 100 within %s", upn, list[50], list[90])
	}
}
