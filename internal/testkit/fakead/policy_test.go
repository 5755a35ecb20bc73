package fakead

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestNameRule(t *testing.T) {
	s := start(t, Options{Users: 1, Policy: Policy{Complexity: true}})
	service := asService(t, s)
	tests := []struct {
		name, sam, display, password string
		allowed                      bool
	}{
		{"no name in it", "jdoe", "John Doe", "Another-1", true},
		{"the account's name", "jdoe1", "", "xJDoe1-", false},
		{"a part of the account's name", "jdoe-adm", "", "xJDoe-1", true},
		{"an account's name of two", "jd", "", "JD-1xx", true},
		{"an account's name of three", "jda", "", "JDA-1xx", false},
		{"a token", "t1", "John Doe", "xjohn-1X", false},
		{"the last token", "t2", "John Doe", "xDOE-1x", false},
		{"a token of two", "t3", "Jo Doe", "Jo-1xxx", true},
		{"all separators", "t4", "a1b,c2d.e3f\tg4h-i5j_k6l#m7n o8p", "X-m7n-X", false},
		{"the whole name with its separators", "t5", "Al-Bo", "Al-Bo-1", true},
		{"another sign does not separate", "t6", "John/Doe", "xJohn-1", true},
		{"beyond ASCII", "t7", "Jürgen Ångström", "xåNGSTRÖM-1", false},
		{"an accent makes another letter", "t8", "Jürgen Ångström", "Angstrom-1", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t, s, UserSpec{SAMAccountName: tt.sam, DisplayName: tt.display, Password: "First-Pass-1"})
			code, onReset, onChange := uint16(0), "", ""
			if !tt.allowed {
				onReset, onChange = restriction, restrictionOn
			}
			if code = 0; !tt.allowed {
				code = 19
			}
			says(t, changePassword(service, u.DN, "First-Pass-1", tt.password), code, onChange)
			if !tt.allowed {
				code = 53
			}
			says(t, reset(service, u.DN, tt.password), code, onReset)
			s.SetPolicy(Policy{})
			says(t, reset(service, u.DN, tt.password), 0, "")
			s.SetPolicy(Policy{Complexity: true})
		})
	}
}

func TestFilter(t *testing.T) {
	s := start(t, Options{Users: 1})
	service := asService(t, s)
	u := newUser(t, s, UserSpec{SAMAccountName: "jdoe", DisplayName: "John Doe", Password: "First-Pass-1"})
	var seen []string
	s.SetFilter(func(account, displayName, password string, reset bool) bool {
		seen = []string{account, displayName, password}
		return !strings.Contains(password, "Summer") || reset && strings.Contains(password, "even")
	})
	says(t, reset(service, u.DN, "Summer-2026"), 53, restriction)
	says(t, changePassword(service, u.DN, "First-Pass-1", "even-Summer-2026"), 19, restrictionOn)
	if want := []string{"jdoe", "John Doe", "even-Summer-2026"}; !slices.Equal(seen, want) {
		t.Errorf("the filter saw %q, want %q", seen, want)
	}
	says(t, reset(service, u.DN, "even-Summer-2026"), 0, "")
	s.SetFilter(nil)
	says(t, reset(service, u.DN, "Summer-2026"), 0, "")
}

func newPolicy(t *testing.T, s *Server, spec PolicySpec) string {
	t.Helper()
	dn, err := s.NewPolicy(spec)
	must(t, err)
	return dn
}

