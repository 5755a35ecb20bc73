package reset

// A Witness is what a directory said of an account just before a claim. Both
// values move with every password that is set, and with nothing that leaves
// the password alone but, for USNChanged, other writes to the account. Equal
// values later, on the same domain controller, prove that no password was set
// in between.
type Witness struct {
	DC         string // dnsHostName of the domain controller that was asked
	USNChanged uint64
	PwdLastSet int64 // FILETIME (100 ns since 1601); 0 says that the password must be changed
}

// An Entry is the one account that a request names, as a directory found it.
type Entry struct {
	DN      string
	GUID    [16]byte // objectGUID, raw
	Witness Witness
}
