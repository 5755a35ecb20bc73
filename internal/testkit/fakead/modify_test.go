package fakead

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// pwd returns a value of unicodePwd.
func pwd(password string) []string { return []string{encodeUTF16(`"` + password + `"`)} }

func reset(conn *ldap.Conn, dn, password string, controls ...ldap.Control) error {
	req := ldap.NewModifyRequest(dn, controls)
	req.Replace("unicodePwd", pwd(password))
	return conn.Modify(req)
}

func changePassword(conn *ldap.Conn, dn, old, password string) error {
	req := ldap.NewModifyRequest(dn, nil)
	req.Delete("unicodePwd", pwd(old))
	req.Add("unicodePwd", pwd(password))
	return conn.Modify(req)
}

// The words of Windows.
const (
	restriction   = "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n\x00"
	restrictionOn = "0000052D: AtrErr: DSID-03190F80, #1:\n\t0: 0000052D: DSID-03190F80, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)\n\x00"
	oldIsWrong    = "00000056: AtrErr: DSID-03190F80, "
	noRightReset  = "00000005: SecErr: DSID-031A11B9, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n\x00"
	noRightWrite  = "00002098: SecErr: DSID-0315130F, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n\x00"
	notUnicode    = "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n\x00"
)

func TestResetByTheRules(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 1, Now: c.Now,
		Policy: Policy{MinLength: 8, Complexity: true, History: 3, MinAge: 24 * time.Hour}})
	service := asService(t, s)
	withValue := func(value ...byte) control { return control{policyHints, 0xFF, value} }
	one := []byte{0x30, 3, 2, 1, 1}
	tests := []struct {
		name     string
		age      time.Duration // of the present password
		password string        // the account had First-1, Second-2, Third-3, Fourth-4
		control  *control
		code     uint16
		text     string
	}{
		{"good", 0, "Another-1", nil, 0, ""},
		{"too short", 0, "Anoth-1", nil, 53, restriction},
		{"surrogates count twice", 0, "Aa1-\U0001F600\U0001F600", nil, 0, ""},
		{"empty", 0, "", nil, 53, restriction},
		{"two categories", 0, "another1", nil, 53, restriction},
		{"a letter beyond ASCII is a category", 0, "anothér1", nil, 0, ""},
		{"a euro sign is none", 0, "another1€", nil, 53, restriction},
		{"256 units", 0, "Aa1-" + fmt.Sprintf("%0252d", 0), nil, 0, ""},
		{"257 units", 0, "Aa1-" + fmt.Sprintf("%0253d", 0), nil, 53, restriction},
		{"present one, without hints", 0, "Fourth-4", nil, 0, ""},
		{"good with hints, young", 23 * time.Hour, "Another-1", &control{policyHints, 0xFF, one}, 53, restriction},
		{"good with hints", 24 * time.Hour, "Another-1", &control{policyHints, 0xFF, one}, 0, ""},
		{"present one", 24 * time.Hour, "Fourth-4", &control{policyHints, 0xFF, one}, 53, restriction},
		{"oldest that is remembered", 24 * time.Hour, "Second-2", &control{policyHints, 0xFF, one}, 53, restriction},
		{"one that is not", 24 * time.Hour, "First-11", &control{policyHints, 0xFF, one}, 0, ""},
		{"present one, first number", 24 * time.Hour, "Fourth-4", &control{policyHintsOld, 0xFF, one}, 53, restriction},
		{"present one, not critical", 24 * time.Hour, "Fourth-4", &control{policyHints, 0x01, one}, 53, restriction},
		{"value 0", 0, "Fourth-4", ptr(withValue(0x30, 3, 2, 1, 0)), 0, ""},
		{"value in the long form", 0, "Another-1", ptr(withValue(0x30, 0x84, 0, 0, 0, 3, 2, 1, 1)), 53, restriction},
		{"no value", 24 * time.Hour, "Another-1", ptr(withValue()), 53, "00000057: LdapErr: "},
		{"value that is no sequence", 24 * time.Hour, "Another-1", ptr(withValue(1)), 53, "00000057: LdapErr: "},
		{"unknown critical control", 0, "Another-1", &control{"1.2.3", 0xFF, nil}, 12, "00002040: SvcErr: "},
		{"unknown control", 0, "Another-1", &control{"1.2.3", 0x00, nil}, 0, ""},
		{"unknown control, critical by go-asn1-ber", 0, "Another-1", &control{"1.2.3", 0x01, nil}, 0, ""},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t, s, UserSpec{SAMAccountName: fmt.Sprint("rules", n), Password: "First-11"})
			for _, old := range []string{"Second-2", "Third-33", "Fourth-4"} {
				must(t, s.SetPassword(u.SAMAccountName, old))
			}
			c.add(tt.age)
			var controls []ldap.Control
			if tt.control != nil {
				controls = append(controls, *tt.control)
			}
			before := get(t, service, u.DN, "uSNChanged")[0] + " " + get(t, service, u.DN, "pwdLastSet")[0]
			says(t, reset(service, u.DN, tt.password, controls...), tt.code, tt.text)
			after := get(t, service, u.DN, "uSNChanged")[0] + " " + get(t, service, u.DN, "pwdLastSet")[0]
			if applied := tt.code == 0; s.Check(u.SAMAccountName, tt.password) != (applied || tt.password == "Fourth-4") ||
				s.Check(u.SAMAccountName, "Fourth-4") == (applied && tt.password != "Fourth-4") || (before != after) != applied {
				t.Errorf("the account is not as after result %d", tt.code)
			}
			got := s.Controls(u.SAMAccountName)
			if tt.control != nil && (len(got) != 1 || got[0].OID != tt.control.oid || got[0].Criticality != tt.control.criticality) {
				t.Errorf("recorded controls are %v, want %v", got, *tt.control)
			}
		})
	}
}