func TestFineGrainedPolicy(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 5, Now: c.Now})
	service := asService(t, s)
	group := func(name string, members ...string) {
		_, err := s.NewGroup(name, "", members...)
		must(t, err)
	}
	group("inner", "user02", "user03", "user05")
	group("outer", "inner")
	strict := newPolicy(t, s, PolicySpec{Name: "strict", Precedence: 10, AppliesTo: []string{"outer"},
		Policy: Policy{MinLength: 20, Complexity: true, History: 5, MinAge: 24 * time.Hour, LockoutThreshold: 2, LockoutDuration: time.Hour}})
	first := newPolicy(t, s, PolicySpec{Name: "first", Precedence: 1, AppliesTo: []string{"inner"}, Policy: Policy{MinLength: 3}})
	direct := newPolicy(t, s, PolicySpec{Name: "direct", Precedence: 20, AppliesTo: []string{"user03"}, Policy: Policy{MinLength: 12}})
	own := newPolicy(t, s, PolicySpec{Name: "own", Precedence: 30, AppliesTo: []string{"user04"},
		Policy: Policy{MinLength: 5, History: 2, MinAge: 24 * time.Hour, MaxAge: 60 * 24 * time.Hour, LockoutThreshold: 2, LockoutDuration: time.Hour}})
	tests := []struct {
		user          int
		pso           string
		short, enough string
	}{
		{0, "", "Aa-123", "Aa-1234"},
		{1, first, "ab", "abc"},                    // the lowest precedence of groups
		{2, direct, "12345678901", "123456789012"}, // direct wins over groups
		{3, own, "1234", "12345"},
	}
	for _, tt := range tests {
		u := s.Directory().Users[tt.user]
		if got := get(t, service, u.DN, "msDS-ResultantPSO"); head(got) != tt.pso {
			t.Errorf("policy of %s is %q, want %q", u.SAMAccountName, got, tt.pso)
		}
		says(t, reset(service, u.DN, tt.short), 53, restriction)
		says(t, reset(service, u.DN, tt.enough), 0, "")
	}
	if got := get(t, service, "CN=DC1,"+controllersDN, "msDS-ResultantPSO"); len(got) != 0 {
		t.Errorf("policy of a computer is %q", got)
	}

	u := s.Directory().Users[3] // history, ages and lockout are the policy's, too
	says(t, reset(service, u.DN, "123456", hints()), 53, restriction)
	c.add(24 * time.Hour)
	says(t, reset(service, u.DN, "12345", hints()), 53, restriction)
	says(t, reset(service, u.DN, "123456", hints()), 0, "")
	for range 2 {
		says(t, dial(t, s).Bind(u.DN, "wrong"), 49, "80090308: ")
	}
	if got := get(t, service, u.DN, "msDS-User-Account-Control-Computed")[0]; got != "16" {
		t.Errorf("computed account control is %s, want 16", got)
	}
	c.add(60*24*time.Hour + time.Second)
	says(t, dial(t, s).Bind(u.DN, "123456"), 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 532")

	t.Run("who reads it", func(t *testing.T) {
		count := func(conn *ldap.Conn, base string, scope int) int {
			res, err := conn.Search(&ldap.SearchRequest{BaseDN: base, Scope: scope, Filter: "(objectClass=msDS-PasswordSettings)"})
			must(t, err)
			return len(res.Entries)
		}
		if n := count(service, strict, ldap.ScopeBaseObject) + count(service, baseDN, ldap.ScopeWholeSubtree); n != 0 {
			t.Errorf("the service account reads %d policies", n)
		}
		if n := count(asAdmin(t, s), policiesDN, ldap.ScopeSingleLevel); n != 4 {
			t.Errorf("the administrator reads %d policies, want 4", n)
		}
		must(t, s.LetReadPolicies(serviceName))
		for attr, want := range map[string]string{
			"msDS-MinimumPasswordLength": "20", "msDS-PasswordComplexityEnabled": "TRUE", "msDS-PasswordHistoryLength": "5",
			"msDS-MinimumPasswordAge": "-864000000000", "msDS-MaximumPasswordAge": "-9223372036854775808",
			"msDS-LockoutThreshold": "2", "msDS-LockoutDuration": "-36000000000", "msDS-LockoutObservationWindow": "-36000000000",
			"msDS-PasswordReversibleEncryptionEnabled": "FALSE", "msDS-PasswordSettingsPrecedence": "10",
			"msDS-PSOAppliesTo": "CN=outer," + usersDN,
		} {
			if got := get(t, service, strict, attr); !slices.Equal(got, []string{want}) {
				t.Errorf("%s is %q, want %s", attr, got, want)
			}
		}
	})
	if _, err := s.NewPolicy(PolicySpec{Name: "strict", Precedence: 1}); err == nil {
		t.Error("a second policy of one name is no error")
	}
	if _, err := s.NewPolicy(PolicySpec{Name: "x", Precedence: 1, AppliesTo: []string{"none"}}); err == nil {
		t.Error("a policy for nobody is no error")
	}
	if _, err := s.NewPolicy(PolicySpec{Name: "x"}); err == nil {
		t.Error("a policy without precedence is no error")
	}
}

func head(values []string) string { return strings.Join(values, "|") }
