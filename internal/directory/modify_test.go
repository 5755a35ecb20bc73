package directory_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

// operations are all that modify.
func operations(t *testing.T, current string) map[string]func(*directory.Session, reset.Entry) error {
	value := func(s string) secret.Value { return secret.New([]byte(s)) }
	return map[string]func(*directory.Session, reset.Entry) error{
		"set": func(s *directory.Session, e reset.Entry) error {
			return s.SetPassword(t.Context(), e, value(newPassword))
		},
		"change": func(s *directory.Session, e reset.Entry) error {
			return s.Change(t.Context(), e, value(current), value(newPassword))
		},
		"unlock":      func(s *directory.Session, e reset.Entry) error { return s.Unlock(t.Context(), e) },
		"must change": func(s *directory.Session, e reset.Entry) error { return s.MustChange(t.Context(), e) },
	}
}

// Whatever is modified, it is one modify, which is never repeated, and what
// became of it is never guessed.
func TestOperations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		fault   fakead.Fault
		applied int
		want    error // nil: it succeeds
	}{
		{"answered", fakead.Fault{}, 1, nil},
		{"cut before it is applied", fakead.Fault{Skip: true, Reply: fakead.Cut}, 0, reset.ErrUnanswered},
		{"cut after it is applied", fakead.Fault{Reply: fakead.Cut}, 1, reset.ErrUnanswered},
		{"busy", fakead.Refuse(51, ""), 0, reset.ErrDirectoryUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, do := range operations(t, "") {
				b := setup(t, nil, nil)
				if name == "change" {
					do = operations(t, b.user.Password)[name]
				}
				s, e := b.found(t)
				fault := b.fake.Inject(fakead.Modify, tt.fault)
				if err := do(s, e); tt.want != nil {
					wantIs(t, err, tt.want)
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				<-fault.Done()
				if c := b.fake.Counts(b.user.SAMAccountName); c.Modifies != 1 || c.Applied != tt.applied {
					t.Errorf("%s: %d modifies, %d applied, want 1 and %d", name, c.Modifies, c.Applied, tt.applied)
				}
				s.End()
				if err := begin(t, b).Unlock(t.Context(), e); err != nil {
					t.Errorf("%s: the next modify: %v", name, err)
				}
			}
		})
	}
}

// begin begins a session that has found nothing.
func begin(t *testing.T, b *bench) *directory.Session {
	t.Helper()
	s, err := b.client.Begin(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.End)
	return s
}

// What a domain controller says to a change that the fake does not.
func TestChangeRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	s, e := b.found(t)
	change := func() error {
		return s.Change(t.Context(), e, secret.New([]byte(b.user.Password)), secret.New([]byte(newPassword)))
	}
	b.fake.Inject(fakead.Modify, fakead.Refuse(19, "00000005: AtrErr: DSID-03191083, #1:"))
	if o := wantCode(t, change(), reset.NotPermitted); o.Details.Right != "Change Password" {
		t.Errorf("the right is %q", o.Details.Right)
	}
	b.fake.Inject(fakead.Modify, fakead.Refuse(19, "00000775: "+b.user.Password+" and "+newPassword))
	wantCode(t, change(), reset.AccountLocked)
	if log := b.log.String(); strings.Contains(log, newPassword) || strings.Contains(log, b.user.Password) || !strings.Contains(log, "withheld") {
		t.Errorf("the log has a password, or does not say that it is withheld:\n%s", log)
	}
}

// A rule that the fake does not have, and one that only the rules of now break.
func TestExplained(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	refuse := func(password string) error {
		b.fake.Inject(fakead.Modify, fakead.Refuse(53, "0000052D: SvcErr: DSID-031A12D2"))
		return b.reset(t, password)
	}
	wantCode(t, refuse("1-xMeMBeRx"), reset.PasswordContainsName) // Staff Member 01
	wantCode(t, refuse("1-"+strings.ToUpper(b.user.SAMAccountName)+"-a"), reset.PasswordContainsName)
	o := wantCode(t, refuse(newPassword), reset.PasswordRefused)
	if !slices.Equal(o.Details.Candidates, []string{"history", "filter"}) {
		t.Errorf("candidates are %q", o.Details.Candidates)
	}
	// What breaks a rule as it was read, and is accepted, is accepted.
	b.fake.SetPolicy(fakead.Policy{})
	if err := b.reset(t, "x"); err != nil {
		t.Errorf("accepted by the directory: %v", err)
	}
	// The rules are those of now, not of when the account was found.
	s, e := b.found(t)
	b.fake.SetPolicy(fakead.Policy{MinLength: 20})
	o = wantCode(t, s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))), reset.PasswordTooShort)
	if o.Details.MinLength != 20 {
		t.Errorf("the minimum is %d, want 20", o.Details.MinLength)
	}
	// Rules that cannot be read any more are unknown.
	b.fake.Inject(fakead.Modify, fakead.Refuse(53, "0000052D: SvcErr"))
	b.fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Cut})
	o = wantCode(t, s.SetPassword(t.Context(), e, secret.New([]byte("x"))), reset.PasswordRefused)
	if len(o.Details.Candidates) != 6 {
		t.Errorf("candidates are %q, want all", o.Details.Candidates)
	}
	s.End()
	// An entry that this session did not find is explained by nothing.
	_, e = b.found(t)
	s = begin(t, b)
	b.fake.Inject(fakead.Modify, fakead.Refuse(53, "0000052D: SvcErr: DSID-031A12D2"))
	o = wantCode(t, s.SetPassword(t.Context(), e, secret.New([]byte("x"))), reset.PasswordRefused)
	if len(o.Details.Candidates) != 6 {
		t.Errorf("candidates are %q, want all", o.Details.Candidates)
	}
}

