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

// membersPerPage is how many names come in one answer: about 100 KB.
const membersPerPage = 500

// builtin is S-1-5-32, the domain of the groups that every machine has.
var builtin = []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0}

func (c *Client) privilegedMembers(ctx context.Context, cn *conn, domain []byte) (map[[16]byte]bool, error) {
	byGUID := query{
		base: cn.base, scope: ldap.ScopeWholeSubtree, attributes: []string{"objectGUID"},
	}
	var sids, chains strings.Builder
	for rid := range privileged {
		fmt.Fprintf(&sids, "(objectSid=%s)", escapeBytes(binary.LittleEndian.AppendUint32(domain[:len(domain):len(domain)], rid)))
	}
	for rid := range privilegedHere {
		fmt.Fprintf(&sids, "(objectSid=%s)", escapeBytes(binary.LittleEndian.AppendUint32(builtin[:len(builtin):len(builtin)], rid)))
	}
	byGUID.filter = "(|" + sids.String() + ")"
	err := c.pages(ctx, cn, byGUID, membersPerPage, func(group *ldap.Entry) {
		fmt.Fprintf(&chains, "(memberOf:%s:=%s)", inChain, ldap.EscapeFilter(group.DN))
	})
	if err != nil {
		return nil, unfound(readingPrivileged, err)
	}
	if chains.Len() == 0 {
		return nil, &reset.Error{Code: reset.DirectoryError, Err: errors.New("the service account may not see the privileged groups")}
	}
	byGUID.filter = fmt.Sprintf("(&(sAMAccountType=%d)(|%s))", normalUser, chains.String())
	members := make(map[[16]byte]bool)
	err = c.pages(ctx, cn, byGUID, membersPerPage, func(account *ldap.Entry) {
		if guid := account.GetEqualFoldRawAttributeValue("objectGUID"); len(guid) == 16 {
			members[[16]byte(guid)] = true
		}
	})
	if err != nil {
		return nil, unfound(readingPrivileged, err)
	}
	return members, nil
}
