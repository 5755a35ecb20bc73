package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// filetime is the inverse of fileTime.
func filetime(t time.Time) int64 {
	return (t.Unix()+11_644_473_600)*10_000_000 + int64(t.Nanosecond())/100
}

func attempt(password string) Attempt {
	return Attempt{
		Account:  Account{SAM: "adal", DisplayName: "Ada Lovelace", PwdLastSet: filetime(now.Add(-time.Hour))},
		Password: secret.New([]byte(password)), FullPolicy: true, At: now,
	}
}

func TestExplain(t *testing.T) {
	all := Rules{Known: true, MinLength: 8, Complexity: true, History: 24}
	aged := Rules{Known: true, MinLength: 8, Complexity: true, History: 24, MinAge: 24 * time.Hour}
	const good = "Correct-Horse1"
	tests := []struct {
		name     string
		rules    Rules
		password string
		change   func(*Attempt)
		code     reset.Code
		detail   string // the details' text
	}{
		{"too short", all, "Aa1-xyz", nil, reset.PasswordTooShort, "8"},
		{"too short and too simple", all, "abc", nil, reset.PasswordTooShort, "8"},
		{"too simple", all, "alllowercase1", nil, reset.PasswordTooSimple, "lower digits"},
		{"in no category at all", all, "        €", nil, reset.PasswordTooSimple, ""},
		{"account name", all, "x-AdAl-12345", nil, reset.PasswordContainsName, ""},
		{"part of the display name", all, "1-lovelace-A", nil, reset.PasswordContainsName, ""},
		{"nothing to prove", all, good, nil, reset.PasswordRefused, "history filter"},
		{"nothing but a filter", Rules{Known: true}, "x", nil, reset.PasswordRefused, "filter"},
		{"no rule on names for certain", Rules{Known: true}, "adalovelace", nil, reset.PasswordRefused, "name filter"},
		{"unknown", Rules{}, "x", nil, reset.PasswordRefused, "length complexity name history minimum_age filter"},
		{"unknown, what else it says", Rules{MinLength: 99, MinAge: time.Hour}, "x", nil, reset.PasswordRefused, "length complexity name history minimum_age filter"},
		{"unknown, history not asked for", Rules{}, "x", func(a *Attempt) { a.FullPolicy = false }, reset.PasswordRefused, "length complexity name filter"},
		{"history not asked for", aged, good, func(a *Attempt) { a.FullPolicy = false }, reset.PasswordRefused, "filter"},
		{"too recent", aged, good, nil, reset.PasswordTooRecent, "2026-11-23T09:00:00Z"},
		{"too recent before too short", aged, "x", nil, reset.PasswordTooRecent, "2026-11-23T09:00:00Z"},
		{"too recent, a fraction later", aged, good, func(a *Attempt) { a.Account.PwdLastSet++ }, reset.PasswordTooRecent, "2026-11-23T09:00:01Z"},
		{"must be changed", aged, good, func(a *Attempt) { a.Account.PwdLastSet = 0 }, reset.PasswordRefused, "history filter"},
		{"old enough", aged, good, func(a *Attempt) { a.At = now.Add(23*time.Hour + 6*time.Second) }, reset.PasswordRefused, "history filter"},
		{"old enough by our clock", aged, good, func(a *Attempt) { a.At = now.Add(23*time.Hour + 4*time.Second) }, reset.PasswordRefused, "history minimum_age filter"},
		{"too recent by our clock", aged, good, func(a *Attempt) { a.At = now.Add(23*time.Hour - 4*time.Second) }, reset.PasswordRefused, "history minimum_age filter"},
		{"a time out of this world", aged, good, func(a *Attempt) { a.Account.PwdLastSet = 1<<63 - 1 }, reset.PasswordRefused, "history minimum_age filter"},
		{"changed to itself", all, good, func(a *Attempt) { a.Current = secret.New([]byte(good)) }, reset.PasswordInHistory, ""},
		{"changed to almost itself", all, good, func(a *Attempt) { a.Current = secret.New([]byte(good + "x")) }, reset.PasswordRefused, "history filter"},
		{"changed to itself, nothing remembered", Rules{Known: true}, good, func(a *Attempt) { a.Current = secret.New([]byte(good)) }, reset.PasswordRefused, "filter"},
		{"changed to itself, rules unknown", Rules{}, good, func(a *Attempt) { a.Current = secret.New([]byte(good)) }, reset.PasswordRefused, "length complexity name history minimum_age filter"},
		{"no password required, too short", all, "abc", func(a *Attempt) { a.Account.NotRequired = true }, reset.PasswordRefused, "length complexity history filter"},
		{"no password required, too recent", aged, good, func(a *Attempt) { a.Account.NotRequired = true }, reset.PasswordRefused, "history minimum_age filter"},
		{"Samba has no name rule", Rules{Known: true, Complexity: true, History: 1, Samba: true}, "x-AdAl-12345", nil, reset.PasswordRefused, "history filter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attempt(tt.password)
			if tt.change != nil {
				tt.change(&a)
			}
			o := tt.rules.Explain(a)
			var detail string
			d := o.Details
			switch {
			case d.MinLength != 0:
				detail = map[uint16]string{8: "8"}[d.MinLength]
			case !d.Earliest.IsZero():
				detail = d.Earliest.Format(time.RFC3339Nano)
			default:
				detail = strings.Join(append(d.Categories, d.Candidates...), " ")
			}
			if o.Code != tt.code || detail != tt.detail {
				t.Errorf("got %s %+v, want %s %q", o.Code, d, tt.code, tt.detail)
			}
		})
	}
}

