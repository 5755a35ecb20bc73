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

// inChain is LDAP_MATCHING_RULE_IN_CHAIN (MS-ADTS 3.1.1.3.4.4.3): it follows a
// link as far as it leads.
const inChain = "1.2.840.113556.1.4.1941"

const readingGroups = "reading the groups"

// Groups returns the distinguished names of every group that the account is
// in, directly, by other groups, or by its primary group, with one search,
// and one a minute for the primary group's name. e must be what [Session.Find]
// found last.
//
// Groups of other domains are not seen, nor are those whose members the
// service account may not read. Its errors are as those of Find.
func (s *Session) Groups(ctx context.Context, e reset.Entry) ([]string, error) {
	if s.found.guid != e.GUID {
		return nil, unavailable(readingGroups, errors.New("the account was not found in this session"))
	}
	primary, err := s.primaryGroup(ctx, e)
	if err != nil {
		return nil, err
	}
	// No link leads to the primary group. And the account itself is asked
	// for too: if it is not called what it was, its groups are not seen.
	entries, err := s.client.search(ctx, s.conn, query{
		base: s.conn.base, scope: ldap.ScopeWholeSubtree,
		filter: fmt.Sprintf("(|(objectGUID=%[1]s)(member:%[2]s:=%[3]s)(member:%[2]s:=%[4]s))",
			escapeBytes(e.GUID[:]), inChain, ldap.EscapeFilter(e.DN), ldap.EscapeFilter(primary)),
		attributes: []string{"objectGUID"},
	})
	if err != nil {
		return nil, unfound(readingGroups, err)
	}
	groups, itself := []string{primary}, false
	for _, found := range entries {
		if string(found.GetEqualFoldRawAttributeValue("objectGUID")) == string(e.GUID[:]) {
			itself = strings.EqualFold(found.DN, e.DN)
			continue
		}
		if !strings.EqualFold(found.DN, primary) {
			groups = append(groups, found.DN)
		}
	}
	if !itself {
		return nil, unavailable(readingGroups, errors.New("the account was moved meanwhile"))
	}
	return groups, nil
}

// primaryGroup returns the distinguished name of the account's primary group,
// which is one of the account's own domain.
func (s *Session) primaryGroup(ctx context.Context, e reset.Entry) (string, error) {
	own := s.found.sid
	sid := binary.LittleEndian.AppendUint32(append([]byte(nil), own[:len(own)-4]...), e.Privileges.PrimaryGroup)
	return s.client.groups.get(string(sid), func() (string, error) {
		entries, err := s.client.search(ctx, s.conn, query{
			base: s.conn.base, scope: ldap.ScopeWholeSubtree, limit: 1,
			filter: "(objectSid=" + escapeBytes(sid) + ")", attributes: []string{"objectGUID"},
		})
		switch {
		case err != nil:
			return "", unfound(readingGroups, err)
		case len(entries) != 1:
			return "", &reset.Error{Code: reset.DirectoryError, Err: errors.New("the primary group cannot be read")}
		}
		return entries[0].DN, nil
	})
}
