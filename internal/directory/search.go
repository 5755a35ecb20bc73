package directory

import (
	"context"
	"errors"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

// A query is one search.
type query struct {
	base       string
	scope      int
	limit      int // of entries; 0 is none but the domain controller's own
	filter     string
	attributes []string
	controls   []ldap.Control
}

// object is the query for attributes of one object.
func object(dn string, attributes ...string) query {
	return query{base: dn, scope: ldap.ScopeBaseObject, limit: 1, filter: "(objectClass=*)", attributes: attributes}
}

// search carries out q. Its error is that of [conn.do]; there may be entries
// beside it, if there are more than the limit. Referrals are not followed:
// what lies elsewhere is not in this directory. What sent has is not logged.
func (c *Client) search(ctx context.Context, cn *conn, q query, sent ...[]byte) ([]*ldap.Entry, error) {
	res, err := c.searchOnce(ctx, cn, q)
	cn.logText(err, sent...)
	if res == nil {
		return nil, err
	}
	return res.Entries, err
}

// pages is search for more than one answer may hold: it calls do with every entry,
// of which size come at a time.
func (c *Client) pages(ctx context.Context, cn *conn, q query, size uint32, do func(*ldap.Entry)) error {
	paging := ldap.NewControlPaging(size)
	q.controls = append(slices.Clone(q.controls), paging)
	for {
		res, err := c.searchOnce(ctx, cn, q)
		cn.logText(err)
		if err != nil {
			return err
		}
		for _, e := range res.Entries {
			do(e)
		}
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(next.Cookie)
	}
}

func (c *Client) searchOnce(ctx context.Context, cn *conn, q query) (res *ldap.SearchResult, err error) {
	req := ldap.NewSearchRequest(q.base, q.scope, ldap.NeverDerefAliases,
		q.limit, seconds(c.cfg.SearchTimeout), false, q.filter, q.attributes, q.controls)
	req.EnforceSizeLimit = q.limit > 0
	err = cn.do(ctx, c.cfg.SearchTimeout, func() (err error) { res, err = cn.ldap.Search(req); return err })
	return res, err
}

// unfound returns the error of a search that failed with err.
func unfound(doing string, err error) error {
	a, ok := errors.AsType[*answer](err)
	if !ok || a.later() {
		return unavailable(doing, err)
	}
	return unknown(a)
}

// later reports whether the domain controller may answer the same search
// otherwise a little later: as it may a modify, or in more time.
func (a *answer) later() bool {
	return a.result == ldap.LDAPResultTimeLimitExceeded ||
		slices.ContainsFunc(refusals, func(m meaning) bool { return m.code == "" && m.fits(a) })
}

func unknown(a *answer) error {
	return &reset.Error{Code: reset.DirectoryError, Details: reset.Details{Result: a.code()}, Err: a}
}
