package reset

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A NameKind is a way to name an account. Its number is on the wire: add at
// the end.
type NameKind uint8

const (
	ImmutableID    NameKind = 1 // mS-DS-ConsistencyGuid or objectGUID, base64 of 16 bytes
	ObjectGUID     NameKind = 2 // objectGUID, 8-4-4-4-12 hexadecimal digits
	UPN            NameKind = 3 // userPrincipalName
	SAMAccountName NameKind = 4 // sAMAccountName
	SID            NameKind = 5 // objectSid, S-1-5-21-…
)

var nameKinds = map[NameKind]string{
	ImmutableID: "immutable_id", ObjectGUID: "object_guid", UPN: "upn",
	SAMAccountName: "sam_account_name", SID: "sid",
}

// NameKinds returns all kinds, in the order of their numbers.
func NameKinds() []NameKind { return []NameKind{ImmutableID, ObjectGUID, UPN, SAMAccountName, SID} }

// String returns the name that configuration, API and logs use.
func (k NameKind) String() string { return name(nameKinds, k) }

// ParseNameKind is the inverse of [NameKind.String].
func ParseNameKind(s string) (NameKind, error) { return parse(nameKinds, "kind of account name", s) }

// Longest names, in UTF-8 bytes. MS-ADA3 allows a userPrincipalName 1,024
// UTF-16 units and a sAMAccountName 256, of which a user has 20; what
// is longer cannot be an account that signs in.
const (
	maxUPN = 1024
	maxSAM = 256
	maxSID = 184
)

// An Account names one account of the directory. The zero Account names none.
type Account struct {
	Kind  NameKind
	Value string
}

// NewAccount returns the account that value names. Its error says which rule
// value breaks and does not repeat it.
func NewAccount(kind NameKind, value string) (Account, error) {
	a := Account{Kind: kind, Value: value}
	switch kind {
	case ImmutableID:
		raw, err := base64.StdEncoding.DecodeString(value)
		// Written back, because even a strict decoder skips line feeds.
		if err != nil || len(raw) != 16 || base64.StdEncoding.EncodeToString(raw) != value {
			return Account{}, errors.New("must be the base64 form of 16 bytes")
		}
		return a, nil
	case ObjectGUID:
		_, err := parseGUID(value)
		return a, err
	case SID:
		_, err := parseSID(value)
		return a, err
	case UPN:
		return a, validName(value, maxUPN)
	case SAMAccountName:
		return a, validName(value, maxSAM)
	}
	return Account{}, errors.New("unknown kind of account name")
}

// validName checks a name that people choose. Filter and DN metacharacters are
// allowed, because names contain them and every value is escaped; what no name
// in a directory can contain is not.
func validName(s string, limit int) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > limit:
		return fmt.Errorf("must have at most %d bytes", limit)
	case !utf8.ValidString(s):
		return errors.New("must be UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errors.New("must not contain control characters")
		}
	}
	return nil
}

// Binary returns the bytes that the directory stores for an ImmutableID, an
// ObjectGUID (MS-DTYP 2.3.4.2: the first three fields little-endian) or a SID
// (MS-DTYP 2.4.2.2), and nil for the other kinds.
func (a Account) Binary() []byte {
	var raw []byte
	switch a.Kind {
	case ImmutableID:
		raw, _ = base64.StdEncoding.DecodeString(a.Value)
	case ObjectGUID:
		raw, _ = parseGUID(a.Value)
	case SID:
		raw, _ = parseSID(a.Value)
	}
	return raw
}

// Canonical returns the one form of the account's name under which its
// requests wait for each other: equal for two values exactly if the directory
// side takes them for the same name.
func (a Account) Canonical() string {
	if raw := a.Binary(); raw != nil {
		return hex.EncodeToString(raw)
	}
	return Fold(a.Value)
}

// Fold returns s under Unicode simple case folding. The directory also matches
// accents and widths (MS-ADTS 6.5); what is found there is compared under Fold
// with what was asked, so that a look-alike is nobody's account.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		// The smallest rune of an orbit stands for all of it.
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// FormatGUID returns the text form of an objectGUID's 16 raw bytes.
func FormatGUID(raw [16]byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(raw[0:4]), binary.LittleEndian.Uint16(raw[4:6]),
		binary.LittleEndian.Uint16(raw[6:8]), raw[8:10], raw[10:16])
}

func parseGUID(s string) ([]byte, error) {
	errForm := errors.New("must be 32 hexadecimal digits in groups of 8-4-4-4-12")
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, errForm
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != 16 {
		return nil, errForm
	}
	raw[0], raw[1], raw[2], raw[3] = raw[3], raw[2], raw[1], raw[0]
	raw[4], raw[5] = raw[5], raw[4]
	raw[6], raw[7] = raw[7], raw[6]
	return raw, nil
}

func parseSID(s string) ([]byte, error) {
	errForm := errors.New("must have the form S-1-5-21-1-2-3-500")
	parts := strings.Split(s, "-")
	if len(s) > maxSID || len(parts) < 4 || len(parts) > 3+15 || parts[0] != "S" || parts[1] != "1" {
		return nil, errForm
	}
	authority, err := decimal(parts[2], 48)
	if err != nil {
		return nil, errForm
	}
	raw := []byte{1, byte(len(parts) - 3)}
	raw = append(raw, binary.BigEndian.AppendUint64(nil, authority)[2:]...)
	for _, p := range parts[3:] {
		sub, err := decimal(p, 32)
		if err != nil {
			return nil, errForm
		}
		raw = binary.LittleEndian.AppendUint32(raw, uint32(sub))
	}
	return raw, nil
}

// decimal parses a number that has one form only: no sign, no leading zero.
func decimal(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("not a plain decimal number")
	}
	return n, nil
}
