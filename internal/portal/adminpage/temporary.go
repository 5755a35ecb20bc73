package adminpage

import (
	"crypto/rand"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A temporary password is read aloud and typed once: groups of four characters, none
// of which is taken for another, with a hyphen between them.
const (
	readable = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789" // without l, o, I, O, 0, 1
	group    = 4
	groups   = 4 // at least: 16 characters of 56 are 92 bits
)

// newTemporary returns a temporary password of the length that rules demand at
// least. It has three of the five kinds of characters that Active Directory
// counts, without the hyphens.
func newTemporary(rules reset.Rules) secret.Value {
	n := groups
	for n*(group+1)-1 < min(int(rules.MinLength), secret.MaxUnits-group) {
		n++
	}
	b := make([]byte, n*(group+1)-1)
	for {
		var upper, lower, digit bool
		for i := range b {
			if i%(group+1) == group {
				b[i] = '-'
				continue
			}
			b[i] = readable[draw(len(readable))]
			upper = upper || 'A' <= b[i] && b[i] <= 'Z'
			lower = lower || 'a' <= b[i] && b[i] <= 'z'
			digit = digit || '2' <= b[i] && b[i] <= '9'
		}
		if upper && lower && digit {
			return secret.New(b)
		}
	}
}

// draw returns one of n numbers, each with the same chance.
func draw(n int) int {
	var b [1]byte
	for {
		rand.Read(b[:]) // never fails
		if int(b[0]) < 256-256%n {
			return int(b[0]) % n
		}
	}
}
