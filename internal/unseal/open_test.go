package unseal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"writeback/internal/seal"
	"writeback/internal/secret"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func testKeyring(t *testing.T, dir string, now time.Time) *Keyring {
	t.Helper()
	k, err := NewKeyring(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func boxFor(t *testing.T, k *Keyring) seal.Box {
	t.Helper()
	public, _ := k.Public()
	b, err := seal.NewBox(public)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealFor(t *testing.T, header, body string, rings ...*Keyring) ([]seal.Wrap, []byte) {
	t.Helper()
	var boxes []seal.Box
	for _, k := range rings {
		boxes = append(boxes, boxFor(t, k))
	}
	wraps, sealed, err := seal.Body(boxes, []byte(header), secret.New([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	return wraps, sealed
}

func TestEveryRecipientOpens(t *testing.T) {
	for _, n := range []int{1, seal.MaxRecipients} {
		var rings []*Keyring
		for range n {
			rings = append(rings, testKeyring(t, "", noon))
		}
		wraps, body := sealFor(t, "header", "body", rings...)
		for i, k := range rings {
			if got, err := k.Open(wraps, []byte("header"), body); err != nil || string(got) != "body" {
				t.Errorf("recipient %d of %d: Open = %q, %v", i+1, n, got, err)
			}
		}
		stranger := testKeyring(t, "", noon)
		if got, err := stranger.Open(wraps, []byte("header"), body); err != ErrNoBox || got != nil {
			t.Errorf("somebody else: Open = %q, %v; want ErrNoBox", got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	a, b := testKeyring(t, "", noon), testKeyring(t, "", noon)
	wraps, body := sealFor(t, "header", "body", a, b)
	otherWraps, otherBody := sealFor(t, "header", "body", a, b)
	swapped := []seal.Wrap{{Box: wraps[0].Box, Sealed: wraps[1].Sealed}, {Box: wraps[1].Box, Sealed: wraps[0].Sealed}}
	tests := []struct {
		name   string
		wraps  []seal.Wrap
		header string
		body   []byte
		want   error
	}{
		{"control", wraps, "header", body, nil},
		{"wraps in another order", []seal.Wrap{wraps[1], wraps[0]}, "header", body, nil},
		{"other header", wraps, "headex", body, ErrOpen},
		{"no header", wraps, "", body, ErrOpen},
		{"header with more", wraps, "header\x00", body, ErrOpen},
		{"contents of wraps swapped", swapped, "header", body, ErrOpen},
		{"wraps of another request", otherWraps, "header", body, ErrOpen},
		{"body of another request", wraps, "header", otherBody, ErrOpen},
		{"only the other's wrap", wraps[1:], "header", body, ErrNoBox},
		{"no wraps", nil, "header", body, ErrNoBox},
		{"empty wraps", make([]seal.Wrap, 2), "header", body, ErrNoBox},
		{"no body", wraps, "header", nil, ErrOpen},
		{"body with more", wraps, "header", append(body[:len(body):len(body)], 0), ErrOpen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := a.Open(tt.wraps, []byte(tt.header), tt.body)
			if err != tt.want || err != nil && got != nil {
				t.Errorf("Open = %q, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// A wrap for one box, put under the id of another whose key is held as well,
// must not open: the box's id is in the info of the sealing.
func TestOpenUnderAnotherBoxOfOurs(t *testing.T) {
	k := testKeyring(t, "", noon)
	wraps, body := sealFor(t, "header", "body", k)
	if err := k.Rotate(noon.Add(Use)); err != nil {
		t.Fatal(err)
	}
	wraps[0].Box = boxFor(t, k).ID
	if got, err := k.Open(wraps, []byte("header"), body); err != ErrOpen {
		t.Errorf("Open = %q, %v; want ErrOpen", got, err)
	}
}

func TestOpenEveryAlteredByte(t *testing.T) {
	k := testKeyring(t, "", noon)
	wraps, body := sealFor(t, "header", "body", k)
	header := []byte("header")
	refused := func(what string, i int, want error) {
		t.Helper()
		if got, err := k.Open(wraps, header, body); err != want || got != nil {
			t.Errorf("byte %d of the %s altered: Open = %q, %v; want %v", i, what, got, err, want)
		}
	}
	for _, part := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"header", header, ErrOpen}, {"box id", wraps[0].Box[:], ErrNoBox}, {"wrap", wraps[0].Sealed[:], ErrOpen}, {"body", body, ErrOpen},
	} {
		for i := range part.bytes {
			bit := byte(1) << (i % 8)
			part.bytes[i] ^= bit
			refused(part.name, i, part.want)
			part.bytes[i] ^= bit
		}
	}
	for i := range body {
		if got, err := k.Open(wraps, header, body[:i]); err != ErrOpen || got != nil {
			t.Errorf("body cut at %d: Open = %q, %v", i, got, err)
		}
	}
	if got, err := k.Open(wraps, header, body); err != nil || string(got) != "body" {
		t.Errorf("the control does not open: %q, %v", got, err)
	}
	for _, err := range []error{ErrOpen, ErrNoBox} {
		if errors.Unwrap(err) != nil {
			t.Errorf("%v has a reason", err)
		}
	}
}

func TestKeyringIsNotPrinted(t *testing.T) {
	k := testKeyring(t, "", noon)
	private, err := k.boxes[0].key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	inside := struct {
		F func()
		k *Keyring
	}{func() {}, k}
	for _, h := range []any{k, inside, &inside, []*Keyring{k}} {
		for _, verb := range []string{"v", "+v", "#v", "s", "x", "d"} {
			out := []byte(fmt.Sprintf("%"+verb, h))
			for _, form := range []string{"%d", "%x", "%s"} {
				if leak := bytes.Trim(fmt.Appendf(nil, form, private), "[]"); bytes.Contains(out, leak) {
					t.Errorf("%%%s of %T prints a private key", verb, h)
				}
			}
		}
	}
	if got := fmt.Sprint(k); got != "[secret]" {
		t.Errorf("a keyring is printed as %q", got)
	}
}

func FuzzOpen(f *testing.F) {
	k, err := NewKeyring("", noon)
	if err != nil {
		f.Fatal(err)
	}
	public, _ := k.Public()
	box, err := seal.NewBox(public)
	if err != nil {
		f.Fatal(err)
	}
	wraps, body, err := seal.Body([]seal.Box{box}, []byte("header"), secret.New([]byte("body")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wraps[0].Sealed[:], []byte("header"), body)
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, wrap, header, sealed []byte) {
		w := seal.Wrap{Box: box.ID}
		copy(w.Sealed[:], wrap)
		got, err := k.Open([]seal.Wrap{w}, header, sealed)
		same := bytes.HasPrefix(wrap, wraps[0].Sealed[:]) && string(header) == "header" && slices.Equal(sealed, body)
		if same != (err == nil) || err != nil && (err != ErrOpen || got != nil) {
			t.Errorf("Open = %q, %v; sealed by us: %t", got, err, same)
		}
	})
}
