package strictjson

import (
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string.
func (r *reader) text() (b []byte, err error) {
	if r.peek() != '"' {
		return nil, r.mismatch("a string")
	}
	r.pos++
	end := r.pos
	for ; end < len(r.data) && r.data[end] != '"'; end++ {
		if r.data[end] == '\\' {
			end++
		}
	}
	if end >= len(r.data) {
		return nil, r.malformed()
	}
	// It never grows, since every escape is longer than what it stands for:
	// 6 bytes for at most 3, 12 for 4.
	b = make([]byte, 0, end-r.pos)
	defer func() {
		if err != nil {
			clear(b)
			b = nil
		}
	}()
	for r.pos < end {
		switch c := r.data[r.pos]; {
		case c == '\\':
			char, size, err := r.escape(end)
			if err != nil {
				return b, err
			}
			b = utf8.AppendRune(b, char)
			r.pos += size
		case c < ' ':
			return b, r.malformed()
		default:
			_, size := utf8.DecodeRune(r.data[r.pos:end])
			if c >= utf8.RuneSelf && size == 1 {
				return b, r.fail("is not valid UTF-8")
			}
			b = append(b, r.data[r.pos:r.pos+size]...)
			r.pos += size
		}
	}
	r.pos = end + 1
	return b, nil
}

// escape returns what the escape at r.pos stands for, and its length.
func (r *reader) escape(end int) (char rune, size int, err error) {
	switch c := r.data[r.pos+1]; c {
	case '"', '\\', '/':
		return rune(c), 2, nil
	case 'b':
		return '\b', 2, nil
	case 'f':
		return '\f', 2, nil
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	}
	char, ok := unit(r.data[r.pos:end])
	if !ok {
		return 0, 0, r.malformed()
	}
	if !utf16.IsSurrogate(char) {
		return char, 6, nil
	}
	// RFC 8259 section 8.2 leaves open what half a pair means: nothing, here.
	second, _ := unit(r.data[r.pos+6 : end])
	if char = utf16.DecodeRune(char, second); char == utf8.RuneError {
		return 0, 0, r.fail("has half of a surrogate pair")
	}
	return char, 12, nil
}

// unit reads the UTF-16 unit that b begins with, as \u and four digits.
func unit(b []byte) (u rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		u <<= 4
		switch {
		case c >= '0' && c <= '9':
			u |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			u |= rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			u |= rune(c-'A') + 10
		default:
			return 0, false
		}
	}
	return u, true
}
