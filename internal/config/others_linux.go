package config

import (
	"encoding/binary"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// others returns the permissions of f that somebody besides its owner and us has.
// With an access list, a mode shows as its group's what the list gives to anybody at
// all (acl(5)); systemd makes a list that lets the service's user alone read a
// credential, which is root's.
func others(f *os.File, perm fs.FileMode) fs.FileMode {
	if perm&0o070 == 0 {
		return perm
	}
	list := make([]byte, 256) // far above what is believed
	n, err := unix.Fgetxattr(int(f.Fd()), "system.posix_acl_access", list)
	if err != nil || !forUs(list[:n], uint32(os.Geteuid())) {
		return perm
	}
	return perm &^ 0o070
}

// Tags of an access list (linux/posix_acl.h).
const (
	aclVersion  = 2
	aclUser     = 0x02 // a user by name
	aclGroupObj = 0x04 // the file's group
	aclGroup    = 0x08 // a group by name
)

// forUs reports whether an access list (linux/posix_acl_xattr.h) gives nothing to any
// group, and nothing to any user by name but uid.
func forUs(list []byte, uid uint32) bool {
	const header, entry = 4, 8
	if len(list) < header || len(list)%entry != header || binary.LittleEndian.Uint32(list) != aclVersion {
		return false
	}
	for e := list[header:]; len(e) > 0; e = e[entry:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		switch {
		case perm == 0:
		case tag == aclGroupObj, tag == aclGroup, tag == aclUser && id != uid:
			return false
		}
	}
	return true
}
