package directory_test

import (
	"errors"
	"slices"
	"testing"

	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

// Each right taken away is missed if a reset needs it, and none is invented:
// the reset itself agrees.
func TestProbe(t *testing.T) {
	t.Parallel()
	all := fakead.Rights()
	tests := []struct {
		name   string
		change func(b *bench) error
		right  string // that a reset lacks
		unlock string // the right that its follow-up lacks
	}{
		{"all rights", func(b *bench) error { return nil }, "", ""},
		{"no Reset Password", func(b *bench) error { b.fake.TakeAway(fakead.ResetPassword); return nil }, "Reset Password", ""},
		{"no Change Password", func(b *bench) error { b.fake.TakeAway(fakead.ChangePassword); return nil }, "", ""},
		{"no Write lockoutTime", func(b *bench) error { b.fake.TakeAway(fakead.WriteLockoutTime); return nil }, "", ""},
		{"no Write pwdLastSet", func(b *bench) error { b.fake.TakeAway(fakead.WritePwdLastSet); return nil }, "", ""},
		{"no Unexpire Password", func(b *bench) error { b.fake.TakeAway(fakead.UnexpirePassword); return nil }, "", ""},
		{"all taken and given back", func(b *bench) error { b.fake.TakeAway(all...); b.fake.GiveBack(all...); return nil }, "", ""},
		{"protected", func(b *bench) error { return b.fake.Protect(b.user.SAMAccountName) }, "Reset Password", ""},
		{"inherits nothing", func(b *bench) error { return b.fake.StopInheritance(b.user.DN) }, "Reset Password", ""},
		{"inherits nothing, granted itself", func(b *bench) error {
			return errors.Join(b.fake.StopInheritance(b.user.DN), b.fake.Grant(b.user.DN, "Authenticated Users", fakead.ResetPassword))
		}, "", ""},
		{"denied", func(b *bench) error { return b.fake.Deny(b.user.DN, "Everyone", fakead.ResetPassword) }, "Reset Password", ""},
		{"denied another right", func(b *bench) error { return b.fake.Deny(b.user.DN, "Everyone", fakead.WritePwdLastSet) }, "", ""},
		{"granted to SELF", func(b *bench) error {
			b.fake.TakeAway(fakead.ResetPassword)
			return b.fake.Grant(b.user.DN, "SELF", fakead.ResetPassword)
		}, "Reset Password", ""},
		{"locked", func(b *bench) error { return b.fake.Lock(b.user.SAMAccountName) }, "", ""},
		{"locked, no Write lockoutTime", func(b *bench) error {
			b.fake.TakeAway(fakead.WriteLockoutTime)
			return b.fake.Lock(b.user.SAMAccountName)
		}, "", "Write lockoutTime"},
		{"locked, no right at all", func(b *bench) error {
			b.fake.TakeAway(all...)
			return b.fake.Lock(b.user.SAMAccountName)
		}, "Reset Password", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, nil)
			if err := tt.change(b); err != nil {
				t.Fatal(err)
			}
			s, e := b.found(t)
			err := s.Probe(t.Context(), e)
			switch {
			case tt.right != "":
				if wantCode(t, err, reset.NotPermitted).Details.Right != tt.right {
					t.Errorf("got %v, want it for want of %s", err, tt.right)
				}
			case tt.unlock != "":
				want := []reset.FollowUp{{What: "unlock", Right: tt.unlock}}
				if o := wantCode(t, err, reset.AppliedPartly); !slices.Equal(o.Details.FollowUps, want) {
					t.Errorf("the follow-ups are %+v, want %+v", o.Details.FollowUps, want)
				}
			case err != nil:
				t.Errorf("got %v", err)
			}
			// What the probe said comes true.
			err = s.SetPassword(t.Context(), e, secret.New([]byte(newPassword)))
			if o, _ := reset.OutcomeOf(err); o.Details.Right != tt.right {
				t.Errorf("the reset itself got %v, want it for want of %q", err, tt.right)
			}
			if err == nil && e.Locked {
				if o, _ := reset.OutcomeOf(s.Unlock(t.Context(), e)); o.Details.Right != tt.unlock {
					t.Errorf("the unlock lacks %q, want %q", o.Details.Right, tt.unlock)
				}
			}
		})
	}
}

// What the service account may, it may from its bind on: its groups are read
// once a connection, and of a probe there is one search for the account's list.
func TestProbeSearches(t *testing.T) {
	t.Parallel()
	f := &front{}
	b := setup(t, f, nil)
	for range 3 {
		s, e := b.found(t)
		before := f.count(searchTag)
		if err := s.Probe(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := f.count(searchTag) - before; got != 1 {
			t.Errorf("%d searches, want 1", got)
		}
		s.End()
	}
	if n := f.count(modifyTag); n != 0 {
		t.Errorf("%d modifies", n)
	}
}

// A probe that could not look does not say that all is well.
func TestProbeBlind(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	s, e := b.found(t)
	if err := b.fake.Delete(b.user.SAMAccountName); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Probe(t.Context(), e), reset.AccountNotFound)

	e.GUID[0]++
	wantIs(t, s.Probe(t.Context(), e), reset.ErrDirectoryUnavailable)
	s.End()
	b.user = b.dir.Users[1]
	s, e = b.found(t)
	b.fake.Inject(fakead.Search, fakead.Refuse(51, "00000000: busy"))
	wantIs(t, s.Probe(t.Context(), e), reset.ErrDirectoryUnavailable)
	b.fake.Inject(fakead.Search, fakead.Refuse(12, "00002040: SvcErr"))
	if o := wantCode(t, s.Probe(t.Context(), e), reset.DirectoryError); o.Details.Result != "12 00002040" {
		t.Errorf("the result is %q", o.Details.Result)
	}
	if err := s.Probe(t.Context(), e); err != nil {
		t.Errorf("once it can look: %v", err)
	}
	b.fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Cut})
	wantIs(t, s.Probe(t.Context(), e), reset.ErrDirectoryUnavailable)
}

// What the domain controller does not show, or not in a known form, is an error
// and neither a yes nor a no.
func TestProbeUnreadable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][]string{
		"no descriptor":        {"nTSecurityDescriptor", "nTSecurityDescriptoX"},
		"malformed descriptor": {"\x01\x00\x04\x84", "\x02\x00\x04\x84"},
		"no list in it":        {"\x01\x00\x04\x84", "\x01\x00\x00\x84"},
		"no groups":            {"tokenGroups", "tokenGroupX"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, &front{change: change}, nil)
			s, e := b.found(t)
			wantCode(t, s.Probe(t.Context(), e), reset.DirectoryError)
		})
	}
}
