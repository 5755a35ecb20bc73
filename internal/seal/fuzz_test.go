package seal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key file is read as a key of 32 bytes for its purpose, or refused without a
// word of what is in it.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("wbkey1 slot " + zeros + "\n"))
	f.Add([]byte("wbkey1 record-2026-11 " + zeros + "\nwbkey1 record-2026-12 " + zeros))
	f.Add([]byte("wbkey1 slot " + zeros + "\nwbkey1 slot " + zeros + "\n"))
	f.Add([]byte("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n"))
	f.Add([]byte("wbkey1 record-2026-13 " + zeros))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, purpose := range []Purpose{PurposePublisher, PurposeConsumer, PurposeSlot} {
			key, err := readKey(path, purpose)
			if (len(key) == keySize) != (err == nil) {
				t.Fatalf("%d bytes, %v", len(key), err)
			}
			if err == nil && strings.Count(string(data), string(purpose)) != 1 {
				t.Errorf("%q is read as a key for %s", data, purpose)
			}
			quiet(t, data, err)
		}
		months, err := LoadMonthKeys(path)
		if err == nil && strings.Count(string(data), "record-") != len(months.keys) {
			t.Errorf("%q is read as %d months", data, len(months.keys))
		}
		quiet(t, data, err)
	})
}

// quiet fails the test if an error repeats more of a key file than the 20
// characters of a purpose.
func quiet(t *testing.T, data []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, field := range strings.Fields(string(data)) {
		if len(field) > 20 && strings.Contains(err.Error(), field) {
			t.Errorf("the error repeats %q: %v", field, err)
		}
	}
}

// What is read as a public key is written in the same form.
func FuzzPublicKey(f *testing.F) {
	key := zeros[:len(zeros)-1]
	f.Add("wbpub1.publisher." + key)
	f.Add("wbpub1.consumer." + key)
	f.Add("wbpub1.publisher." + key[:42] + "B")
	f.Add("wbpub1.publisher." + key + "=")
	f.Add("wbpub1.publisher." + key[:20] + "\n" + key[20:])
	f.Fuzz(func(t *testing.T, text string) {
		for _, purpose := range []Purpose{PurposePublisher, PurposeConsumer} {
			key, err := ParsePublicKey(text, purpose)
			if err == nil && fmt.Sprint(key) != text {
				t.Errorf("%q is read as %q", text, key)
			}
		}
	})
}
