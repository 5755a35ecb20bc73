package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A versioned value is an attribute that replicates: the newest write wins.
type versioned[T any] struct {
	value   T
	version int
}

// take reports whether the other's write was newer.
func (v *versioned[T]) take(other versioned[T]) bool {
	if other.version <= v.version {
		return false
	}
	*v = other
	return true
}

// A state is the account as one domain controller has it.
type state struct {
	usn        uint64 // its own: it does not replicate
	password   versioned[string]
	history    []string
	pwdLastSet versioned[int64]
	locked     versioned[bool]
	deleted    versioned[bool]
}

func (s *state) merge(from state) {
	news := s.pwdLastSet.take(from.pwdLastSet)
	news = s.locked.take(from.locked) || news
	news = s.deleted.take(from.deleted) || news
	if s.password.take(from.password) {
		s.history, news = append(s.history, s.password.value), true
	}
	if news {
		s.usn++
	}
}

// An account is a model of one account on two domain controllers, dc1 and dc2,
// of what may go wrong there, and of what the replicas do to it.
type account struct {
	mu     sync.Mutex
	dcs    map[string]*state
	writes int // all that there were: the newest version
	stamp  int64

	// What a test does at a step: it may wait.
	at        func(step string)
	noHistory bool // a password may be set once more
	mayUnlock bool
	mayMust   bool
	down      map[string]bool  // domain controllers that cannot be reached
	notice    time.Duration    // how long that takes to find out
	best      string           // that is preferred
	delay     time.Duration    // of a connection, and of a search
	lag       time.Duration    // of replication; never if below 0
	refuses   map[string]error // what a domain controller says to every password
	slow      time.Duration    // until a modify is executed, whatever becomes of its connection
	lost      bool             // the next answer to a modify that was executed
	bind      error            // why no bind is made

	newest    func() *envelope.Record // of the request's chain
	accepted  time.Time
	freed     bool // its slot
	sent      []*sent
	problems  []string
	executed  int // modifies of ours that set a password
	unlocked  int // that unlocked it
	must      int // that made its owner choose another
	attempts  int // changes with a wrong current password
	binds     int
	followsUp map[claimID]bool // the password is set, as whoever made this claim knows
}

// A claimID names a claim.
type claimID struct {
	replica string
	number  uint64
}

// A sent is a modify that a replica has sent.
type sent struct {
	what    string
	claim   claimID
	at      time.Time
	follows bool // from a password that is set
	reached bool // the domain controller
}

func newAccount() *account {
	a := &account{best: "dc1", mayUnlock: true, mayMust: true, down: map[string]bool{}, refuses: map[string]error{},
		dcs: map[string]*state{"dc1": {usn: 7}, "dc2": {usn: 100}}, at: func(string) {},
		newest: func() *envelope.Record { return nil }, followsUp: map[claimID]bool{}}
	a.stamp = fileTimeOf(time.Now().Add(-time.Hour))
	a.write("dc1", func(s *state) { a.store(s, currentPassword) })
	return a
}

func fileTimeOf(t time.Time) int64 { return t.UnixNano()/100 + 116_444_736_000_000_000 }

// write changes the account on a domain controller, which tells the other.
func (a *account) write(dc string, change func(*state)) {
	a.writes++
	on := a.dcs[dc]
	change(on)
	on.usn++
	from := *on
	from.history = nil
	other := a.dcs[map[string]string{"dc1": "dc2", "dc2": "dc1"}[dc]]
	switch {
	case a.lag == 0:
		other.merge(from)
	case a.lag > 0:
		time.AfterFunc(a.lag, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			other.merge(from)
		})
	}
}

func (a *account) store(s *state, password string) {
	s.password = versioned[string]{password, a.writes}
	s.history = append(s.history, password)
	a.stamp = max(a.stamp+1, fileTimeOf(time.Now()))
	s.pwdLastSet = versioned[int64]{a.stamp, a.writes}
}

// locked runs f while nobody else uses a.
func (a *account) locked(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// set sets a password as an administrator would.
func (a *account) set(password string) {
	a.locked(func() { a.write("dc1", func(s *state) { a.store(s, password) }) })
}

func (a *account) setLocked(locked bool) {
	a.locked(func() { a.lock(locked) })
}

func (a *account) lock(locked bool) {
	if a.dcs["dc1"].locked.value != locked {
		a.write("dc1", func(s *state) { s.locked = versioned[bool]{locked, a.writes} })
	}
}

func (a *account) remove() {
	a.locked(func() { a.write("dc1", func(s *state) { s.deleted = versioned[bool]{true, a.writes} }) })
}

// setDown says whether a domain controller is away.
func (a *account) setDown(dc string, down bool) {
	a.locked(func() { a.down[dc] = down })
}

func (a *account) away(dc string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.down[dc]
}

// wait returns an error if ctx ends before d has passed.
func (a *account) wait(ctx context.Context, d func() time.Duration) error {
	a.mu.Lock()
	timer := time.NewTimer(d())
	a.mu.Unlock()
	defer timer.Stop()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", reset.ErrDirectoryUnavailable, ctx.Err())
	}
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", reset.ErrDirectoryUnavailable, ctx.Err())
	}
}

// connect is the Directory of a replica.
func (a *account) connect(replica string) func(context.Context, string) (Session, error) {
	return func(ctx context.Context, dc string) (Session, error) {
		if dc == "" {
			if dc = a.best; a.away(dc) {
				dc = "dc2"
			}
		}
		if a.away(dc) {
			a.wait(ctx, func() time.Duration { return a.notice })
			return nil, reset.ErrDirectoryUnavailable
		}
		if err := a.wait(ctx, func() time.Duration { return a.delay }); err != nil {
			return nil, err
		}
		return &accountSession{a: a, dc: dc, replica: replica}, nil
	}
}
