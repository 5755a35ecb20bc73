package policy

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

func TestName(t *testing.T) {
	tests := []struct {
		name         string
		password     string
		sam, display string
		want         verdict
	}{
		{"whole name", "xadalx", "adal", "", broken},
		{"whole name, other case", "xAdAlx", "aDaL", "", broken},
		{"the password is the name", "adal", "adal", "", broken},
		{"part of the name", "xada", "adal", "", kept},
		{"name of three", "xadax", "ada", "", broken},
		{"name of two", "xadx", "ad", "", kept},
		{"name is not split", "lovelace", "ada.lovelace", "", kept},
		{"name with delimiters", "x-ada.lovelace", "ada.lovelace", "", broken},
		{"at the beginning", "ada123", "ada", "", broken},
		{"at the end", "123ada", "ada", "", broken},
		{"almost, then for certain", "adadal", "adal", "", broken},
		{"name longer than the password", "ada", "adalovelace", "", kept},
		{"space", "xlovelacex", "", "Ada Lovelace", broken},
		{"comma", "xlovelacex", "", "Lovelace,Ada", broken},
		{"full stop", "xlovelacex", "", "Ada.Lovelace", broken},
		{"tab", "xlovelacex", "", "Ada\tLovelace", broken},
		{"dash", "xlovelacex", "", "Ada-Lovelace", broken},
		{"underscore", "xlovelacex", "", "Ada_Lovelace", broken},
		{"number sign", "xlovelacex", "", "Ada#Lovelace", broken},
		{"apostrophe is none", "xlovelacex", "", "Ada'Lovelace", kept},
		{"slash is none", "xlovelacex", "", "Ada/Lovelace", kept},
		{"no-break space is none", "xlovelacex", "", "Ada\u00a0Lovelace", kept},
		{"several at once", "xlovelacex", "", " ,.-_#\tLovelace, ", broken},
		{"whole display name", "adalovelace", "", "Ada Lovelace", broken},
		{"initial", "xmx", "", "Erin M. Hagens", kept},
		{"two letters", "xjox", "", "Jo Lee", kept},
		{"three letters", "xleex", "", "Jo Lee", broken},
		{"part of a part", "xhagen", "", "Erin M. Hagens", kept},
		{"nothing but delimiters", " ,.-", "", " ,.-_#", kept},
		{"no names", "x", "", "", kept},
		{"no password", "", "ada", "", kept},
		{"umlaut, other case", "xMÜLLERx", "", "Müller", broken},
		{"Greek, other case", "xΣΟΦΊΑx", "", "σοφία", broken},
		{"final sigma", "xΛΌΓΟΣx", "", "λόγος", unsure},
		{"Cyrillic, other case", "xиванx", "", "ИВАН", broken},
		{"accents are not ignored", "xmullerx", "", "Müller", kept},
		{"another normal form", "xmu\u0308llerx", "", "Müller", kept},
		{"sharp s has no single capital", "xSTRASSEx", "", "Straße", kept},
		{"Kelvin sign", "xmar\u212ax", "", "Mark", unsure},
		{"long s", "xro\u017fe", "", "Rose", unsure},
		{"dotless i", "xI\u0131S", "", "Iris", kept},
		{"surrogate pair", "x\U0001F511ax", "", "\U0001F511a", broken}, // three units
		{"surrogate pair alone", "x\U0001F511x", "", "\U0001F511", kept},
		{"letters beyond the BMP, other case", "x\U00010400\U00010401x", "", "\U00010428\U00010429", unsure},
		{"not UTF-8", "xadalx", "ada\xff", "\xff\xfe\xfd", kept},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, who := []rune(tt.password), Account{SAM: tt.sam, DisplayName: tt.display}
			if got := (Rules{Complexity: true}).named(text, who); got != tt.want {
				t.Errorf("%q in %q and %q is %d, want %d", tt.password, tt.sam, tt.display, got, tt.want)
			}
			if got := (Rules{}).named(text, who); got != min(tt.want, unsure) {
				t.Errorf("without complexity it is %d", got)
			}
			if got := (Rules{Complexity: true, Samba: true}).named(text, who); got != kept {
				t.Errorf("on Samba it is %d", got)
			}
		})
	}
}

// slowly decides the name rule on strings of UTF-16 units, in the words of
// the document.
func slowly(password string, who Account, fold func(rune) rune) bool {
	in := func(name string) bool {
		if len(utf16.Encode([]rune(name))) <= 2 {
			return false
		}
		p, n := utf16.Encode([]rune(strings.Map(fold, password))), utf16.Encode([]rune(strings.Map(fold, name)))
		for i := range p {
			if len(p)-i >= len(n) && slices.Equal(p[i:i+len(n)], n) {
				return true
			}
		}
		return false
	}
	if in(who.SAM) {
		return true
	}
	portion := ""
	for _, c := range who.DisplayName + "#" {
		switch c {
		case 0x20, 0x2c, 0x2e, 0x09, 0x2d, 0x5f, 0x23:
			if in(portion) {
				return true
			}
			portion = ""
		default:
			portion += string(c)
		}
	}
	return false
}

func FuzzName(f *testing.F) {
	f.Add("xAdalx", "adal", "Ada Lovelace")
	f.Add("xMÜLLERx", "mü", "Müller,Jörg-Uwe\tvon_der#Tann.")
	f.Add("x\U0001F511ax", "\U0001F511a", "\u212aelvin \u017fam")
	f.Add("\xff", "ada\xff", "\xed\xa0\x80\xed\xb0\x80")
	f.Fuzz(func(t *testing.T, password, sam, display string) {
		if len(password) > 2048 || len(sam)+len(display) > 2048 {
			return // longer than names and passwords are
		}
		who := Account{SAM: sam, DisplayName: display}
		want := kept
		switch {
		case slowly(password, who, sameCase):
			want = broken
		case slowly(password, who, anyCase):
			want = unsure
		}
		if got := (Rules{Complexity: true}).named([]rune(password), who); got != want {
			t.Errorf("%q in %q and %q is %d, want %d", password, sam, display, got, want)
		}
		if slowly(password, who, sameCase) && !slowly(password, who, anyCase) {
			t.Errorf("%q in %q and %q: certain, and not possible", password, sam, display)
		}
	})
}
