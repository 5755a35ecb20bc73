package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"writeback/internal/chaos/history"
	"writeback/internal/lab"
	"writeback/internal/reset"
	"writeback/internal/testkit"
)

// prefix begins every password of a call; the rest is its name.
const prefix = "Chaos-Word-"

// first is the name of the password that an account begins with.
const first = "first"

// passwordName returns the name of a password in a history.
func passwordName(text string) string { return strings.TrimPrefix(text, prefix) }

// A crowd is callers of the API, and what they were told.
type crowd struct {
	s      *System
	users  []testkit.User
	client *http.Client
	all    sync.WaitGroup // who looks after calls without an outcome

	mu      sync.Mutex // guards what follows, and what it points to
	calls   []*history.Call
	current map[string]string // by UPN, the password that was applied last, as far as callers were told
}

func newCrowd(s *System) *crowd {
	c := &crowd{s: s, users: s.Directory.Users, current: make(map[string]string),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	for _, u := range c.users {
		c.current[u.UPN] = u.Password
	}
	return c
}

// A wish is a call before it is made.
type wish struct {
	operation reset.Operation
	user      testkit.User
	password  string        // name; empty for an unlock
	key       string        // Idempotency-Key; may be empty
	wait      time.Duration // the caller's patience
	at        int           // the publisher
	pause     time.Duration // after it
	twin      bool          // another call for the same account is made at the same time
	again     bool          // it is made once more with the same key after there was an answer
	luck      *rand.Rand    // for what depends on answers
}

// wish draws what a caller asks for next, from its own numbers alone.
func (c *crowd) wish(rng *rand.Rand, name string) wish {
	w := wish{
		operation: reset.Reset, user: c.users[rng.IntN(len(c.users))], password: name, at: rng.IntN(len(c.s.Publishers)),
		wait: time.Duration(rng.IntN(15)) * time.Second, pause: time.Duration(rng.IntN(2000)) * time.Millisecond, twin: rng.IntN(20) == 0,
	}
	switch n := rng.IntN(20); {
	case n < 4:
		w.operation = reset.Change
	case n < 6:
		w.operation, w.password = reset.Unlock, ""
	}
	if rng.IntN(2) == 0 {
		w.key, w.again = "key-"+name, rng.IntN(4) == 0
	}
	w.luck = rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
	return w
}

// call makes calls, one after the other, until calling ends. Their outcomes are
// asked for until living ends.
func (c *crowd) call(calling, living context.Context, seed uint64, caller int) {
	rng := rand.New(rand.NewPCG(seed, uint64(caller)))
	for n := 1; calling.Err() == nil; n++ {
		name := fmt.Sprintf("c%d.%d", caller, n)
		w := c.wish(rng, name)
		if w.twin {
			other := c.wish(rng, name+"b")
			other.user = w.user
			c.all.Go(func() { c.make(living, other) })
		}
		c.make(living, w)
		wait(calling, w.pause)
	}
}

// attempts is how often a call with a key is repeated while nobody answers.
const attempts = 6

// make makes a call. Where there is no outcome yet, somebody looks after it.
func (c *crowd) make(ctx context.Context, w wish) {
	call := &history.Call{Account: w.user.UPN, Operation: w.operation, Password: w.password}
	c.mu.Lock()
	c.calls = append(c.calls, call)
	current := c.current[w.user.UPN]
	c.mu.Unlock()
	body := map[string]any{
		"account": map[string]string{"upn": w.user.UPN}, "actor": map[string]string{"kind": "self", "subject": w.user.UPN},
	}
	if w.password != "" {
		body["password"] = prefix + w.password
	}
	if w.operation == reset.Change {
		body["current_password"] = current
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always can be
	}
	path := map[reset.Operation]string{reset.Reset: "resets", reset.Change: "changes", reset.Unlock: "unlocks"}[w.operation]
	for range attempts {
		req, err := http.NewRequest(http.MethodPost, c.s.Publishers[w.at].API+"/v1/"+path, bytes.NewReader(text))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(w.wait.Seconds())))
		if w.key != "" {
			req.Header.Set("Idempotency-Key", w.key)
		}
		a := c.ask(req, call, w.wait)
		if a.State != "" && !w.again || w.key == "" || ctx.Err() != nil {
			break
		}
		w.again = w.again && a.State == ""
		w.at = (w.at + 1) % len(c.s.Publishers)
		wait(ctx, time.Duration(w.luck.IntN(3000))*time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Ref == (reset.Ref{}) || ended(call) {
		return
	}
	c.all.Go(func() { c.follow(ctx, w.luck, call) })
}

// ended reports whether the caller was told an outcome that stays.
func ended(call *history.Call) bool {
	for _, a := range call.Answers {
		if a.Final && a.Code != reset.Unconfirmed {
			return true
		}
	}
	return false
}

// follow asks for the outcome of a call, at any publisher, until it is there.
func (c *crowd) follow(ctx context.Context, luck *rand.Rand, call *history.Call) {
	for wait(ctx, time.Second+time.Duration(luck.IntN(2000))*time.Millisecond) {
		c.look(call, luck.IntN(len(c.s.Publishers)))
		c.mu.Lock()
		over := ended(call)
		c.mu.Unlock()
		if over {
			return
		}
	}
}

// look asks one publisher for what became of a call.
func (c *crowd) look(call *history.Call, at int) {
	req, err := http.NewRequest(http.MethodGet, c.s.Publishers[at].API+"/v1/requests/"+call.Ref.String(), nil)
	if err != nil {
		panic(err)
	}
	c.ask(req, call, 0)
}

// patience is how long beyond the caller's wait the API may take.
const patience = 20 * time.Second

// ask asks the API, and notes what it says if that is new.
func (c *crowd) ask(req *http.Request, call *history.Call, wait time.Duration) history.Answer {
	ctx, cancel := context.WithTimeout(context.Background(), wait+patience)
	defer cancel()
	a := history.Answer{Asked: time.Now()}
	ref := c.exchange(req.WithContext(ctx), &a)
	a.At = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if ref != (reset.Ref{}) {
		call.Ref = ref
	}
	if n := len(call.Answers); n == 0 || req.Method == http.MethodPost || news(call.Answers[n-1], a) {
		call.Answers = append(call.Answers, a)
	}
	if a.Code == reset.Applied && call.Password != "" {
		c.current[call.Account] = prefix + call.Password
	}
	return a
}

// news reports whether an answer says something else than the one before it.
func news(before, now history.Answer) bool {
	return before.Refusal != now.Refusal || before.State != now.State || before.Code != now.Code || before.Final != now.Final
}

// exchange makes an HTTP request and reads what its answer says. It leaves a as
// it is if there was none.
func (c *crowd) exchange(req *http.Request, a *history.Answer) (ref reset.Ref) {
	req.Header.Set("Authorization", "Bearer "+c.s.Token)
	resp, err := c.client.Do(req)
	if err != nil {
		return ref
	}
	defer resp.Body.Close()
	var said struct {
		lab.Answer
		Final bool `json:"final"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&said) != nil {
		return ref
	}
	if said.ID == "" {
		a.Refusal = reset.RefusalCode(said.Code)
		if a.Refusal == "" {
			a.Refusal = reset.RefusalCode(resp.Status) // what no defect-free publisher says
		}
		return ref
	}
	if ref, err = reset.ParseRef(said.ID); err != nil {
		return reset.Ref{}
	}
	a.State, a.Code, a.Final = reset.State(said.State), reset.Code(said.Code), said.Final
	return ref
}

// history returns what callers were told.
func (c *crowd) history() (calls []history.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		calls = append(calls, *call)
	}
	return calls
}

// wait waits for d. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
