package seal

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
)

func TestSessionKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.key")
	if _, err := MakeKey(path, PurposeSession); err != nil {
		t.Fatal(err)
	}
	load := func() SessionKey {
		k, err := LoadSessionKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sealed := seal(t, load(), []byte("somebody"), "session", "corp")
	again := seal(t, load(), []byte("somebody"), "session", "corp")
	if bytes.Equal(sealed, again) {
		t.Error("two seals of one text are equal")
	}

	other := filepath.Join(t.TempDir(), "session.key")
	if _, err := MakeKey(other, PurposeSession); err != nil {
		t.Fatal(err)
	}
	stranger, err := LoadSessionKey(other)
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)-1] ^= 1
	tests := []struct {
		name   string
		key    SessionKey
		sealed []byte
		uses   []string
		opens  bool
	}{
		{"by another publisher", load(), sealed, []string{"session", "corp"}, true},
		{"for another use", load(), sealed, []string{"sign-in", "corp"}, false},
		{"for another tenant", load(), sealed, []string{"session", "corp2"}, false},
		{"with the same letters in other parts", load(), sealed, []string{"sessioncorp", ""}, false},
		{"altered", load(), altered, []string{"session", "corp"}, false},
		{"under another key", stranger, sealed, []string{"session", "corp"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			aead, err := tt.key.AEAD(tt.uses...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := aead.Open(nil, nil, tt.sealed, nil)
			if opens := err == nil; opens != tt.opens || opens && string(got) != "somebody" {
				t.Errorf("Open = %q, %v; want it to open: %t", got, err, tt.opens)
			}
		})
	}
	if got := fmt.Sprintf("%v %+v %x", load(), load(), load()); got != "[secret] [secret] [secret]" {
		t.Errorf("the key prints as %q", got)
	}
}

func TestSessionKeyOfAnotherPurpose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slot.key")
	if _, err := MakeKey(path, PurposeSlot); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSessionKey(path); err == nil {
		t.Error("a slot key was taken for a session key")
	}
}

func seal(t *testing.T, k SessionKey, plain []byte, uses ...string) []byte {
	t.Helper()
	aead, err := k.AEAD(uses...)
	if err != nil {
		t.Fatal(err)
	}
	return aead.Seal(nil, nil, plain, nil)
}
