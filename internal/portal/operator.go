package portal

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// Operator returns the entry of a token that somebody has typed into a page, from
// an address. It must be one for the switches. Its error is a [*reset.Refusal] that
// does not say why.
func (t *Tokens) Operator(token secret.Value, from netip.Addr) (Entry, error) {
	var e Entry
	ok := false
	token.Reveal(func(b []byte) error {
		e, ok = t.find(sha256.Sum256(b), false)
		return nil
	})
	if !ok || !e.operates(from) {
		return Entry{}, &reset.Refusal{Code: reset.Unauthenticated}
	}
	return e, t.Spend(e)
}

// Spend counts a form of whoever has shown the token of e against its rate, like a
// request. Its error is a [*reset.Refusal].
func (t *Tokens) Spend(e Entry) error {
	if wait := t.spend(e); wait > 0 {
		return tooMany(limitCaller, wait, e)
	}
	return nil
}

// Operating returns the entry with that id, as long as [Tokens.Operator] would
// return it from that address.
func (t *Tokens) Operating(id string, from netip.Addr) (Entry, bool) {
	for _, e := range t.inForce() {
		if e.ID == id && !e.Certificate && e.operates(from) {
			return e, true
		}
	}
	return Entry{}, false
}

func (e Entry) operates(from netip.Addr) bool {
	return e.Switches && time.Now().Before(e.NotAfter) && (len(e.Addresses) == 0 || within(e.Addresses, from))
}

// Asks reports whether e allows administrators to ask for op.
func (e Entry) Asks(op reset.Operation) bool {
	return slices.Contains(e.Operations, op) && slices.Contains(e.ActorKinds, reset.Admin)
}

// AccountNamed returns the account that somebody has named in a page. Its error
// says what is wrong without what was typed.
func AccountNamed(kind, name string) (reset.Account, error) {
	k, err := reset.ParseNameKind(kind)
	if err != nil {
		return reset.Account{}, reset.BadField("account", "is of no kind that there is")
	}
	return oneAccount(map[reset.NameKind]string{k: name})
}

// Named reports whether e allows accounts to be named so.
func (e Entry) Named(k reset.NameKind) bool { return slices.Contains(e.Names, k) }
