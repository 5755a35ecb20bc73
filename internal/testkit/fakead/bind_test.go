package fakead

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestBind(t *testing.T) {
	const refused = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data "
	s := start(t, Options{Users: 2, Policy: Policy{MinLength: 1, MaxAge: 90 * 24 * time.Hour}})
	for sam, prepare := range map[string]func(string) error{
		"plain": nil, "disabled": s.Disable, "locked": s.Lock, "expired": s.Expire, "must": s.MustChange,
	} {
		newUser(t, s, UserSpec{SAMAccountName: sam, Password: "Right-1"})
		if prepare != nil {
			must(t, prepare(sam))
		}
	}
	tests := []struct {
		name, user, password string
		code                 uint16
		text                 string
	}{
		{"DN", "CN=plain," + staffDN, "Right-1", 0, ""},
		{"DN in another form", "cn=Plain , ou=staff,dc=corp,dc=example,dc=com", "Right-1", 0, ""},
		{"UPN", "plain@corp.example.com", "Right-1", 0, ""},
		{"domain and name", `corp\Plain`, "Right-1", 0, ""},
		{"other domain", `OTHER\plain`, "Right-1", 49, refused + "52e, v4563"},
		{"wrong password", "plain@corp.example.com", "right-1", 49, refused + "52e, v4563"},
		{"nobody", "none@corp.example.com", "Right-1", 49, refused + "52e, v4563"},
		{"not an account", staffDN, "Right-1", 49, refused + "52e, v4563"},
		{"disabled", "disabled@corp.example.com", "Right-1", 49, refused + "533, v4563"},
		{"disabled, wrong password", "disabled@corp.example.com", "x", 49, refused + "52e, v4563"},
		{"expired account", "expired@corp.example.com", "Right-1", 49, refused + "701, v4563"},
		{"must change", "must@corp.example.com", "Right-1", 49, refused + "773, v4563"},
		{"locked", "locked@corp.example.com", "Right-1", 49, refused + "775, v4563"},
		{"locked, wrong password", "locked@corp.example.com", "x", 49, refused + "775, v4563"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			says(t, dial(t, s).Bind(tt.user, tt.password), tt.code, tt.text)
		})
	}
	if got, want := s.Counts("plain"), (Counts{Binds: 4, BadBinds: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}

func TestPasswordExpires(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 1, Now: c.Now, Policy: Policy{MaxAge: 90 * 24 * time.Hour}})
	u := s.Directory().Users[0]
	must(t, dial(t, s).Bind(u.UPN, u.Password))
	c.add(61 * 24 * time.Hour)
	says(t, dial(t, s).Bind(u.UPN, u.Password), 49,
		"80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 532, v4563")
}

func TestLockout(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 1, Now: c.Now, Policy: Policy{LockoutThreshold: 3, LockoutDuration: time.Hour}})
	u := s.Directory().Users[0]
	service := asService(t, s)
	computed := func() string { return get(t, service, u.DN, "msDS-User-Account-Control-Computed")[0] }

	conn := dial(t, s)
	for range 2 {
		says(t, conn.Bind(u.UPN, "wrong"), 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e")
	}
	must(t, conn.Bind(u.UPN, u.Password))
	if got := get(t, service, u.DN, "badPwdCount")[0]; got != "0" {
		t.Errorf("badPwdCount is %s after a good bind, want 0", got)
	}
	for range 3 {
		says(t, conn.Bind(u.UPN, "wrong"), 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e")
	}
	says(t, conn.Bind(u.UPN, u.Password), 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 775")
	if got := computed(); got != "16" {
		t.Errorf("computed account control is %s, want 16", got)
	}
	c.add(time.Hour)
	if got := computed(); got != "0" {
		t.Errorf("computed account control is %s after the lockout, want 0", got)
	}
	if got := get(t, service, u.DN, "lockoutTime")[0]; got == "0" {
		t.Error("lockoutTime did not stay after the lockout")
	}
	must(t, conn.Bind(u.UPN, u.Password))
	for _, want := range []string{"1", "2"} {
		conn.Bind(u.UPN, "wrong")
		if got := get(t, service, u.DN, "badPwdCount")[0]; got != want {
			t.Errorf("badPwdCount is %s, want %s", got, want)
		}
		if got := get(t, service, u.DN, "badPasswordTime")[0]; got != fmt.Sprint(filetime(c.Now())) {
			t.Errorf("badPasswordTime is %s, want now", got)
		}
	}
	c.add(time.Hour + time.Second)
	conn.Bind(u.UPN, "wrong")
	if got := get(t, service, u.DN, "badPwdCount")[0]; got != "1" {
		t.Errorf("badPwdCount is %s after the observation window, want 1", got)
	}
}

func TestBindIsSimpleOrNothing(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asService(t, s)
	says(t, conn.ExternalBind(), 7, "00002027: LdapErr: ")
	_, err := conn.Search(&ldap.SearchRequest{BaseDN: baseDN, Filter: "(objectClass=*)"})
	says(t, err, 1, "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind "+
		"must be completed on the connection., data 0, v4563")
}

// A bind with a name and no password succeeds and is nobody's.
func TestBindWithoutPassword(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asService(t, s)
	must(t, conn.UnauthenticatedBind(s.Directory().AdminDN))
	says(t, reset(conn, s.Directory().Users[0].DN, "Other-Pass-1"), 1, "000004DC: LdapErr: ")
}
