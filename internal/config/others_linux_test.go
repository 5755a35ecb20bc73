package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	aclOwner = 0x01
	aclMask  = 0x10
	aclOther = 0x20
	nobody   = 65534
)

type entry struct {
	tag, perm uint16
	id        uint32
}

func accessList(entries ...entry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// A file whose access list lets us alone in is as good as one of ours: systemd hands
// credentials over so.
func TestAccessList(t *testing.T) {
	us, none := uint32(os.Geteuid()), ^uint32(0)
	owner, group, mask, other := entry{aclOwner, 4, none}, entry{aclGroupObj, 0, none}, entry{aclMask, 4, none}, entry{aclOther, 0, none}
	for _, tt := range []struct {
		name string
		list []byte
		want bool
	}{
		{"us", accessList(owner, entry{aclUser, 4, us}, group, mask, other), true},
		{"somebody else", accessList(owner, entry{aclUser, 4, nobody}, group, mask, other), false},
		{"us and somebody else", accessList(owner, entry{aclUser, 4, us}, entry{aclUser, 4, nobody}, group, mask, other), false},
		{"somebody else, with nothing", accessList(owner, entry{aclUser, 4, us}, entry{aclUser, 0, nobody}, group, mask, other), true},
		{"the file's group", accessList(owner, entry{aclUser, 4, us}, entry{aclGroupObj, 4, none}, mask, other), false},
		{"another group", accessList(owner, entry{aclUser, 4, us}, group, entry{aclGroup, 4, nobody}, mask, other), false},
		{"everybody", accessList(owner, entry{aclUser, 4, us}, group, mask, entry{aclOther, 4, none}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "credential")
			if err := os.WriteFile(path, []byte("x"), 0o400); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setxattr(path, "system.posix_acl_access", tt.list, 0); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o070 == 0 {
				t.Fatalf("the mode is %v, %v: the list is not in force", info.Mode(), err)
			}
			f, err := OpenSecret(path)
			if err == nil {
				f.Close()
			}
			if (err == nil) != tt.want {
				t.Errorf("OpenSecret: %v", err)
			}
		})
	}
	for name, list := range map[string][]byte{
		"nothing": nil, "a header only, of another version": {3, 0, 0, 0}, "half an entry": accessList(owner)[:9],
	} {
		if forUs(list, us) {
			t.Errorf("%s is believed", name)
		}
	}
}
