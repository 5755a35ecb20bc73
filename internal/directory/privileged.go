package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

const readingPrivileged = "reading who is in a privileged group"

// isPrivileged reports whether an account is in a privileged group of its
// domain, directly or by other groups. adminCount says so too, but up to two
// hours after somebody was put there (MS-ADTS 3.1.1.6.1), not for groups that
// dSHeuristics exempts, and on Samba never. The members are read once a minute.
// Its errors are as those of [Session.Find].
func (c *Client) isPrivileged(ctx context.Context, cn *conn, guid [16]byte, sid []byte) (bool, error) {
	domain := sid[:len(sid)-4]
	members, err := c.members.get(string(domain), func() (map[[16]byte]bool, error) { return c.privilegedMembers(ctx, cn, domain) })
	if err != nil {
		return false, err
	}
	return members[guid], nil
}

// builtin is S-1-5-32, the domain of the groups that every machine has.
var builtin = []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0}

func (c *Client) privilegedMembers(ctx context.Context, cn *conn, domain []byte) (map[[16]byte]bool, error) {
	var sids, chains strings.Builder
	for rid := range privileged {
		fmt.Fprintf(&sids, "(objectSid=%s)", escapeBytes(binary.LittleEndian.AppendUint32(domain[:len(domain):len(domain)], rid)))
	}
	for rid := range privilegedHere {
		fmt.Fprintf(&sids, "(objectSid=%s)", escapeBytes(binary.LittleEndian.AppendUint32(builtin[:len(builtin):len(builtin)], rid)))
	}
	groups, err := c.searchAll(ctx, cn, "(|"+sids.String()+")")
	if err != nil {
		return nil, unfound(readingPrivileged, err)
	}
	if len(groups) == 0 {
		return nil, &reset.Error{Code: reset.DirectoryError, Err: errors.New("the service account may not see the privileged groups")}
	}
	for _, g := range groups {
		fmt.Fprintf(&chains, "(memberOf:%s:=%s)", inChain, ldap.EscapeFilter(g.DN))
	}
	accounts, err := c.searchAll(ctx, cn, fmt.Sprintf("(&(sAMAccountType=%d)(|%s))", normalUser, chains.String()))
	if err != nil {
		return nil, unfound(readingPrivileged, err)
	}
	members := make(map[[16]byte]bool)
	for _, a := range accounts {
		if guid := a.GetEqualFoldRawAttributeValue("objectGUID"); len(guid) == 16 {
			members[[16]byte(guid)] = true
		}
	}
	return members, nil
}

// searchAll returns everything below the domain's head that filter finds, with
// its objectGUID, page by page. Its errors are those of [Client.search].
func (c *Client) searchAll(ctx context.Context, cn *conn, filter string) (all []*ldap.Entry, err error) {
	paging := ldap.NewControlPaging(500)
	for {
		req := ldap.NewSearchRequest(cn.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, seconds(c.cfg.SearchTimeout), false,
			filter, []string{"objectGUID"}, []ldap.Control{paging})
		var res *ldap.SearchResult
		err := cn.do(ctx, c.cfg.SearchTimeout, func() (err error) { res, err = cn.ldap.Search(req); return err })
		cn.logText(err)
		if err != nil {
			return nil, err
		}
		all = append(all, res.Entries...)
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return all, nil
		}
		paging.SetCookie(next.Cookie)
	}
}
