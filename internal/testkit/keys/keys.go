// Package keys has the keys that tests of both sides need: signers made of one
// byte, pins, record keys, sealing keys whose private half nobody has.
package keys

import (
	"bytes"
	"crypto/hpke"
	"path/filepath"
	"testing"
	"time"

	"writeback/internal/seal"
)

// Signer returns the signer whose seed is 32 times seed.
func Signer(t testing.TB, purpose seal.Purpose, seed byte) *seal.Signer {
	t.Helper()
	s, err := seal.NewSigner(purpose, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Pins returns pins without an end.
func Pins(t testing.TB, keys ...seal.PublicKey) seal.Pins {
	t.Helper()
	var list []seal.Pin
	for _, k := range keys {
		list = append(list, seal.Pin{Key: k})
	}
	p, err := seal.NewPins(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Months returns the record keys of n months, the first that of from.
func Months(t testing.TB, from time.Time, n int) seal.MonthKeys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "record.key")
	if _, err := seal.MakeMonthKeys(file, from, n); err != nil {
		t.Fatal(err)
	}
	months, err := seal.LoadMonthKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	return months
}

// Box returns the public half of a sealing key whose private half is lost.
func Box(t testing.TB) []byte {
	t.Helper()
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key.PublicKey().Bytes()
}
