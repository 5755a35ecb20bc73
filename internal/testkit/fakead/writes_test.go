package fakead

import (
	"slices"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestWrites(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 1, Now: c.Now, Policy: Policy{MinLength: 8}})
	second := addDC(t, s, DCOptions{})
	user, service := s.Directory().Users[0], asService(t, s)
	must(t, reset(service, user.DN, "First-pässword"))
	c.add(time.Minute)
	if err := reset(service, user.DN, "short"); err == nil {
		t.Fatal("a short password is taken")
	}
	c.add(time.Minute)
	must(t, changePassword(asService(t, second), user.DN, "First-pässword", "Second-password"))
	unlock := ldap.NewModifyRequest(user.DN, nil)
	unlock.Replace("lockoutTime", []string{"0"})
	must(t, service.Modify(unlock))
	if err := reset(service, "CN=nobody,"+staffDN, "First-password"); err == nil {
		t.Fatal("an account that does not exist has a password")
	}
	noon := newClock().Now()
	want := []Write{
		{noon, "dc1", user.SAMAccountName, "First-pässword", 0},
		{noon.Add(time.Minute), "dc1", user.SAMAccountName, "short", ldap.LDAPResultUnwillingToPerform},
		{noon.Add(2 * time.Minute), "dc2", user.SAMAccountName, "Second-password", 0},
		{noon.Add(2 * time.Minute), "dc1", user.SAMAccountName, "", 0},
	}
	if got := s.Writes(); !slices.Equal(got, want) {
		t.Errorf("Writes returns\n%+v, want\n%+v", got, want)
	}
}
