package seal

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"fmt"
	"strings"
	"testing"

	"writeback/internal/secret"
)

// testBox returns a box nobody can open: what opens is tested in unseal.
func testBox(t *testing.T) Box {
	t.Helper()
	key, err := hpke.MLKEM768X25519().DeriveKeyPair(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBox(key.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBodyHasConstantSizes(t *testing.T) {
	b := testBox(t)
	for _, n := range []int{1, 2, MaxRecipients} {
		boxes := make([]Box, n)
		for i := range boxes {
			boxes[i] = b
		}
		seen := make(map[[WrapSize]byte]bool)
		for _, size := range []int{0, 1024, 4096} {
			wraps, sealed, err := Body(boxes, []byte("header"), secret.New(make([]byte, size)))
			if err != nil || len(wraps) != n || len(sealed) != size+tagSize {
				t.Fatalf("sealing %d bytes for %d: %d wraps, %d bytes, %v", size, n, len(wraps), len(sealed), err)
			}
			for _, w := range wraps {
				if w.Box != b.ID || seen[w.Sealed] {
					t.Errorf("a wrap is for box %x, or the same as another one", w.Box)
				}
				seen[w.Sealed] = true
			}
		}
	}
	for _, n := range []int{0, MaxRecipients + 1} {
		if _, _, err := Body(make([]Box, n), nil, secret.Value{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Errorf("sealing for %d recipients gives error %v", n, err)
		}
	}
}

func TestNewBox(t *testing.T) {
	good := testBox(t).key.Bytes()
	for name, bad := range map[string][]byte{
		"nothing": nil, "cut": good[:PublicBoxSize-1], "longer": append(good[:PublicBoxSize:PublicBoxSize], 0),
		"coefficients beyond the modulus": bytes.Repeat([]byte{0xff}, PublicBoxSize),
	} {
		if _, err := NewBox(bad); err == nil {
			t.Errorf("%s is taken for a sealing key", name)
		}
	}
	other := bytes.Clone(good)
	other[PublicBoxSize-1] ^= 1
	if b, err := NewBox(other); err != nil || b.ID == testBox(t).ID {
		t.Errorf("another key has id %x, %v", b.ID, err)
	}
}

func TestRecordKey(t *testing.T) {
	k, other := RecordKey{1}, RecordKey{2}
	clear, private := []byte("clear"), []byte("private")
	sealed, err := k.Seal(clear, private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(clear, sealed); err != nil || !bytes.Equal(got, private) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if again, _ := k.Seal(clear, private); bytes.Equal(again, sealed) {
		t.Error("sealing twice gives the same bytes")
	}
	refused := func(what string, k RecordKey, clear, sealed []byte) {
		t.Helper()
		if got, err := k.Open(clear, sealed); err != ErrPrivate || got != nil {
			t.Errorf("%s: Open = %q, %v; want ErrPrivate alone", what, got, err)
		}
	}
	refused("other key", other, clear, sealed)
	refused("other clear part", k, []byte("clean"), sealed)
	for i := range sealed {
		refused(fmt.Sprintf("cut at %d", i), k, clear, sealed[:i])
		altered := bytes.Clone(sealed)
		altered[i] ^= 0x80
		refused(fmt.Sprintf("byte %d altered", i), k, clear, altered)
	}
	refused("longer", k, clear, append(sealed[:len(sealed):len(sealed)], 0))
	if errors.Unwrap(ErrPrivate) != nil {
		t.Error("ErrPrivate has a reason")
	}
}

// keyBytes is in every key of TestKeysAreNotPrinted.
var keyBytes = bytes.Repeat([]byte{0xab}, keySize)

func TestKeysAreNotPrinted(t *testing.T) {
	signer, err := NewSigner(PurposeConsumer, keyBytes)
	if err != nil {
		t.Fatal(err)
	}
	slot := newSlotKey(keyBytes)
	months := MonthKeys{map[Month]secret.Value{202611: secret.New(bytes.Clone(keyBytes))}}
	type inside struct {
		F  func() // makes fmt print the struct twice, the second time without methods
		S  *Signer
		s  *Signer
		k  SlotKey
		K  SlotKey
		m  MonthKeys
		M  MonthKeys
		pk *SlotKey
	}
	in := inside{func() {}, signer, signer, slot, slot, months, months, &slot}
	if out := fmt.Sprintf("%v %+v %#v %s %x %d", RecordKey(keyBytes), RecordKey(keyBytes), RecordKey(keyBytes),
		RecordKey(keyBytes), RecordKey(keyBytes), RecordKey(keyBytes)); out != strings.TrimSpace(strings.Repeat("[secret] ", 6)) {
		t.Errorf("a record key is printed as %s", out)
	}
	holders := []any{signer, slot, &slot, months, &months, in, &in, []SlotKey{slot}, map[string]any{"k": slot}, []inside{in}}
	for _, h := range holders {
		for _, verb := range strings.Split("v +v #v s q x X d t e p", " ") {
			out := strings.ToLower(fmt.Sprintf("%"+verb, h))
			for _, leak := range []string{"171 171", "171, 171", "abab", "0xab, 0xab", "\xab\xab", `\xab\xab`, "ab ab"} {
				if strings.Contains(out, leak) {
					t.Errorf("%%%s of %T prints a key: %.200s", verb, h, out)
				}
			}
		}
	}
}
