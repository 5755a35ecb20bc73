package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/lab"
	"writeback/internal/testkit"
)

// A load is callers of the API and readers of the pages, and what they were told.
type load struct {
	lab    *lab.Lab
	client *http.Client
	users  chan testkit.User // whom nobody works on
	admin  string            // token for the administration page
	group  sync.WaitGroup

	mu     sync.Mutex        // guards what follows
	calls  map[string]int    // by scenario
	codes  map[string]int    // of requests
	order  []string          // ids of requests
	told   map[string]string // the code by id
	broken []string          // what must not be
	again  int               // calls that had to be repeated
}

func newLoad(ctx context.Context, l *lab.Lab) (*load, error) {
	d := &load{
		lab: l, client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 4},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		users: make(chan testkit.User, len(l.Directory.Users)),
		calls: make(map[string]int), codes: make(map[string]int), told: make(map[string]string),
	}
	for _, u := range l.Directory.Users {
		d.users <- u
	}
	var err error
	_, d.admin, err = l.AdminPage(ctx)
	return d, err
}

// A scenario is one kind of caller. user is nobody else's meanwhile. Its error says
// what must not be.
type scenario struct {
	name string
	run  func(ctx context.Context, d *load, n int, user testkit.User) error
}

// mix is what callers do, in turn: of 20, 14 change a password.
func mix() []scenario {
	reset := scenario{"reset", resets}
	return []scenario{
		reset, {"probe", probes}, reset, {"unlock", unlocks}, reset, {"refused", refusals}, reset, {"nobody", nobodies},
		reset, {"change", changes}, reset, {"repeat", repeats}, reset, {"poll", polls}, reset, {"stream", streams},
		reset, {"page", pageSessions}, reset, {"admin", adminSessions},
	}
}

// run makes calls at a steady rate until ctx ends, and returns when the last of
// them is over.
func (d *load) run(ctx context.Context, rate float64) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	defer d.group.Wait()
	all := mix()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		d.group.Go(func() { d.play(context.WithoutCancel(ctx), n, all[n%len(all)]) })
	}
}

// rounds is how often all accounts are reset at once to warm up.
const rounds = 3

// warmUp resets the passwords of all accounts at once, a few times, so that pools of
// connections are as large as they get before anything is judged.
func (d *load) warmUp(ctx context.Context) {
	for n := range rounds * cap(d.users) {
		d.group.Go(func() { d.play(ctx, n, mix()[0]) })
	}
	d.group.Wait()
}

// patience is how long a caller goes on until there is an outcome, over restarts.
const patience = 2 * time.Minute

func (d *load) play(ctx context.Context, n int, s scenario) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	user := <-d.users
	defer func() { d.users <- user }()
	err := s.run(ctx, d, n, user)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[s.name]++
	if err != nil {
		d.broken = append(d.broken, fmt.Sprintf("%s %d: %v", s.name, n, err))
	}
}

// An answer is what the API says of a request.
type answer struct {
	lab.Answer
	Final bool `json:"final"`
}

// errAgain is an answer that does not say what became of a call.
var errAgain = errors.New("nobody knows what became of it")

// ask asks for an operation until there is an outcome or a refusal, with one key at
// one publisher after the other.
func (d *load) ask(ctx context.Context, n int, path string, body map[string]any, headers ...string) (a answer, err error) {
	headers = append([]string{"Idempotency-Key", rand.Text()}, headers...) // what the caller says comes after it, and counts
	at := n
	try := func() error {
		at++
		if a, err = d.call(ctx, at, http.MethodPost, path, body, headers...); err == nil && a.ID == "" && a.Status >= 500 {
			err = fmt.Errorf("%w: %d %s", errAgain, a.Status, a.Code)
		}
		return err
	}
	if err := d.until(ctx, try); err != nil {
		return a, err
	}
	if a.ID == "" || a.Final {
		return a, d.tell(a)
	}
	return d.follow(ctx, at, a.ID)
}

// until tries until there is no error, and counts that it had to.
func (d *load) until(ctx context.Context, try func() error) error {
	first := true
	return backoff.Retry(func() error {
		if !first {
			d.mu.Lock()
			d.again++
			d.mu.Unlock()
		}
		first = false
		return try()
	}, backoff.WithContext(backoff.NewConstantBackOff(500*time.Millisecond), ctx))
}

// follow asks for the outcome of a request until it is there.
func (d *load) follow(ctx context.Context, at int, id string) (a answer, err error) {
	err = backoff.Retry(func() error {
		at++
		a, err = d.call(ctx, at, http.MethodGet, "/v1/requests/"+id, nil)
		if err == nil && !a.Final {
			err = fmt.Errorf("%w: %d %s", errAgain, a.Status, a.State)
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(200*time.Millisecond), ctx))
	if err != nil {
		return a, fmt.Errorf("%s has no outcome: %w", id, err)
	}
	return a, d.tell(a)
}

// tell takes note of what was said of a request. Its error is that something else
// was said before.
func (d *load) tell(a answer) error {
	if a.ID == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before, known := d.told[a.ID]
	if known && before != a.Code {
		return fmt.Errorf("%s is %s, and was %s", a.ID, a.Code, before)
	}
	if !known {
		d.told[a.ID] = a.Code
		d.order = append(d.order, a.ID)
		d.codes[a.Code]++
	}
	return nil
}

// past returns the nth of the ids of requests that have an outcome, modulo their
// number, and false if there is none.
func (d *load) past(n int) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.order) == 0 {
		return "", false
	}
	return d.order[n%len(d.order)], true
}

// call makes one call of the nth publisher, modulo their number.
func (d *load) call(ctx context.Context, at int, method, path string, body map[string]any, headers ...string) (a answer, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	resp, err := d.send(ctx, at, method, path, text, append(headers, "Content-Type", "application/json")...)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&a); err != nil {
		return a, fmt.Errorf("%s %s: %s and no JSON: %w", method, path, resp.Status, err)
	}
	return a, nil
}

func (d *load) send(ctx context.Context, at int, method, path string, body []byte, headers ...string) (*http.Response, error) {
	apis := d.lab.APIs()
	req, err := http.NewRequestWithContext(ctx, method, apis[at%len(apis)]+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.lab.Token)
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	return d.client.Do(req)
}
