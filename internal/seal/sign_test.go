package seal

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func testSigner(t *testing.T, purpose Purpose, first byte) *Signer {
	t.Helper()
	s, err := NewSigner(purpose, append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testPins(t *testing.T, pins ...Pin) Pins {
	t.Helper()
	checked, err := NewPins(pins)
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

// kinds are pinned: another context would make every signature invalid.
var kinds = map[Kind]string{
	KindRequest: "writeback/1 request", KindRecord: "writeback/1 record", KindAnnounce: "writeback/1 announce",
	KindSwitch: "writeback/1 switch", KindEvent: "writeback/1 event",
}

func TestSignatureIsForOneKind(t *testing.T) {
	s := testSigner(t, PurposePublisher, 1)
	pins := testPins(t, Pin{Key: s.Public()})
	message := []byte("message")
	for made, context := range kinds {
		if string(made) != context {
			t.Errorf("kind %q must stay %q", made, context)
		}
		sig := s.Sign(made, message)
		if len(sig) != SignatureSize {
			t.Errorf("a signature has %d bytes", len(sig))
		}
		for asked := range kinds {
			if ok := pins.Verify(s.Public().ID(), noon, asked, message, sig); ok != (made == asked) {
				t.Errorf("a signature of kind %q verifies as %q: %t", made, asked, ok)
			}
		}
		if pins.Verify(s.Public().ID(), noon, made, []byte("massage"), sig) {
			t.Errorf("a signature of kind %q verifies another message", made)
		}
		if ed25519.Verify(s.Public().Bytes(), message, sig) {
			t.Errorf("a signature of kind %q is a plain one", made)
		}
	}
}

// A NATS client signs whatever nonce the broker sends. Even with one seed for
// both, that must be good for nothing here.
func TestBrokersSignatureIsRefused(t *testing.T) {
	seed := append([]byte{7}, make([]byte, 31)...)
	s, err := NewSigner(PurposeConsumer, seed)
	if err != nil {
		t.Fatal(err)
	}
	pins := testPins(t, Pin{Key: s.Public()})
	encoded, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, seed)
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.FromSeed(encoded)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("a record that the broker would like")
	for kind := range kinds {
		for name, chosen := range map[string][]byte{
			"the message":                    message,
			"the context before the message": append([]byte(kind), message...),
			"the prefix of RFC 8032":         append([]byte(fmt.Sprintf("SigEd25519 no Ed25519 collisions\x00%c%s", len(kind), kind)), message...),
		} {
			sig, err := user.Sign(chosen)
			if err != nil {
				t.Fatal(err)
			}
			if user.Verify(chosen, sig) != nil || !ed25519.Verify(s.Public().Bytes(), chosen, sig) {
				t.Fatal("the control fails: the nkey is not the same key")
			}
			// Ed25519ctx hashes its prefix before R and A; whoever signs the
			// prefix as a part of a message hashes it after them.
			if pins.Verify(s.Public().ID(), noon, kind, message, sig) {
				t.Errorf("an nkey's signature of %s verifies as %q", name, kind)
			}
		}
	}
}

func TestVerifyEveryAlteredByte(t *testing.T) {
	s, other := testSigner(t, PurposePublisher, 1), testSigner(t, PurposePublisher, 2)
	pins := testPins(t, Pin{Key: s.Public()}, Pin{Key: other.Public()})
	message := []byte("short")
	sig := s.Sign(KindRequest, message)
	id := s.Public().ID()
	for i := range sig {
		for bit := range 8 {
			sig[i] ^= 1 << bit
			if pins.Verify(id, noon, KindRequest, message, sig) {
				t.Errorf("verifies with bit %d of byte %d altered", bit, i)
			}
			sig[i] ^= 1 << bit
		}
	}
	for name, bad := range map[string][]byte{"none": nil, "cut": sig[:63], "longer": append(sig[:64:64], 0)} {
		if pins.Verify(id, noon, KindRequest, message, bad) {
			t.Errorf("a signature that is %s verifies", name)
		}
	}
	if pins.Verify(other.Public().ID(), noon, KindRequest, message, sig) {
		t.Error("verifies under the id of another pinned key")
	}
	if pins.Verify(KeyID{}, noon, KindRequest, message, sig) || Pins(nil).Verify(id, noon, KindRequest, message, sig) {
		t.Error("verifies for a key that is not pinned")
	}
}

func TestPinsEnd(t *testing.T) {
	s := testSigner(t, PurposePublisher, 1)
	sig := s.Sign(KindRecord, nil)
	tests := []struct {
		name     string
		notAfter time.Time
		want     bool
	}{
		{"no end", time.Time{}, true},
		{"ends later", noon.Add(time.Hour), true},
		{"ends now", noon, true},
		{"ended", noon.Add(-time.Nanosecond), false},
	}
	for _, tt := range tests {
		pins := testPins(t, Pin{Key: s.Public(), NotAfter: tt.notAfter})
		if got := pins.Verify(s.Public().ID(), noon, KindRecord, nil, sig); got != tt.want {
			t.Errorf("%s: verifies %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestPinsLimits(t *testing.T) {
	var pins []Pin
	var list []PinConfig
	for i := range MaxPins + 1 {
		key := testSigner(t, PurposeConsumer, byte(i)).Public()
		pins, list = append(pins, Pin{Key: key}), append(list, PinConfig{Key: key.String()})
	}
	if MaxPins != 16 {
		t.Errorf("MaxPins is %d", MaxPins)
	}
	tests := []struct {
		name string
		pins []Pin
		want string
	}{
		{"one", pins[:1], ""},
		{"the most", pins[:16], ""},
		{"none", nil, "not 0"},
		{"too many", pins, "not 17"},
		{"one twice", []Pin{pins[0], pins[1], {Key: pins[0].Key, NotAfter: noon}}, "twice"},
	}
	for _, tt := range tests {
		_, err := NewPins(tt.pins)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: NewPins gives error %v, want %q", tt.name, err, tt.want)
		}
	}
	if got, err := ParsePins("consumers", list[:3], PurposeConsumer); err != nil || len(got) != 3 {
		t.Errorf("ParsePins = %d pins, %v", len(got), err)
	}
	for _, tt := range []struct {
		list []PinConfig
		want string
	}{
		{nil, "consumers: 1 to 16"},
		{append(list[:2:2], PinConfig{Key: "x"}), "consumers[2].key: "},
		{append(list[:1:1], list[0]), "consumers: key "},
	} {
		if _, err := ParsePins("consumers", tt.list, PurposeConsumer); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParsePins gives error %v, want %q…", err, tt.want)
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	key := testSigner(t, PurposeConsumer, 1).Public()
	text := key.String()
	if got, err := ParsePublicKey(text, PurposeConsumer); err != nil || got.ID() != key.ID() || got.String() != text {
		t.Fatalf("ParsePublicKey(%q) = %s, %v", text, got, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "other magic": "wbpub2" + text[6:], "cut": text[:len(text)-1], "longer": text + "A",
		"padded": text + "=", "no purpose": "wbpub1." + text[strings.LastIndexByte(text, '.')+1:],
		"standard alphabet": text[:len(text)-2] + "+/", "four parts": text + ".x", "line feed": text[:len(text)-5] + "\n" + text[len(text)-5:],
		"an nkey": "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
	} {
		if _, err := ParsePublicKey(bad, PurposeConsumer); err == nil {
			t.Errorf("%s: %q is taken", name, bad)
		}
	}
	if _, err := ParsePublicKey(text, PurposePublisher); err == nil || !strings.Contains(err.Error(), "consumer") {
		t.Errorf("a consumer's key as a publisher's: %v", err)
	}
	if _, err := NewSigner(PurposeConsumer, make([]byte, 31)); err == nil {
		t.Error("a seed of 31 bytes is taken")
	}
	key.Bytes()[0] ^= 1
	if key.String() != text {
		t.Error("a caller of Bytes can change the key")
	}
}

func TestOwnPins(t *testing.T) {
	own, other := testSigner(t, PurposeConsumer, 1).Public(), testSigner(t, PurposeConsumer, 2).Public()
	listed := []PinConfig{{Key: other.String()}, {Key: own.String(), NotAfter: noon}}
	for _, tt := range []struct {
		name string
		list []PinConfig
		want int
	}{
		{"nobody else", nil, 1},
		{"another one", listed[:1], 2},
		{"our own too", listed, 2}, // and it keeps its end
	} {
		pins, err := OwnPins("consumers", tt.list, own, noon)
		if err != nil || len(pins) != tt.want || pins[len(pins)-1].Key.ID() != own.ID() || pins[len(pins)-1].NotAfter.IsZero() != (tt.name != "our own too") {
			t.Errorf("%s: the pins are %v, %v", tt.name, pins, err)
		}
	}
	if _, err := OwnPins("consumers", listed, own, noon.Add(time.Second)); err == nil || !strings.Contains(err.Error(), "consumers[1].not_after: was ") {
		t.Errorf("our own key has ended: %v", err)
	}
	if listed[1].Key != own.String() || listed[1].NotAfter != noon {
		t.Error("the list is changed")
	}
}
