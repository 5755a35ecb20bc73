package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"writeback/internal/chaos/history"
	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A crash is one point in a system of its own: two publishers, two consumers.
type crash struct {
	Point
	*System
	crowd *crowd
	since time.Time
}

// How long a message is waited for that comes at once, or at the deadline; and
// how long the account may take to be free again.
const (
	soon    = time.Minute
	release = 2 * time.Minute
)

// Run makes one reset, kills who is to be killed, and waits for what comes of
// it. Its error says what is not as it must be.
func (p Point) Run(ctx context.Context, opts Options) (err error) {
	opts.Consumers, opts.Publishers = 2, 2
	s, err := Start(ctx, opts, passwordName)
	if err != nil {
		return err
	}
	defer s.Close()
	c := &crash{Point: p, System: s, crowd: newCrowd(s), since: time.Now()}
	living, end := context.WithCancel(ctx)
	defer end()
	if p.whom == idle {
		kill(s.Consumers)
	}
	call := c.wish("it")
	if p.Want == "" {
		call.key = "" // the caller does not try again
	}
	at := c.inject()
	c.crowd.all.Go(func() { c.crowd.make(living, call) })
	if err := c.crash(ctx, at); err != nil {
		return err
	}
	if err := c.ended(ctx); err != nil {
		return err
	}
	for _, p := range c.programs() {
		if err := p.Start(""); err != nil {
			return err
		}
	}
	if err := c.free(ctx); err != nil {
		return err
	}
	end()
	c.crowd.all.Wait()
	c.crowd.last()
	return c.judge(ctx)
}

// together is how many points are run at once: most of the time they wait.
const together = 14

// RunPoints runs all points, the slow ones first, each in a directory of its own,
// and prints what came of each. Its error says that one was not as it must be.
func RunPoints(ctx context.Context, opts Options) error {
	points, out := Points(), opts.Out
	slices.SortStableFunc(points, func(a, b Point) int {
		switch {
		case a.Slow == b.Slow:
			return 0
		case a.Slow:
			return -1
		}
		return 1
	})
	var (
		room   = make(chan struct{}, together)
		all    sync.WaitGroup
		mu     sync.Mutex // guards failed, and the order of lines
		failed int
	)
	for i, p := range points {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			begun, opts := time.Now(), opts
			opts.Dir, opts.Out = filepath.Join(opts.Dir, fmt.Sprintf("point%d", i+1)), io.Discard
			err := p.Run(ctx, opts)
			said := "as it must be"
			if err != nil {
				said = opts.Dir + ": " + err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
			}
			want := cmp.Or(string(p.Want), "no request")
			fmt.Fprintf(out, "%-50s  %-11s  %d claims, %d modifies  %6.1fs  %s\n", p.Name, want, p.Claims, p.Modifies, time.Since(begun).Seconds(), said)
		})
	}
	all.Wait()
	if failed > 0 {
		return fmt.Errorf("%d of %d points are not as they must be", failed, len(points))
	}
	return nil
}

// wish is a reset of the first account.
func (c *crash) wish(name string) wish {
	return wish{operation: reset.Reset, user: c.crowd.users[0], password: name, key: "key-" + name,
		wait: 5 * time.Second, luck: rand.New(rand.NewPCG(1, 1))}
}

// programs are those that are away.
func (c *crash) programs() (away []*Program) {
	for _, p := range slices.Concat(c.Consumers, c.Publishers) {
		if !p.Running() {
			away = append(away, p)
		}
	}
	return away
}

// A trap is a fault at one program's proxies.
type trap struct {
	*Program
	Injections
}

// inject sets a trap at every program that may come to the point.
func (c *crash) inject() (traps []trap) {
	f := proxy.Fault{Name: c.Name, Match: c.at, Hold: true, Do: c.then}
	for _, p := range c.Consumers {
		switch c.line {
		case directory:
			traps = append(traps, trap{p, Injections{p.AD.Inject(f)}})
		case consumers:
			traps = append(traps, trap{p, p.Inject(f)})
		}
	}
	if c.line == publishers {
		for _, p := range c.Publishers {
			traps = append(traps, trap{p, p.Inject(f)})
		}
	}
	return traps
}

