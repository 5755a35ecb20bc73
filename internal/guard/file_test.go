package guard

import (
	"reflect"
	"strings"
	"testing"

	"writeback/internal/reset"
)

func TestParse(t *testing.T) {
	with := func(rest string) string { return basic + rest }
	tests := []struct{ name, policy, want string }{
		{"nothing", "", "is empty"},
		{"no base", "bases: []", "bases: has 0 entries"},
		{"too many", "bases: [" + strings.Repeat("'OU=a,DC=b',", 65) + "]", "bases: has 65 entries, must have 1 to 64"},
		{"misspelt key", "bases: ['OU=a,DC=b']\nallow_domain_rot: true", "allow_domain_rot"},
		{"key twice", "bases: ['OU=a,DC=b']\nbases: ['OU=c,DC=b']", "already defined"},
		{"two documents", "bases: ['OU=a,DC=b']\n---\nbases: ['OU=c,DC=b']", "one YAML document"},
		{"not a name", "bases: ['Staff']", `bases[0]: "Staff" is not a distinguished name`},
		{"second one malformed", `bases: ['OU=a,DC=b', 'OU=a+CN=b']`, `bases[1]: "OU=a+CN=b"`},
		{"empty name", "bases: ['']", `bases[0]: ""`},
		{"long name", "bases: ['OU=" + strings.Repeat("a", 1024) + "']", "has 1027 bytes, must have at most 1024"},
		{"domain root", "bases: ['DC=corp,dc=com']", "needs allow_domain_root: true"},
		{"not YAML", "bases: [", "did not find expected node"},
		{"too large", strings.Repeat("#", maxFile+1), "at most 262144 bytes"},
		{"long list", "bases: ['OU=a,DC=b']\ndeny_groups: [" + strings.Repeat("'CN=a',", 65) + "]", "deny_groups: has 65 entries, must have 1 to 64"},
		{"empty list of operations", with("operations: []"), "operations: has 0 entries"},
		{"list of operations left empty", with("operations:"), "operations: has no value"},
		{"unknown operation", with("operations: [reset, delete]"), `operations[1]: "delete" is not a word`},
		{"no actors", with("actors: []"), "actors: has 0 entries"},
		{"unknown actor", with("actors: [root]"), `actors[0]: "root" is not a word`},
		{"no names", with("names: []"), "names: has 0 entries"},
		{"unknown name", with("names: [mail]"), `names[0]: "mail" is not a word`},
		{"empty list of allowed groups", with("allow_groups: []"), "allow_groups: has 0 entries, must have 1 to 64, or be left out"},
		{"list of allowed groups left empty", with("allow_groups: # - CN=a"), "allow_groups: has no value"},
		{"list of denied groups left empty", with("deny_groups: ~"), "deny_groups: has no value"},
		{"denied group without a value", with("deny_groups: ['CN=a', ~]"), "deny_groups: has no value, or an entry without one"},
		{"group that is not a name", with("deny_groups: ['Domain Admins']"), `deny_groups[0]: "Domain Admins" is not a distinguished name`},
		{"not a boolean", with("deny_spn: maybe"), "line 2"},
		{"no primary group", with("primary_groups: []"), "primary_groups: has no entries"},
		{"primary group Domain Admins", with("primary_groups: [513, 512]"), "primary_groups[1]: 512 is a built-in group"},
		{"primary group Administrators", with("primary_groups: [544]"), "primary_groups[0]: 544 is a built-in group"},
		{"negative primary group", with("primary_groups: [-1]"), "line 2"},
		{"misspelt limit", with("limits: {per_minutes: 3}"), "per_minutes"},
		{"limit without a value", with("limits: {per_hour: }"), "per_hour: has no value"},
		{"limits without a value", with("limits:"), "limits: has no value"},
		{"limit 0", with("limits: {per_minute: 0}"), "limits.per_minute: 0 is not between 1 and 10000"},
		{"negative limit", with("limits: {per_account_day: -1}"), "limits.per_account_day: -1 is not between 1 and 1000"},
		{"great limit", with("limits: {per_hour: 100001}"), "limits.per_hour: 100001 is not between 1 and 100000"},
		{"great admin limit", with("limits: {admin_per_hour: 100001}"), "limits.admin_per_hour"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.policy))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q in it", err, tt.want)
			}
			if p != nil {
				t.Error("a policy came with the error")
			}
		})
	}
	if _, err := Parse([]byte("allow_domain_root: true\nbases: ['DC=corp,dc=com']")); err != nil {
		t.Error(err)
	}
}

func TestDefaults(t *testing.T) {
	p, err := Parse([]byte(basic))
	if err != nil {
		t.Fatal(err)
	}
	staffName, err := parseName(staff)
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		bases:      []name{staffName},
		operations: []reset.Operation{reset.Reset, reset.Change, reset.Unlock, reset.Probe},
		actors:     []reset.ActorKind{reset.Self, reset.Admin},
		names:      []reset.NameKind{reset.ImmutableID, reset.ObjectGUID},
		denySPN:    true,
		primary:    []uint32{513, 514},
		limits:     limits{PerMinute: 30, PerHour: 300, PerAccountDay: 10, AdminPerHour: 20},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("the defaults are %+v, want %+v", p, want)
	}
}

func TestNamed(t *testing.T) {
	p, err := Parse([]byte(basic + "allow_groups: ['CN=a']\ndeny_groups: ['CN=b', 'CN=c']"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Bases(), []string{staff}; !reflect.DeepEqual(got, want) {
		t.Errorf("bases are %q, want %q", got, want)
	}
	if got, want := p.Groups(), []string{"CN=a", "CN=b", "CN=c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("groups are %q, want %q", got, want)
	}
}

// Whatever a file says, what it makes is a policy that limits something, and
// that protects what is protected.
func FuzzParse(f *testing.F) {
	f.Add([]byte(basic))
	f.Add([]byte("bases: ['DC=corp']\nallow_domain_root: true\nnames: [upn, sid]\noperations: [probe]\nactors: [self]\n"))
	f.Add([]byte(basic + "allow_groups: ['CN=a']\ndeny_groups: &g ['CN=b']\nprimary_groups: [513, 1100]\ndeny_spn: no\n"))
	f.Add([]byte(basic + "limits: {per_minute: 1, per_hour: 2, per_account_day: 3, admin_per_hour: 4}\nstop_file: stop\n"))
	f.Add([]byte("&a bases: [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if (p == nil) != (err != nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if err != nil {
			return
		}
		if len(p.bases) == 0 || len(p.operations) == 0 || len(p.actors) == 0 || len(p.names) == 0 {
			t.Errorf("something is not limited: %+v", p)
		}
		if err := p.limits.check(); err != nil {
			t.Error(err)
		}
		for _, change := range []func(*reset.Privileges){
			func(is *reset.Privileges) { is.AdminCount = true },
			func(is *reset.Privileges) { is.Group = true },
			func(is *reset.Privileges) { is.Critical = true },
			func(is *reset.Privileges) { is.NotAUser = true },
			func(is *reset.Privileges) { is.Ourselves = true },
			func(is *reset.Privileges) { is.RID = 500 },
			func(is *reset.Privileges) { is.PrimaryGroup = 512 },
		} {
			e := ada()
			change(&e.Privileges)
			if got := refused(t, p.spares(e)); got != "account_protected" {
				t.Errorf("%+v is judged %q", e.Privileges, got)
			}
		}
		if got := refused(t, p.reaches(reset.Entry{})); got != "account_not_found" {
			t.Errorf("an account without a name is judged %q", got)
		}
	})
}