func TestSetPolicy(t *testing.T) {
	s := start(t, Options{Users: 1})
	service := asService(t, s)
	u := s.Directory().Users[0]
	says(t, reset(service, u.DN, "x"), 53, restriction)
	s.SetPolicy(Policy{})
	says(t, reset(service, u.DN, "x", hints()), 0, "")
	says(t, reset(service, u.DN, "x", hints()), 0, "")
}

func ptr[T any](v T) *T { return &v }

func TestResetOfWhat(t *testing.T) {
	s := start(t, Options{Users: 2})
	d := s.Directory()
	u := d.Users[0]
	tests := []struct {
		name string
		conn *ldap.Conn
		dn   string
		code uint16
		text string
	}{
		{"service account, staff", asService(t, s), u.DN, 0, ""},
		{"service account, staff by GUID", asService(t, s), "<GUID=" + u.ObjectGUID + ">", 0, ""},
		{"service account, administrator", asService(t, s), d.AdminDN, 50, noRightReset},
		{"service account, itself", asService(t, s), d.ServiceDN, 50, noRightReset},
		{"service account, the staff unit", asService(t, s), staffDN, 50, noRightReset},
		{"administrator", asAdmin(t, s), d.ServiceDN, 0, ""},
		{"user", bound(t, s, d.Users[1].DN, d.Users[1].Password), u.DN, 50, noRightReset},
		{"user, herself", bound(t, s, d.Users[1].DN, d.Users[1].Password), d.Users[1].DN, 50, noRightReset},
		{"nobody", dial(t, s), u.DN, 1, "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform"},
		{"not there", asService(t, s), "CN=none," + staffDN, 32, "0000208D: NameErr: "},
		{"no such GUID", asService(t, s), "<GUID=00000000000000000000000000000001>", 32, "0000208D: NameErr: "},
		{"not a user", asAdmin(t, s), staffDN, 53, "00002035: SvcErr: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { says(t, reset(tt.conn, tt.dn, "Another-Pass-1"), tt.code, tt.text) })
	}
}

func TestUnicodePwdForms(t *testing.T) {
	s := start(t, Options{Users: 1})
	u := s.Directory().Users[0]
	service := asService(t, s)
	type op struct {
		op     uint
		values []string
	}
	good := pwd("Another-Pass-1")
	tests := []struct {
		name string
		ops  []op
		code uint16
		text string
	}{
		{"not quoted", []op{{ldap.ReplaceAttribute, []string{encodeUTF16("Another-Pass-1")}}}, 53, notUnicode},
		{"one quote", []op{{ldap.ReplaceAttribute, []string{encodeUTF16(`"`)}}}, 53, notUnicode},
		{"UTF-8", []op{{ldap.ReplaceAttribute, []string{`"Another-Pass-1"`}}}, 53, notUnicode},
		{"odd", []op{{ldap.ReplaceAttribute, []string{good[0] + "x"}}}, 53, notUnicode},
		{"no value", []op{{ldap.ReplaceAttribute, nil}}, 53, "00002077: SvcErr: "},
		{"two values", []op{{ldap.ReplaceAttribute, append(pwd("Second-Pass-2"), good...)}}, 53, "00002077: SvcErr: "},
		{"replaced twice", []op{{ldap.ReplaceAttribute, good}, {ldap.ReplaceAttribute, good}}, 53, "00002077: SvcErr: "},
		{"only added", []op{{ldap.AddAttribute, good}}, 53, "00002077: SvcErr: "},
		{"added and deleted", []op{{ldap.AddAttribute, good}, {ldap.DeleteAttribute, pwd(u.Password)}}, 53, "00002077: SvcErr: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := ldap.NewModifyRequest(u.DN, nil)
			for _, o := range tt.ops {
				req.Changes = append(req.Changes, ldap.Change{Operation: o.op,
					Modification: ldap.PartialAttribute{Type: "unicodePwd", Vals: o.values}})
			}
			says(t, service.Modify(req), tt.code, tt.text)
		})
	}
	if !s.Check("user01", u.Password) {
		t.Error("one of them was applied")
	}
}

