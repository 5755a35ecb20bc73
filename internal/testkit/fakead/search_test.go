package fakead

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestRootDSE(t *testing.T) {
	c := newClock()
	s := start(t, Options{Users: 1, Now: c.Now})
	conn := dial(t, s) // needs no bind
	res, err := conn.Search(&ldap.SearchRequest{Filter: "(objectClass=*)"})
	must(t, err)
	want := map[string][]string{
		"defaultNamingContext":    {baseDN},
		"rootDomainNamingContext": {baseDN},
		"dnsHostName":             {"dc1.corp.example.com"},
		"currentTime":             {"20260301120000.0Z"},
		"supportedLDAPVersion":    {"3", "2"},
		"isGlobalCatalogReady":    {"TRUE"},
	}
	for attr, values := range want {
		if got := res.Entries[0].GetAttributeValues(attr); !slices.Equal(got, values) {
			t.Errorf("%s is %q, want %q", attr, got, values)
		}
	}
	for _, oid := range []string{"1.2.840.113556.1.4.2239", "1.2.840.113556.1.4.2066"} {
		if !slices.Contains(res.Entries[0].GetAttributeValues("supportedControl"), oid) {
			t.Errorf("supportedControl lacks %s", oid)
		}
	}
	res, err = conn.Search(&ldap.SearchRequest{Filter: "(objectClass=*)", Attributes: []string{"tokenGroups", "CURRENTTIME"}})
	if err != nil || len(res.Entries) != 1 || len(res.Entries[0].Attributes) != 1 {
		t.Errorf("asked for two attributes of which it has one: %v, %v", res, err)
	}
}

// escaped returns all bytes as filter escapes.
func escaped(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		fmt.Fprintf(&b, `\%02x`, raw[i])
	}
	return b.String()
}

