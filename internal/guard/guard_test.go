package guard

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/reset"
)

const (
	staff = "OU=Staff,DC=corp"
	basic = "bases: ['" + staff + "']\n"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// ada is an account that nothing but a policy speaks against.
func ada() reset.Entry {
	return reset.Entry{
		DN:         "CN=Ada," + staff,
		GUID:       [16]byte{1},
		Privileges: reset.Privileges{RID: 1104, PrimaryGroup: 513},
		Groups:     []string{"CN=Domain Users,CN=Users,DC=corp", "CN=Payroll,OU=Groups,DC=corp"},
	}
}

func asking() Ask {
	return Ask{Operation: reset.Reset, Actor: reset.Self, Name: reset.ImmutableID, At: noon}
}

// A world is a policy file, the guard over it, and what the guard reported.
type world struct {
	*Guard
	path    string
	written time.Time // the time of the file: one minute later with each version

	mu   sync.Mutex
	told []error
}

func open(t *testing.T, policy string) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "policy.yaml"), written: time.Now().Add(-24 * time.Hour)}
	w.write(t, policy)
	g, err := Open(w.path, func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Guard = g
	return w
}

func (w *world) write(t *testing.T, policy string) {
	t.Helper()
	if err := os.WriteFile(w.path, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	w.touch(t)
}

func (w *world) touch(t *testing.T) {
	t.Helper()
	w.written = w.written.Add(time.Minute)
	if err := os.Chtimes(w.path, w.written, w.written); err != nil {
		t.Fatal(err)
	}
}

// news returns what was reported since it was last asked.
func (w *world) news() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

// refused says how err refuses, as "code reason".
func refused(t *testing.T, err error) string {
	t.Helper()
	var e *reset.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		t.Fatalf("%v is not a *reset.Error", err)
	case e.Err == nil || strings.ContainsAny(e.Err.Error(), "\r\n"):
		t.Errorf("%q says nothing for the log, or not in one line", e.Err)
	}
	return strings.TrimSpace(string(e.Code) + " " + e.Details.Reason)
}

