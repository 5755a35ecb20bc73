package directory

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
)

// A Session is a connection lent to one request. It must not be used by two
// goroutines at once, nor after End.
type Session struct {
	client *Client
	conn   *conn
	begun  time.Time
	found  facts // of the account that Find found last
}

// End gives the connection back, or closes it if something went wrong with it;
// if that was the domain controller's fault, it is left alone for a while. It is
// safe twice.
func (s *Session) End() {
	if s.conn == nil {
		return
	}
	switch {
	case s.conn.fault != nil:
		s.client.leave(s.conn.from, s.begun, s.conn.fault, true)
	case s.conn.alive():
		s.client.worked(s.conn.from)
	}
	s.client.giveBack(s.conn)
	s.conn = nil
	<-s.client.slots
}

// attributes has, for every kind of name, the attribute that is searched.
var attributes = map[reset.NameKind]string{
	reset.ImmutableID:    "mS-DS-ConsistencyGuid", // and objectGUID
	reset.ObjectGUID:     "objectGUID",
	reset.UPN:            "userPrincipalName",
	reset.SAMAccountName: "sAMAccountName",
	reset.SID:            "objectSid",
}

// Find looks the account up with one search: the witness of its password, its
// state, what makes it privileged, and what the rules for passwords look at.
// Those rules, and who is in a privileged group, are read too, unless they were
// within the last minute. Computers,
// trusts and managed service accounts are found, to be refused as what they
// are. Its errors are a [*reset.Error] or wrap [reset.ErrDirectoryUnavailable];
// beside one that is about an account that was found, the entry has its DN. It
// changes nothing.
func (s *Session) Find(ctx context.Context, a reset.Account) (reset.Entry, error) {
	attribute, ok := attributes[a.Kind]
	if !ok {
		return reset.Entry{}, &reset.Error{Code: reset.Invalid, Details: reset.Details{Field: "account"}}
	}
	// Two are enough to know that there is more than one.
	c := s.client
	entries, err := c.search(ctx, s.conn, query{
		base: s.conn.base, scope: ldap.ScopeWholeSubtree, limit: 2,
		filter: filter(a, attribute), attributes: entryAttributes,
	}, []byte(a.Value))
	if len(entries) > 1 {
		return reset.Entry{}, &reset.Error{Code: reset.AccountAmbiguous, Err: errors.New("more than one account has this " + attribute)}
	}
	if err != nil {
		return reset.Entry{}, unfound("finding the account", err)
	}
	if len(entries) == 0 {
		return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound}
	}
	// Errors about an account that was found name it, so that the caller can
	// keep from the cloud what the company does not let it see.
	if err := same(a, attribute, entries[0]); err != nil {
		return reset.Entry{DN: entries[0].DN}, err
	}
	e, found, err := s.conn.entry(entries[0], time.Now())
	if err != nil {
		return reset.Entry{DN: entries[0].DN}, &reset.Error{Code: reset.DirectoryError, Err: fmt.Errorf("reading the account: %w", err)}
	}
	// Those of the domain always: they are announced, and come with who the
	// PDC emulator is.
	found.rules, err = c.rulesAt(ctx, s.conn, "")
	if err == nil && found.pso != "" {
		found.rules, err = c.rulesAt(ctx, s.conn, found.pso)
	}
	if err != nil {
		return reset.Entry{}, unavailable("reading the rules for passwords", err)
	}
	if e.Privileges.Group, err = c.isPrivileged(ctx, s.conn, e.GUID, found.sid); err != nil {
		return reset.Entry{}, err
	}
	s.found = found
	return e, nil
}

// Rules returns the rules in force for the account that Find found last:
// those of its fine-grained policy, or else of the domain.
func (s *Session) Rules() policy.Rules { return s.found.rules }

// filter returns the filter that finds accounts by a. Every byte of a binary value
// is escaped, every metacharacter of a name.
func filter(a reset.Account, attribute string) string {
	value := ldap.EscapeFilter(a.Value)
	if raw := a.Binary(); raw != nil {
		value = escapeBytes(raw)
	}
	term := fmt.Sprintf("(%s=%s)", attribute, value)
	if a.Kind == reset.ImmutableID {
		// An account whose ConsistencyGuid is empty is synchronised under
		// its objectGUID. Asking for both at once shows when an account
		// claims the identity of another.
		term = fmt.Sprintf("(|%s(objectGUID=%s))", term, value)
	}
	// What signs in (MS-SAMR 2.2.1.9): users, machines and trusts, each
	// indexed; no groups, contacts, foreign security principals or deleted
	// objects.
	return fmt.Sprintf("(&(|(sAMAccountType=%d)(sAMAccountType=%d)(sAMAccountType=%d))%s)",
		normalUser, machineAccount, trustAccount, term)
}

// escapeBytes returns raw as a value of a filter.
func escapeBytes(raw []byte) string {
	var b strings.Builder
	for _, c := range raw {
		b.WriteString(`\` + hex.EncodeToString([]byte{c}))
	}
	return b.String()
}

// same returns an error unless e is exactly what a names. A directory compares
// names without regard to accents and widths (MS-ADTS 6.5), so that a
// look-alike of a name finds its account.
func same(a reset.Account, attribute string, e *ldap.Entry) error {
	found, raw := e.GetEqualFoldRawAttributeValue(attribute), a.Binary()
	switch {
	case a.Kind == reset.ImmutableID && len(found) == 0:
		found = e.GetEqualFoldRawAttributeValue("objectGUID")
	case a.Kind == reset.ImmutableID && !bytes.Equal(found, raw):
		return &reset.Error{Code: reset.AccountAmbiguous,
			Err: errors.New("the objectGUID is the one asked for, " + attribute + " is another")}
	}
	if raw != nil && bytes.Equal(found, raw) || raw == nil && reset.Fold(string(found)) == reset.Fold(a.Value) {
		return nil
	}
	return &reset.Error{Code: reset.AccountNotFound, Err: errors.New("what was found has another " + attribute)}
}
