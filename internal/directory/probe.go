package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/directory/rights"
	"writeback/internal/reset"
)

const probing = "reading the rights on the account"

// Probe says what a reset of an account would meet, as far as that shows
// without one: the right that the service account lacks, the minimum age, or
// [reset.AppliedPartly] for a locked account that could not be unlocked. nil
// promises nothing of the password, nor that the domain controller judges as
// this program does. e must be what [Session.Find] found last. It takes one
// search; its errors are as those of Find, and it changes nothing.
//
// The domain controller itself says which attributes may be written, but not
// who may reset a password (allowedAttributesEffective), so that the access
// control list is evaluated here.
func (s *Session) Probe(ctx context.Context, e reset.Entry) error {
	if s.found.guid != e.GUID {
		return unavailable(probing, errors.New("the account was not found in this session"))
	}
	token, err := s.client.token(ctx, s.conn)
	if err != nil {
		return err
	}
	list, err := s.client.list(ctx, s.conn, "<GUID="+hex.EncodeToString(e.GUID[:])+">")
	if err != nil {
		return err
	}
	lacks := errors.New("the account's access control list does not grant it")
	if !list.Allows(token, rights.ResetPassword) {
		return &reset.Error{Code: reset.NotPermitted, Details: reset.Details{Right: rights.ResetPassword.String()}, Err: lacks}
	}
	attempt := policy.Attempt{Account: s.found.account, FullPolicy: s.conn.hints != "", At: time.Now()}
	if earliest, ok := s.found.rules.TooRecent(attempt); ok {
		return &reset.Error{Code: reset.PasswordTooRecent, Details: reset.Details{Earliest: earliest}}
	}
	if e.Locked && !list.Allows(token, rights.WriteLockoutTime) {
		// A reset unlocks, once it has set the password.
		return &reset.Error{Code: reset.AppliedPartly, Err: lacks, Details: reset.Details{
			FollowUps: []reset.FollowUp{{What: "unlock", Right: rights.WriteLockoutTime.String()}},
		}}
	}
	return nil
}

// token returns the SIDs with which the connection acts. They are those of the
// bind, whatever becomes of the account's groups, and are read once.
func (c *Client) token(ctx context.Context, cn *conn) ([][]byte, error) {
	if len(cn.token) > 0 {
		return cn.token, nil
	}
	// It comes only if asked for by name (MS-ADTS 3.1.1.3.2).
	entries, err := c.search(ctx, cn, object("", "tokenGroups"))
	if err != nil {
		return nil, unfound("reading the service account's groups", err)
	}
	for _, e := range entries {
		cn.token = e.GetEqualFoldRawAttributeValues("tokenGroups")
	}
	if len(cn.token) == 0 {
		return nil, &reset.Error{Code: reset.DirectoryError, Err: errors.New("the rootDSE has no tokenGroups")}
	}
	return cn.token, nil
}

// list reads the access control list of an object.
func (c *Client) list(ctx context.Context, cn *conn, dn string) (rights.List, error) {
	q := object(dn, "nTSecurityDescriptor")
	q.controls = []ldap.Control{listOnly}
	entries, err := c.search(ctx, cn, q)
	if a, ok := errors.AsType[*answer](err); ok && a.result == ldap.LDAPResultNoSuchObject || err == nil && len(entries) == 0 {
		return rights.List{}, &reset.Error{Code: reset.AccountNotFound, Err: err}
	}
	if err != nil {
		return rights.List{}, unfound(probing, err)
	}
	descriptor := entries[0].GetEqualFoldRawAttributeValue("nTSecurityDescriptor")
	if len(descriptor) == 0 {
		return rights.List{}, &reset.Error{Code: reset.DirectoryError,
			Err: errors.New("the service account may not read the access control list (Read Permissions)")}
	}
	l, err := rights.Parse(descriptor)
	if err != nil {
		return rights.List{}, &reset.Error{Code: reset.DirectoryError, Err: fmt.Errorf("%s: %w", probing, err)}
	}
	return l, nil
}
