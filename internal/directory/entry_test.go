package directory

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
)

func sid(t testing.TB, text string) string {
	t.Helper()
	a, err := reset.NewAccount(reset.SID, text)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Binary())
}

// person returns the attributes of an ordinary user, changed.
func person(t testing.TB, change map[string][]string) *ldap.Entry {
	attributes := map[string][]string{
		"objectGUID": {"0123456789abcdef"}, "uSNChanged": {"4711"}, "pwdLastSet": {"134000000000000000"},
		"userAccountControl": {"512"}, "msDS-User-Account-Control-Computed": {"0"}, "accountExpires": {"9223372036854775807"},
		"objectSid": {sid(t, "S-1-5-21-1-2-3-1105")}, "primaryGroupID": {"513"}, "sAMAccountType": {"805306368"},
		"objectClass":    {"top", "person", "organizationalPerson", "user"},
		"sAMAccountName": {"ada"}, "displayName": {"Ada Lovelace"},
	}
	for name, values := range change {
		attributes[name] = values
		if values == nil {
			delete(attributes, name)
		}
	}
	return ldap.NewEntry("CN=Ada,DC=x", attributes)
}

func TestEntry(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	filetime := func(at time.Time) string { return strconv.FormatInt((at.Unix()+11_644_473_600)*10_000_000, 10) }
	cn := &conn{dc: "dc1", self: [][]byte{[]byte(sid(t, "S-1-5-21-1-2-3-1200"))}, token: [][]byte{[]byte(sid(t, "S-1-5-21-1-2-3-1201"))}}
	type attrs = map[string][]string
	tests := []struct {
		name   string
		change attrs
		want   func(*reset.Entry)
	}{
		{"ordinary", nil, func(*reset.Entry) {}},
		{"disabled", attrs{"userAccountControl": {"514"}}, func(e *reset.Entry) { e.Disabled = true }},
		{"locked", attrs{"msDS-User-Account-Control-Computed": {"16"}}, func(e *reset.Entry) { e.Locked = true }},
		{"password expired", attrs{"msDS-User-Account-Control-Computed": {"8388608"}}, func(e *reset.Entry) {}},
		{"expired now", attrs{"accountExpires": {filetime(now)}}, func(e *reset.Entry) { e.Expired = true }},
		{"expires next second", attrs{"accountExpires": {filetime(now.Add(time.Second))}}, func(e *reset.Entry) {}},
		{"never expires", attrs{"accountExpires": {"0"}}, func(e *reset.Entry) {}},
		{"no accountExpires", attrs{"accountExpires": nil}, func(e *reset.Entry) {}},
		{"must change", attrs{"pwdLastSet": {"0"}}, func(e *reset.Entry) { e.Witness.PwdLastSet = 0 }},
		{"adminCount", attrs{"adminCount": {"1"}}, func(e *reset.Entry) { e.Privileges.AdminCount = true }},
		{"adminCount 0", attrs{"adminCount": {"0"}}, func(e *reset.Entry) {}},
		{"critical", attrs{"isCriticalSystemObject": {"TRUE"}}, func(e *reset.Entry) { e.Privileges.Critical = true }},
		{"not critical", attrs{"isCriticalSystemObject": {"FALSE"}}, func(e *reset.Entry) {}},
		{"built in", attrs{"objectSid": {sid(t, "S-1-5-21-1-2-3-500")}}, func(e *reset.Entry) { e.Privileges.RID = 500 }},
		{"largest RID", attrs{"objectSid": {sid(t, "S-1-5-21-1-2-3-4294967295")}}, func(e *reset.Entry) { e.Privileges.RID = math.MaxUint32 }},
		{"primary group", attrs{"primaryGroupID": {"512"}}, func(e *reset.Entry) { e.Privileges.PrimaryGroup = 512 }},
		{"service", attrs{"servicePrincipalName": {"http/x", "http/y"}}, func(e *reset.Entry) { e.Privileges.ServicePrincipal = true }},
		{"ourselves", attrs{"objectSid": {sid(t, "S-1-5-21-1-2-3-1200")}}, func(e *reset.Entry) { e.Privileges.RID, e.Privileges.Ourselves = 1200, true }},
		{"ourselves, by the token", attrs{"objectSid": {sid(t, "S-1-5-21-1-2-3-1201")}}, func(e *reset.Entry) { e.Privileges.RID, e.Privileges.Ourselves = 1201, true }},
		{"computer", attrs{"sAMAccountType": {"805306369"}, "userAccountControl": {"4096"}}, func(e *reset.Entry) { e.Privileges.NotAUser = true }},
		{"trust", attrs{"sAMAccountType": {"805306370"}, "userAccountControl": {"2048"}}, func(e *reset.Entry) { e.Privileges.NotAUser = true }},
		{"a user made a computer", attrs{"userAccountControl": {"4608"}}, func(e *reset.Entry) { e.Privileges.NotAUser = true }},
		{"managed service account", attrs{"objectClass": {"top", "user", "computer", "MSDS-GroupManagedServiceAccount"}}, func(e *reset.Entry) { e.Privileges.NotAUser = true }},
		{"another class of person", attrs{"objectClass": {"top", "person", "organizationalPerson", "user", "inetOrgPerson"}}, func(e *reset.Entry) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := reset.Entry{
				DN: "CN=Ada,DC=x", GUID: [16]byte([]byte("0123456789abcdef")),
				Witness:    reset.Witness{DC: "dc1", USNChanged: 4711, PwdLastSet: 134000000000000000},
				Privileges: reset.Privileges{RID: 1105, PrimaryGroup: 513},
			}
			tt.want(&want)
			got, found, err := cn.entry(person(t, tt.change), now)
			if err != nil {
				t.Fatal(err)
			}
			if got.Groups != nil || got.DN != want.DN || got.GUID != want.GUID || got.Witness != want.Witness || got.Privileges != want.Privileges ||
				got.Disabled != want.Disabled || got.Expired != want.Expired || got.Locked != want.Locked {
				t.Errorf("got %+v, want %+v", got, want)
			}
			account := policy.Account{SAM: "ada", DisplayName: "Ada Lovelace", PwdLastSet: want.Witness.PwdLastSet}
			if found.account != account || found.guid != got.GUID {
				t.Errorf("the facts are %+v", found)
			}
		})
	}
	if _, found, err := cn.entry(person(t, attrs{"userAccountControl": {"544"}, "displayName": nil}), now); err != nil || !found.account.NotRequired || found.account.DisplayName != "" {
		t.Errorf("the facts are %+v, %v", found, err)
	}
}

// What every account has and this one has not is not known, and not zero.
func TestEntryMalformed(t *testing.T) {
	for attribute, values := range map[string][]string{
		"objectGUID": {"", "short", "0123456789abcdefg"}, "uSNChanged": {"", "x", "1.5"}, "pwdLastSet": {"", "9223372036854775808"},
		"userAccountControl": {"", "0x200"}, "msDS-User-Account-Control-Computed": {""}, "accountExpires": {"never"},
		"objectSid": {"", "\x01\x05\x00", "\x01\x02\x00\x00\x00\x00\x00\x05\x01\x00\x00\x00"}, "primaryGroupID": {"", "-"},
		"sAMAccountType": {"", "user"}, "adminCount": {"yes"},
	} {
		for _, value := range values {
			change := map[string][]string{attribute: {value}}
			if value == "" {
				change[attribute] = nil
			}
			got, _, err := (&conn{}).entry(person(t, change), time.Now())
			if err == nil || !strings.Contains(err.Error(), attribute) {
				t.Errorf("%s %q: %v", attribute, value, err)
			}
			if got.DN != "CN=Ada,DC=x" || got.GUID != [16]byte{} {
				t.Errorf("%s %q: returned %+v", attribute, value, got)
			}
		}
	}
}
