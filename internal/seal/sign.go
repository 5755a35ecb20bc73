package seal

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SignatureSize is the size of every signature in bytes.
const SignatureSize = ed25519.SignatureSize

// A Kind is what a signature is for. Every kind has a context of its own
// (Ed25519ctx, RFC 8032 section 5.1), so that a signature made for one can
// never pass for another, nor one that a broker obtained from an nkey.
type Kind string

const (
	KindRequest  Kind = "writeback/1 request"
	KindRecord   Kind = "writeback/1 record"
	KindAnnounce Kind = "writeback/1 announce"
	KindSwitch   Kind = "writeback/1 switch"
	KindEvent    Kind = "writeback/1 event"
	KindTicket   Kind = "writeback/1 ticket"
)

// A KeyID names a signing key: the first half of the SHA-256 of its public
// half.
type KeyID [16]byte

// A Signer signs for one program.
type Signer struct {
	// A closure, for the reason that package secret gives for its own.
	key func() ed25519.PrivateKey
	pub PublicKey
}

// NewSigner returns the signer of a 32-byte Ed25519 seed.
func NewSigner(purpose Purpose, seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("a signing key has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	key := ed25519.NewKeyFromSeed(seed)
	return &Signer{
		key: func() ed25519.PrivateKey { return key },
		pub: PublicKey{purpose: purpose, key: key.Public().(ed25519.PublicKey)},
	}, nil
}

// Public returns the public half, which the other side pins.
func (s *Signer) Public() PublicKey { return s.pub }

// Sign signs message as kind.
func (s *Signer) Sign(kind Kind, message []byte) []byte {
	sig, err := s.key().Sign(nil, message, &ed25519.Options{Context: string(kind)})
	if err != nil {
		panic("internal error: Ed25519ctx signing cannot fail: " + err.Error())
	}
	return sig
}

// Format writes "[secret]" for every verb.
func (s *Signer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// A PublicKey verifies the signatures of one program.
type PublicKey struct {
	purpose Purpose
	key     ed25519.PublicKey
}

// ID returns the key's name.
func (k PublicKey) ID() KeyID {
	sum := sha256.Sum256(k.key)
	return KeyID(sum[:16])
}

// Bytes returns the 32 bytes of the key.
func (k PublicKey) Bytes() []byte { return append([]byte(nil), k.key...) }

// String returns the form that `init` prints and configurations pin: one word
// that names the key's purpose.
func (k PublicKey) String() string {
	return "wbpub1." + string(k.purpose) + "." + base64.RawURLEncoding.EncodeToString(k.key)
}

// ParsePublicKey is the inverse of [PublicKey.String]. A key with another
// purpose is an error.
func ParsePublicKey(s string, purpose Purpose) (PublicKey, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "wbpub1" {
		return PublicKey{}, errors.New("a public key has the form wbpub1.PURPOSE.BASE64, as `init` prints it")
	}
	if parts[1] != string(purpose) {
		return PublicKey{}, fmt.Errorf("the public key of a %s is needed here, this one is of a %.20s", purpose, parts[1])
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != ed25519.PublicKeySize {
		return PublicKey{}, errors.New("a public key has 32 bytes in base64; this one is cut or misspelt")
	}
	k := PublicKey{purpose: purpose, key: key}
	if k.String() != s { // the decoder overlooks line feeds
		return PublicKey{}, errors.New("a public key is one word; this one has line feeds in it")
	}
	return k, nil
}

// MaxPins is how many keys a list of pins may hold.
const MaxPins = 16

// A Pin is a public key that is believed, until NotAfter if that is set.
type Pin struct {
	Key      PublicKey
	NotAfter time.Time
}

// Pins are the keys that are believed for one purpose, so that keys can be
// changed without an outage: pin the new one, switch, let the old one end.
type Pins []Pin

// NewPins refuses a list that is empty, too long, or names a key twice.
func NewPins(pins []Pin) (Pins, error) {
	if len(pins) == 0 || len(pins) > MaxPins {
		return nil, fmt.Errorf("1 to %d keys can be pinned, not %d", MaxPins, len(pins))
	}
	seen := make(map[KeyID]bool)
	for _, p := range pins {
		if seen[p.Key.ID()] {
			return nil, fmt.Errorf("key %s is pinned twice", p.Key)
		}
		seen[p.Key.ID()] = true
	}
	return pins, nil
}

// Verify reports whether the pinned key with that id signed message as kind,
// and was to be believed at that time.
func (p Pins) Verify(id KeyID, at time.Time, kind Kind, message, sig []byte) bool {
	for _, pin := range p {
		if pin.Key.ID() != id {
			continue
		}
		if !pin.NotAfter.IsZero() && at.After(pin.NotAfter) {
			return false
		}
		opts := &ed25519.Options{Hash: crypto.Hash(0), Context: string(kind)}
		return ed25519.VerifyWithOptions(pin.Key.key, message, sig, opts) == nil
	}
	return false
}

// Ends returns the ends of those that have one.
func (p Pins) Ends() (ends []time.Time) {
	for _, pin := range p {
		if !pin.NotAfter.IsZero() {
			ends = append(ends, pin.NotAfter)
		}
	}
	return ends
}

// A PinConfig is a pin as a configuration file has it.
type PinConfig struct {
	Key      string    `yaml:"key"`       // as `init` prints it
	NotAfter time.Time `yaml:"not_after"` // the key is not believed any more; never if left out
}

// ParsePins returns the pins of a list in a configuration file. Its errors name
// the list's key and the place in it.
func ParsePins(name string, list []PinConfig, purpose Purpose) (Pins, error) {
	pins := make([]Pin, len(list))
	for i, c := range list {
		key, err := ParsePublicKey(c.Key, purpose)
		if err != nil {
			return nil, fmt.Errorf("%s[%d].key: %w", name, i, err)
		}
		pins[i] = Pin{Key: key, NotAfter: c.NotAfter}
	}
	checked, err := NewPins(pins)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return checked, nil
}

// OwnPins is [ParsePins] with our own key in the list, whether it is there or not, so
// that one list can stand in the files of all who share it. It must not be there with
// an end that is over, since nobody would believe what we sign.
func OwnPins(name string, list []PinConfig, own PublicKey, now time.Time) (Pins, error) {
	i := slices.IndexFunc(list, func(c PinConfig) bool { return c.Key == own.String() })
	if i < 0 {
		list = append(slices.Clip(list), PinConfig{Key: own.String()})
	} else if end := list[i].NotAfter; !end.IsZero() && now.After(end) {
		return nil, fmt.Errorf("%s[%d].not_after: was %s, and this is the key that signing_key_file holds: use the new one there", name, i, end.UTC().Format(time.RFC3339))
	}
	return ParsePins(name, list, own.purpose)
}