func TestChange(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now,
		Policy: Policy{MinLength: 8, Complexity: true, History: 3, MinAge: 24 * time.Hour, LockoutThreshold: 3}})
	d := s.Directory()
	user := func(i int) *ldap.Conn { return bound(t, s, d.Users[i].DN, d.Users[i].Password) }

	says(t, changePassword(user(0), d.Users[0].DN, "Wrong-Pass-1", "Another-1"), 19, oldIsWrong)
	if got := get(t, asService(t, s), d.Users[0].DN, "badPwdCount")[0]; got != "1" {
		t.Errorf("badPwdCount is %s after a wrong old password, want 1", got)
	}
	says(t, changePassword(user(1), d.Users[1].DN, d.Users[1].Password, "short"), 19, restrictionOn)
	says(t, changePassword(user(2), d.Users[2].DN, d.Users[2].Password, d.Users[2].Password), 19, restrictionOn)
	conn := user(3)
	says(t, changePassword(conn, d.Users[3].DN, d.Users[3].Password, "Another-1"), 0, "")
	says(t, changePassword(conn, d.Users[3].DN, "Another-1", "Another-2"), 19, restrictionOn)
	c.add(24 * time.Hour)
	says(t, changePassword(conn, d.Users[3].DN, "Another-1", "Another-2"), 0, "")
	conn = user(4)
	must(t, s.Lock("user05"))
	says(t, changePassword(conn, d.Users[4].DN, d.Users[4].Password, "Another-1"), 19, "00000775: AtrErr: ")
	if !s.Check("user04", "Another-2") || s.Check("user05", "Another-1") {
		t.Error("passwords are not what the answers say")
	}
}

func TestOtherAttributes(t *testing.T) {
	s := start(t, Options{Users: 1})
	d := s.Directory()
	service, admin := asService(t, s), asAdmin(t, s)
	const badArgument = "00000057: SysErr: "
	tests := []struct {
		name        string
		conn        *ldap.Conn
		attr, value string
		want        string // the value afterwards
		code        uint16
		text        string
	}{
		{"unlock", service, "lockoutTime", "0", "0", 0, ""},
		{"must change", service, "pwdLastSet", "0", "0", 0, ""},
		{"lock", service, "lockoutTime", "5", "", 80, badArgument},
		{"other pwdLastSet", service, "pwdLastSet", "5", "", 80, badArgument},
		{"service account, another attribute", service, "displayName", "X", "", 50, noRightWrite},
		{"service account, an attribute that nothing has", service, "shoeSize", "44", "", 50, noRightWrite},
		{"administrator", admin, "displayName", "X", "X", 0, ""},
		{"administrator disables", admin, "userAccountControl", "514", "514", 0, ""},
		{"administrator, no number", admin, "userAccountControl", "x", "", 80, badArgument},
		{"administrator, what nobody writes", admin, "badPwdCount", "0", "", 53, "0000209A: SvcErr: "},
		{"administrator, an attribute that nothing has", admin, "shoeSize", "44", "", 16, "00000057: LdapErr: "},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t, s, UserSpec{SAMAccountName: fmt.Sprint("attr", n)})
			must(t, s.Lock(u.SAMAccountName))
			req := ldap.NewModifyRequest(u.DN, nil)
			req.Replace(tt.attr, []string{tt.value})
			before := get(t, admin, u.DN, tt.attr)
			says(t, tt.conn.Modify(req), tt.code, tt.text)
			want := []string{tt.want}
			if tt.code != 0 {
				want = before
			}
			if got := get(t, admin, u.DN, tt.attr); !slices.Equal(got, want) {
				t.Errorf("%s is %q, want %q", tt.attr, got, want)
			}
		})
	}
	req := ldap.NewModifyRequest(d.ServiceDN, nil)
	req.Replace("lockoutTime", []string{"0"})
	says(t, service.Modify(req), 50, noRightWrite)
}

// One modify is applied as a whole or not at all, and does its parts in the
// order that makes sense.
func TestOneModify(t *testing.T) {
	s := start(t, Options{Users: 2})
	u := s.Directory().Users[0]
	service := asService(t, s)
	all := func(password string, more ...string) error {
		req := ldap.NewModifyRequest(u.DN, []ldap.Control{hints()})
		req.Replace("pwdLastSet", []string{"0"})
		req.Replace("lockoutTime", []string{"0"})
		req.Replace("unicodePwd", pwd(password))
		for _, attr := range more {
			req.Replace(attr, []string{"x"})
		}
		return service.Modify(req)
	}
	must(t, s.Lock("user01"))
	usn := get(t, service, u.DN, "uSNChanged")[0]
	says(t, all("short"), 53, restriction)
	says(t, all("Another-Pass-1", "description"), 50, noRightWrite)
	if get(t, service, u.DN, "lockoutTime")[0] == "0" || get(t, service, u.DN, "uSNChanged")[0] != usn || !s.Check("user01", u.Password) {
		t.Error("a refused modify left something behind")
	}
	says(t, all("Another-Pass-1"), 0, "")
	if get(t, service, u.DN, "lockoutTime")[0] != "0" || get(t, service, u.DN, "pwdLastSet")[0] != "0" ||
		get(t, service, u.DN, "uSNChanged")[0] == usn || !s.Check("user01", "Another-Pass-1") {
		t.Error("an applied modify is not applied as a whole")
	}
	if got, want := s.Counts("user01"), (Counts{Modifies: 3, Applied: 1, Passwords: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}
