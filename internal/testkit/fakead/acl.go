package fakead

import (
	"fmt"
	"slices"
)

// Access rights (MS-ADTS 5.1.3.2) and flags of access control entries (MS-DTYP
// 2.4.4.1).
const (
	readProperty  = 0x10
	writeProperty = 0x20
	controlRight  = 0x100
	readControl   = 0x20000
	readAll       = readControl | readProperty | 0x4 | 0x80 // list contents, list object
	fullControl   = 0xF01FF

	containerInherit = 0x2
	inheritOnly      = 0x8
	inherited        = 0x10
)

// An ace grants or denies. The GUIDs are the 16 bytes, "" for all.
type ace struct {
	deny   bool
	flags  byte
	mask   uint32
	object string // a property, a set of them, or a control right
	class  string // whose objects inherit it
	sid    string // binary
}

// A Right is what a service account needs for password writeback.
type Right int

// The rights. Everyone holds ChangePassword on every user by default, and
// Authenticated Users hold UnexpirePassword on the domain.
const (
	ResetPassword Right = iota
	ChangePassword
	WriteLockoutTime
	WritePwdLastSet
	UnexpirePassword // works only on the domain itself
)

// Rights returns all of them.
func Rights() []Right {
	return []Right{ResetPassword, ChangePassword, WriteLockoutTime, WritePwdLastSet, UnexpirePassword}
}

// guid returns the GUID as bytes; s must be one.
func guid(s string) string {
	raw, _ := parseGUID(s)
	return string(raw)
}

// object returns what a right is the right to (MS-ADTS 5.1.3.2.1, MS-ADA1,
// MS-ADA3).
func (r Right) object() string {
	return guid(map[Right]string{
		ResetPassword:    "00299570-246d-11d0-a768-00aa006e0529",
		ChangePassword:   "ab721a53-1e2f-11d0-9819-00aa0040529b",
		WriteLockoutTime: "28630ebf-41d5-11d1-a9c1-0000f80367c1",
		WritePwdLastSet:  "bf967a0a-0de6-11d0-a285-00aa003049e2",
		UnexpirePassword: "ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501",
	}[r])
}

func (r Right) mask() uint32 {
	if r == WriteLockoutTime || r == WritePwdLastSet {
		return writeProperty
	}
	return controlRight
}

// accountRestrictions is the property set that pwdLastSet and others belong
// to, but not lockoutTime.
const accountRestrictions = "4c164200-20c0-11d0-a768-00aa006e0529"

// classGUID returns the schemaIDGUID of the class that an object is of, "" for
// those that no entry here is about.
func classGUID(e *entry) string {
	classes := e.attrs["objectClass"]
	if len(classes) == 0 {
		return ""
	}
	return guid(map[string]string{
		"user":          "bf967aba-0de6-11d0-a285-00aa003049e2",
		"computer":      "bf967a86-0de6-11d0-a285-00aa003049e2",
		"group":         "bf967a9c-0de6-11d0-a285-00aa003049e2",
		"inetOrgPerson": "4828cc14-1437-45bc-9b07-ad6f015e5f28",
	}[classes[len(classes)-1]])
}

// dacl returns the access control list of e in its canonical order: its own
// entries, denials first, then those of each ancestor, nearest first.
func (d *domain) dacl(e *entry) []ace {
	if e.kept {
		return d.holder.acl
	}
	list := slices.Clone(e.acl)
	class := classGUID(e)
	for p := e; p.parent != nil && !p.kept && !p.alone; {
		p = p.parent
		from := p.acl
		if p.kept {
			from = d.holder.acl
		}
		for _, a := range from {
			if a.flags&containerInherit == 0 {
				continue
			}
			if a.flags = a.flags&^inheritOnly | inherited; a.class != "" && a.class != class {
				a.flags |= inheritOnly
			}
			list = append(list, a)
		}
	}
	return list
}

// allows is the access check of MS-ADTS 5.1.3.3 for one right: the first entry
// that speaks of it decides. The objects are the GUIDs that name what is asked
// for; without one only an entry for everything does.
func (d *domain) allows(token []string, e *entry, mask uint32, objects ...string) bool {
	for _, a := range d.dacl(e) {
		if a.flags&inheritOnly != 0 || a.mask&mask == 0 ||
			a.object != "" && !slices.Contains(objects, a.object) || !holds(token, e, a.sid) {
			continue
		}
		return !a.deny
	}
	return false
}

// holds says whether sid is one of those that act; SELF is the object's own.
func holds(token []string, e *entry, sid string) bool {
	if slices.Contains(token, sid) {
		return true
	}
	own := e.attrs["objectSid"]
	return sid == string(sidBytes(sidSelf)) && len(own) == 1 && slices.Contains(token, own[0])
}

// may says whether the token has a right on e.
func (d *domain) may(token []string, e *entry, r Right) bool {
	return d.allows(token, e, r.mask(), r.object())
}

// Lists that new objects get (MS-ADSC, defaultSecurityDescriptor), as far as
// they matter here.

func (d *domain) full(trustees ...string) []ace {
	var list []ace
	for _, t := range trustees {
		list = append(list, ace{mask: fullControl, sid: string(sidBytes(t))})
	}
	return list
}

func (d *domain) admins() string { return fmt.Sprintf("%s-%d", d.sid, ridDomainAdmins) }

func (d *domain) accountACL() []ace {
	list := d.full(d.admins(), sidSystem, sidAccountOps)
	list = append(list, ace{mask: readAll, sid: string(sidBytes(sidSelf))},
		ace{mask: readControl, sid: string(sidBytes(sidAuthenticated))})
	return append(list, d.changeACL()...)
}

// changeACL lets everyone change passwords that they know.
func (d *domain) changeACL() []ace {
	if d.noChange {
		return nil
	}
	var list []ace
	for _, s := range []string{sidSelf, sidEveryone} {
		list = append(list, ace{mask: controlRight, object: ChangePassword.object(), sid: string(sidBytes(s))})
	}
	return list
}

func (d *domain) groupACL() []ace {
	return append(d.full(d.admins(), sidSystem, sidAccountOps),
		ace{mask: readAll, sid: string(sidBytes(sidAuthenticated))})
}

// rootACL is the domain's: the ends of the inherited ones, and what
// Authenticated Users may.
func (d *domain) rootACL() []ace {
	list := d.full(d.admins(), d.sid+"-519", sidSystem, sidAdmins)
	for i := range list {
		list[i].flags = containerInherit
	}
	return append(list, ace{mask: readAll, sid: string(sidBytes(sidAuthenticated))},
		ace{mask: controlRight, object: UnexpirePassword.object(), sid: string(sidBytes(sidAuthenticated))})
}

// holderACL is what AdminSDHolder gives to the accounts that it protects:
// nobody else resets them, and everyone still changes what they know.
func (d *domain) holderACL() []ace {
	list := append(d.full(d.admins(), d.sid+"-519", sidSystem, sidAdmins),
		ace{mask: readAll, sid: string(sidBytes(sidAuthenticated))})
	return append(list, d.changeACL()...)
}
