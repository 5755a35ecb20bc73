package seal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writeback/internal/secret"
)

func TestMonthOf(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC), "2026-11"},
		{time.Date(2027, 1, 1, 0, 30, 0, 0, berlin), "2026-12"},
		{time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC), "2026-12"},
		{time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), "2027-01"},
	} {
		if got := MonthOf(tt.at).String(); got != tt.want {
			t.Errorf("MonthOf(%s) = %s, want %s", tt.at, got, tt.want)
		}
	}
}

func TestMakeMonthKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.key")
	// The 31st: adding months to it would skip short ones.
	if made, err := MakeMonthKeys(path, time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC), 3); made != 3 || err != nil {
		t.Fatalf("MakeMonthKeys = %d, %v", made, err)
	}
	first, _ := os.ReadFile(path)
	for month, want := range map[Month]bool{202609: false, 202610: true, 202611: true, 202612: true, 202701: false} {
		keys, err := LoadMonthKeys(path)
		if _, ok := keys.Key(month, "corp", [16]byte{1}); ok != want || err != nil {
			t.Errorf("a key for %s: %t, %v", month, ok, err)
		}
		if keys.Until() != 202612 {
			t.Errorf("the last month is %s", keys.Until())
		}
	}
	if made, err := MakeMonthKeys(path, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 2); made != 0 || err != nil {
		t.Errorf("MakeMonthKeys where all is there = %d, %v", made, err)
	}
	if made, err := MakeMonthKeys(path, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), 3); made != 2 || err != nil {
		t.Errorf("MakeMonthKeys where two are missing = %d, %v", made, err)
	}
	second, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(second), string(first)) || strings.Count(string(second), "\n") != 5 {
		t.Errorf("the old keys are not kept:\n%s\n%s", first, second)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

func TestMakeMonthKeysWithoutLastLineFeed(t *testing.T) {
	path := write(t, "wbkey1 record-2026-11 "+zeros, 0o600)
	if made, err := MakeMonthKeys(path, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 2); made != 1 || err != nil {
		t.Fatalf("MakeMonthKeys = %d, %v", made, err)
	}
	if keys, err := LoadMonthKeys(path); err != nil || len(keys.keys) != 2 {
		t.Errorf("the file holds %d keys afterwards, %v", len(keys.keys), err)
	}
}

func TestMonthKeysRefused(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"slot key", "wbkey1 slot " + zeros, "record-YEAR-MONTH"},
		{"no month", "wbkey1 record " + zeros, "record-YEAR-MONTH"},
		{"month 13", "wbkey1 record-2026-13 " + zeros, "record-YEAR-MONTH"},
		{"a day", "wbkey1 record-2026-11-01 " + zeros, "record-YEAR-MONTH"},
		{"one month twice", strings.Repeat("wbkey1 record-2026-11 "+zeros+"\n", 2), "second key for 2026-11"},
	}
	for _, tt := range tests {
		path := write(t, tt.text, 0o600)
		if _, err := LoadMonthKeys(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: LoadMonthKeys gives error %v, want %q", tt.name, err, tt.want)
		}
		if made, err := MakeMonthKeys(path, noon, 1); made != 0 || err == nil {
			t.Errorf("%s: MakeMonthKeys = %d, %v", tt.name, made, err)
		}
		if after, _ := os.ReadFile(path); string(after) != tt.text {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
	path := write(t, "wbkey1 record-2026-11 "+zeros+"\n", 0o640)
	if _, err := MakeMonthKeys(path, noon, 2); err == nil {
		t.Error("a file that others can read is added to")
	}
}

// Publishers of two versions must agree on these; they were computed by another
// program, from the texts of this package alone.
func TestDerivedKeysArePinned(t *testing.T) {
	slot := newSlotKey(make([]byte, keySize))
	months := MonthKeys{map[Month]secret.Value{202611: secret.New(make([]byte, keySize))}}
	id := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	record, _ := months.Key(202611, "corp", id)
	for _, tt := range []struct {
		name string
		got  string
		want string
	}{
		{"slot", fmt.Sprintf("%x", slot.Slot("corp", "upn", "ada")), "ba9dd9a9940fae6bc488b9f96a2c4896"},
		{"id", fmt.Sprintf("%x", slot.ID("corp", "portal", "k1")), "72e64aa3ca2fa68cf22981e43d4e8f48"},
		{"fingerprint", fmt.Sprintf("%x", slot.Fingerprint("ab", "c")), "a498cad492c6cc462073481cac6d03eb"},
		{"record key", fmt.Sprintf("%x", record[:]), "bf2edc0a03a542bb77d97392a0194451d3b1a756ac0fcd47c081c9c040a192a5"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestDerivedKeysDiffer(t *testing.T) {
	slot, other := newSlotKey(make([]byte, keySize)), newSlotKey(append(make([]byte, keySize-1), 1))
	macs := map[[16]byte]string{}
	for name, mac := range map[string][16]byte{
		"slot":                  slot.Slot("corp", "upn", "ada"),
		"other key":             other.Slot("corp", "upn", "ada"),
		"other tenant":          slot.Slot("corq", "upn", "ada"),
		"other kind":            slot.Slot("corp", "sid", "ada"),
		"other name":            slot.Slot("corp", "upn", "adb"),
		"parts shifted right":   slot.Slot("cor", "pupn", "ada"),
		"parts shifted left":    slot.Slot("corp", "upna", "da"),
		"empty part first":      slot.Slot("", "corpupn", "ada"),
		"empty part last":       slot.Slot("corp", "upnada", ""),
		"id of the same":        slot.ID("corp", "upn", "ada"),
		"fingerprint of it":     slot.Fingerprint("corp", "upn", "ada"),
		"fingerprint (ab, c)":   slot.Fingerprint("ab", "c"),
		"fingerprint (a, bc)":   slot.Fingerprint("a", "bc"),
		"fingerprint (abc)":     slot.Fingerprint("abc"),
		"fingerprint (x, y)":    slot.Fingerprint("x", "y"),
		"fingerprint (x0000y)":  slot.Fingerprint("x\x00\x00\x00\x00y"),
		"fingerprint (x0001y)":  slot.Fingerprint("x\x00\x00\x00\x01y"),
		"fingerprint (abc, '')": slot.Fingerprint("abc", ""),
	} {
		if same, ok := macs[mac]; ok {
			t.Errorf("%s and %s are the same", name, same)
		}
		macs[mac] = name
	}
	if first, again := slot.Slot("corp", "upn", "ada"), slot.Slot("corp", "upn", "ada"); first != again {
		t.Error("a slot differs from itself")
	}
	keys, err := LoadMonthKeys(write(t, "wbkey1 record-2026-11 "+zeros+"\nwbkey1 record-2026-12 "+strings.Replace(zeros, "A", "B", 1), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	derived := map[RecordKey]bool{}
	for _, m := range []Month{202611, 202612} {
		for _, tenant := range []string{"corp", "cor"} {
			for _, id := range [][16]byte{{'p'}, {1}} {
				k, ok := keys.Key(m, tenant, id)
				again, _ := keys.Key(m, tenant, id)
				if !ok || derived[k] || k != again || k == (RecordKey{}) {
					t.Errorf("the key of %s, %s, %x is not there, not new or not constant", m, tenant, id)
				}
				derived[k] = true
			}
		}
	}
}
