package obs

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A Check is one thing that must hold for a program to do its work. It returns
// a sentence that says what is wrong, or nil.
type Check struct {
	Name string
	Run  func(context.Context) error
	// Advisory is for what /readyz shows without being unready for it,
	// because others can be served all the same.
	Advisory bool

	// last is for a check that takes a while; see [Remember].
	last func() (known bool, err error)
}

// newest returns what is known of a check without waiting for it.
func (c Check) newest() (known bool, err error) {
	if c.last != nil {
		return c.last()
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	return true, c.Run(ctx)
}

// Remember makes a check remember its result for d, so that a probe of health does
// not cost a connection each time. A metric shows the last result, and has the check
// run beside the scrape if that is older than d. It does until ctx ends.
func Remember(ctx context.Context, d time.Duration, c Check) Check {
	m := &memory{ctx: ctx, fresh: d, run: c.Run, turn: make(chan struct{}, 1)}
	c.Run, c.last = m.ask, m.newest
	return c
}

// How long a run beside a scrape may take, and how old a result may be to be shown:
// more than two scrapes are apart.
const (
	besideTimeout = 30 * time.Second
	shownFor      = 3 * time.Minute
)

type memory struct {
	ctx   context.Context
	fresh time.Duration
	run   func(context.Context) error

	turn chan struct{} // has room for one: who runs the check

	mu     sync.Mutex // guards what follows
	at     time.Time  // of err; zero before the first
	err    error
	beside bool // somebody runs it beside a scrape
}

func (m *memory) ask(ctx context.Context) error {
	if fresh, err := m.kept(); fresh {
		return err
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done(): // who has the turn has more time
		if _, err := m.kept(); err != nil {
			return err // says more, and is likely what comes out again
		}
		return errors.New("there was no answer in time")
	}
	if fresh, err := m.kept(); fresh {
		return err
	}
	err := m.run(ctx)
	if ctx.Err() == nil { // a probe that was given up says nothing
		m.keep(err)
	}
	return err
}

// kept returns what is remembered, and whether that is fresh.
func (m *memory) kept() (fresh bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.at) < m.fresh, m.err
}

func (m *memory) keep(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.at = err, time.Now()
}

func (m *memory) newest() (known bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	age := time.Since(m.at)
	if age >= m.fresh && !m.beside && m.ctx.Err() == nil {
		m.beside = true
		go m.askBeside()
	}
	if m.at.IsZero() || age > shownFor {
		return false, nil
	}
	return true, m.err
}

// askBeside runs the check. That it takes too long is a result.
func (m *memory) askBeside() {
	ctx, cancel := context.WithTimeout(m.ctx, besideTimeout)
	defer cancel()
	if err := m.ask(ctx); ctx.Err() != nil && m.ctx.Err() == nil {
		m.keep(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beside = false
}
