// Package seal closes what only the other side may open or alter: it seals a
// request's body for the consumers that are alive, signs, and reads the key
// files of a program. Steps 2, 3 and 8 of a request's life use it.
//
// Sealing is HPKE (RFC 9180) in base mode with one suite and no options: the
// ML-KEM-768 + X25519 hybrid, HKDF-SHA256, AES-256-GCM. A sealed body is bound
// to the header it was sealed under and opens under no other. Sealing says
// nothing of who sealed, or when: that is the signature's work. What opens is
// in package unseal, which this package does not know.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"writeback/internal/secret"
)

// Sizes in bytes.
const (
	PublicBoxSize = 1216                     // ML-KEM-768 encapsulation key (1184) + X25519 (32)
	WrapSize      = 1120 + keySize + tagSize // encapsulated key (1088 + 32), then the content key
	keySize       = 32
	tagSize       = 16
	hashSize      = sha256.Size
)

// MaxRecipients is how many consumers one request is sealed for: the latest
// announced, where there are more.
const MaxRecipients = 8

// A BoxID names a sealing key pair: the first half of the SHA-256 of its
// public half.
type BoxID [16]byte

// A Box is the public half of a consumer's sealing key.
type Box struct {
	ID  BoxID
	key hpke.PublicKey
}

// NewBox returns the box whose public half is b.
func NewBox(b []byte) (Box, error) {
	if len(b) != PublicBoxSize {
		return Box{}, fmt.Errorf("a sealing key has %d bytes, not %d", PublicBoxSize, len(b))
	}
	key, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return Box{}, fmt.Errorf("reading a sealing key: %w", err)
	}
	sum := sha256.Sum256(b)
	return Box{ID: BoxID(sum[:16]), key: key}, nil
}

// A Wrap is the content key of one request, sealed for one box.
type Wrap struct {
	Box    BoxID
	Sealed [WrapSize]byte
}

// Body seals body for each of boxes, which are 1 to [MaxRecipients], and binds
// it to header.
func Body(boxes []Box, header []byte, body secret.Value) ([]Wrap, []byte, error) {
	if len(boxes) == 0 || len(boxes) > MaxRecipients {
		return nil, nil, fmt.Errorf("sealing for %d recipients: 1 to %d are possible", len(boxes), MaxRecipients)
	}
	cek := make([]byte, keySize)
	rand.Read(cek)
	defer clear(cek)
	wraps := make([]Wrap, len(boxes))
	for i, b := range boxes {
		sealed, err := hpke.Seal(b.key, hpke.HKDFSHA256(), hpke.AES256GCM(), WrapInfo(header, b.ID), cek)
		if err != nil {
			return nil, nil, fmt.Errorf("sealing for box %x: %w", b.ID, err)
		}
		if len(sealed) != WrapSize {
			return nil, nil, fmt.Errorf("sealing for box %x: a wrap of %d bytes", b.ID, len(sealed))
		}
		wraps[i] = Wrap{Box: b.ID, Sealed: [WrapSize]byte(sealed)}
	}
	aead, err := BodyAEAD(cek)
	if err != nil {
		return nil, nil, err
	}
	var sealed []byte
	err = body.Reveal(func(b []byte) error {
		sealed = aead.Seal(nil, make([]byte, aead.NonceSize()), b, header)
		return nil
	})
	return wraps, sealed, err
}

// WrapInfo returns the info parameter under which a content key is sealed.
// Single-shot HPKE has no additional data, so the binding to the header is
// here.
func WrapInfo(header []byte, box BoxID) []byte {
	sum := sha256.Sum256(header)
	return bytes.Join([][]byte{[]byte("writeback/1 wrap"), sum[:], box[:]}, nil)
}

// BodyAEAD returns the cipher of a body whose content key is cek. The key seals
// one body only, so its nonce is zero.
func BodyAEAD(cek []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, cek, "writeback/1 body", keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// A RecordKey encrypts the private part of one request's records. Publishers
// derive it from the key of the month ([MonthKeys]); the consumer is given it
// inside the sealed body and never sees the month's.
type RecordKey [keySize]byte

// Format writes "[secret]" for every verb.
func (RecordKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// ErrPrivate is returned by [RecordKey.Open] for whatever it refuses, without
// a reason.
var ErrPrivate = errors.New("the private part of a record cannot be opened")

// Seal encrypts private and binds it to clear.
func (k RecordKey) Seal(clear, private []byte) ([]byte, error) {
	aead, err := newGCM(k[:])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, private, clear), nil
}

// Open is the inverse of [RecordKey.Seal].
func (k RecordKey) Open(clear, sealed []byte) ([]byte, error) {
	aead, err := newGCM(k[:])
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, ErrPrivate
	}
	nonce, ciphertext := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	private, err := aead.Open(nil, nonce, ciphertext, clear)
	if err != nil {
		return nil, ErrPrivate
	}
	return private, nil
}
