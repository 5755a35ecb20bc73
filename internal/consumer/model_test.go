package consumer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/secret"
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

type accountSession struct {
	a           *account
	dc, replica string
}

func (s *accountSession) Find(ctx context.Context, _ reset.Account) (reset.Entry, error) {
	s.a.at("find")
	e, err := s.read()
	if err := s.a.wait(ctx, func() time.Duration { return s.a.delay }); err != nil {
		return reset.Entry{}, err
	}
	s.a.at("found")
	return e, err
}

func (s *accountSession) read() (reset.Entry, error) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	on := s.a.dcs[s.dc]
	switch {
	case s.a.down[s.dc]:
		return reset.Entry{}, reset.ErrDirectoryUnavailable
	case on.deleted.value:
		return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound}
	}
	return reset.Entry{DN: "CN=Ada," + staff, GUID: [16]byte{1}, Locked: on.locked.value,
		Witness: reset.Witness{DC: s.dc, USNChanged: on.usn, PwdLastSet: on.pwdLastSet.value}}, nil
}

func (s *accountSession) Groups(context.Context, reset.Entry) ([]string, error) { return nil, nil }

func (s *accountSession) SetPassword(ctx context.Context, _ reset.Entry, pw secret.Value) error {
	return s.modify(ctx, "send", "answer", s.setting(text(pw)))
}

func (s *accountSession) Change(ctx context.Context, _ reset.Entry, current, pw secret.Value) error {
	was, set := text(current), s.setting(text(pw))
	return s.modify(ctx, "send", "answer", func() error {
		if s.a.dcs[s.dc].password.value != was {
			s.a.attempts++
			return &reset.Error{Code: reset.WrongPassword}
		}
		return set()
	})
}

func (s *accountSession) setting(password string) func() error {
	return func() error {
		on := s.a.dcs[s.dc]
		switch {
		case s.a.refuses[s.dc] != nil:
			return s.a.refuses[s.dc]
		case !s.a.noHistory && slices.Contains(on.history, password):
			return &reset.Error{Code: reset.PasswordInHistory}
		}
		s.a.write(s.dc, func(on *state) { s.a.store(on, password) })
		s.a.executed++
		return nil
	}
}

func (s *accountSession) Unlock(ctx context.Context, _ reset.Entry) error {
	return s.modify(ctx, "unlock", "unlocked", func() error {
		if !s.a.mayUnlock {
			return &reset.Error{Code: reset.NotPermitted}
		}
		if s.a.dcs[s.dc].locked.value {
			s.a.write(s.dc, func(on *state) { on.locked = versioned[bool]{false, s.a.writes} })
			s.a.unlocked++
		}
		return nil
	})
}

func (s *accountSession) MustChange(ctx context.Context, _ reset.Entry) error {
	return s.modify(ctx, "must", "musted", func() error {
		if !s.a.mayMust {
			return &reset.Error{Code: reset.NotPermitted}
		}
		s.a.write(s.dc, func(on *state) { on.pwdLastSet = versioned[int64]{0, s.a.writes} })
		s.a.must++
		return nil
	})
}

func (s *accountSession) Probe(ctx context.Context, _ reset.Entry) error {
	s.a.at("probe")
	return s.a.wait(ctx, func() time.Duration { return s.a.delay })
}

func (s *accountSession) Ask(_ context.Context, _ reset.Entry, pw secret.Value) (right bool, err error) {
	s.a.at("ask")
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	on := s.a.dcs[s.dc]
	switch {
	case s.a.down[s.dc]:
		return false, reset.ErrDirectoryUnavailable
	case s.a.bind != nil:
		return false, s.a.bind
	case on.locked.value:
		return false, reset.ErrNotAsked
	}
	s.a.binds++
	if right = text(pw) == on.password.value; right {
		s.a.followsUp[s.claim()] = true
	}
	return right, nil
}

func (s *accountSession) End() {}

func text(pw secret.Value) (password string) {
	pw.Reveal(func(b []byte) error { password = string(b); return nil })
	return password
}

// claim names the newest claim, if it is this replica's.
func (s *accountSession) claim() claimID {
	if rec := s.a.newest(); rec != nil && rec.Kind == envelope.Claimed && rec.Writer.Name == s.replica {
		return claimID{s.replica, rec.Writer.Number}
	}
	return claimID{}
}

// modify sends a modify. The domain controller executes it, at once or later,
// and what is between us and it may lose the answer.
func (s *accountSession) modify(ctx context.Context, before, after string, execute func() error) error {
	a := s.a
	m := a.note(s, before)
	a.at(before)
	if a.away(s.dc) {
		return reset.ErrDirectoryUnavailable
	}
	a.mu.Lock()
	m.reached = true
	slow := a.slow
	executed := func() error {
		// What stays in the system's hands for longer, nobody can promise anything for.
		writes, err := a.writes, execute()
		if a.freed && a.writes > writes && time.Since(m.at) <= reset.ModifyTimeout+reset.Grace {
			a.problems = append(a.problems, before+" took effect after the slot was freed")
		}
		return err
	}
	if slow > 0 {
		a.mu.Unlock()
		time.AfterFunc(slow, func() { a.locked(func() { executed() }) })
		ctx, cancel := context.WithTimeout(ctx, reset.ModifyTimeout)
		defer cancel()
		a.wait(ctx, func() time.Duration { return slow + time.Millisecond }) // not at one time with the execution
		return reset.ErrUnanswered
	}
	err := executed()
	a.mu.Unlock()
	a.at(after)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost {
		a.lost = false
		return reset.ErrUnanswered
	}
	if err == nil && before == "send" {
		a.followsUp[m.claim] = true
	}
	return err
}

// note holds the promises against a modify at the moment when it is sent.
func (a *account) note(s *accountSession, what string) *sent {
	rec := a.newest()
	a.mu.Lock()
	defer a.mu.Unlock()
	m := &sent{what: what, at: time.Now(), claim: s.claim()}
	bad := func(format string, args ...any) {
		a.problems = append(a.problems, what+" of "+s.replica+" "+fmt.Sprintf(format, args...))
	}
	m.follows = what != "send" && a.followsUp[m.claim]
	allowed := reset.Window
	if m.follows {
		allowed += reset.ModifyTimeout
	}
	switch {
	case m.claim == claimID{}:
		bad("without the newest claim")
	case m.at.Sub(rec.Time) >= allowed:
		bad("%s after its claim", m.at.Sub(rec.Time))
	case !m.follows && m.at.After(a.accepted.Add(reset.Deadline)):
		bad("%s after the deadline", m.at.Sub(a.accepted.Add(reset.Deadline)))
	}
	for _, other := range a.sent {
		if !m.follows && !other.follows && other.claim == m.claim && what != "must" {
			bad("after another under the same claim")
		}
	}
	if what == "must" && !m.follows {
		bad("before the password was set")
	}
	a.sent = append(a.sent, m)
	return m
}
