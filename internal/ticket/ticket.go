// Package ticket makes and checks the tickets that open the reset page: who has
// one may set the password of one account, or unlock it, for a quarter of an hour,
// from one browser. Who somebody is was verified before, by whoever asked for it.
//
// What is kept is with the broker, so that any publisher can take a ticket that
// another one made: signed, so that the broker makes none; encrypted with the
// ticket itself, so that it reads none; changed by compare-and-set alone, so that
// of two that use it at once one wins. The owner of the broker can hide a ticket,
// or show an earlier value of it until it ends.
package ticket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

const (
	// MaxAttempts is how many requests may be made with one ticket.
	MaxAttempts = 5
	// lost is how long after an attempt began its request must be on record.
	// Until then it may be on its way there; later it never will be.
	lost = 30 * time.Second
)

// These are why a ticket cannot be used.
var (
	ErrUnknown  = errors.New("there is no such ticket, or not any more")
	ErrExpired  = errors.New("the ticket's time is over")
	ErrForeign  = errors.New("the ticket was used in another browser")
	ErrBusy     = errors.New("a request of this ticket is at work")
	ErrSpent    = errors.New("the ticket has done its work")
	ErrAttempts = errors.New("the ticket has been tried as often as it may be")
)

// A Store is where a tenant's tickets are.
type Store interface {
	// Ticket returns what is kept of a ticket and its sequence; nil if there
	// is none.
	Ticket(ctx context.Context, id [16]byte) (value []byte, seq uint64, err error)
	// PutTicket stores it if the newest has sequence expect. Its errors are
	// reset.ErrConflict, ErrUnknown, ErrUnavailable.
	PutTicket(ctx context.Context, id [16]byte, value []byte, expect uint64) error
}

// A Requests tells what became of a request; see publisher.Publisher.Status.
type Requests interface {
	Status(ctx context.Context, tenant string, ref reset.Ref) (reset.Status, error)
}

// A Journal tells the audit of a tenant; see publisher.Publisher.Tell.
type Journal interface {
	// Tell returns when the event is stored. Its errors are [*reset.Refusal]s.
	Tell(ctx context.Context, tenant string, f envelope.Fact, private *envelope.Private) error
}

// Config says what a Desk needs.
type Config struct {
	Signer     *seal.Signer
	Publishers seal.Pins // our own key, and others that sign for publishers
	Stores     map[string]Store
	Requests   Requests
	Journal    Journal
}

// A Desk makes tickets and checks them.
type Desk struct{ cfg Config }

// New returns a desk.
func New(cfg Config) *Desk { return &Desk{cfg} }

// A Session is a browser's secret, by which it is known again.
type Session [32]byte

// Format writes "[secret]" for every verb.
func (Session) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// NewSession returns the text of a random session, the base64url form of its 32
// bytes.
func NewSession() string {
	var s Session
	rand.Read(s[:])
	return base64.RawURLEncoding.EncodeToString(s[:])
}

// ParseSession reads the text of a session; ok is false if it is none.
func ParseSession(text string) (s Session, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(s) {
		return Session{}, false
	}
	return Session(b), true
}

// hash is what is kept of a session. It is another one for each ticket.
func (s Session) hash(id [16]byte) [16]byte {
	sum := sha256.Sum256(slices.Concat([]byte("writeback/1 ticket session"), id[:], s[:]))
	return [16]byte(sum[:16])
}

// A Secret is a ticket as its holder has it: who has it may use it.
type Secret = seal.Ticket

// Parse reads a ticket's text. Its error does not repeat what it was given.
func Parse(text string) (Secret, error) { return seal.ParseTicket(text) }

// Issue makes a ticket for life from now on, and returns its text, which exists
// nowhere else, and when it ends.
func (d *Desk) Issue(ctx context.Context, p reset.Permit, life time.Duration) (secret.Value, time.Time, error) {
	t := seal.NewTicket()
	store := d.cfg.Stores[p.Tenant]
	if store == nil {
		return secret.Value{}, time.Time{}, &reset.Refusal{Code: reset.Forbidden, Field: "tenant", Detail: "of this token is not served here"}
	}
	if life <= 0 || life > reset.TicketLife {
		return secret.Value{}, time.Time{}, fmt.Errorf("a ticket lives for at most %s, not %s", reset.TicketLife, life)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	k := &envelope.Ticket{Tenant: p.Tenant, ID: t.ID(), Issued: now, Expires: now.Add(life), State: envelope.FreshTicket, Changed: now}
	private := envelope.TicketPrivate{Account: p.Account, Operations: p.Operations, Actor: p.Actor, Source: p.Source}
	var err error
	if k.Private, err = t.Seal(k.Bound(), private.Encode()); err != nil {
		return secret.Value{}, time.Time{}, err
	}
	// One that is told of and then not stored opens nothing.
	for _, op := range p.Operations {
		made := envelope.TicketMade{Ticket: k.ID, Operation: op, NotAfter: k.Expires}
		if err := d.cfg.Journal.Tell(ctx, p.Tenant, made, who(p, "")); err != nil {
			return secret.Value{}, time.Time{}, err
		}
	}
	if err := d.put(ctx, store, k, 0); err != nil {
		return secret.Value{}, time.Time{}, err
	}
	return secret.New([]byte(t.Text())), k.Expires, nil
}

// who is the private part of what the audit is told of a ticket. Address is the
// browser's, empty if there is none.
func who(p reset.Permit, address string) *envelope.Private {
	return &envelope.Private{Account: p.Account, Actor: p.Actor, Source: p.Source, Address: address}
}

// put signs k and stores it.
func (d *Desk) put(ctx context.Context, store Store, k *envelope.Ticket, expect uint64) error {
	k.Signer = d.cfg.Signer.Public().ID()
	k.Sig = d.cfg.Signer.Sign(seal.KindTicket, k.Signed())
	return unavailable(store.PutTicket(ctx, k.ID, k.Encode(), expect))
}

// unavailable is err as a refusal if the broker is the reason.
func unavailable(err error) error {
	if err == nil || errors.Is(err, reset.ErrConflict) {
		return err
	}
	return &reset.Refusal{Code: reset.BrokerUnavailable, RetryAfter: 10 * time.Second, Err: err}
}
