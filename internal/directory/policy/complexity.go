package policy

import (
	"math/bits"
	"unicode"
)

// Classes are a set of the categories of characters.
type classes uint8

const (
	upper   classes = 1 << iota // A to Z
	lower                       // a to z
	digits                      // 0 to 9
	symbols                     // the 32 of ASCII, without the space
	letters                     // any other letter
)

// minClasses is how many of them a complex password has.
const minClasses = 3

func (c classes) count() int { return bits.OnesCount8(uint8(c)) }

// names returns the set in the words of [reset.Details.Categories].
func (c classes) names() (list []string) {
	for i, name := range []string{"upper", "lower", "digits", "symbols", "letters"} {
		if c&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// simple is the complexity of MS-SAMR 3.1.1.7.2, and the categories that are
// present by it. A character can be in none: spaces, control characters,
// currency signs, combining marks, emoji.
func (r Rules) simple(text []rune) (verdict, classes) {
	readings := []func(rune) classes{bySpec, byEditor, basic(bySpec), basic(byEditor)}
	if r.Samba {
		readings = []func(rune) classes{bySamba}
	}
	present := classesOf(text, bySpec)
	if !r.Complexity {
		return kept, present
	}
	least, most := 8, 0
	for _, class := range readings {
		n := classesOf(text, class).count()
		least, most = min(least, n), max(most, n)
	}
	switch {
	case most < minClasses:
		return broken, present
	case least < minClasses:
		return unsure, present
	}
	return kept, present
}

func classesOf(text []rune, class func(rune) classes) (c classes) {
	for _, r := range text {
		c |= class(r)
	}
	return c
}

// bySpec is MS-SAMR 3.1.1.7.2: letters are the Unicode categories Lu, Ll, Lt,
// Lm and Lo, and none of ASCII, or "Password" would have three categories,
// which Windows is known to refuse. (The ranges that the document gives for
// A to Z and a to z miss some of them, which is a slip of the pen.)
func bySpec(r rune) classes {
	switch {
	case 'A' <= r && r <= 'Z':
		return upper
	case 'a' <= r && r <= 'z':
		return lower
	case '0' <= r && r <= '9':
		return digits
	case '!' <= r && r <= '~':
		return symbols
	case unicode.IsLetter(r): // none of ASCII is left
		return letters
	}
	return 0
}

// byEditor is what Windows tells administrators ("Password must meet
// complexity requirements"): accented, Greek and Cyrillic capitals are upper
// case, and only what is neither upper nor lower case is another letter.
func byEditor(r rune) classes {
	switch {
	case unicode.IsUpper(r):
		return upper
	case unicode.IsLower(r):
		return lower
	}
	return bySpec(r)
}

// basic is a reading in which a character of two UTF-16 units is no letter:
// Windows classifies the units, and half of a pair is nothing.
func basic(class func(rune) classes) func(rune) classes {
	return func(r rune) classes {
		if r > 0xFFFF {
			return 0
		}
		return class(r)
	}
}

// bySamba is check_password_quality in Samba's lib/util/genrand_util.c: a
// character beyond ASCII is of the case that has another one, in tables of the
// first 65,536, and else in the last category, whether it is a letter or not.
func bySamba(r rune) classes {
	switch {
	case r <= unicode.MaxASCII:
		return bySpec(r)
	case r <= 0xFFFF && unicode.ToLower(r) != r:
		return upper
	case r <= 0xFFFF && unicode.ToUpper(r) != r:
		return lower
	}
	return letters
}
