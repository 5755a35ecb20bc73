package directory

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

// What a directory returned is believed only if it is what was asked for, also
// where no directory that tests have returns anything else.
func TestSame(t *testing.T) {
	const id, other = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10", "another 16 bytes"
	immutable := reset.Account{Kind: reset.ImmutableID, Value: base64.StdEncoding.EncodeToString([]byte(id))}
	guid := reset.Account{Kind: reset.ObjectGUID, Value: reset.FormatGUID([16]byte([]byte(id)))}
	sid := reset.Account{Kind: reset.SID, Value: "S-1-5-21-1"}
	upn := reset.Account{Kind: reset.UPN, Value: "Ada@corp"}
	tests := []struct {
		name    string
		account reset.Account
		found   map[string][]string
		want    reset.Code // empty: the same
	}{
		{"ConsistencyGuid", immutable, map[string][]string{"mS-DS-ConsistencyGuid": {id}, "objectGUID": {other}}, ""},
		{"objectGUID", immutable, map[string][]string{"objectGUID": {id}}, ""},
		{"another ConsistencyGuid", immutable, map[string][]string{"mS-DS-ConsistencyGuid": {other}, "objectGUID": {id}}, reset.AccountAmbiguous},
		{"another objectGUID", immutable, map[string][]string{"objectGUID": {other}}, reset.AccountNotFound},
		{"neither", immutable, nil, reset.AccountNotFound},
		{"by objectGUID", guid, map[string][]string{"objectGUID": {id}}, ""},
		{"by objectGUID, another", guid, map[string][]string{"objectGUID": {other}}, reset.AccountNotFound},
		{"by SID", sid, map[string][]string{"objectSid": {string(sid.Binary())}}, ""},
		{"by SID, a longer one", sid, map[string][]string{"objectSid": {string(sid.Binary()) + "\x00"}}, reset.AccountNotFound},
		{"by UPN", upn, map[string][]string{"USERPRINCIPALNAME": {"aDA@CORP"}}, ""},
		{"by UPN, accent", upn, map[string][]string{"userPrincipalName": {"Adá@corp"}}, reset.AccountNotFound},
		{"by UPN, none", upn, nil, reset.AccountNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := same(tt.account, attributes[tt.account.Kind], ldap.NewEntry("CN=x", tt.found))
			var e *reset.Error
			if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &e) || e.Code != tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
