// Package reset holds the words that both sides of writeback share: what can
// be asked for, whom it concerns, and what became of it. It has no behaviour
// beyond checking and naming them, and imports nothing but the standard
// library, so that every other package can use it.
package reset

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Times of a request's life, the same for all of them. The order between them
// is what keeps the promises: see docs/life-of-a-request.md.
const (
	// Deadline is how long after it was accepted a request may be applied:
	// no modify is sent later.
	Deadline = 2 * time.Minute
	// QueueAge is how long the broker keeps a request in its slot. It is
	// longer than Deadline plus the longest work that may begin just before.
	QueueAge = 3 * time.Minute
	// Life is when a request that nobody finished is closed as unconfirmed:
	// Deadline + QueueAge, since a copy published at the deadline lives that
	// long.
	Life = Deadline + QueueAge
	// Correctable is how long after a request was accepted what became of it
	// may still be found out, although it was closed as unconfirmed.
	Correctable = Life + 10*time.Minute
	// Window is how long after it began to write its claim a consumer may
	// start its modify.
	Window = 3 * time.Second
	// ModifyTimeout is how long a modify may take before its connection is
	// dropped.
	ModifyTimeout = 5 * time.Second
	// TakeOver is how long a consumer watches another's claim, on its own
	// clock, before it takes the request over. Window + ModifyTimeout, and
	// a little for the drop.
	TakeOver = 10 * time.Second
	// Grace is how long after a doubtful claim went stale its modify may
	// still be executed by a slow domain controller.
	Grace = 30 * time.Second
	// ClockSkew is how far two clocks that matter to a request may differ.
	ClockSkew = 5 * time.Second
	// Presence is how long a consumer counts as alive after it was last
	// heard of.
	Presence = 30 * time.Second
)

// An Operation is what is asked for. Its number is on the wire: add at the end.
type Operation uint8

const (
	Reset  Operation = 1 // set a new password without knowing the old one
	Change Operation = 2 // replace a password that is known
	Unlock Operation = 3 // clear lockoutTime, leave the password
	Probe  Operation = 4 // walk the whole path, modify nothing
)

var operations = map[Operation]string{Reset: "reset", Change: "change", Unlock: "unlock", Probe: "probe"}

// Operations returns all operations, in the order of their numbers.
func Operations() []Operation { return []Operation{Reset, Change, Unlock, Probe} }

// String returns the name that configuration, API and logs use.
func (o Operation) String() string { return name(operations, o) }

// ParseOperation is the inverse of [Operation.String].
func ParseOperation(s string) (Operation, error) { return parse(operations, "operation", s) }

// An ActorKind says on whose behalf a request was made.
type ActorKind uint8

const (
	Self  ActorKind = 1 // the account's owner, as verified by the producer
	Admin ActorKind = 2 // somebody else: help desk, administrator, a program
)

var actorKinds = map[ActorKind]string{Self: "self", Admin: "admin"}

// String returns the name that configuration, API and logs use.
func (k ActorKind) String() string { return name(actorKinds, k) }

// ParseActorKind is the inverse of [ActorKind.String].
func ParseActorKind(s string) (ActorKind, error) { return parse(actorKinds, "kind of actor", s) }

// MaxSubject is the longest [Actor.Subject], in bytes.
const MaxSubject = 256

// An Actor is who asked, in the words of the producer, for the audit.
type Actor struct {
	Kind    ActorKind
	Subject string // at most MaxSubject bytes; may be empty
}

// MaxIDLength is the longest text form of a [Ref].
const MaxIDLength = 64

// An ID names one request. It is random, or derived from an idempotency key;
// it cannot be guessed either way.
type ID [16]byte

// NewID returns a random ID.
func NewID() ID {
	var id ID
	rand.Read(id[:])
	return id
}

// String returns 32 lower-case hexadecimal digits, fit for a subject.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID is the inverse of [ID.String].
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) || strings.ToLower(s) != s {
		return ID{}, errors.New("a request's id is 32 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, errors.New("a request's id is 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// A Ref is how callers of the API name a request: the publisher that accepted
// it, and its id.
type Ref struct {
	Publisher string // as in [ValidName]
	ID        ID
}

// String returns "publisher-id".
func (r Ref) String() string { return r.Publisher + "-" + r.ID.String() }

// ParseRef is the inverse of [Ref.String].
func ParseRef(s string) (Ref, error) {
	if len(s) > MaxIDLength {
		return Ref{}, fmt.Errorf("a request's name has at most %d characters", MaxIDLength)
	}
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return Ref{}, errors.New("a request's name is publisher-id")
	}
	id, err := ParseID(s[i+1:])
	if err != nil {
		return Ref{}, err
	}
	if err := ValidName(s[:i]); err != nil {
		return Ref{}, err
	}
	return Ref{Publisher: s[:i], ID: id}, nil
}

// ValidName reports whether s can name a tenant, a publisher or a replica: 1
// to 24 of a-z, 0-9 and "_", so that it is one token of a subject and one
// component of a path.
func ValidName(s string) error {
	if len(s) == 0 || len(s) > 24 {
		return fmt.Errorf("a name has 1 to 24 characters, this one has %d", len(s))
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return errors.New("a name has only a-z, 0-9 and _")
		}
	}
	return nil
}

func name[T ~uint8](names map[T]string, v T) string {
	if s, ok := names[v]; ok {
		return s
	}
	return fmt.Sprintf("unknown (%d)", uint8(v))
}

func parse[T ~uint8](names map[T]string, what, s string) (T, error) {
	for v, n := range names {
		if n == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("unknown %s", what)
}
