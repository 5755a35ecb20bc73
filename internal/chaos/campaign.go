package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"writeback/internal/chaos/clock"
	"writeback/internal/chaos/history"
	"writeback/internal/reset"
	"writeback/internal/testkit/samba"
)

// A Campaign is calls and faults, drawn from a seed, at a system of two
// publishers and three consumers.
type Campaign struct {
	Options // of the system; publishers and consumers are set by Run
	Seed    uint64
	Faults  time.Duration // how long something is broken
	Calls   time.Duration // how long calls are made; not shorter
	Callers int
}

// slack is how far a campaign sets clocks wrong, and how long it holds messages
// beyond what a modify may take; and a second for busy cores.
const slack = 6 * time.Second

// diskSize holds the streams of a campaign several times.
const diskSize = 256 << 20

// Run runs a campaign, prints what happened, and returns what is against the
// rules.
func (c Campaign) Run(ctx context.Context) ([]history.Violation, error) {
	begun := time.Now()
	fmt.Fprintf(c.Out, "seed %d, %d nodes, directory %s, faults for %s, calls for %s\n", c.Seed, c.Nodes, c.Directory, c.Faults, c.Calls)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.Dir, "faults.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	skewed := filepath.Join(c.Dir, "skewed")
	if err := clock.Build(ctx, c.Root, skewed, "./cmd/consumer"); err != nil {
		return nil, err
	}
	disk := os.Geteuid() == 0
	if disk {
		c.Disk = diskSize
	} else {
		fmt.Fprintln(c.Out, "the broker's disk is not filled: only root can make a small one")
	}
	opts := c.Options
	opts.Dir, opts.Consumers, opts.Publishers, opts.Out = filepath.Join(c.Dir, "system"), 3, 2, log
	s, err := Start(ctx, opts, passwordName)
	if err != nil {
		return nil, err
	}
	defer s.Close()

	since := time.Now()
	living, end := context.WithCancel(ctx)
	defer end()
	calling, stopCalls := context.WithTimeout(living, c.Calls)
	defer stopCalls()
	breaking, stopFaults := context.WithTimeout(living, c.Faults)
	defer stopFaults()
	crowd := newCrowd(s)
	var callers sync.WaitGroup
	for i := range c.Callers {
		callers.Go(func() { crowd.call(calling, living, c.Seed, i+1) })
	}
	strikes := &strikes{System: s, ctx: breaking, skewed: filepath.Join(skewed, "consumer"), log: log, begun: since, met: make(map[string]int)}
	strikes.strike(plan(c.Seed, append(messages(), others(disk)...), c.Faults))
	callers.Wait()

	h := history.History{Slack: slack}
	if h.Chains, err = c.tail(ctx, s, since); err != nil {
		return nil, err
	}
	end()
	crowd.all.Wait()
	crowd.last()
	h.Calls, h.Writes = crowd.history(), s.Watch.Writes()
	if h.Accounts, err = s.accounts(ctx, h.Calls); err != nil {
		return nil, err
	}
	for _, p := range append(append([]*Program{}, s.Consumers...), s.Publishers...) {
		if n := p.Exits(); n > 0 {
			strikes.met[p.Name+" ended by itself"] = n
		}
	}
	found := h.Check()
	tampered, err := s.Inspect(ctx, c.Out)
	if err != nil {
		return nil, err
	}
	found = append(found, tampered...)
	if err := h.Print(c.Out, strikes.met, found); err != nil {
		return found, err
	}
	_, err = fmt.Fprintf(c.Out, "seed %d, %s\n", c.Seed, time.Since(begun).Round(time.Second))
	return found, err
}

// tailLimit is when every request must have ended that was made while something
// was broken: its life, the publishers' next look, and the broker's return.
const tailLimit = reset.Life + 90*time.Second

// lookEvery is how often it is looked whether all have ended.
const lookEvery = 5 * time.Second

// tail waits until every request has ended, and returns the chains. After
// [tailLimit] it returns them as they are.
func (c Campaign) tail(ctx context.Context, s *System, since time.Time) ([]history.Chain, error) {
	limit := time.Now().Add(tailLimit)
	for {
		reading, cancel := context.WithTimeout(ctx, tailLimit)
		chains, err := s.Reader.Chains(reading, since)
		cancel()
		if err != nil {
			return nil, err
		}
		open := 0
		for _, chain := range chains {
			if chain.Err == nil && !chain.Links.Ended() {
				open++
			}
		}
		if open == 0 || time.Now().After(limit) {
			return chains, nil
		}
		if !wait(ctx, lookEvery) {
			return nil, ctx.Err()
		}
	}
}

// last asks every publisher once more for every request.
func (c *crowd) last() {
	for _, call := range c.calls {
		if call.Ref == (reset.Ref{}) {
			continue
		}
		for at := range c.s.Publishers {
			c.look(call, at)
		}
	}
}

// accounts finds out which of all the passwords that were asked for each account
// has now.
func (s *System) accounts(ctx context.Context, calls []history.Call) (all []history.Account, err error) {
	for _, u := range s.Directory.Users {
		a := history.Account{Name: u.UPN, First: first}
		names := map[string]string{first: u.Password}
		for _, call := range calls {
			if call.Account == u.UPN && call.Password != "" {
				names[call.Password] = prefix + call.Password
			}
		}
		for name, text := range names {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			conn, err := samba.Bind(s.Directory, u.DN, text)
			if err != nil {
				continue
			}
			conn.Close()
			a.Passwords = append(a.Passwords, name)
		}
		all = append(all, a)
	}
	return all, nil
}
