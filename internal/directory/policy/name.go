package policy

import (
	"strings"
	"unicode"
	"unicode/utf16"
)

// minName is the shortest name, or part of one, that a password must not
// contain, in UTF-16 units.
const minName = 3

// delimiters separate the parts of a displayName (MS-SAMR 3.1.1.7.2).
const delimiters = " ,.\t-_#"

// named is the name rule of MS-SAMR 3.1.1.7.2: no sAMAccountName as a whole,
// and no part of the displayName, whatever their case. MS-SAMR has it beside
// complexity, Windows tells administrators that it is part of it; Samba has
// none.
func (r Rules) named(text []rune, who Account) verdict {
	if r.Samba {
		return kept
	}
	v := kept
	for _, token := range tokens(who) {
		switch {
		case contains(text, token, sameCase) && r.Complexity:
			return broken
		case contains(text, token, anyCase):
			v = unsure
		}
	}
	return v
}

// tokens returns what a password must not contain.
func tokens(who Account) (list [][]rune) {
	parts := strings.FieldsFunc(who.DisplayName, func(r rune) bool { return strings.ContainsRune(delimiters, r) })
	for _, part := range append(parts, who.SAM) {
		if token := []rune(part); units(token) >= minName {
			list = append(list, token)
		}
	}
	return list
}

// contains reports whether token, which is not empty, is in text if characters
// count as equal that fold makes equal. It makes no copy of text.
func contains(text, token []rune, fold func(rune) rune) bool {
	for i := 0; i+len(token) <= len(text); i++ {
		n := 0
		for n < len(token) && fold(text[i+n]) == fold(token[n]) {
			n++
		}
		if n == len(token) {
			return true
		}
	}
	return false
}

// sameCase is the folding that Windows has for certain: one UTF-16 unit to one
// capital, where that capital has no other small letter.
func sameCase(r rune) rune {
	if u := unicode.ToUpper(r); r <= 0xFFFF && unicode.ToLower(u) == r {
		return u
	}
	return r
}

// anyCase is the widest folding of single characters that it can have:
// Unicode's simple case folding.
func anyCase(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// units returns how many UTF-16 units text has.
func units(text []rune) (n int) {
	for _, r := range text {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}