func TestJudge(t *testing.T) {
	const groups = "allow_groups: ['CN=payroll,OU=Groups,DC=corp']\n"
	entry := func(change func(*reset.Entry)) reset.Entry {
		e := ada()
		change(&e)
		return e
	}
	privileged := func(change func(*reset.Privileges)) reset.Entry {
		return entry(func(e *reset.Entry) { change(&e.Privileges) })
	}
	ask := func(change func(*Ask)) Ask {
		a := asking()
		change(&a)
		return a
	}
	outside := entry(func(e *reset.Entry) { e.DN = "CN=Ada,OU=Admins,DC=corp" })
	admin := privileged(func(p *reset.Privileges) { p.AdminCount = true })
	upn := ask(func(a *Ask) { a.Name = reset.UPN })

	tests := []struct {
		name   string
		policy string // after bases
		ask    Ask
		entry  reset.Entry
		want   string // code and reason; "" is let through
		log    string // in the text for the log
	}{
		{"nothing against it", "", asking(), ada(), "", ""},
		{"outside the bases", "", asking(), outside, "account_not_found", "outside the bases"},
		{"no name", "", asking(), entry(func(e *reset.Entry) { e.DN = "" }), "account_not_found", "outside the bases"},
		{"in an allowed group", groups, asking(), ada(), "", ""},
		{"in no allowed group", "allow_groups: ['CN=Sales,DC=corp']", asking(), ada(), "account_not_found", "in none of the policy file's allow_groups"},
		{"in no group at all", groups, asking(), entry(func(e *reset.Entry) { e.Groups = []string{} }), "account_not_found", "allow_groups"},
		{"in a group below an allowed name", "allow_groups: ['OU=Groups,DC=corp']", asking(), ada(), "account_not_found", "allow_groups"},
		{"unreadable group beside an allowed one", groups, asking(), entry(func(e *reset.Entry) { e.Groups = append([]string{"?"}, e.Groups...) }), "", ""},

		{"adminCount", "", asking(), admin, "account_protected", "adminCount is 1"},
		{"critical", "", asking(), privileged(func(p *reset.Privileges) { p.Critical = true }), "account_protected", "isCriticalSystemObject"},
		{"last built-in RID", "", asking(), privileged(func(p *reset.Privileges) { p.RID = 999 }), "account_protected", "its RID 999 is below 1000"},
		{"first own RID", "", asking(), privileged(func(p *reset.Privileges) { p.RID = 1000 }), "", ""},
		{"RID not read", "", asking(), privileged(func(p *reset.Privileges) { p.RID = 0 }), "account_protected", "its RID 0"},
		{"Domain Guests", "", asking(), privileged(func(p *reset.Privileges) { p.PrimaryGroup = 514 }), "", ""},
		{"Domain Admins as primary group", "", asking(), privileged(func(p *reset.Privileges) { p.PrimaryGroup = 512 }), "account_protected", "primary group has the RID 512"},
		{"primary group not read", "", asking(), privileged(func(p *reset.Privileges) { p.PrimaryGroup = 0 }), "account_protected", "RID 0"},
		{"primary group that is usual here", "primary_groups: [513, 1201]", asking(), privileged(func(p *reset.Privileges) { p.PrimaryGroup = 1201 }), "", ""},
		{"usual primary group taken off the list", "primary_groups: [1201]", asking(), ada(), "account_protected", "RID 513, which is not in primary_groups"},
		{"not a user", "", asking(), privileged(func(p *reset.Privileges) { p.NotAUser = true }), "account_protected", "a computer, a trust"},
		{"ourselves", "", asking(), privileged(func(p *reset.Privileges) { p.Ourselves = true }), "account_protected", "own service account"},
		{"service", "", asking(), privileged(func(p *reset.Privileges) { p.ServicePrincipal = true }), "account_protected", "servicePrincipalName"},
		{"service, said to be fine", "deny_spn: false", asking(), privileged(func(p *reset.Privileges) { p.ServicePrincipal = true }), "", ""},
		{"denied group", "deny_groups: ['cn=PAYROLL, ou=groups, dc=corp']", asking(), ada(), "account_protected", `in "cn=PAYROLL, ou=groups, dc=corp" of deny_groups`},
		{"denied and allowed", groups + "deny_groups: ['CN=Payroll,OU=Groups,DC=corp']", asking(), ada(), "account_protected", "deny_groups"},
		{"other denied group", "deny_groups: ['CN=Sales,DC=corp']", asking(), ada(), "", ""},
		{"unreadable group where some are denied", "deny_groups: ['CN=Sales,DC=corp']", asking(), entry(func(e *reset.Entry) { e.Groups = []string{"CN=a+CN=b,DC=corp"} }), "account_protected", "cannot be compared"},
		{"every reason is told", "deny_groups: ['CN=Payroll,OU=Groups,DC=corp']", asking(), privileged(func(p *reset.Privileges) { p.AdminCount, p.ServicePrincipal = true, true }), "account_protected", "administers; it has a servicePrincipalName: a service runs as it; it is in"},
		{"nothing was read", "", asking(), entry(func(e *reset.Entry) { e.Privileges = reset.Privileges{} }), "account_protected", ""},

		{"operation on the list", "operations: [unlock, reset]", asking(), ada(), "", ""},
		{"operation off", "operations: [unlock]", asking(), ada(), "operation_off policy", "reset is not in the policy file's operations"},
		{"operation of a later version", "", ask(func(a *Ask) { a.Operation = 99 }), ada(), "operation_off policy", "unknown (99)"},
		{"actor off", "actors: [admin]", asking(), ada(), "operation_off policy", "self is not in the policy file's actors"},
		{"no actor", "", ask(func(a *Ask) { a.Actor = 0 }), ada(), "operation_off policy", "actors"},
		{"name off by default", "", upn, ada(), "operation_off policy", "upn is not in the policy file's names"},
		{"name on", "names: [upn]", upn, ada(), "", ""},
		{"name taken off", "names: [upn]", asking(), ada(), "operation_off policy", "immutable_id"},

		{"outside and protected and off", "operations: [unlock]", asking(), func() reset.Entry { e := outside; e.Privileges.AdminCount = true; return e }(), "account_not_found", ""},
		{"in no allowed group and protected", "allow_groups: ['CN=Sales,DC=corp']", asking(), admin, "account_not_found", ""},
		{"protected and off", "operations: [unlock]", asking(), admin, "account_protected", ""},
		{"off and stopped", "operations: [unlock]\nstop_file: policy.yaml", asking(), ada(), "operation_off policy", ""},
		{"protected and stopped", "stop_file: policy.yaml", asking(), admin, "account_protected", ""},
		{"stopped", "stop_file: policy.yaml", asking(), ada(), "operation_off stopped", "policy.yaml is there"},
		{"not stopped", "stop_file: stop", asking(), ada(), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := open(t, basic+tt.policy).Judge(tt.ask, tt.entry)
			if got := refused(t, err); got != tt.want {
				t.Fatalf("judged %q (%v), want %q", got, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.log) {
				t.Errorf("the log says %q, want %q in it", err, tt.log)
			}
		})
	}
}

