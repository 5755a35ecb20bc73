package fakead

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

func cutAround(s, prefix, suffix string) (string, bool) {
	if len(s) < len(prefix)+len(suffix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return strings.CutSuffix(s[len(prefix):], suffix)
}

// parseGUID reads 32 hexadecimal digits, which are the bytes, or the form with
// dashes, whose first three fields are little-endian numbers (MS-DTYP 2.3.4).
func parseGUID(s string) ([]byte, bool) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != 16 {
		return nil, false
	}
	if len(s) == 32 {
		return raw, true
	}
	swapGUID(raw)
	return raw, strings.EqualFold(guidText(raw), s)
}

func guidText(raw []byte) string {
	g := append([]byte(nil), raw...)
	swapGUID(g)
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

func swapGUID(g []byte) {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
}

// sidBytes returns the binary form of a SID (MS-DTYP 2.4.2.2), nil if s is
// none.
func sidBytes(s string) []byte {
	parts := strings.Split(s, "-")
	if len(parts) < 4 || len(parts) > 18 || !strings.EqualFold(parts[0], "S") || parts[1] != "1" {
		return nil
	}
	authority, err := strconv.ParseUint(parts[2], 10, 48)
	if err != nil {
		return nil
	}
	raw := binary.BigEndian.AppendUint64(nil, authority)
	raw[0], raw[1] = 1, byte(len(parts)-3)
	for _, part := range parts[3:] {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil
		}
		raw = binary.LittleEndian.AppendUint32(raw, uint32(n))
	}
	return raw
}

// sidText is the text form of a SID, "" if raw is none.
func sidText(raw string) string {
	if len(raw) < 8 || len(raw) != 8+4*int(raw[1]) {
		return ""
	}
	var authority [8]byte
	copy(authority[2:], raw[2:8])
	text := fmt.Sprintf("S-%d-%d", raw[0], binary.BigEndian.Uint64(authority[:]))
	for i := 8; i < len(raw); i += 4 {
		text += fmt.Sprintf("-%d", binary.LittleEndian.Uint32([]byte(raw[i:])))
	}
	return text
}

// unquote returns what is between the quotes of a unicodePwd, in UTF-16LE
// (MS-ADTS 3.1.1.3.1.5).
func unquote(value string) (string, bool) {
	const quote = "\"\x00"
	if len(value) < 2*len(quote) || len(value)%2 != 0 {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimPrefix(value, quote), quote),
		strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote)
}

func encodeUTF16(s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

func decodeUTF16(s string) []uint16 {
	units := make([]uint16, len(s)/2)
	for i := range units {
		units[i] = uint16(s[2*i]) | uint16(s[2*i+1])<<8
	}
	return units
}
