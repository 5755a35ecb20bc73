package directory

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A Session is a connection lent to one request. It must not be used by two
// goroutines at once, nor after End.
type Session struct {
	client *Client
	conn   *conn
}

// End gives the connection back, or closes it if something went wrong with it.
// It is safe twice.
func (s *Session) End() {
	if s.conn == nil {
		return
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

// Find looks the account up with one search and reads the witness of its
// password. Its errors are a [*reset.Error] or wrap
// [reset.ErrDirectoryUnavailable]; it changes nothing.
func (s *Session) Find(ctx context.Context, a reset.Account) (reset.Entry, error) {
	attribute, ok := attributes[a.Kind]
	if !ok {
		return reset.Entry{}, &reset.Error{Code: reset.Invalid, Details: reset.Details{Field: "account"}}
	}
	// Two are enough to know that there is more than one. Referrals are not
	// followed: what lies elsewhere is not in this directory.
	c := s.client
	req := ldap.NewSearchRequest(s.conn.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		2, seconds(c.cfg.SearchTimeout), false, filter(a, attribute),
		[]string{attribute, "objectGUID", "uSNChanged", "pwdLastSet"}, nil)
	req.EnforceSizeLimit = true
	var res *ldap.SearchResult
	err := s.conn.do(ctx, c.cfg.SearchTimeout, func() (err error) { res, err = s.conn.ldap.Search(req); return err })
	if res != nil && len(res.Entries) > 1 {
		return reset.Entry{}, &reset.Error{Code: reset.AccountAmbiguous, Err: errors.New("more than one user has this " + attribute)}
	}
	if err != nil {
		c.logText(err, []byte(a.Value))
		if e, ok := errors.AsType[*answer](err); ok {
			return reset.Entry{}, unfound(e)
		}
		return reset.Entry{}, unavailable("finding the account", err)
	}
	if len(res.Entries) == 0 {
		return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound}
	}
	if err := same(a, attribute, res.Entries[0]); err != nil {
		return reset.Entry{}, err
	}
	e, err := s.entry(res.Entries[0])
	if err != nil {
		return reset.Entry{}, &reset.Error{Code: reset.DirectoryError, Err: fmt.Errorf("reading the account: %w", err)}
	}
	return e, nil
}

// filter returns the filter that finds users by a. Every byte of a binary value
// is escaped, every metacharacter of a name.
func filter(a reset.Account, attribute string) string {
	value := ldap.EscapeFilter(a.Value)
	if raw := a.Binary(); raw != nil {
		var b strings.Builder
		for _, c := range raw {
			b.WriteString(`\` + hex.EncodeToString([]byte{c}))
		}
		value = b.String()
	}
	term := fmt.Sprintf("(%s=%s)", attribute, value)
	if a.Kind == reset.ImmutableID {
		// An account whose ConsistencyGuid is empty is synchronised under
		// its objectGUID. Asking for both at once shows when an account
		// claims the identity of another.
		term = fmt.Sprintf("(|%s(objectGUID=%s))", term, value)
	}
	// SAM_NORMAL_USER_ACCOUNT (MS-SAMR 2.2.1.9): no computers, trusts, groups
	// or contacts, and indexed.
	return "(&(sAMAccountType=805306368)" + term + ")"
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

// entry reads what is needed of e. In an error only DN is set.
func (s *Session) entry(e *ldap.Entry) (reset.Entry, error) {
	entry := reset.Entry{DN: e.DN, Witness: reset.Witness{DC: s.conn.dc}}
	guid := e.GetEqualFoldRawAttributeValue("objectGUID")
	if len(guid) != len(entry.GUID) {
		return entry, fmt.Errorf("objectGUID has %d bytes", len(guid))
	}
	copy(entry.GUID[:], guid)
	var err error
	if entry.Witness.USNChanged, err = strconv.ParseUint(e.GetEqualFoldAttributeValue("uSNChanged"), 10, 64); err != nil {
		return entry, errors.New("uSNChanged is missing or malformed")
	}
	if entry.Witness.PwdLastSet, err = strconv.ParseInt(e.GetEqualFoldAttributeValue("pwdLastSet"), 10, 64); err != nil {
		return entry, errors.New("pwdLastSet is missing or malformed")
	}
	return entry, nil
}

// SetPassword sets the password of an account that was found with one modify,
// which gets [reset.ModifyTimeout] at most and is not repeated. nil says that
// the directory confirmed it. An error is a [*reset.Error] if the directory
// refused, wraps [reset.ErrDirectoryUnavailable] if nothing was sent or the
// directory had no time for it, and else wraps [reset.ErrUnanswered]: the
// modify may have been carried out, or may still be for a while.
func (s *Session) SetPassword(ctx context.Context, e reset.Entry, password secret.Value) error {
	if err := secret.CheckPassword(password); err != nil {
		return &reset.Error{Code: reset.Invalid, Details: reset.Details{Field: "password"}, Err: err}
	}
	var controls []ldap.Control
	if s.conn.hints != "" {
		controls = append(controls, policyHintsControl{s.conn.hints})
	}
	// By GUID, so that a rename or a move meanwhile does not matter, and a
	// new account under the old name is not met.
	req := ldap.NewModifyRequest("<GUID="+hex.EncodeToString(e.GUID[:])+">", controls)

	s.conn.wire.sent.Store(false)
	err := password.Reveal(func(plain []byte) error {
		value := unicodePwd(plain)
		defer clear(value)
		// The library wants a string and copies it about six times while it
		// builds the message. Those copies cannot be wiped; none is kept.
		req.Replace("unicodePwd", []string{string(value)})
		err := s.conn.do(ctx, reset.ModifyTimeout, func() error { return s.conn.ldap.Modify(req) })
		s.client.logText(err, plain, value[2:len(value)-2])
		return err
	})
	if err == nil {
		return nil
	}
	if a, ok := errors.AsType[*answer](err); ok {
		return refused(a)
	}
	if !s.conn.wire.sent.Load() {
		return unavailable("setting the password", err)
	}
	return fmt.Errorf("setting the password: %w: %w", reset.ErrUnanswered, err)
}

// unicodePwd returns the UTF-8 text b in quotes as UTF-16LE (MS-ADTS
// 3.1.1.3.1.5.1).
func unicodePwd(b []byte) []byte {
	out := make([]byte, 0, 2*(secret.Units(b)+2)) // never grown: no copies
	put := func(r rune) {
		var units [2]uint16
		for _, u := range utf16.AppendRune(units[:0], r) {
			out = binary.LittleEndian.AppendUint16(out, u)
		}
	}
	put('"')
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		put(r)
		b = b[size:]
	}
	put('"')
	return out
}
