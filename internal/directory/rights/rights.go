// Package rights says whether an account holds the rights on an object that
// password writeback needs, from the object's access control list and the SIDs
// with which the account acts. It is the access check of MS-ADTS 5.1.3.3 for
// those rights and no others.
//
// It says what a domain controller would, for an object that is not the acting
// account itself: SELF is not among its SIDs unless the caller puts it there.
// Conditional entries (MS-DTYP 2.4.4.17) are not evaluated: they grant nothing
// and deny always. Nothing is asked of a directory here.
package rights

import (
	"bytes"
	"slices"
)

// A Right is one that password writeback needs, or one with which somebody
// comes to have what it has.
type Right int

// The rights that are needed. All but the last are on the account.
const (
	ResetPassword Right = iota
	WriteLockoutTime
	WritePwdLastSet
	ReadProperties   // all of them: what is hidden looks as if it were not there
	ReadPermissions  // to look at the others
	UnexpirePassword // on the domain: without it a reset leaves the password expired
)

// The rights that give an account, or a domain, away.
const (
	ModifyPermissions Right = iota + UnexpirePassword + 1
	ModifyOwner             // an owner may modify permissions
	WriteKeys               // msDS-KeyCredentialLink: to sign in with a key of one's own
	ReplicateSecrets        // on the domain: to copy everybody's password hashes
	endOfRights
)

// Bits of an access mask (MS-ADTS 5.1.3.2).
const (
	readProperty  = 0x10
	writeProperty = 0x20
	controlAccess = 0x100
	readControl   = 0x20000
	writeDAC      = 0x40000
	writeOwner    = 0x80000
	genericRead   = 0x80000000
	genericWrite  = 0x40000000
	genericExec   = 0x20000000
	genericAll    = 0x10000000
)

// A need is what an entry must say to be about a right.
type need struct {
	name    string
	mask    uint32
	objects [][16]byte // the control right, or the property and its property set
}

// need returns what r is. The GUIDs are those of MS-ADTS 5.1.3.2.1 (control
// rights) and of MS-ADA1 and MS-ADA3 (schemaIDGUID; lockoutTime is in no
// property set, pwdLastSet in User-Account-Restrictions).
func (r Right) need() need {
	switch r {
	case ResetPassword: // 00299570-246d-11d0-a768-00aa006e0529
		return need{"Reset Password", controlAccess, [][16]byte{
			{0x70, 0x95, 0x29, 0x00, 0x6d, 0x24, 0xd0, 0x11, 0xa7, 0x68, 0x00, 0xaa, 0x00, 0x6e, 0x05, 0x29}}}
	case WriteLockoutTime: // 28630ebf-41d5-11d1-a9c1-0000f80367c1
		return need{"Write lockoutTime", writeProperty, [][16]byte{
			{0xbf, 0x0e, 0x63, 0x28, 0xd5, 0x41, 0xd1, 0x11, 0xa9, 0xc1, 0x00, 0x00, 0xf8, 0x03, 0x67, 0xc1}}}
	case WritePwdLastSet: // bf967a0a-0de6-11d0-a285-00aa003049e2, 4c164200-20c0-11d0-a768-00aa006e0529
		return need{"Write pwdLastSet", writeProperty, [][16]byte{
			{0x0a, 0x7a, 0x96, 0xbf, 0xe6, 0x0d, 0xd0, 0x11, 0xa2, 0x85, 0x00, 0xaa, 0x00, 0x30, 0x49, 0xe2},
			{0x00, 0x42, 0x16, 0x4c, 0xc0, 0x20, 0xd0, 0x11, 0xa7, 0x68, 0x00, 0xaa, 0x00, 0x6e, 0x05, 0x29}}}
	case ReadProperties:
		return need{"Read all properties", readProperty, nil}
	case ReadPermissions:
		return need{"Read Permissions", readControl, nil}
	case ModifyPermissions:
		return need{"Modify Permissions", writeDAC, nil}
	case ModifyOwner:
		return need{"Modify Owner", writeOwner, nil}
	case WriteKeys: // 5b47d60f-6090-40b2-9f37-2a4de88f3063
		return need{"Write msDS-KeyCredentialLink", writeProperty, [][16]byte{
			{0x0f, 0xd6, 0x47, 0x5b, 0x90, 0x60, 0xb2, 0x40, 0x9f, 0x37, 0x2a, 0x4d, 0xe8, 0x8f, 0x30, 0x63}}}
	case ReplicateSecrets: // 1131f6ad-9c07-11d1-f79f-00c04fc2dcd2
		return need{"Replicating Directory Changes All", controlAccess, [][16]byte{
			{0xad, 0xf6, 0x31, 0x11, 0x07, 0x9c, 0xd1, 0x11, 0xf7, 0x9f, 0x00, 0xc0, 0x4f, 0xc2, 0xdc, 0xd2}}}
	case UnexpirePassword: // ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501
		return need{"Unexpire Password", controlAccess, [][16]byte{
			{0x7d, 0xdc, 0xc2, 0xcc, 0xad, 0xa6, 0x7a, 0x4a, 0x88, 0x46, 0xc0, 0x4e, 0x3c, 0xc5, 0x35, 0x01}}}
	}
	return need{name: "no right"} // which no entry grants
}

