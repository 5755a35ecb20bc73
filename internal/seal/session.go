package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"writeback/internal/secret"
)

// A SessionKey seals what a browser keeps for us between two of its requests.
// All publishers behind one name hold the same, so that each opens what another
// sealed. It is a key of its own: whoever holds it can sign in as anybody, so
// that it must be possible to replace it alone, and at once.
type SessionKey struct{ key secret.Value }

// LoadSessionKey reads a session key.
func LoadSessionKey(path string) (SessionKey, error) {
	key, err := readKey(path, PurposeSession)
	if err != nil {
		return SessionKey{}, err
	}
	return SessionKey{secret.New(key)}, nil
}

// Format writes "[secret]" for every verb.
func (SessionKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// AEAD returns AES-256-GCM with random nonces under a key for exactly these
// uses: nothing that was sealed for others opens with it.
func (k SessionKey) AEAD(uses ...string) (cipher.AEAD, error) {
	info := []byte("writeback/1 session")
	for _, u := range uses {
		info = binary.BigEndian.AppendUint32(info, uint32(len(u)))
		info = append(info, u...)
	}
	var aead cipher.AEAD
	err := k.key.Reveal(func(key []byte) error {
		derived, err := hkdf.Expand(sha256.New, key, string(info), keySize)
		if err != nil {
			return err
		}
		defer clear(derived)
		block, err := aes.NewCipher(derived)
		if err != nil {
			return err
		}
		aead, err = cipher.NewGCMWithRandomNonce(block)
		return err
	})
	return aead, err
}