func TestUnknownRules(t *testing.T) {
	t.Parallel()
	t.Run("not shown", func(t *testing.T) {
		b := setup(t, &front{change: []string{"minPwdLength", "minPwdXength"}}, nil)
		o := wantCode(t, b.reset(t, "x"), reset.PasswordRefused)
		if len(o.Details.Candidates) != 6 || b.client.Rules().Known {
			t.Errorf("candidates are %q, rules %+v", o.Details.Candidates, b.client.Rules())
		}
		if !strings.Contains(b.log.String(), "rules for passwords are unknown") {
			t.Errorf("the log does not say it:\n%s", b.log)
		}
	})
	t.Run("without history check", func(t *testing.T) {
		const hints, hintsOld = "1.2.840.113556.1.4.2239", "1.2.840.113556.1.4.2066"
		none := &front{change: []string{hints, "1.2.840.113556.1.9.2239", hintsOld, "1.2.840.113556.1.9.2066"}}
		b := setup(t, none, func(c *directory.Config) { c.AllowWithoutHistoryCheck = true })
		b.fake.Inject(fakead.Modify, fakead.Refuse(53, "0000052D: SvcErr"))
		o := wantCode(t, b.reset(t, newPassword), reset.PasswordRefused)
		if !slices.Equal(o.Details.Candidates, []string{"filter"}) {
			t.Errorf("candidates are %q: neither history nor age was asked for", o.Details.Candidates)
		}
	})
	t.Run("busy", func(t *testing.T) {
		b := setup(t, nil, nil)
		for range 2 { // the rootDSE, the service account
			b.fake.Inject(fakead.Search, fakead.Fault{})
		}
		b.fake.Inject(fakead.Search, fakead.Refuse(51, ""))
		s := begin(t, b)
		if b.client.Rules().Known {
			t.Error("the rules are known")
		}
		find := func() error {
			_, err := s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
			return err
		}
		b.fake.Inject(fakead.Search, fakead.Fault{})
		b.fake.Inject(fakead.Search, fakead.Refuse(51, ""))
		if err := find(); err != nil || s.Rules().Known { // not kept: it asks again
			t.Errorf("with a directory that is busy: %v, %+v", err, s.Rules())
		}
		if err := find(); err != nil || !s.Rules().Known || !b.client.Rules().Known {
			t.Errorf("afterwards: %v, %+v", err, s.Rules())
		}
	})
	t.Run("cut", func(t *testing.T) {
		b := setup(t, nil, nil)
		for range 2 {
			b.fake.Inject(fakead.Search, fakead.Fault{})
		}
		b.fake.Inject(fakead.Search, fakead.Refuse(51, ""))
		s := begin(t, b)
		b.fake.Inject(fakead.Search, fakead.Fault{})
		b.fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Cut})
		_, err := s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
	})
}

// However it is called in the configuration, the account that we bind as is
// known.
func TestOurselves(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"svc-writeback@corp.example.com", "CN=svc-writeback,CN=Users,DC=corp,DC=example,DC=com"} {
		b := setup(t, nil, func(c *directory.Config) { c.BindDN = name })
		s := begin(t, b)
		for sam, want := range map[string]bool{"svc-writeback": true, b.user.SAMAccountName: false} {
			e, err := s.Find(t.Context(), account(t, reset.SAMAccountName, sam))
			if err != nil || e.Privileges.Ourselves != want {
				t.Errorf("bound as %s, %s is ourselves: %t, %v", name, sam, e.Privileges.Ourselves, err)
			}
		}
	}
}

// A connection that cannot say whose it is could reset itself: it is not used.
func TestNobody(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change []string
		ok     bool
	}{
		"no name":                {[]string{"objectSid", "objectSiX"}, true},
		"no groups":              {[]string{"tokenGroups", "tokenGroupX"}, true},
		"neither name nor group": {[]string{"objectSid", "objectSiX", "tokenGroups", "tokenGroupX"}, false},
	} {
		b := setup(t, &front{change: tt.change}, nil)
		err := b.client.Check(within(t, 10*time.Second))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if tt.ok {
			continue
		}
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if _, outcome := reset.OutcomeOf(err); outcome {
			t.Errorf("%s: %v is an outcome", name, err)
		}
	}
}

// Groups that cannot be read are not none.
func TestGroupsUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	find := func(name string) (*directory.Session, reset.Entry) {
		s := begin(t, b)
		e, err := s.Find(t.Context(), account(t, reset.SAMAccountName, name))
		if err != nil {
			t.Fatal(err)
		}
		return s, e
	}
	stray, err := b.fake.NewUser(fakead.UserSpec{Attributes: map[string][]string{"primaryGroupID": {"9999"}}})
	if err != nil {
		t.Fatal(err)
	}
	s, e := find(stray.SAMAccountName)
	_, err = s.Groups(t.Context(), e)
	wantCode(t, err, reset.DirectoryError)

	s, e = find(b.user.SAMAccountName)
	for range 2 { // first the primary group's name, then the rest
		b.fake.Inject(fakead.Search, fakead.Refuse(80, "000020EF: SvcErr"))
		_, err = s.Groups(t.Context(), e)
		if o := wantCode(t, err, reset.DirectoryError); o.Details.Result != "80 000020EF" {
			t.Errorf("the result is %q", o.Details.Result)
		}
		b.fake.Inject(fakead.Search, fakead.Refuse(51, ""))
		_, err = s.Groups(t.Context(), e)
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if _, err := s.Groups(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	b.fake.Inject(fakead.Search, fakead.Refuse(4, "")) // more than the directory shows
	_, err = s.Groups(t.Context(), e)
	wantCode(t, err, reset.DirectoryError)
}