// Before says what Judge says of an account that nothing speaks against, and
// nothing of limits.
func TestBefore(t *testing.T) {
	for policy, want := range map[string]string{
		"":                         "",
		"operations: [unlock]":     "operation_off policy",
		"actors: [admin]":          "operation_off policy",
		"names: [sid]":             "operation_off policy",
		"stop_file: policy.yaml":   "operation_off stopped",
		"limits: {per_minute: 1}":  "",
		"allow_groups: ['CN=a']":   "",
		"primary_groups: [100000]": "",
	} {
		w := open(t, basic+policy)
		for range 3 {
			if got := refused(t, w.Before(asking())); got != want {
				t.Errorf("%q: Before says %q, want %q", policy, got, want)
			}
		}
	}
}

func TestStopFile(t *testing.T) {
	w := open(t, basic+"stop_file: stop")
	stop := filepath.Join(filepath.Dir(w.path), "stop")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, want string) {
		t.Helper()
		if got := refused(t, w.Judge(asking(), ada())); got != want {
			t.Errorf("%s: judged %q, want %q", what, got, want)
		}
		if got := refused(t, w.Before(asking())); got != want {
			t.Errorf("%s: before, judged %q, want %q", what, got, want)
		}
	}
	const stopped = "operation_off stopped"
	check("none", "")
	must(os.WriteFile(stop, nil, 0o600))
	check("an empty file", stopped)
	must(os.Remove(stop))
	check("removed", "")
	must(os.Symlink("nowhere", stop))
	check("a link to nowhere", stopped)
	must(os.Remove(stop))
	must(os.Mkdir(stop, 0o700))
	check("a folder", stopped)

	// What cannot be looked at stops: here, for everybody, a path through
	// a file.
	w.write(t, basic+"stop_file: policy.yaml/stop")
	check("a path that cannot be", stopped)
	w.write(t, basic+"stop_file: "+filepath.Join(t.TempDir(), "stop"))
	check("an absolute path", "")
}

func TestConcurrentUse(t *testing.T) {
	const limit, workers = 50, 8
	w := open(t, basic+"limits: {per_minute: 50, per_account_day: 1000}")
	var wg sync.WaitGroup
	var mu sync.Mutex
	through := 0
	for range workers {
		wg.Go(func() {
			for i := range 3 * limit {
				a := asking()
				a.At = noon.Add(time.Duration(i) * time.Millisecond)
				if w.Before(a) == nil && w.Judge(a, ada()) == nil {
					mu.Lock()
					through++
					mu.Unlock()
				}
				if err := w.Check(); err != nil && i%2 == 0 {
					_ = w.Hash()
				}
			}
		})
	}
	for i := range 20 {
		w.write(t, []string{basic + "limits: {per_minute: 50, per_account_day: 1000}", "broken"}[i%2])
	}
	wg.Wait()
	if through != limit {
		t.Errorf("%d requests were let through, want %d", through, limit)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v, want its path", err)
	}
	if err := os.WriteFile(path, []byte("bases: [Staff]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), path+": bases[0]") {
		t.Errorf("a malformed file: %v, want its path", err)
	}
	w := open(t, basic)
	if w.Hash() != sha256.Sum256([]byte(basic)) || w.Check() != nil || len(w.news()) != 0 {
		t.Errorf("hash %x, check %v, news %v", w.Hash(), w.Check(), w.news())
	}
}

// An account whose groups nobody has looked up is not judged: it may be in one
// that is denied.
func TestGroupsUnknown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("bases: ['OU=Staff,DC=corp']\ndeny_groups: ['CN=Tier 0,DC=corp']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := Open(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if !g.NeedsGroups() {
		t.Error("the file names groups, and they are not asked for")
	}
	e := ada()
	e.Groups = nil
	if err := g.Judge(asking(), e); !errors.Is(err, reset.ErrDirectoryUnavailable) {
		t.Errorf("Judge = %v, want that the request is handed back", err)
	}
}
