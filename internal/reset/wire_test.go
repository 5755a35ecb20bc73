package reset

import (
	"slices"
	"strings"
	"testing"
)

// These numbers and names are on the wire, in configurations and in other
// people's scripts: a row may be added, none may change.
func TestNumbersAndNamesArePinned(t *testing.T) {
	codes := []string{
		"applied", "applied_partly", "password_too_short", "password_too_simple", "password_contains_name",
		"password_in_history", "password_too_recent", "password_refused", "wrong_password", "account_not_found",
		"account_ambiguous", "account_disabled", "account_locked", "account_protected", "not_permitted",
		"operation_off", "in_progress", "invalid", "unreadable", "directory_error", "expired", "unconfirmed",
	}
	if got := Codes(); len(got) != len(codes) {
		t.Fatalf("there are %d codes, %d are pinned", len(got), len(codes))
	}
	for i, want := range codes {
		number := uint8(i + 1)
		code, err := CodeNumbered(number)
		if err != nil || string(code) != want || Codes()[i] != code || code.Number() != number {
			t.Errorf("code %d is %q (number %d, error %v), want %q", number, code, code.Number(), err, want)
		}
	}
	tests := []struct {
		kind       string
		number     uint8
		name, want string
	}{
		{"operation", uint8(Reset), Reset.String(), "1 reset"},
		{"operation", uint8(Change), Change.String(), "2 change"},
		{"operation", uint8(Unlock), Unlock.String(), "3 unlock"},
		{"operation", uint8(Probe), Probe.String(), "4 probe"},
		{"actor", uint8(Self), Self.String(), "1 self"},
		{"actor", uint8(Admin), Admin.String(), "2 admin"},
		{"name", uint8(ImmutableID), ImmutableID.String(), "1 immutable_id"},
		{"name", uint8(ObjectGUID), ObjectGUID.String(), "2 object_guid"},
		{"name", uint8(UPN), UPN.String(), "3 upn"},
		{"name", uint8(SAMAccountName), SAMAccountName.String(), "4 sam_account_name"},
		{"name", uint8(SID), SID.String(), "5 sid"},
	}
	for _, tt := range tests {
		if got := string('0'+rune(tt.number)) + " " + tt.name; got != tt.want {
			t.Errorf("%s is %q, want %q", tt.kind, got, tt.want)
		}
	}
}

func TestCodeNumbersOutsideTheSet(t *testing.T) {
	for _, n := range []uint8{0, uint8(len(Codes()) + 1), 255} {
		if code, err := CodeNumbered(n); err == nil {
			t.Errorf("CodeNumbered(%d) = %q, want an error", n, code)
		}
	}
	for _, c := range []Code{"", "Applied", "directory_unavailable", "interrupted"} {
		if n := c.Number(); n != 0 {
			t.Errorf("Code(%q).Number() = %d, want 0", c, n)
		}
	}
}

func TestCodesIsACopy(t *testing.T) {
	Codes()[0] = "changed"
	if Codes()[0] != Applied {
		t.Error("a caller of Codes can change the closed set")
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for i, o := range Operations() {
		if got, err := ParseOperation(o.String()); got != o || err != nil || int(o) != i+1 {
			t.Errorf("operation %d: ParseOperation(%q) = %d, %v", i+1, o, got, err)
		}
	}
	for i, k := range NameKinds() {
		if got, err := ParseNameKind(k.String()); got != k || err != nil || int(k) != i+1 {
			t.Errorf("kind of name %d: ParseNameKind(%q) = %d, %v", i+1, k, got, err)
		}
	}
	for _, k := range []ActorKind{Self, Admin} {
		if got, err := ParseActorKind(k.String()); got != k || err != nil {
			t.Errorf("ParseActorKind(%q) = %d, %v", k, got, err)
		}
	}
	if len(Operations()) != len(operations) || len(NameKinds()) != len(nameKinds) {
		t.Error("a list of all values misses one that has a name")
	}
}

func TestUnknownNames(t *testing.T) {
	const canary = "c4nary"
	for _, s := range []string{"", "Reset", "reset ", "unknown (0)", canary} {
		_, err1 := ParseOperation(s)
		_, err2 := ParseActorKind(s)
		_, err3 := ParseNameKind(s)
		for _, err := range []error{err1, err2, err3} {
			if err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("parsing %q gives error %v, want one that does not repeat it", s, err)
			}
		}
	}
	if got := Operation(9).String(); got != "unknown (9)" {
		t.Errorf("Operation(9) is %q", got)
	}
}

func TestRefusalCodes(t *testing.T) {
	want := []RefusalCode{
		"invalid", "unauthenticated", "forbidden", "unknown_request", "too_large", "unsupported_media_type",
		"idempotency_conflict", "too_many", "no_consumer", "broker_unavailable", "clock",
	}
	if got := RefusalCodes(); !slices.Equal(got, want) {
		t.Errorf("RefusalCodes() = %q, want %q", got, want)
	}
}