// String is the right's name as administrators know it.
func (r Right) String() string { return r.need().name }

// A List is a discretionary access control list, with the owner if that was
// read too. The zero List grants nothing.
type List struct {
	entries  []entry // in the order in which they are checked
	everyone bool    // there is a descriptor without a list, which grants all
	alone    bool    // what is granted above does not come down to it
	owner    []byte  // nil if it was not read
}

// An entry grants or denies.
type entry struct {
	deny   bool
	flags  byte
	raw    uint32 // mask as it is written
	mask   uint32 // with what generic rights stand for; 0 if there is a condition on it
	object []byte // 16 bytes: what it is about; nil is everything
	class  []byte // 16 bytes: whose objects inherit it; nil is all
	sid    []byte
}

// Allows reports whether who acts with the SIDs in token has a right. The
// first entry that speaks of it decides; where none does, the answer is no.
//
// The owner's implied rights (MS-DTYP 2.5.3.2) are not among those here.
func (l List) Allows(token [][]byte, r Right) bool {
	return l.everyone || l.decides(token, r, onItself)
}

// HandsDown reports whether an entry that was made on this very object gives a
// right on objects below it, of whatever class.
func (l List) HandsDown(token [][]byte, r Right) bool {
	return l.decides(token, r, func(e entry) bool {
		return e.flags&inheritedEntry == 0 && e.flags&containerInherit != 0
	})
}

// Denied returns to whom of those in token an entry denies a right on the
// object; nil if none does, or only after one that grants it.
func (l List) Denied(token [][]byte, r Right) (sid []byte, inherited bool) {
	e, ok := l.first(token, r, onItself)
	if !ok || !e.deny {
		return nil, false
	}
	return e.sid, e.flags&inheritedEntry != 0
}

// decides reports whether the first entry that speaks of r to somebody in token
// grants it.
func (l List) decides(token [][]byte, r Right, counts func(entry) bool) bool {
	e, ok := l.first(token, r, counts)
	return ok && !e.deny
}

// first returns the first entry that speaks of r to somebody in token.
func (l List) first(token [][]byte, r Right, counts func(entry) bool) (entry, bool) {
	want := r.need()
	for _, e := range l.entries {
		if counts(e) && e.speaks(want) && among(token, e.sid) {
			return e, true
		}
	}
	return entry{}, false
}

func onItself(e entry) bool { return e.flags&inheritOnly == 0 }

// Inherits reports whether the object has what is granted on those above it.
func (l List) Inherits() bool { return !l.alone }

// Owner returns the SID of the owner, who may modify the permissions; nil if it
// was not read.
func (l List) Owner() []byte { return l.owner }

func (e entry) speaks(want need) bool {
	return e.mask&want.mask != 0 && (e.object == nil ||
		slices.ContainsFunc(want.objects, func(o [16]byte) bool { return bytes.Equal(o[:], e.object) }))
}

func among(token [][]byte, sid []byte) bool {
	return slices.ContainsFunc(token, func(s []byte) bool { return bytes.Equal(s, sid) })
}
