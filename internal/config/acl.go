package config

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Service is the name of the consumer's service on Windows, and of the virtual
// account that it runs as: NT SERVICE\writeback-consumer.
const Service = "writeback-consumer"

// Those on Windows who are to others what root is on Unix (MS-DTYP 2.4.2.4).
const (
	localSystem    = "S-1-5-18"
	administrators = "S-1-5-32-544"
	ownerRights    = "S-1-3-4" // whoever owns the file, who is judged by name
)

// What an entry of an access list allows (MS-DTYP 2.4.3).
const (
	mayRead   uint32 = 0x8000_0000 | 0x1         // GENERIC_READ, FILE_READ_DATA
	mayChange uint32 = 0x4000_0000 | 0x2 | 0x4 | // GENERIC_WRITE, FILE_WRITE_DATA, FILE_APPEND_DATA
		0x1000_0000 | 0x1_0000 | 0x4_0000 | 0x8_0000 // GENERIC_ALL, DELETE, WRITE_DAC, WRITE_OWNER
)

// Kinds of entries that can be judged (MS-DTYP 2.4.4.1).
const (
	accessAllowed uint8 = 0
	accessDenied  uint8 = 1
	inheritOnly   uint8 = 0x8 // a flag: for what is made in a folder, not for the folder
)

// An ace is one entry of an access list.
type ace struct {
	kind, flags uint8
	mask        uint32
	sid         string // of kinds that can be judged
}

// An acl is who owns a file of Windows and who may do what with it: what mode and
// owner are on Unix.
type acl struct {
	owner   string
	missing bool // there is no list: everybody may do everything
	entries []ace
}

// closed returns an error, with what to do, unless the file belongs to us or to
// the system's administrators, and none but they and the service may do anything
// of denied. What an entry takes away counts for nothing.
func (a acl) closed(us string, denied uint32) error {
	trusted := []string{us, localSystem, administrators, serviceSID(Service)}
	if !slices.Contains(trusted, a.owner) {
		return fmt.Errorf("belongs to %s, neither to us nor to the administrators; use icacls FILE /setowner *%s", a.owner, administrators)
	}
	if a.missing {
		return fmt.Errorf("has no access list, so that everybody may do everything; use icacls FILE /reset")
	}
	for _, e := range a.entries {
		switch {
		case e.kind == accessDenied, e.flags&inheritOnly != 0:
		case e.kind != accessAllowed:
			return fmt.Errorf("has an entry of type %d in its access list, which is not understood", e.kind)
		case e.mask&denied != 0 && !slices.Contains(append(trusted, ownerRights), e.sid):
			return fmt.Errorf("lets %s in, who is neither us nor an administrator; use icacls FILE /inheritance:d /remove *%s", e.sid, e.sid)
		}
	}
	return nil
}

// serviceSID returns the SID of a service, and of its virtual account: the name's
// SHA-1 (MS-DTYP 2.4.2.4, NT SERVICE).
func serviceSID(name string) string {
	var text []byte
	for _, unit := range utf16.Encode([]rune(strings.ToUpper(name))) {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	sum := sha1.Sum(text)
	sid := "S-1-5-80"
	for i := 0; i < len(sum); i += 4 {
		sid += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sum[i:]))
	}
	return sid
}
