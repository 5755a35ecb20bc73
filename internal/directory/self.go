package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

// learn reads, once a connection, which account it is bound as, with what
// groups, and what the domain asks of passwords.
func (c *Client) learn(ctx context.Context, cn *conn) error {
	entries, err := c.search(ctx, cn, selfQuery(c.cfg.BindDN, cn.base))
	if a, ok := errors.AsType[*answer](err); ok && (a.result == ldap.LDAPResultNoSuchObject || a.result == ldap.LDAPResultReferral) {
		err = nil // an account of another domain
	}
	if err != nil {
		return fmt.Errorf("reading the service account: %w", err)
	}
	for _, e := range entries {
		if sid := e.GetEqualFoldRawAttributeValue("objectSid"); len(sid) > 0 {
			cn.self = append(cn.self, sid)
		}
	}
	if _, err := c.rulesAt(ctx, cn, ""); err != nil {
		return fmt.Errorf("reading the rules for passwords: %w", err)
	}
	// However it is called, the token has its SID. The error is no outcome of
	// a request.
	if _, err := c.token(ctx, cn); err != nil && (len(cn.self) == 0 || errors.Is(err, reset.ErrDirectoryUnavailable)) {
		return fmt.Errorf("finding out which account the service account is: %v", err)
	}
	return nil
}

// selfQuery finds the account that binds as name: a distinguished name, or a
// UPN, which need not be written anywhere if it is the sAMAccountName at the
// domain (MS-ADTS 5.1.1.1.1). Too many are better than none: they cannot be
// reset.
func selfQuery(name, base string) query {
	if _, err := ldap.ParseDN(name); err == nil {
		return object(name, "objectSid")
	}
	local := name[strings.IndexByte(name, '\\')+1:] // DOMAIN\name
	if i := strings.IndexByte(local, '@'); i >= 0 {
		local = local[:i]
	}
	return query{
		base: base, scope: ldap.ScopeWholeSubtree,
		filter: fmt.Sprintf("(|(userPrincipalName=%s)(sAMAccountName=%s))",
			ldap.EscapeFilter(name), ldap.EscapeFilter(local)),
		attributes: []string{"objectSid"},
	}
}
