package fakead

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestKinds(t *testing.T) {
	s := start(t, Options{Users: 1})
	service, admin := asService(t, s), asAdmin(t, s)
	tests := []struct {
		kind                       Kind
		class, flags, group, type_ string
		code                       uint16 // of a reset by the service account
		text                       string
	}{
		{User, "user", "512", "513", "805306368", 0, ""},
		{InetOrgPerson, "inetOrgPerson", "512", "513", "805306368", 50, noRightReset},
		{Computer, "computer", "4096", "515", "805306369", 50, noRightReset},
		{Trust, "user", "2080", "513", "805306370", 0, ""},
		{ManagedServiceAccount, "msDS-ManagedServiceAccount", "4096", "515", "805306369", 50, noRightReset},
		{GroupManagedServiceAccount, "msDS-GroupManagedServiceAccount", "4096", "515", "805306369", 50, noRightReset},
		{Contact, "contact", "", "", "", 50, noRightReset},
	}
	for _, tt := range tests {
		t.Run(tt.class, func(t *testing.T) {
			u := newUser(t, s, UserSpec{Kind: tt.kind})
			classes := get(t, service, u.DN, "objectClass")
			if got := classes[len(classes)-1]; got != tt.class {
				t.Errorf("its class is %s, want %s", got, tt.class)
			}
			for attr, want := range map[string]string{
				"userAccountControl": tt.flags, "primaryGroupID": tt.group, "sAMAccountType": tt.type_,
			} {
				if got := strings.Join(get(t, service, u.DN, attr), "|"); got != want {
					t.Errorf("%s is %q, want %q", attr, got, want)
				}
			}
			says(t, reset(service, u.DN, "Another-Pass-1"), tt.code, tt.text)
			if tt.flags == "" {
				says(t, reset(admin, u.DN, "Another-Pass-1"), 53, "00002035: SvcErr: ")
			}
		})
	}
	foreign := newUser(t, s, UserSpec{Kind: ForeignSecurityPrincipal, SAMAccountName: "S-1-5-21-1-2-3-1106", Parent: foreignDN})
	res, err := service.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: "(objectSid=S-1-5-21-1-2-3-1106)"})
	if err != nil || len(res.Entries) != 1 || res.Entries[0].DN != foreign.DN {
		t.Errorf("the SID of another domain finds %v, %v", res, err)
	}
	says(t, dial(t, s).Bind(foreign.DN, "x"), 49, "80090308: ")
}

func TestStates(t *testing.T) {
	s := start(t, Options{Users: 1})
	service := asService(t, s)
	s.SetPolicy(Policy{MinLength: 7, History: 3, MaxAge: 24 * time.Hour})
	const refused = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data "
	tests := []struct {
		name        string
		prepare     func(string) error
		bind        string // afterwards, with the right password
		reset       uint16
		change      uint16
		changeText  string
		computed    string
		passwordEnd string
	}{
		{"disabled", s.Disable, "533", 0, 0, "", "0", ""},
		{"expired", s.Expire, "701", 0, 0, "", "0", ""},
		{"locked", s.Lock, "775", 0, 19, "00000775: AtrErr: ", "16", ""},
		{"smartcard", s.RequireSmartcard, "52f", 0, 0, "", "0", "9223372036854775807"},
		{"no change", s.DenyChange, "", 0, 19, "00000005: AtrErr: ", "0", ""},
		{"never expires", s.NeverExpire, "", 0, 0, "", "0", "9223372036854775807"},
		{"must change", s.MustChange, "", 0, 0, "", "8388608", "0"}, // either write ends it
		{"enabled again", func(n string) error { s.Disable(n); return s.Enable(n) }, "", 0, 0, "", "0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t, s, UserSpec{})
			must(t, s.SetPassword(u.SAMAccountName, "First-Pass-1"))
			must(t, tt.prepare(u.SAMAccountName))
			if got := get(t, service, u.DN, "msDS-User-Account-Control-Computed")[0]; got != tt.computed {
				t.Errorf("computed account control is %s, want %s", got, tt.computed)
			}
			if got := get(t, service, u.DN, "msDS-UserPasswordExpiryTimeComputed")[0]; tt.passwordEnd != "" && got != tt.passwordEnd {
				t.Errorf("the password expires at %s, want %s", got, tt.passwordEnd)
			}
			says(t, changePassword(service, u.DN, "First-Pass-1", "Second-Pass-2"), tt.change, tt.changeText)
			says(t, reset(service, u.DN, "Third-Pass-3"), tt.reset, "")
			code := uint16(0)
			if tt.bind != "" {
				code = 49
			}
			says(t, dial(t, s).Bind(u.DN, "Third-Pass-3"), code, refused+tt.bind)
		})
	}
	u := newUser(t, s, UserSpec{})
	says(t, reset(service, u.DN, "short"), 53, restriction)
	must(t, s.NotRequire(u.SAMAccountName))
	says(t, reset(service, u.DN, "short"), 0, "")
	says(t, reset(service, u.DN, "short", hints()), 0, "")
}

func TestKrbtgt(t *testing.T) {
	s := start(t, Options{Users: 1})
	dn, admin := "CN=krbtgt,"+usersDN, asAdmin(t, s)
	says(t, reset(asService(t, s), dn, "Another-Pass-1"), 50, noRightReset)
	set := get(t, admin, dn, "pwdLastSet")[0]
	says(t, reset(admin, dn, "Another-Pass-1"), 0, "")
	if s.Check("krbtgt", "Another-Pass-1") || get(t, admin, dn, "pwdLastSet")[0] == set {
		t.Error("the password of krbtgt is not a random one")
	}
	says(t, changePassword(admin, dn, "Another-Pass-1", "Another-Pass-2"), 53, "00002035: SvcErr: ")
}

