package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// MaxTokenAge is how far ahead a token's end may be when it is made.
const MaxTokenAge = 366 * 24 * time.Hour

// How many requests a minute a token may make, questions about earlier ones
// included. A page that waits for its outcome makes one for each reset, so that
// the default is for two resets a second.
const (
	DefaultRate = 120
	MaxRate     = 60_000
)

const (
	maxSource   = 64 // longest name of a source, in bytes
	maxPrefixes = 16 // of a token's addresses
)

// A Grant is what a token or a certificate allows its holder.
type Grant struct {
	Tenant     string // as in [reset.ValidName]
	Source     string // who holds it, for audit and log: 1 to 64 printable ASCII characters
	Operations []reset.Operation
	Switches   bool              // may read and set the tenant's switches, and is told the consumers' names
	Tickets    bool              // may make tickets of the reset page
	ActorKinds []reset.ActorKind // empty is [reset.Admin] alone
	Names      []reset.NameKind  // how accounts may be named
	Rate       int               // requests a minute, 1 to [MaxRate]; 0 is [DefaultRate]
	Addresses  []netip.Prefix    // from where it may be used, at most 16; empty is everywhere
	NotAfter   time.Time         // the token is dead from then on
}

// An Entry is one line of a tokens file. It does not hold the token.
type Entry struct {
	ID          string            // names the token without being one: 8 hexadecimal digits
	Certificate bool              // the caller shows a client certificate instead of a token
	Hash        [sha256.Size]byte // of the token's text, or of the certificate's DER (its fingerprint)
	Made        time.Time
	Grant
}

// What is not an operation of a request is called so among operations.
const (
	switchesWord = "switches"
	ticketWord   = "ticket"
)

// MayDo returns the names of what g allows.
func (g Grant) MayDo() []string {
	list := names(g.Operations)
	if g.Switches {
		list = append(list, switchesWord)
	}
	if g.Tickets {
		list = append(list, ticketWord)
	}
	return list
}

// Allow makes g allow what has this name: an operation, "switches" or "ticket".
func (g *Grant) Allow(name string) error {
	switch name {
	case switchesWord:
		g.Switches = true
		return nil
	case ticketWord:
		g.Tickets = true
		return nil
	}
	op, err := reset.ParseOperation(name)
	if err == nil {
		g.Operations = append(g.Operations, op)
	}
	return err
}

// Kind is "token" or "certificate".
func (e Entry) Kind() string {
	if e.Certificate {
		return "certificate"
	}
	return "token"
}

// NewToken makes a token: "wbk_" and 43 characters, the base64url form of 32
// random bytes. It exists nowhere else; show it once.
func NewToken(g Grant, now time.Time) (secret.Value, Entry, error) {
	var random [32]byte
	rand.Read(random[:])
	defer clear(random[:])
	text := base64.RawURLEncoding.AppendEncode([]byte(tokenPrefix), random[:])

	e, err := newEntry(g, Entry{Hash: sha256.Sum256(text)}, now)
	if err != nil {
		clear(text)
		return secret.Value{}, Entry{}, fmt.Errorf("making a token: %w", err)
	}
	return secret.New(text), e, nil
}

// NewCertificate lets the holder of a certificate call as with a token. It ends
// when the certificate does, if that is earlier.
func NewCertificate(g Grant, cert *x509.Certificate, now time.Time) (Entry, error) {
	// What TLS would refuse later, without a word that helps.
	forClients := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) ||
		len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0 // for everything
	switch {
	case cert.IsCA:
		return Entry{}, errors.New("certificate: is an authority's, not a caller's")
	case !forClients:
		return Entry{}, errors.New("certificate: is not for the authentication of clients (extended key usage)")
	case !now.Before(cert.NotAfter):
		return Entry{}, fmt.Errorf("certificate: has ended on %s", cert.NotAfter.UTC().Format(time.DateOnly))
	}
	if cert.NotAfter.Before(g.NotAfter) {
		g.NotAfter = cert.NotAfter
	}
	return newEntry(g, Entry{Certificate: true, Hash: sha256.Sum256(cert.Raw)}, now)
}

// newEntry fills in what every new entry has, and what g leaves open.
func newEntry(g Grant, e Entry, now time.Time) (Entry, error) {
	var id [4]byte
	rand.Read(id[:])
	if len(g.ActorKinds) == 0 {
		g.ActorKinds = []reset.ActorKind{reset.Admin}
	}
	if g.Rate == 0 {
		g.Rate = DefaultRate
	}
	g.NotAfter = g.NotAfter.UTC().Truncate(time.Second)
	e.ID, e.Made, e.Grant = hex.EncodeToString(id[:]), now.UTC().Truncate(time.Second), g
	return e, e.check()
}

// check refuses what no token may be.
func (e Entry) check() error {
	if err := reset.ValidName(e.Tenant); err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	if !printable(e.Source, maxSource) {
		return fmt.Errorf("source: must have 1 to %d printable ASCII characters", maxSource)
	}
	if len(e.Operations) == 0 && !e.Switches && !e.Tickets || len(e.ActorKinds) == 0 || len(e.Names) == 0 {
		return errors.New("operations, actor_kinds and names: must not be empty")
	}
	if e.Rate < 1 || e.Rate > MaxRate {
		return fmt.Errorf("rate: must be 1 to %d requests a minute, not %d", MaxRate, e.Rate)
	}
	if len(e.Addresses) > maxPrefixes {
		return fmt.Errorf("cidrs: must be at most %d, not %d", maxPrefixes, len(e.Addresses))
	}
	if !e.NotAfter.After(e.Made) || e.NotAfter.After(e.Made.Add(MaxTokenAge)) {
		return fmt.Errorf("not_after: must be at most %d days after made (%s): %s", MaxTokenAge/(24*time.Hour),
			e.Made.Format(time.RFC3339), e.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// printable reports whether s has 1 to limit printable ASCII characters.
func printable(s string, limit int) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= limit
}
