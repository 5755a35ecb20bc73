package consumer

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// Each operation sends its one modify and what follows from it, and nothing
// else.
func TestOperations(t *testing.T) {
	refused := &reset.Error{Code: reset.NotPermitted, Details: reset.Details{Right: "Write lockoutTime"}}
	tests := []struct {
		name                string
		op                  reset.Operation
		change              func(*world, *draft)
		want                reset.Code
		sets, unlocks, must int
		probes              int
		right               string
		followUps           []reset.FollowUp
	}{
		{name: "reset", op: reset.Reset, want: reset.Applied, sets: 1},
		{name: "reset of a locked account", op: reset.Reset, want: reset.Applied, sets: 1, unlocks: 1,
			change: func(w *world, _ *draft) { w.entry.Locked = true }},
		{name: "reset that must be changed", op: reset.Reset, want: reset.Applied, sets: 1, must: 1,
			change: func(_ *world, d *draft) { d.must = true }},
		{name: "reset with both follow-ups refused", op: reset.Reset, want: reset.AppliedPartly, sets: 1, unlocks: 1, must: 1,
			change: func(w *world, d *draft) {
				w.entry.Locked, d.must = true, true
				w.dir.unlock, w.dir.must = refused, reset.ErrUnanswered
			},
			followUps: []reset.FollowUp{{What: "unlock", Right: "Write lockoutTime"}, {What: "must_change"}}},
		{name: "refused reset of a locked account", op: reset.Reset, want: reset.PasswordRefused, sets: 1,
			change: func(w *world, d *draft) {
				w.entry.Locked, d.must = true, true
				w.dir.set = func() error { return &reset.Error{Code: reset.PasswordRefused} }
			}},
		{name: "change", op: reset.Change, want: reset.Applied, sets: 1},
		{name: "change of a locked account", op: reset.Change, want: reset.AccountLocked,
			change: func(w *world, _ *draft) { w.entry.Locked = true }},
		{name: "reset of an account with a smartcard", op: reset.Reset, want: reset.AccountProtected,
			change: func(w *world, _ *draft) { w.entry.SmartcardOnly = true }},
		{name: "unlock of an account with a smartcard", op: reset.Unlock, want: reset.Applied, unlocks: 1,
			change: func(w *world, _ *draft) { w.entry.SmartcardOnly = true }},
		{name: "self must change", op: reset.Reset, want: reset.Invalid,
			change: func(_ *world, d *draft) { d.must, d.actor = true, reset.Self }},
		{name: "slow reset of a locked account", op: reset.Reset, want: reset.AppliedPartly, sets: 1,
			change: func(w *world, _ *draft) {
				w.entry.Locked = true
				w.dir.set = func() error { time.Sleep(reset.Window + reset.ModifyTimeout); return nil }
			},
			followUps: []reset.FollowUp{{What: "unlock"}}},
		{name: "unlock", op: reset.Unlock, want: reset.Applied, unlocks: 1},
		{name: "refused unlock", op: reset.Unlock, want: reset.NotPermitted, unlocks: 1,
			change: func(w *world, _ *draft) { w.dir.unlock = refused }},
		{name: "unlock after a password was set", op: reset.Unlock, want: reset.Applied, unlocks: 1,
			change: func(w *world, _ *draft) { w.entry.Witness.PwdLastSet = 1 << 62 }},
		{name: "probe", op: reset.Probe, want: reset.Applied, probes: 1},
		{name: "probe without the right", op: reset.Probe, want: reset.NotPermitted, probes: 1, right: "Reset Password",
			change: func(w *world, _ *draft) {
				w.dir.probe = &reset.Error{Code: reset.NotPermitted, Details: reset.Details{Right: "Reset Password"}}
			}},
		{name: "probe of a locked account", op: reset.Probe, want: reset.Applied, probes: 1,
			change: func(w *world, _ *draft) { w.entry.Locked = true }},
		{name: "probe of a protected account", op: reset.Probe, want: reset.AccountProtected,
			change: func(w *world, _ *draft) { w.cfg.Policy = &policy{judge: &reset.Error{Code: reset.AccountProtected}} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, ref := w.deliver(func(d *draft) {
					d.header.Operation = tt.op
					if tt.change != nil {
						tt.change(w, d)
					}
				})
				w.run(t.Context(), r)
				w.expect(ref, tt.want, envelope.Claimed, envelope.Settled)
				if w.dir.sets != tt.sets || w.dir.unlocks != tt.unlocks || w.dir.musts != tt.must {
					t.Errorf("%d passwords set, %d unlocks, %d must-change; want %d, %d, %d",
						w.dir.sets, w.dir.unlocks, w.dir.musts, tt.sets, tt.unlocks, tt.must)
				}
				if w.dir.probes != tt.probes {
					t.Errorf("%d probes, want %d", w.dir.probes, tt.probes)
				}
				got := w.details(ref)
				if !slices.Equal(got.FollowUps, tt.followUps) {
					t.Errorf("follow-ups = %v, want %v", got.FollowUps, tt.followUps)
				}
				if tt.right != "" && got.Right != tt.right {
					t.Errorf("the right is %q, want %q", got.Right, tt.right)
				}
			})
		})
	}
}

