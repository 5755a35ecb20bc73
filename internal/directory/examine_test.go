package directory_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

// examined returns the checks that failed, and all commands that mend them.
func (b *bench) examined(t *testing.T, bases, groups []string) (failed []string, findings []directory.Finding) {
	t.Helper()
	findings = b.client.Examine(within(t, 10*time.Second), bases, groups)
	return failures(findings), findings
}

// failures returns the lines of the checks that failed.
func failures(findings []directory.Finding) (failed []string) {
	for _, f := range findings {
		if f.Err != nil && !f.Advice {
			failed = append(failed, f.What+": "+f.Err.Error())
		}
	}
	return failed
}

// examineAs looks with a client of its own, which has nothing in its memory.
func examineAs(t *testing.T, dir testkit.Directory, bases ...string) (failed []string, findings []directory.Finding) {
	t.Helper()
	client, err := directory.New(config(t, dir), zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	findings = client.Examine(within(t, 30*time.Second), bases, nil)
	return failures(findings), findings
}

// Every lack is named, none invented.
func TestExamine(t *testing.T) {
	t.Parallel()
	const lacks = "the service account does not have it"
	b := setup(t, nil, nil)
	bases, groups := []string{b.dir.StaffDN}, []string{"CN=Domain Admins,CN=Users," + b.dir.BaseDN}
	if failed, findings := b.examined(t, bases, groups); len(failed) > 0 || len(findings) != 19 {
		t.Errorf("a good domain: %q of %d checks", failed, len(findings))
	}
	for right, want := range map[fakead.Right]struct{ name, command, at string }{
		fakead.ResetPassword:    {"Reset Password on the account ", ":CA;Reset Password;user", b.dir.StaffDN},
		fakead.WriteLockoutTime: {"Write lockoutTime on the account ", ":WP;lockoutTime;user", b.dir.StaffDN},
		fakead.WritePwdLastSet:  {"Write pwdLastSet on the account ", ":WP;pwdLastSet;user", b.dir.StaffDN},
		fakead.UnexpirePassword: {"Unexpire Password on the domain ", ":CA;Unexpire Password", b.dir.BaseDN},
	} {
		b.fake.TakeAway(right)
		failed, findings := b.examined(t, bases, groups)
		if len(failed) != 1 || !strings.HasPrefix(failed[0], want.name) || !strings.HasSuffix(failed[0], lacks) {
			t.Errorf("without %s: %q", want.name, failed)
		}
		for _, f := range findings {
			if f.Err != nil && !f.Advice && (len(f.Remedy) != 2 || !strings.HasPrefix(f.Remedy[0], `dsacls "`+want.at+`" `) ||
				!strings.Contains(f.Remedy[0], want.command) || !strings.Contains(f.Remedy[1], "--objectdn='"+want.at+"'") ||
				!strings.Contains(f.Remedy[1], ";S-1-5-21-")) {
				t.Errorf("without %s: the remedy is %q", want.name, f.Remedy)
			}
		}
		b.fake.GiveBack(right)
	}
	b.fake.TakeAway(fakead.ChangePassword) // which no reset needs
	if failed, _ := b.examined(t, bases, groups); len(failed) > 0 {
		t.Errorf("without Change Password: %q", failed)
	}
	b.fake.TakeAway(fakead.Rights()...)
	if failed, _ := b.examined(t, bases, groups); len(failed) != 4 {
		t.Errorf("without any right: %q", failed)
	}
}

func TestExamineNames(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	// Two that nothing is delegated on, of which one says so itself: they
	// are no samples. The third is not protected, and inherits nothing.
	for _, u := range b.dir.Users[:2] {
		if err := b.fake.Protect(u.SAMAccountName); err != nil {
			t.Fatal(err)
		}
	}
	if failed, _ := b.examined(t, []string{b.dir.StaffDN}, nil); len(failed) > 0 {
		t.Errorf("with protected accounts: %q", failed)
	}
	for _, u := range b.dir.Users {
		if err := b.fake.StopInheritance(u.DN); err != nil {
			t.Fatal(err)
		}
	}
	failed, findings := b.examined(t, []string{b.dir.StaffDN}, nil)
	if len(failed) != 3 || !strings.HasSuffix(failed[0], "inherits no rights from above") {
		t.Errorf("where nothing is inherited: %q", failed)
	}
	if slices.ContainsFunc(findings, func(f directory.Finding) bool { return f.Remedy != nil && !f.Advice }) {
		t.Error("a command is named that mends nothing")
	}
	failed, _ = b.examined(t, []string{b.dir.BaseDN, "OU=None," + b.dir.BaseDN}, []string{"CN=None," + b.dir.BaseDN, b.user.DN})
	if failed = failed[min(3, len(failed)):]; len(failed) != 3 || !strings.Contains(failed[0], "no such object") || !strings.Contains(failed[1], "no such object") ||
		!strings.HasSuffix(failed[2], "it is no group") {
		t.Errorf("names of nothing: %q", failed)
	}
}

// Where a grant would not help none is printed, and where inheritance is cut
// none at the base.
func TestExamineGrants(t *testing.T) {
	t.Parallel()
	const svc, line = "svc-writeback", "Reset Password on the account CN=user01,"
	f := startFake(t, fakead.Options{})
	dir := f.Directory()
	reset := func(t *testing.T) directory.Finding {
		failed, findings := examineAs(t, dir, dir.BaseDN)
		i := slices.IndexFunc(findings, func(f directory.Finding) bool { return strings.HasPrefix(f.What, line) })
		if i < 0 || findings[i].Err == nil {
			t.Fatalf("failed: %q, want %q", failed, line)
		}
		return findings[i]
	}
	for _, tt := range []struct {
		name, at, want string
	}{
		{"on it", dir.Users[0].DN, "an entry on it denies it to svc-writeback (S-1-5-21-"},
		{"from above", dir.StaffDN, "an entry that it inherits denies it to svc-writeback (S-1-5-21-"},
	} {
		if err := f.Deny(tt.at, svc, fakead.ResetPassword); err != nil {
			t.Fatal(err)
		}
		if got := reset(t); got.Remedy != nil || !strings.Contains(got.Err.Error(), tt.want) {
			t.Errorf("denied %s: %v %q", tt.name, got.Err, got.Remedy)
		}
		if err := f.Revoke(tt.at, svc, fakead.ResetPassword); err != nil {
			t.Fatal(err)
		}
	}
	// Revoke took the grant too.
	at := func(dn string) string { return `dsacls "` + dn + `" /I:S ` }
	if got := reset(t); len(got.Remedy) != 2 || !strings.HasPrefix(got.Remedy[0], at(dir.BaseDN)) {
		t.Errorf("not granted: %v %q", got.Err, got.Remedy)
	}
	if err := f.StopInheritance(dir.StaffDN); err != nil {
		t.Fatal(err)
	}
	if err := f.Grant(dir.BaseDN, svc, fakead.ResetPassword); err != nil {
		t.Fatal(err)
	}
	if got := reset(t); len(got.Remedy) != 2 || !strings.HasPrefix(got.Remedy[0], at(dir.StaffDN)) ||
		!strings.Contains(got.Err.Error(), "inheritance is cut at "+dir.StaffDN) {
		t.Errorf("cut: %v %q", got.Err, got.Remedy)
	}
}

// What is handed down already, but not to this kind of account, no second grant
// brings to it.
func TestExamineHandedDown(t *testing.T) {
	t.Parallel()
	f := startFake(t, fakead.Options{})
	users := "CN=Users," + f.Directory().BaseDN
	if _, err := f.NewUser(fakead.UserSpec{SAMAccountName: "zoe", Parent: users, Kind: fakead.InetOrgPerson}); err != nil {
		t.Fatal(err)
	}
	if err := f.Grant(users, "svc-writeback", fakead.ResetPassword); err != nil {
		t.Fatal(err)
	}
	failed, findings := examineAs(t, f.Directory(), users)
	i := slices.IndexFunc(findings, func(f directory.Finding) bool {
		return strings.HasPrefix(f.What, "Reset Password on the account CN=zoe,")
	})
	if i < 0 || findings[i].Err == nil || findings[i].Remedy != nil || !strings.Contains(findings[i].Err.Error(), "although "+users+" hands it down") {
		t.Errorf("failed: %q", failed)
	}
}

// What would make the service account an easy way in is named, and what a
// policy hides.
func TestExamineSafety(t *testing.T) {
	t.Parallel()
	const svc, who = "svc-writeback", "service account: who controls it"
	f := startFake(t, fakead.Options{})
	dir := f.Directory()
	for _, tt := range []struct {
		name      string
		do, undo  func() error
		line, why string
	}{
		{"a privileged group", func() error { return f.AddMember("Backup Operators", svc) },
			func() error { return f.RemoveMember("Backup Operators", svc) },
			"service account: privileged groups", "Backup Operators (S-1-5-32-551)"},
		{"Account Operators", func() error { return f.AddMember("Account Operators", "user01") },
			func() error { return f.RemoveMember("Account Operators", "user01") },
			who, "Account Operators (S-1-5-32-548) has Reset Password"},
		{"a helpdesk", func() error { return f.Grant(dir.ServiceDN, "user01", fakead.ResetPassword) },
			func() error { return f.Revoke(dir.ServiceDN, "user01", fakead.ResetPassword) },
			who, "user01 (" + dir.Users[0].SID + ") has Reset Password on it"},
		{"a helpdesk, from above", func() error { return f.Grant("CN=Users,"+dir.BaseDN, "user01", fakead.ResetPassword) },
			func() error { return f.Revoke("CN=Users,"+dir.BaseDN, "user01", fakead.ResetPassword) },
			who, "granted above it"},
		{"another container", func() error { return f.Grant("CN=Users,"+dir.BaseDN, svc, fakead.WriteLockoutTime) },
			func() error { return f.Revoke("CN=Users,"+dir.BaseDN, svc, fakead.WriteLockoutTime) },
			"service account: reach", "it has Write lockoutTime below CN=Users," + dir.BaseDN},
		{"everybody, elsewhere", func() error { return f.Grant("CN=Users,"+dir.BaseDN, "Everyone", fakead.WriteLockoutTime) },
			func() error { return f.Revoke("CN=Users,"+dir.BaseDN, "Everyone", fakead.WriteLockoutTime) },
			"service account: reach", "by a grant to Everyone (S-1-1-0)"},
		{"a policy that is hidden", func() error {
			_, err := f.NewPolicy(fakead.PolicySpec{Name: "strict", Precedence: 1, AppliesTo: []string{"user07"}})
			return err
		}, func() error { return f.LetReadPolicies(svc) }, "fine-grained policies", "may not read 1 that is in force here, such as CN=strict"},
		{"flags", func() error { return f.NotRequire(svc) }, nil, "service account: flags", "PASSWD_NOTREQD"},
	} {
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		failed, _ := examineAs(t, dir, dir.StaffDN)
		if len(failed) != 1 || !strings.HasPrefix(failed[0], tt.line+": ") || !strings.Contains(failed[0], tt.why) {
			t.Errorf("%s: failed: %q, want %q with %q alone", tt.name, failed, tt.line, tt.why)
		}
		if tt.undo == nil {
			continue
		}
		if err := tt.undo(); err != nil {
			t.Fatal(err)
		}
		if failed, _ := examineAs(t, dir, dir.StaffDN); len(failed) > 0 {
			t.Errorf("%s, mended: %q", tt.name, failed)
		}
	}
}

// An account that was once privileged is safe, but for what was left over.
func TestExamineFormerAdmin(t *testing.T) {
	t.Parallel()
	f := startFake(t, fakead.Options{})
	if err := f.Protect("svc-writeback"); err != nil {
		t.Fatal(err)
	}
	failed, findings := examineAs(t, f.Directory(), f.Directory().StaffDN)
	if len(failed) > 0 || !slices.ContainsFunc(findings, func(f directory.Finding) bool {
		return f.Advice && f.What == "service account: adminCount"
	}) {
		t.Errorf("failed: %q in %+v", failed, findings)
	}
}

// Where the domain controller cannot be reached nothing is said of the rest.
func TestExamineUnreachable(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	if err := b.fake.Close(); err != nil {
		t.Fatal(err)
	}
	findings := b.client.Examine(within(t, 300*time.Millisecond), []string{b.dir.StaffDN}, nil)
	if len(findings) != 2 || findings[0].Err != nil || findings[1].Err == nil || !strings.HasPrefix(findings[1].Err.Error(), "refused: ") {
		t.Errorf("found %+v", findings)
	}
}

// A domain controller that goes away, whatever it is asked, is one line and no
// lack of rights.
func TestExamineEnds(t *testing.T) {
	t.Parallel()
	f := startFake(t, fakead.Options{})
	dir := f.Directory()
	searches, ended := 0, 0
	for ; ; searches++ {
		for range searches {
			f.Inject(fakead.Search, fakead.Fault{})
		}
		last := f.Inject(fakead.Search, fakead.Fault{Skip: true, Reply: fakead.Cut})
		failed, findings := examineAs(t, dir, dir.StaffDN)
		select {
		case <-last.Met():
		default: // there were no more searches
			if len(failed) > 0 || ended < 10 {
				t.Errorf("%d searches, %d of them ended it; %q", searches, ended, failed)
			}
			return
		}
		if len(failed) != 1 {
			t.Errorf("cut at search %d: %q, want one line", searches, failed)
		}
		if strings.HasPrefix(failed[0], "connection to ") && strings.Contains(failed[0], "nothing more was looked at") {
			ended++
		} else if !strings.HasPrefix(failed[0], "what 127.0.0.1 says of itself") {
			t.Errorf("cut at search %d: %q", searches, failed)
		}
		if end := findings[len(findings)-1]; end.Err == nil || end.Advice {
			t.Errorf("cut at search %d: something was found afterwards: %+v", searches, end)
		}
	}
}

// examine: a delegated unit has every right, a container that nothing was
// delegated on has none, and the domain's own is not missed.
func examine(t *testing.T, dir testkit.Directory) {
	users := "CN=Users," + dir.BaseDN
	newUser(t, dir, samba.UserSpec{ParentDN: users})
	client, err := directory.New(config(t, dir), zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b := &bench{client: client}
	if failed, findings := b.examined(t, []string{dir.StaffDN}, []string{"CN=Domain Admins," + users}); len(failed) > 0 || len(findings) != 19 {
		t.Errorf("the unit: %q of %d checks", failed, len(findings))
	}
	failed, _ := b.examined(t, []string{dir.StaffDN, users}, nil)
	if len(failed) != 3 || !strings.HasPrefix(failed[0], "Reset Password on the account CN=") {
		t.Errorf("the container: %q", failed)
	}
}