func TestDelete(t *testing.T) {
	s := start(t, Options{Users: 2})
	service, u := asService(t, s), s.Directory().Users[0]
	_, err := s.NewGroup("g", "", "user01")
	must(t, err)
	must(t, s.Delete("user01"))
	says(t, reset(service, "<GUID="+u.ObjectGUID+">", "Another-Pass-1"), 32, "0000208D: NameErr: ")
	says(t, dial(t, s).Bind(u.DN, u.Password), 49, "80090308: ")
	res, err := service.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: "(sAMAccountName=user01)"})
	if err != nil || len(res.Entries) != 0 {
		t.Errorf("a deleted account is found: %v, %v", res, err)
	}
	if got := get(t, service, "CN=g,"+usersDN, "member"); len(got) != 0 {
		t.Errorf("a group still has %q", got)
	}
	newUser(t, s, UserSpec{SAMAccountName: "user01"}) // the name is free
	if err := s.Delete("nobody"); err == nil {
		t.Error("deleting nobody is no error")
	}
}

func TestGroups(t *testing.T) {
	s := start(t, Options{Users: 3})
	service := asService(t, s)
	u := s.Directory().Users[0]
	inner, err := s.NewGroup("inner", "", "user01")
	must(t, err)
	outer, err := s.NewGroup("outer", staffDN, "inner", "user02")
	must(t, err)
	must(t, s.AddMember("inner", "outer")) // a circle
	names := func(filter string) string {
		res, err := service.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: filter, Attributes: []string{"sAMAccountName"}})
		must(t, err)
		var list []string
		for _, e := range res.Entries {
			list = append(list, e.GetAttributeValue("sAMAccountName"))
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	const chain = ":1.2.840.113556.1.4.1941:="
	raw := string(sidBytes(inner.SID))
	for filter, want := range map[string]string{
		"(objectSid=" + inner.SID + ")":                                "inner",
		"(objectSid=" + escaped(raw) + ")":                             "inner",
		"(memberOf=" + outer.DN + ")":                                  "inner user02",
		"(member=" + u.DN + ")":                                        "inner",
		"(&(objectClass=user)(memberOf" + chain + outer.DN + "))":      "user01 user02",
		"(member" + chain + u.DN + ")":                                 "inner outer",
		"(&(sAMAccountName=user03)(memberOf" + chain + outer.DN + "))": "",
		"(memberOf" + chain + "no DN)":                                 "",
		"(description" + chain + outer.DN + ")":                        "",
		"(memberOf" + chain + "CN=Domain Users," + usersDN + ")":       "", // primary groups are no memberships
		"(memberOf" + chain + "CN=Administrators," + builtinDN + ")":   "Administrator Domain Admins Enterprise Admins Schema Admins",
	} {
		if strings.Contains(filter, "Administrators") {
			want = "Administrator Domain Admins Enterprise Admins"
		}
		if got := names(filter); got != want {
			t.Errorf("%s finds %q, want %q", filter, got, want)
		}
	}
	tokens := func(dn string) []string {
		var list []string
		for _, sid := range get(t, service, dn, "tokenGroups") {
			list = append(list, sidText(sid))
		}
		slices.Sort(list)
		return list
	}
	domain := inner.SID[:strings.LastIndex(inner.SID, "-")]
	want := []string{inner.SID, outer.SID, domain + "-513", "S-1-5-32-545"}
	slices.Sort(want)
	if got := tokens(u.DN); !slices.Equal(got, want) {
		t.Errorf("tokenGroups is %q, want %q", got, want)
	}
	odd := newUser(t, s, UserSpec{Attributes: map[string][]string{"primaryGroupID": {"512"}}})
	if got := tokens(odd.DN); !slices.Contains(got, domain+"-512") || !slices.Contains(got, "S-1-5-32-544") {
		t.Errorf("tokenGroups of one whose primary group is Domain Admins is %q", got)
	}
	_, err = service.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: "(objectClass=user)", Attributes: []string{"tokenGroups"}})
	says(t, err, 1, "00002120: ")

	must(t, s.RemoveMember("inner", "user01"))
	if got := get(t, service, u.DN, "memberOf"); len(got) != 0 {
		t.Errorf("memberOf is %q after the end of it", got)
	}
	for what, err := range map[string]error{
		"a member that is not there": s.AddMember("inner", "nobody"),
		"a group that is not there":  s.AddMember("nothing", "user01"),
		"leaving without being":      s.RemoveMember("inner", "nobody"),
	} {
		if err == nil {
			t.Errorf("%s is no error", what)
		}
	}
	if _, err := s.NewGroup("inner", ""); err == nil {
		t.Error("a second group of one name is no error")
	}
}

func TestTokenOfTheConnection(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asAdmin(t, s)
	res, err := conn.Search(&ldap.SearchRequest{Filter: "(objectClass=*)", Attributes: []string{"tokenGroups"}})
	must(t, err)
	var got []string
	for _, sid := range res.Entries[0].GetRawAttributeValues("tokenGroups") {
		got = append(got, sidText(string(sid)))
	}
	own := sidText(get(t, conn, s.Directory().AdminDN, "objectSid")[0])
	for _, want := range []string{own, "S-1-5-32-544", "S-1-1-0", "S-1-5-11"} {
		if !slices.Contains(got, want) {
			t.Errorf("the token %q lacks %s", got, want)
		}
	}
}