func TestLength(t *testing.T) {
	for password, want := range map[string]int{
		"": 0, "abc": 3, "äöü": 3, "日本語": 3,
		"\U0001F511":             2, // one character, a surrogate pair
		"e\u0301":                2, // a combining mark counts
		strings.Repeat("x", 256): 256,
		strings.Repeat("𝒜", 128): 256,
	} {
		text := decode(secret.New([]byte(password)))
		if got := units(text); got != want || got != secret.Units([]byte(password)) {
			t.Errorf("%q has %d units, want %d", password, got, want)
		}
		for min, verdict := range map[int]verdict{want: kept, want + 1: broken} {
			if got := (Rules{Known: true, MinLength: min}).short(text); got != verdict {
				t.Errorf("%q with a minimum of %d is %d, want %d", password, min, got, verdict)
			}
		}
	}
}

func TestComplexity(t *testing.T) {
	tests := []struct {
		password string
		windows  verdict
		samba    verdict
		present  string // by MS-SAMR
	}{
		{"abcABC123", kept, kept, "upper lower digits"},
		{"Password", broken, broken, "upper lower"},
		{"Password ", broken, broken, "upper lower"}, // a space is in no category
		{"Pass word\u00a0", broken, kept, "upper lower"},
		{"Password€", broken, kept, "upper lower"}, // nor is a currency sign
		{"Password\u0301", broken, kept, "upper lower"},
		{"Password\U0001F511", broken, kept, "upper lower"}, // a surrogate pair that is no letter
		{"Password\U0001D49C", unsure, kept, "upper lower letters"},
		{"Password日", kept, kept, "upper lower letters"},
		{"Passwordé", unsure, broken, "upper lower letters"}, // another letter, or another lower case
		{"ééÉÉ", broken, broken, "letters"},
		{"ééÉÉ11", unsure, kept, "digits letters"},
		{"пароль1A", kept, kept, "upper digits letters"},
		{"Пароль", broken, broken, "letters"},
		{"日本語-1", kept, kept, "digits symbols letters"},
		{"ªº1-", kept, kept, "digits symbols letters"},
		{"١٢٣aB", broken, kept, "upper lower"}, // digits that are not of ASCII
		{"\x01\x7faB", broken, broken, "upper lower"},
		{"", broken, broken, ""},
	}
	for _, tt := range tests {
		text := decode(secret.New([]byte(tt.password)))
		for samba, want := range map[bool]verdict{false: tt.windows, true: tt.samba} {
			got, present := Rules{Complexity: true, Samba: samba}.simple(text)
			if list := strings.Join(present.names(), " "); got != want || list != tt.present {
				t.Errorf("%q is %d with %q, want %d with %q (Samba: %t)", tt.password, got, list, want, tt.present, samba)
			}
			if got, _ := (Rules{Samba: samba}).simple(text); got != kept {
				t.Errorf("%q is %d where nothing is asked", tt.password, got)
			}
		}
	}
}

// The 32 symbols, and nothing else of ASCII.
func TestSymbols(t *testing.T) {
	const listed = "`~!@#$%^&*_-+=|\\{}[]():;\"'<>,.?/"
	var found []rune
	for r := rune(0); r <= 0x7F; r++ {
		if bySpec(r) == symbols {
			found = append(found, r)
		}
		if a, b, c := bySpec(r), byEditor(r), bySamba(r); a != b || b != c {
			t.Errorf("%q is %d, %d and %d", r, a, b, c)
		}
	}
	want := []rune(listed)
	slices.Sort(want)
	if !slices.Equal(found, want) || len(found) != 32 {
		t.Errorf("the symbols are %q, want %q", string(found), string(want))
	}
}

func TestDecode(t *testing.T) {
	const password = "aü\U0001F511\x00"
	text := decode(secret.New([]byte(password)))
	if string(text) != password || cap(text) != len(text) {
		t.Errorf("decoded %q, %d of %d", string(text), len(text), cap(text))
	}
	if text := decode(secret.Value{}); len(text) != 0 {
		t.Errorf("nothing is decoded to %q", string(text))
	}
}
