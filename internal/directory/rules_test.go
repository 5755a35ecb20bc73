package directory

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
)

func TestRules(t *testing.T) {
	type attrs = map[string][]string
	domain := attrs{
		"minPwdLength": {"12"}, "pwdProperties": {"17"}, "pwdHistoryLength": {"24"}, "minPwdAge": {"-864000000000"},
		"lockoutThreshold": {"5"}, "lockOutObservationWindow": {"-18000000000"}, "lockoutDuration": {"-9223372036854775808"},
	}
	pso := attrs{
		"msDS-MinimumPasswordLength": {"14"}, "msDS-PasswordComplexityEnabled": {"TRUE"}, "msDS-PasswordHistoryLength": {"0"},
		"msDS-MinimumPasswordAge": {"0"}, "msDS-LockoutThreshold": {"0"}, "msDS-LockoutObservationWindow": {"-1"}, "msDS-LockoutDuration": {"0"},
	}
	inDomainRules := policy.Rules{Known: true, MinLength: 12, Complexity: true, History: 24, MinAge: 24 * time.Hour,
		LockoutThreshold: 5, LockoutWindow: 30 * time.Minute, LockoutDuration: math.MaxInt64}
	with := func(base attrs, name, value string) attrs {
		out := attrs{}
		for n, v := range base {
			if n != name {
				out[n] = v
			} else if value != "" {
				out[n] = []string{value}
			}
		}
		return out
	}
	change := func(do func(*policy.Rules)) policy.Rules {
		r := inDomainRules
		do(&r)
		return r
	}
	tests := []struct {
		name  string
		at    attributesOf
		attrs attrs
		want  policy.Rules
		err   string
	}{
		{"domain", inDomain, domain, inDomainRules, ""},
		{"no complexity", inDomain, with(domain, "pwdProperties", "16"), change(func(r *policy.Rules) { r.Complexity = false }), ""},
		{"flags with the highest bit", inDomain, with(domain, "pwdProperties", "-2147483647"), inDomainRules, ""},
		{"longest age", inDomain, with(domain, "minPwdAge", "-9223372036854775808"), change(func(r *policy.Rules) { r.MinAge = math.MaxInt64 }), ""},
		{"fine-grained", inPolicy, pso, policy.Rules{Known: true, MinLength: 14, Complexity: true, LockoutWindow: 100 * time.Nanosecond}, ""},
		{"fine-grained, no complexity", inPolicy, with(pso, "msDS-PasswordComplexityEnabled", "FALSE"), policy.Rules{Known: true, MinLength: 14, LockoutWindow: 100 * time.Nanosecond}, ""},
		{"one entry without attributes", inPolicy, nil, policy.Rules{}, "msDS-MinimumPasswordLength"},
		{"no length", inDomain, with(domain, "minPwdLength", ""), policy.Rules{}, "minPwdLength"},
		{"no complexity attribute", inDomain, with(domain, "pwdProperties", ""), policy.Rules{}, "pwdProperties"},
		{"no history", inDomain, with(domain, "pwdHistoryLength", ""), policy.Rules{}, "pwdHistoryLength"},
		{"no age", inDomain, with(domain, "minPwdAge", ""), policy.Rules{}, "minPwdAge"},
		{"a positive age", inDomain, with(domain, "minPwdAge", "864000000000"), policy.Rules{}, "minPwdAge"},
		{"negative length", inDomain, with(domain, "minPwdLength", "-1"), policy.Rules{}, "minPwdLength"},
		{"huge length", inDomain, with(domain, "minPwdLength", "65536"), policy.Rules{}, "minPwdLength"},
		{"not a number", inDomain, with(domain, "pwdHistoryLength", "many"), policy.Rules{}, "pwdHistoryLength"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.at.rules(ldap.NewEntry("DC=x", tt.attrs))
			if tt.err == "" && (err != nil || got != tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q in it", err, tt.err)
			}
		})
	}
}

func TestCache(t *testing.T) {
	var c cache[int]
	reads := 0
	read := func() (int, error) { reads++; return reads, nil }
	want := func(key string, value int) {
		t.Helper()
		if got, err := c.get(key, read); got != value || err != nil {
			t.Errorf("%s is %d, %v, want %d", key, got, err, value)
		}
	}
	want("a", 1)
	want("a", 1)
	want("b", 2)
	c.kept["a"] = reading[int]{1, time.Now().Add(-cacheTime)}
	want("a", 3)
	want("a", 3)
	if _, err := c.get("c", func() (int, error) { return 7, errors.New("no") }); err == nil {
		t.Error("no error")
	}
	want("c", 4) // what was read with an error was not kept
	for i := range 2 * cacheSize {
		if c.get(strings.Repeat("x", i), read); len(c.kept) > cacheSize {
			t.Fatalf("%d are kept", len(c.kept))
		}
	}
}

func TestSelfQuery(t *testing.T) {
	for name, want := range map[string]query{
		"CN=svc,DC=x":  {base: "CN=svc,DC=x", filter: "(objectClass=*)"},
		"svc@corp":     {base: "DC=x", filter: "(|(userPrincipalName=svc@corp)(sAMAccountName=svc))"},
		`CORP\svc`:     {base: "DC=x", filter: `(|(userPrincipalName=CORP\5csvc)(sAMAccountName=svc))`},
		"s*(c@corp":    {base: "DC=x", filter: `(|(userPrincipalName=s\2a\28c@corp)(sAMAccountName=s\2a\28c))`},
		"a=b@corp,x=y": {base: "a=b@corp,x=y", filter: "(objectClass=*)"},
	} {
		if got := selfQuery(name, "DC=x"); got.base != want.base || got.filter != want.filter {
			t.Errorf("%q is found by %q in %q, want %q in %q", name, got.filter, got.base, want.filter, want.base)
		}
	}
}
