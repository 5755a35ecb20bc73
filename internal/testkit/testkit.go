// Package testkit describes the real servers that tests and the demo use. The
// packages below it start them: samba (one domain controller, or two), fakead
// (what Samba cannot do), broker (nats-server), pki (certificates for all of
// them).
//
// Nothing outside tests, benchmarks and cmd/demo imports it.
package testkit

// A Directory says how to reach a directory and what is in it. Its passwords
// are made up for one run.
type Directory struct {
	Kind            string `json:"kind"` // "samba" or "fake"
	URL             string `json:"url"`  // ldaps://address:port
	CAFile          string `json:"ca"`   // PEM
	BaseDN          string `json:"base_dn"`
	AdminDN         string `json:"admin_dn"` // a domain administrator, for preparing and proving only
	AdminPassword   string `json:"admin_password"`
	ServiceDN       string `json:"service_dn"` // has the delegated rights on StaffDN and nothing else
	ServicePassword string `json:"service_password"`
	StaffDN         string `json:"staff_dn"` // the organisational unit of Users
	Users           []User `json:"users"`    // twenty at least
}

// A User is an account of a Directory.
type User struct {
	DN             string `json:"dn"`
	UPN            string `json:"upn"`
	SAMAccountName string `json:"sam_account_name"`
	ObjectGUID     string `json:"object_guid"`  // 8-4-4-4-12 hex digits
	ImmutableID    string `json:"immutable_id"` // base64 of mS-DS-ConsistencyGuid if that is set, else of objectGUID
	SID            string `json:"sid"`
	Password       string `json:"password"`
}