// crash waits until a program has come to the point, and kills it there.
func (c *crash) crash(ctx context.Context, traps []trap) error {
	limit := soon
	if c.whom == idle {
		limit += reset.Deadline + time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	first := make(chan trap, len(traps))
	for _, t := range traps {
		met := t.Met(ctx.Done())
		go func() {
			select {
			case <-met:
				first <- t
			case <-ctx.Done():
			}
		}()
	}
	var victim trap
	select {
	case victim = <-first:
	case <-ctx.Done():
		return errors.New("no program has come to the point")
	}
	victim.Kill()
	switch {
	case c.whom == everything:
		kill(slices.Concat(c.Consumers, c.Publishers))
		for n := range c.opts.Nodes {
			if err := c.Signal(c.Node(n), syscall.SIGKILL); err != nil {
				return err
			}
		}
	case c.whom == allOfThem && c.line == publishers:
		kill(c.Publishers)
	case c.whom == allOfThem:
		kill(c.Consumers)
	}
	for _, t := range traps {
		t.Lift()
	}
	if c.whom != everything {
		return nil
	}
	for _, p := range c.programs() {
		if err := p.Start(""); err != nil {
			return err
		}
	}
	return nil
}

func kill(all []*Program) {
	for _, p := range all {
		p.Kill()
	}
}

// ended waits until the request has ended, if there is to be one.
func (c *crash) ended(ctx context.Context) error {
	if c.Want == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tailLimit)
	defer cancel()
	for {
		chains, err := c.Reader.Chains(ctx, c.since)
		if err == nil && len(chains) == 1 && chains[0].Links.Ended() {
			return nil
		}
		if !wait(ctx, 500*time.Millisecond) {
			return fmt.Errorf("the request has not ended: %v %v", chains, err)
		}
	}
}

// free resets the account once more, when its slot is free.
func (c *crash) free(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, release)
	defer cancel()
	for n := 1; ; n++ {
		w := c.wish(fmt.Sprintf("next%d", n))
		c.crowd.make(ctx, w)
		for _, call := range c.crowd.history() {
			last := len(call.Answers) - 1
			if call.Password == w.password && last >= 0 && call.Answers[last].Code == reset.Applied {
				return nil
			}
		}
		if !wait(ctx, time.Second) {
			return errors.New("the account cannot be reset again")
		}
	}
}

// judge holds what was seen against what must have come of the point, and
// against the rules.
func (c *crash) judge(ctx context.Context) (err error) {
	h := history.History{Calls: c.crowd.history(), Writes: c.Watch.Writes(), Slack: 2 * time.Second}
	if h.Chains, err = c.Reader.Chains(ctx, c.since); err != nil {
		return err
	}
	if h.Accounts, err = c.accounts(ctx, h.Calls); err != nil {
		return err
	}
	var wrong []error
	code, claims, done, unseen := reset.Code(""), 0, 0, 0
	for _, chain := range h.Chains {
		if chain.Ref != h.Calls[0].Ref || len(chain.Links) == 0 {
			continue
		}
		code = chain.Links.Last().Code
		for _, l := range chain.Links {
			if l.Kind == envelope.Claimed {
				claims++
			}
		}
	}
	for _, w := range h.Writes {
		switch {
		case w.Password != "it":
		case w.Verdict == history.Done:
			done++
		case w.Verdict == history.Unseen: // as when its sender was gone
			unseen++
		}
	}
	if code != c.Want || claims < c.Claims || done > c.Modifies || done+unseen < c.Modifies {
		wrong = append(wrong, fmt.Errorf("it ends as %q after %d claims, %d modifies, and %d without an answer; want %q after at least %d, and %d",
			code, claims, done, unseen, c.Want, c.Claims, c.Modifies))
	}
	for _, v := range h.Check() {
		wrong = append(wrong, errors.New(v.String()))
	}
	return errors.Join(wrong...)
}
