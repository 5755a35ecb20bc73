package rights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Sizes, in bytes (MS-DTYP 2.4.6, 2.4.5, 2.4.4.1, 2.4.2.2).
const (
	descriptorHead = 20
	listHead       = 8
	entryHead      = 4
	sidHead        = 8
	maxSubs        = 15 // parts of a SID after the first
)

// Bits of a descriptor's control field, and of an entry's flags.
const (
	listPresent   = 0x4
	listProtected = 0x1000
	selfRelative  = 0x8000

	containerInherit = 0x2
	inheritOnly      = 0x8
	inheritedEntry   = 0x10
)

// Kinds of entries (MS-DTYP 2.4.4.1). All others are about auditing or
// labels.
const (
	allowed               = 0x0
	denied                = 0x1
	allowedObject         = 0x5
	deniedObject          = 0x6
	allowedCallback       = 0x9
	deniedCallback        = 0xA
	allowedCallbackObject = 0xB
	deniedCallbackObjects = 0xC
)

// Parse reads a self-relative security descriptor (MS-DTYP 2.4.6) that was
// read with its access control list. One that says it has no such list is
// refused: it was not read, or not as a whole.
func Parse(descriptor []byte) (List, error) {
	if len(descriptor) < descriptorHead || descriptor[0] != 1 {
		return List{}, errors.New("not a security descriptor")
	}
	control := binary.LittleEndian.Uint16(descriptor[2:])
	if control&selfRelative == 0 || control&listPresent == 0 {
		return List{}, errors.New("a security descriptor without an access control list")
	}
	owner, err := parseOwner(descriptor)
	if err != nil {
		return List{}, err
	}
	offset := uint64(binary.LittleEndian.Uint32(descriptor[16:]))
	switch {
	case offset == 0: // a list is said to be there, and is not: all is granted
		return List{everyone: true, owner: owner}, nil
	case offset < descriptorHead || offset+listHead > uint64(len(descriptor)):
		return List{}, errors.New("the access control list lies outside of its descriptor")
	}
	acl := descriptor[offset:]
	size, count := int(binary.LittleEndian.Uint16(acl[2:])), int(binary.LittleEndian.Uint16(acl[4:]))
	if size < listHead || size > len(acl) {
		return List{}, errors.New("the access control list is cut off")
	}
	l := List{alone: control&listProtected != 0, owner: owner}
	rest := acl[listHead:size]
	for n := range count {
		if len(rest) < entryHead {
			return List{}, fmt.Errorf("entry %d of %d is missing", n+1, count)
		}
		size := int(binary.LittleEndian.Uint16(rest[2:]))
		if size < entryHead || size > len(rest) {
			return List{}, fmt.Errorf("entry %d of %d is cut off", n+1, count)
		}
		e, ok, err := parseEntry(rest[:size])
		if err != nil {
			return List{}, fmt.Errorf("entry %d of %d: %w", n+1, count, err)
		}
		if ok {
			l.entries = append(l.entries, e)
		}
		rest = rest[size:]
	}
	return l, nil
}

// parseOwner returns the SID of the owner, nil if that part was not read.
func parseOwner(descriptor []byte) ([]byte, error) {
	offset := uint64(binary.LittleEndian.Uint32(descriptor[4:]))
	if offset == 0 {
		return nil, nil
	}
	if offset < descriptorHead || offset > uint64(len(descriptor)) {
		return nil, errors.New("the owner lies outside of its descriptor")
	}
	return parseSID(descriptor[offset:])
}

// parseSID returns the SID that b begins with.
func parseSID(b []byte) ([]byte, error) {
	if len(b) < sidHead || b[0] != 1 || b[1] > maxSubs || len(b) < sidHead+4*int(b[1]) {
		return nil, errors.New("the SID is malformed")
	}
	return b[:sidHead+4*int(b[1])], nil
}

// parseEntry reads one entry. ok is whether it grants or denies at all; one that
// grants under a condition does, but nothing. An
// entry that is there to be inherited only has no say about the object itself,
// and that is what an entry for objects of another class becomes where it is
// inherited (MS-DTYP 2.5.3.4), so that the class need not be looked at.
func parseEntry(b []byte) (e entry, ok bool, err error) {
	kind := b[0]
	e.flags = b[1]
	e.deny = slices.Contains([]byte{denied, deniedObject, deniedCallback, deniedCallbackObjects}, kind)
	conditional := kind == allowedCallback || kind == allowedCallbackObject
	if !e.deny && !conditional && kind != allowed && kind != allowedObject {
		return entry{}, false, nil
	}
	b = b[entryHead:]
	if len(b) < 4 {
		return entry{}, false, errors.New("no access mask")
	}
	e.raw, b = binary.LittleEndian.Uint32(b), b[4:]
	if !conditional {
		e.mask = specific(e.raw)
	}
	if kind != allowed && kind != denied && kind != allowedCallback && kind != deniedCallback {
		if e.object, e.class, b, err = parseObject(b); err != nil {
			return entry{}, false, err
		}
	}
	// What follows the SID belongs to the condition, or to nobody.
	if e.sid, err = parseSID(b); err != nil {
		return entry{}, false, err
	}
	return e, true, nil
}

// parseObject reads what an entry is about and who inherits it (MS-DTYP
// 2.4.4.3), and returns what follows.
func parseObject(b []byte) (object, class, rest []byte, err error) {
	const objectPresent, classPresent, size = 1, 2, 16
	if len(b) < 4 {
		return nil, nil, nil, errors.New("no flags of its object")
	}
	present, b := binary.LittleEndian.Uint32(b), b[4:]
	var guids [2][]byte
	for i, bit := range []uint32{objectPresent, classPresent} {
		if present&bit == 0 {
			continue
		}
		if len(b) < size {
			return nil, nil, nil, errors.New("a GUID is cut off")
		}
		guids[i], b = b[:size], b[size:]
	}
	return guids[0], guids[1], b, nil
}

// specific adds what generic rights stand for (MS-ADTS 5.1.3.2), as far as it
// is asked for here.
func specific(mask uint32) uint32 {
	if mask&(genericRead|genericWrite|genericExec) != 0 {
		mask |= readControl
	}
	if mask&genericRead != 0 {
		mask |= readProperty
	}
	if mask&genericWrite != 0 {
		mask |= writeProperty
	}
	if mask&genericAll != 0 {
		mask |= readControl | readProperty | writeProperty | controlAccess | writeDAC | writeOwner
	}
	return mask
}
