package fakead

import (
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// Only a reset and what changes something moves uSNChanged; a reset does not
// unlock.
func TestWhatMoves(t *testing.T) {
	c := newClock() // stands still
	s := start(t, Options{Users: 1, Now: c.Now, Policy: Policy{LockoutThreshold: 2}})
	u := s.Directory().Users[0]
	service := asService(t, s)
	write := func(attr, value string) error {
		req := ldap.NewModifyRequest(u.DN, nil)
		req.Replace(attr, []string{value})
		return service.Modify(req)
	}
	steps := []struct {
		name       string
		do         func() error
		pwd, moves bool
	}{
		{"reset", func() error { return reset(service, u.DN, "Pass-1") }, true, true},
		{"reset to the same", func() error { return reset(service, u.DN, "Pass-1") }, true, true},
		{"unlock of one that is not locked", func() error { return write("lockoutTime", "0") }, false, false},
		{"bind", func() error { return dial(t, s).Bind(u.DN, "Pass-1") }, false, false},
		{"lock", func() error { return s.Lock("user01") }, false, true},
		{"reset while locked", func() error { return reset(service, u.DN, "Pass-2") }, true, true},
		{"unlock", func() error { return write("lockoutTime", "0") }, false, true},
		{"pwdLastSet -1", func() error { return write("pwdLastSet", "-1") }, false, false},
		{"must change", func() error { return write("pwdLastSet", "0") }, true, true},
		{"need not change", func() error { return write("pwdLastSet", "-1") }, true, true},
	}
	for _, step := range steps {
		usn, set := get(t, service, u.DN, "uSNChanged")[0], get(t, service, u.DN, "pwdLastSet")[0]
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.name == "reset while locked" && get(t, service, u.DN, "msDS-User-Account-Control-Computed")[0] != "16" {
			t.Error("a reset unlocked the account")
		}
		if got := get(t, service, u.DN, "uSNChanged")[0] != usn; got != step.moves {
			t.Errorf("%s: uSNChanged moved: %t, want %t", step.name, got, step.moves)
		}
		if got := get(t, service, u.DN, "pwdLastSet")[0] != set; got != step.pwd {
			t.Errorf("%s: pwdLastSet moved: %t, want %t", step.name, got, step.pwd)
		}
	}
}

func BenchmarkReset(b *testing.B) {
	s := start(b, Options{})
	conn := asService(b, s)
	u := s.Directory().Users[0]
	n := 0
	for b.Loop() {
		n++
		if err := reset(conn, "<GUID="+u.ObjectGUID+">", fmt.Sprint("Password-", n), hints()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	s := start(b, Options{})
	conn := asService(b, s)
	req := &ldap.SearchRequest{BaseDN: staffDN, Scope: ldap.ScopeWholeSubtree,
		Filter: "(|(mS-DS-ConsistencyGuid=x)(objectGUID=x))", Attributes: []string{"objectGUID"}}
	for b.Loop() {
		if _, err := conn.Search(req); err != nil {
			b.Fatal(err)
		}
	}
}