// details returns those of the request's outcome; the test's record key is
// zero.
func (w *world) details(ref reset.Ref) reset.Details {
	w.t.Helper()
	stored, _ := w.queue.Records(w.t.Context(), ref.ID)
	chain, err := w.verify.Verify(ref.ID, stored)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := audit.Private(seal.RecordKey{}, chain.Last())
	if err != nil {
		w.t.Fatal(err)
	}
	return private.Details
}

// Groups are asked for only if the policy names some; if they cannot be had the
// account is not judged without them.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := &policy{}
		w.cfg.Policy = p
		r, _ := w.deliver(nil)
		w.run(t.Context(), r)
		p.groups = true
		r, _ = w.deliver(nil)
		w.run(t.Context(), r)
		if len(p.seen) != 2 || p.seen[0].Groups != nil || len(p.seen[1].Groups) != 1 {
			t.Errorf("judged with groups %v", p.seen)
		}
		w.dir.groups = reset.ErrDirectoryUnavailable
		r, ref := w.deliver(nil)
		w.run(t.Context(), r)
		w.expect(ref, "")
		if len(p.seen) != 2 || r.handedBack == 0 {
			t.Errorf("judged without groups, or not handed back (%s)", r.handedBack)
		}
	})
}

// An account that the company does not show to the cloud looks like one that does
// not exist, in the outcome and in the records that the cloud reads, whatever
// the directory has to say of it.
func TestOutOfTheBases(t *testing.T) {
	for name, find := range map[string]error{
		"found":      nil,
		"ambiguous":  &reset.Error{Code: reset.AccountAmbiguous},
		"unreadable": &reset.Error{Code: reset.DirectoryError},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.cfg.Policy = &policy{bases: "OU=Elsewhere", groups: true, judge: &reset.Error{Code: reset.AccountProtected}}
				w.entry.GUID = [16]byte{7}
				w.dir.find = func() (reset.Entry, error) { return w.entry, find }
				w.dir.groups = reset.ErrDirectoryUnavailable // asked for, it would show
				r, ref := w.deliver(nil)
				w.run(t.Context(), r)
				w.expect(ref, reset.AccountNotFound, envelope.Claimed, envelope.Settled)
				stored, _ := w.queue.Records(t.Context(), ref.ID)
				chain, err := w.verify.Verify(ref.ID, stored)
				if err != nil {
					t.Fatal(err)
				}
				for _, link := range chain[1:] {
					private, err := audit.Private(seal.RecordKey{}, link)
					if err != nil {
						t.Fatal(err)
					}
					if private.GUID != [16]byte{} || private.Witnesses != nil {
						t.Errorf("%s tells of the account: %+v", link.Kind, private)
					}
				}
			})
		})
	}
}
