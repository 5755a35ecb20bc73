package reset

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const hexID = "00112233445566778899aabbccddeeff"

// What the promises need of the times, whatever their values.
func TestTimesKeepTheirOrder(t *testing.T) {
	tests := []struct {
		name            string
		shorter, longer time.Duration
	}{
		{"a modify is over before somebody takes over", Window + ModifyTimeout, TakeOver},
		{"a take-over fits into the grace", TakeOver, Grace},
		{"a doubt at the deadline is cleared before the slot is freed", Deadline + Window + ModifyTimeout + Grace, QueueAge},
		{"clocks that differ do not outlast the window's wait", ClockSkew, TakeOver},
		{"a consumer that left is forgotten before the deadline", Presence, Deadline},
		{"a copy published at the deadline has left the queue when life ends", Deadline + QueueAge, Life + 1},
	}
	for _, tt := range tests {
		if tt.shorter >= tt.longer {
			t.Errorf("%s: %s >= %s", tt.name, tt.shorter, tt.longer)
		}
	}
}

func TestParseID(t *testing.T) {
	tests := []struct {
		name, s string
		ok      bool
	}{
		{"an id", hexID, true},
		{"capitals", strings.ToUpper(hexID), false},
		{"one capital", hexID[:31] + "F", false},
		{"short", hexID[:31], false},
		{"long", hexID + "0", false},
		{"not hexadecimal", "g" + hexID[1:], false},
		{"dashes", "00112233-4455-6677-8899-aabbccdd", false},
		{"NUL", hexID[:31] + "\x00", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		id, err := ParseID(tt.s)
		if (err == nil) != tt.ok || tt.ok && id.String() != tt.s {
			t.Errorf("%s: ParseID(%q) = %s, %v", tt.name, tt.s, id, err)
		}
		if !tt.ok && id != (ID{}) {
			t.Errorf("%s: ParseID(%q) returns %s beside its error", tt.name, tt.s, id)
		}
	}
}

func TestNewIDIsRandom(t *testing.T) {
	seen := make(map[ID]bool)
	for range 100 {
		id := NewID()
		if got, err := ParseID(id.String()); got != id || err != nil {
			t.Fatalf("ParseID(%q) = %s, %v", id, got, err)
		}
		seen[id] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 ids are %d different ones", len(seen))
	}
}

func TestParseRef(t *testing.T) {
	longest := strings.Repeat("p", 24)
	tests := []struct {
		name, s string
		ok      bool
	}{
		{"a reference", "pub_1-" + hexID, true},
		{"longest name", longest + "-" + hexID, true},
		{"name too long", longest + "p-" + hexID, false},
		{"beyond the length of any", strings.Repeat("p", 65) + "-" + hexID, false},
		{"no name", "-" + hexID, false},
		{"no dash", hexID, false},
		{"no id", "pub-", false},
		{"dash in the name", "pub-1-" + hexID, false},
		{"dot in the name", "pub.1-" + hexID, false},
		{"wildcard", "*-" + hexID, false},
		{"path", "../pub-" + hexID, false},
		{"capital", "Pub-" + hexID, false},
		{"id in capitals", "pub-" + strings.ToUpper(hexID), false},
		{"line feed", "pub-" + hexID + "\n", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		ref, err := ParseRef(tt.s)
		if (err == nil) != tt.ok || tt.ok && ref.String() != tt.s {
			t.Errorf("%s: ParseRef(%q) = %s, %v", tt.name, tt.s, ref, err)
		}
	}
	if n := len(Ref{Publisher: longest}.String()); n > MaxIDLength {
		t.Errorf("a reference can have %d characters, more than MaxIDLength", n)
	}
}

func TestValidName(t *testing.T) {
	for _, s := range []string{"a", "corp_1", "0", "_", strings.Repeat("z", 24)} {
		if err := ValidName(s); err != nil {
			t.Errorf("ValidName(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "A", "a.b", "a-b", "a b", "a>", "*", "a/b", "é", "a\x00", strings.Repeat("z", 25)} {
		if ValidName(s) == nil {
			t.Errorf("ValidName(%q) accepts it", s)
		}
	}
}

func TestOutcomeOf(t *testing.T) {
	refused := &Error{Code: PasswordTooShort, Details: Details{MinLength: 8}, Err: errors.New("cause")}
	tests := []struct {
		name string
		err  error
		code Code
		ok   bool
	}{
		{"nil", nil, Applied, true},
		{"classified", refused, PasswordTooShort, true},
		{"classified and wrapped", fmt.Errorf("modifying: %w", refused), PasswordTooShort, true},
		{"classified among others", errors.Join(errors.New("x"), refused), PasswordTooShort, true},
		{"unclassified", errors.New("x"), "", false},
		{"no answer", ErrUnanswered, "", false},
		{"no directory", fmt.Errorf("binding: %w", ErrDirectoryUnavailable), "", false},
		{"wrapped without %w", fmt.Errorf("%v", refused), "", false},
	}
	for _, tt := range tests {
		o, ok := OutcomeOf(tt.err)
		if ok != tt.ok || o.Code != tt.code {
			t.Errorf("%s: OutcomeOf(%v) = %q, %t; want %q, %t", tt.name, tt.err, o.Code, ok, tt.code, tt.ok)
		}
		if tt.code == PasswordTooShort && o.Details.MinLength != 8 {
			t.Errorf("%s: the details are lost", tt.name)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	cause := errors.New("cause")
	tests := []struct {
		err  error
		want string
	}{
		{&Error{Code: Expired}, "expired"},
		{&Error{Code: Expired, Err: cause}, "expired: cause"},
		{&Refusal{Code: TooMany}, "too_many"},
		{&Refusal{Code: TooMany, Err: cause}, "too_many: cause"},
		{BadField("account.upn", "must have at most %d bytes", 7), "invalid account.upn: must have at most 7 bytes"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("error is %q, want %q", got, tt.want)
		}
	}
	for _, err := range []error{&Error{Code: Expired, Err: cause}, &Refusal{Code: TooMany, Err: cause}} {
		if !errors.Is(err, cause) {
			t.Errorf("%v does not unwrap to its cause", err)
		}
	}
}
