package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A Ticket opens the reset page for one account. It exists where it was handed to
// and nowhere else: what the broker keeps of it is named by its hash and
// encrypted with it.
type Ticket [keySize]byte

const ticketPrefix = "wbt_" // so that scanners for leaked secrets can find it

// NewTicket returns a random one.
func NewTicket() Ticket {
	var t Ticket
	rand.Read(t[:])
	return t
}

// Text returns "wbt_" and 43 characters, the base64url form of the 32 bytes.
func (t Ticket) Text() string { return ticketPrefix + base64.RawURLEncoding.EncodeToString(t[:]) }

// Format writes "[secret]" for every verb.
func (Ticket) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// ParseTicket is the inverse of [Ticket.Text]. Its error does not repeat what it
// was given.
func ParseTicket(s string) (Ticket, error) {
	encoded, ok := strings.CutPrefix(s, ticketPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(b) != keySize || base64.RawURLEncoding.EncodeToString(b) != encoded {
		return Ticket{}, errors.New("a ticket is \"wbt_\" and 43 characters of base64url")
	}
	return Ticket(b), nil
}

// ID names the ticket without being one.
func (t Ticket) ID() [16]byte {
	sum := sha256.Sum256(append([]byte("writeback/1 ticket id"), t[:]...))
	return [16]byte(sum[:16])
}

// ErrTicket is returned by [Ticket.Open] for whatever it refuses, without a
// reason.
var ErrTicket = errors.New("this ticket does not open it")

// Seal encrypts private, once in the ticket's life, and binds it to clear.
func (t Ticket) Seal(clear, private []byte) ([]byte, error) {
	aead, err := t.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, make([]byte, aead.NonceSize()), private, clear), nil
}

// Open is the inverse of [Ticket.Seal].
func (t Ticket) Open(clear, sealed []byte) ([]byte, error) {
	aead, err := t.aead()
	if err != nil {
		return nil, err
	}
	private, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, clear)
	if err != nil {
		return nil, ErrTicket
	}
	return private, nil
}

// aead is used for one message, so that its nonce is zero.
func (t Ticket) aead() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, t[:], nil, "writeback/1 ticket", keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}
