package consumer

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// ago returns a time that was mono ago by the monotonic clock and wall ago by
// the wall clock, which a machine that slept, or whose clock was set, has seen.
func ago(t *testing.T, mono, wall time.Duration) time.Time {
	t.Helper()
	now := time.Now()
	then := now.Add(-wall)
	// There is no other way to move one of them alone.
	(*struct {
		wall uint64
		ext  int64 // monotonic
	})(unsafe.Pointer(&then)).ext += int64(wall - mono)
	if now.Sub(then) != mono || now.Round(0).Sub(then.Round(0)) != wall {
		t.Fatal("time.Time is not laid out as this test believes")
	}
	return then
}

// The clocks are real here: fake ones are one clock.
func TestMaySend(t *testing.T) {
	const fresh = reset.Window - 500*time.Millisecond
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name       string
		mono, wall time.Duration // the claim's age
		used       bool
		stopped    bool
		deadline   time.Duration // from now, by the monotonic clock
		header     time.Duration // and by the wall clock
		want       bool
	}{
		{name: "fresh", mono: fresh, wall: fresh, want: true},
		{name: "used", mono: fresh, wall: fresh, used: true},
		{name: "stopped", mono: fresh, wall: fresh, stopped: true},
		{name: "old", mono: reset.Window, wall: reset.Window},
		{name: "old by the monotonic clock", mono: reset.Window, wall: fresh},
		{name: "old by the wall clock: the machine slept", mono: fresh, wall: reset.Window},
		{name: "the wall clock was set back a little", mono: fresh, wall: -reset.ClockSkew / 2, want: true},
		{name: "the wall clock was set back", mono: fresh, wall: -reset.ClockSkew - time.Second},
		{name: "past the deadline by the monotonic clock", mono: fresh, wall: fresh, deadline: -1, header: time.Hour},
		{name: "past the deadline by the wall clock", mono: fresh, wall: fresh, deadline: time.Hour, header: -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.deadline == 0 {
				tt.deadline, tt.header = time.Minute, time.Minute
			}
			now := time.Now()
			r := &request{deadline: now.Add(tt.deadline), Request: &envelope.Request{
				Header: envelope.Header{Deadline: now.Add(tt.header).Round(0)}}}
			ctx := context.Background()
			if tt.stopped {
				ctx = over
			}
			cl := &claim{begun: ago(t, tt.mono, tt.wall), used: tt.used}
			if got := (&Consumer{}).maySend(ctx, r, cl); got != tt.want {
				t.Errorf("maySend = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestMoved(t *testing.T) {
	then := reset.Witness{DC: "dc1", USNChanged: 7, PwdLastSet: 100}
	must := reset.Witness{DC: "dc1", USNChanged: 7}
	for _, tt := range []struct {
		name      string
		op        reset.Operation
		then, now reset.Witness
		want      bool
	}{
		{"nothing", reset.Reset, then, then, false},
		{"nothing, must change", reset.Reset, must, must, false},
		{"another attribute", reset.Reset, then, reset.Witness{USNChanged: 8, PwdLastSet: 100}, false},
		{"a password", reset.Reset, then, reset.Witness{USNChanged: 8, PwdLastSet: 101}, true},
		{"a password, by a change", reset.Change, then, reset.Witness{USNChanged: 8, PwdLastSet: 101}, true},
		{"a password that must be changed", reset.Reset, then, reset.Witness{USNChanged: 8}, true},
		{"one after another that must be changed", reset.Reset, must, reset.Witness{USNChanged: 8}, true},
		{"nothing, at an unlock", reset.Unlock, then, then, false},
		{"another attribute, at an unlock", reset.Unlock, then, reset.Witness{USNChanged: 8, PwdLastSet: 100}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &request{Request: &envelope.Request{Header: envelope.Header{Operation: tt.op}}}
			if got := r.moved(tt.then, tt.now); got != tt.want {
				t.Errorf("moved = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestBefore(t *testing.T) {
	for _, tt := range []struct {
		name      string
		witnesses []int64 // their pwdLastSet
		now       int64
		want      bool
	}{
		{"not heard of it", []int64{100}, 90, false},
		{"the same", []int64{100}, 100, false},
		{"a later one", []int64{100}, 101, true},
		{"later than one of two", []int64{100, 200}, 150, false},
		{"later than both", []int64{100, 200}, 201, true},
		{"must be changed now", []int64{100}, 0, true},
		{"must be changed as before", []int64{0}, 0, false},
		{"had to be changed before", []int64{0}, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s subject
			for _, set := range tt.witnesses {
				s.Witnesses = append(s.Witnesses, reset.Witness{PwdLastSet: set})
			}
			if got := s.before(reset.Witness{PwdLastSet: tt.now}); got != tt.want {
				t.Errorf("before = %t, want %t", got, tt.want)
			}
		})
	}
}

// The slot of a request that has ended is held for the last claim under which a
// modify may be on its way: one that another followed.
func TestSlotHeld(t *testing.T) {
	const held = reset.Window + reset.ModifyTimeout + reset.Grace + reset.ClockSkew
	const acc, cla, rel, set = envelope.Accepted, envelope.Claimed, envelope.Released, envelope.Settled
	for _, tt := range []struct {
		name  string
		kinds []envelope.Kind // one a second, the last now
		want  time.Duration
	}{
		{"no doubt", []envelope.Kind{acc, cla, set}, 0},
		{"released", []envelope.Kind{acc, cla, rel, cla, set}, 0},
		{"taken over", []envelope.Kind{acc, cla, cla, set}, held - 2*time.Second},
		{"taken over twice", []envelope.Kind{acc, cla, cla, cla, set}, held - 2*time.Second},
		{"taken over, released, claimed", []envelope.Kind{acc, cla, cla, rel, cla, set}, held - 4*time.Second},
		{"long ago", append([]envelope.Kind{acc, cla, cla}, slices.Repeat([]envelope.Kind{rel}, 60)...), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var chain audit.Chain
				for i, k := range tt.kinds {
					at := time.Now().Add(-time.Duration(len(tt.kinds)-1-i) * time.Second)
					chain = append(chain, audit.Link{Record: &envelope.Record{Kind: k, Time: at}})
				}
				if got := slotHeld(chain); got != tt.want {
					t.Errorf("slotHeld = %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// A look visits every domain controller of the witnesses, and one more if
// something could still be sent to it.
func TestVisits(t *testing.T) {
	for _, tt := range []struct {
		name      string
		witnesses []string
		late      bool
		want      []string
	}{
		{"one is away", []string{"dc1"}, false, []string{"dc1", ""}},
		{"as many as a claim may name", []string{"dc1", "dc2", "dc3", "dc4"}, false, []string{"dc1", "dc2", "dc3", "dc4"}},
		{"one less", []string{"dc1", "dc2", "dc3"}, false, []string{"dc1", "dc2", "dc3", ""}},
		{"past the deadline", []string{"dc1"}, true, []string{"dc1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var visited []string
				w.cfg.Directory = func(_ context.Context, dc string) (Session, error) {
					visited = append(visited, dc)
					return nil, reset.ErrDirectoryUnavailable
				}
				r := &request{deadline: time.Now(), watch: w.metrics.steps.Watch(time.Now()), Request: &envelope.Request{Header: envelope.Header{Deadline: time.Now()}}}
				if tt.late {
					time.Sleep(time.Nanosecond)
				}
				var on subject
				for _, dc := range tt.witnesses {
					on.Witnesses = append(on.Witnesses, reset.Witness{DC: dc})
				}
				d := &resolution{Consumer: w.Consumer, r: r, cl: &claim{on: on}}
				if v := d.look(t.Context()); v.sight != hidden || !slices.Equal(visited, tt.want) {
					t.Errorf("visited %q, want %q", visited, tt.want)
				}
			})
		})
	}
}
