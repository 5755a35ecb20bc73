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
	for _, f := range findings {
		if f.Err != nil {
			failed = append(failed, f.What+": "+f.Err.Error())
		}
	}
	return failed, findings
}

// Every lack is named, none invented.
func TestExamine(t *testing.T) {
	t.Parallel()
	const lacks = "the service account does not have it"
	b := setup(t, nil, nil)
	bases, groups := []string{b.dir.StaffDN}, []string{"CN=Domain Admins,CN=Users," + b.dir.BaseDN}
	if failed, findings := b.examined(t, bases, groups); len(failed) > 0 || len(findings) != 7 {
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
			if f.Err != nil && (len(f.Remedy) != 2 || !strings.HasPrefix(f.Remedy[0], `dsacls "`+want.at+`" `) ||
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
	if slices.ContainsFunc(findings, func(f directory.Finding) bool { return f.Remedy != nil }) {
		t.Error("a command is named that mends nothing")
	}
	failed, _ = b.examined(t, []string{"OU=None," + b.dir.BaseDN}, []string{"CN=None," + b.dir.BaseDN, b.user.DN})
	if len(failed) != 3 || !strings.HasSuffix(failed[0], "no such object") || !strings.Contains(failed[1], "no such object") ||
		!strings.HasSuffix(failed[2], "it is no group") {
		t.Errorf("names of nothing: %q", failed)
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
	if len(findings) != 1 || findings[0].Err == nil || !strings.HasPrefix(findings[0].What, "domain controller ") {
		t.Errorf("found %+v", findings)
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
	if failed, findings := b.examined(t, []string{dir.StaffDN}, []string{"CN=Domain Admins," + users}); len(failed) > 0 || len(findings) != 7 {
		t.Errorf("the unit: %q of %d checks", failed, len(findings))
	}
	failed, _ := b.examined(t, []string{users}, nil)
	if len(failed) != 3 || !strings.HasPrefix(failed[0], "Reset Password on the account CN=") {
		t.Errorf("the container: %q", failed)
	}
}