func TestFilters(t *testing.T) {
	s := start(t, Options{Users: 3})
	users := s.Directory().Users
	odd := newUser(t, s, UserSpec{SAMAccountName: `o(d*d\`, UPN: "jürgen.łuk@corp.example.com", DisplayName: "Jürgen Ångström",
		Attributes: map[string][]string{"adminCount": {"1"}, "servicePrincipalName": {"HTTP/a", "HTTP/b"},
			"memberOf": {"CN=Payroll,OU=Groups," + baseDN}}})
	must(t, s.Disable(odd.SAMAccountName))
	guid := func(i int) string {
		raw, _ := parseGUID(users[i].ObjectGUID)
		return escaped(string(raw))
	}
	immutable, _ := base64.StdEncoding.DecodeString(users[1].ImmutableID)
	service := asService(t, s)

	tests := []struct {
		name, filter string
		want         []string // sAMAccountName
	}{
		{"name", "(sAMAccountName=user01)", []string{"user01"}},
		{"case", "(samaccountname=USER01)", []string{"user01"}},
		{"width", "(sAMAccountName=ｕｓｅｒ０１)", []string{"user01"}},
		{"accent on one side", "(sAMAccountName=usér01)", []string{"user01"}},
		{"accent on the other", "(displayName=JURGEN angstrom)", []string{odd.SAMAccountName}},
		{"combining accent", "(displayName=Ju\u0308rgen A\u030angstro\u0308m)", []string{odd.SAMAccountName}},
		{"a letter of its own", "(userPrincipalName=jurgen.luk@corp.example.com)", nil},
		{"escapes", `(sAMAccountName=o\28d\2ad\5c)`, []string{odd.SAMAccountName}},
		{"escaped star is no wildcard", `(sAMAccountName=user\2a)`, nil},
		{"NUL", `(sAMAccountName=user01\00)`, nil},
		{"objectGUID", "(objectGUID=" + guid(0) + ")", []string{"user01"}},
		{"objectGUID is exact", "(objectGUID=" + guid(0)[:45] + ")", nil},
		{"immutable id", "(|(mS-DS-ConsistencyGuid=" + escaped(string(immutable)) + ")(objectGUID=" + escaped(string(immutable)) + "))",
			[]string{"user02"}},
		{"objectGUID of one with another ConsistencyGuid", "(objectGUID=" + guid(1) + ")", []string{"user02"}},
		{"SID, binary", "(objectSid=" + escaped(string(sidBytes(users[2].SID))) + ")", []string{"user03"}},
		{"SID, text", "(objectSid=" + users[2].SID + ")", []string{"user03"}},
		{"DN", "(distinguishedName=cn=user01, ou=staff,dc=corp,dc=example,dc=com)", []string{"user01"}},
		{"memberOf", "(memberOf=cn=payroll,ou=groups," + baseDN + ")", []string{odd.SAMAccountName}},
		{"second value", "(servicePrincipalName=http/B)", []string{odd.SAMAccountName}},
		{"and, not, present", "(&(objectClass=user)(!(adminCount=1))(displayName=*))", []string{"user01", "user02", "user03"}},
		{"substring", "(displayName=staff*ber*03)", []string{"user03"}},
		{"parts do not overlap", "(sAMAccountName=user01*01)", nil},
		{"at least", "(&(uSNChanged>=1)(sAMAccountName=user02))", []string{"user02"}},
		{"at most", "(&(uSNChanged<=1)(sAMAccountName=user02))", nil},
		{"bit", "(userAccountControl:1.2.840.113556.1.4.803:=2)", []string{odd.SAMAccountName}},
		{"any bit", "(&(userAccountControl:1.2.840.113556.1.4.804:=6)(objectClass=user))", []string{odd.SAMAccountName}},
		{"not of an attribute that is not there", "(&(!(adminCount=1))(sAMAccountName=user01))", []string{"user01"}},
		{"not of an attribute that nothing has", "(&(!(shoeSize=1))(sAMAccountName=user01))", nil},
		{"or with an unknown attribute", "(|(shoeSize=1)(sAMAccountName=user01))", []string{"user01"}},
		{"password is no attribute", "(unicodePwd=*)", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := service.Search(&ldap.SearchRequest{BaseDN: staffDN, Scope: ldap.ScopeWholeSubtree, Filter: tt.filter,
				Attributes: []string{"sAMAccountName"}})
			must(t, err)
			var got []string
			for _, e := range res.Entries {
				got = append(got, e.GetAttributeValue("sAMAccountName"))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s finds %q, want %q", tt.filter, got, tt.want)
			}
		})
	}
}

func TestFold(t *testing.T) {
	tests := []struct{ in, want string }{
		{"ÀÁÂÃÄÅĀĂĄ ÇĆĈĊČ Ď ÈÉÊËĒĔĖĘĚ ĜĞĠĢ Ĥ", "aaaaaaaaa ccccc d eeeeeeeee gggg h"},
		{"ÌÍÎÏĨĪĬĮ Ĵ Ķ ĹĻĽ ÑŃŅŇ ÒÓÔÕÖŌŎŐ ŔŖŘ", "iiiiiiii j k lll nnnn oooooooo rrr"},
		{"ŚŜŞŠ ŢŤ ÙÚÛÜŨŪŬŮŰŲ Ŵ ÝŶŸ ŹŻŽ", "ssss tt uuuuuuuuuu w yyy zzz"},
		{"Ａｂ１！", "ab1!"},
		{"ØłÆß", "øłæß"},
	}
	for _, tt := range tests {
		if got := fold(tt.in); got != tt.want {
			t.Errorf("fold(%s) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestSearchBase(t *testing.T) {
	s := start(t, Options{Users: 3})
	u := s.Directory().Users[0]
	raw, _ := parseGUID(u.ObjectGUID)
	newUser(t, s, UserSpec{SAMAccountName: "x,OU=Staff", Parent: usersDN})
	service := asService(t, s)
	const notFound = "0000208D: NameErr: DSID-0310028B, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'"
	tests := []struct {
		name, base string
		scope      int
		want       int
		code       uint16
		text       string
	}{
		{"base", u.DN, ldap.ScopeBaseObject, 1, 0, ""},
		{"GUID as text", "<GUID=" + strings.ToUpper(u.ObjectGUID) + ">", ldap.ScopeBaseObject, 1, 0, ""},
		{"GUID as bytes", "<guid=" + hex.EncodeToString(raw) + ">", ldap.ScopeBaseObject, 1, 0, ""},
		{"no such GUID", "<GUID=00000000-0000-0000-0000-000000000001>", ldap.ScopeBaseObject, 0, 32, notFound + "'"},
		{"no GUID", "<GUID=xyz>", ldap.ScopeBaseObject, 0, 34, "0000208F: NameErr: "},
		{"one level, itself not", staffDN, ldap.ScopeSingleLevel, 3, 0, ""},
		{"one level of all", baseDN, ldap.ScopeSingleLevel, 6, 0, ""},
		{"subtree", staffDN, ldap.ScopeWholeSubtree, 4, 0, ""},
		{"subtree of a container with a misleading name in it", usersDN, ldap.ScopeWholeSubtree, 13, 0, ""},
		{"not there", "CN=none," + staffDN, ldap.ScopeBaseObject, 0, 32, notFound + staffDN + "'"},
		{"other domain", "DC=other", ldap.ScopeBaseObject, 0, 32, notFound + "'"},
		{"no DN", "user01", ldap.ScopeBaseObject, 0, 34, "0000208F: NameErr: "},
		{"subtree of nothing", "", ldap.ScopeWholeSubtree, 0, 32, notFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := service.Search(&ldap.SearchRequest{BaseDN: tt.base, Scope: tt.scope, Filter: "(objectClass=*)"})
			says(t, err, tt.code, tt.text)
			if err == nil && len(res.Entries) != tt.want {
				t.Errorf("found %d, want %d", len(res.Entries), tt.want)
			}
		})
	}
}

func TestSearchAnswers(t *testing.T) {
	s := start(t, Options{Users: 3, Policy: Policy{MinLength: 8, Complexity: true, History: 12, MinAge: 24 * time.Hour}})
	u := s.Directory().Users[0]
	service := asService(t, s)
	all := &ldap.SearchRequest{BaseDN: baseDN, Scope: ldap.ScopeWholeSubtree, Filter: "(sAMAccountType=805306368)"}

	res, err := service.Search(all)
	must(t, err)
	if len(res.Entries) != 6 || len(res.Referrals) != 3 {
		t.Errorf("%d entries and %d referrals, want 6 and 3", len(res.Entries), len(res.Referrals))
	}
	if res.Entries[3].GetAttributeValue("unicodePwd") != "" || len(res.Entries[3].GetRawAttributeValue("objectGUID")) != 16 {
		t.Error("an entry has a password, or no objectGUID")
	}
	all.Controls = []ldap.Control{control{oid: domainScope, criticality: 0xFF}}
	if res, err = service.Search(all); err != nil || len(res.Referrals) != 0 {
		t.Errorf("with domain scope: %v, %v, want no referrals", res, err)
	}
	all.Controls = []ldap.Control{control{oid: "1.2.3", criticality: 0xFF}}
	_, err = service.Search(all)
	says(t, err, 12, "00002040: SvcErr: ")
	all.Controls, all.SizeLimit = nil, 2
	res, err = service.Search(all)
	says(t, err, 4, "")
	if len(res.Entries) != 2 {
		t.Errorf("%d entries with a limit of 2", len(res.Entries))
	}
	for attr, want := range map[string]string{"minPwdLength": "8", "pwdProperties": "1", "pwdHistoryLength": "12",
		"minPwdAge": "-864000000000", "maxPwdAge": "-9223372036854775808", "lockoutThreshold": "0"} {
		if got := get(t, service, baseDN, attr); len(got) != 1 || got[0] != want {
			t.Errorf("%s of the domain is %q, want %s", attr, got, want)
		}
	}
	for attr, want := range map[string]string{"userAccountControl": "512", "primaryGroupID": "513", "lockoutTime": "0",
		"badPwdCount": "0", "accountExpires": "9223372036854775807", "msDS-User-Account-Control-Computed": "0",
		"distinguishedName": u.DN} {
		if got := get(t, service, u.DN, attr); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %s", attr, got, want)
		}
	}
	if got := get(t, service, u.DN, "msDS-ResultantPSO"); len(got) != 0 {
		t.Errorf("msDS-ResultantPSO is %q, want none", got)
	}
	_, err = dial(t, s).Search(&ldap.SearchRequest{BaseDN: u.DN, Filter: "(objectClass=*)"})
	says(t, err, 1, "000004DC: LdapErr: ")
}
