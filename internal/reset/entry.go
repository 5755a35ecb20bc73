package reset

import "time"

// A Witness is what a directory said of an account just before a claim. Both
// values move with every password that is set. USNChanged also moves with other
// writes, among them the first sign-in and the first unlock of an account, and
// PwdLastSet becomes 0 where the password must be changed. Either of them equal
// later, on the same domain controller and not 0, proves that no password was
// set in between.
type Witness struct {
	DC         string // dnsHostName of the domain controller that was asked
	USNChanged uint64
	PwdLastSet int64 // FILETIME (100 ns since 1601); 0 says that the password must be changed
}

// FileTime converts a FILETIME (MS-DTYP 2.3.3: 100 ns since 1601), to UTC. A
// pwdLastSet of 0, which says that the password must be changed, becomes a time
// before all others.
func FileTime(ft int64) time.Time {
	const second, epoch = 10_000_000, 11_644_473_600 // 100 ns; 1601 to 1970 in seconds
	return time.Unix(ft/second-epoch, ft%second*100).UTC()
}

// An Entry is the one account that a request names, as a directory found it.
type Entry struct {
	DN      string
	GUID    [16]byte // objectGUID, raw
	Witness Witness

	// State, as the directory computes it.
	Disabled      bool // userAccountControl, ACCOUNTDISABLE
	SmartcardOnly bool // userAccountControl, SMARTCARD_REQUIRED: no password signs it in
	Expired       bool // accountExpires has passed
	Locked        bool // msDS-User-Account-Control-Computed, LOCKOUT

	Privileges Privileges
	Groups     []string // distinguished names of every group it is in, nested ones and the primary group included
}

// Privileges are the facts that make an account one that the cloud must not
// touch. The directory reports them; package guard judges.
type Privileges struct {
	AdminCount       bool   // adminCount is 1: AdminSDHolder protects it, or did once
	Group            bool   // in a group that administers the domain, directly or by other groups
	Critical         bool   // isCriticalSystemObject
	RID              uint32 // last part of objectSid; below 1000 the account is built in
	PrimaryGroup     uint32 // RID of the primary group; 513 and 514 are usual
	NotAUser         bool   // a computer, a trust, a managed service account: anything but a normal user account
	ServicePrincipal bool   // has a servicePrincipalName: a service runs as it
	Ourselves        bool   // the account that this program binds as
}
