package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/rights"
)

// A Finding is the result of one check.
type Finding struct {
	What   string   // was looked at
	Err    error    // nil: it is as it must be
	Remedy []string // commands that would mend it, each an alternative
}

// Examine checks what resets need of the domain controller, of the domain and
// of each of the bases, on the first ordinary account that it finds there, and
// that the groups exist. It changes nothing. What depends on a check that failed
// is left out; what could not be looked at is a failure.
func (c *Client) Examine(ctx context.Context, bases, groups []string) []Finding {
	s, err := c.Begin(ctx)
	reached := Finding{What: "domain controller " + c.cfg.where() + ": name, connection, certificate, sign-in, clock, policy hints", Err: err}
	if err != nil {
		return []Finding{reached}
	}
	defer s.End()
	x := &examination{client: c, conn: s.conn, found: []Finding{reached}}
	if s.conn.hints == "" {
		x.add("policy hints: not offered, which allow_without_history_check permits; resets bypass history and minimum age", nil)
	}
	var rules error
	if !c.Rules().Known {
		rules = errors.New("the service account may not read them")
	}
	x.add("rules for passwords of "+s.conn.base, rules)
	x.token, err = c.token(ctx, s.conn)
	if err != nil {
		x.add("groups of the service account", err)
	} else {
		for _, base := range bases {
			x.base(ctx, base)
		}
		x.rights(ctx, "domain", s.conn.base, s.conn.base, rights.UnexpirePassword)
	}
	for _, group := range groups {
		x.group(ctx, group)
	}
	return x.found
}

// An examination is what Examine has found until now.
type examination struct {
	client *Client
	conn   *conn
	token  [][]byte
	found  []Finding
}

func (x *examination) add(what string, err error, remedy ...string) {
	// It may have an account's name in it.
	x.found = append(x.found, Finding{printable(what), err, remedy})
}

// base checks the rights on a sample account in or below dn. Accounts that
// nothing can be delegated on say nothing of the others.
func (x *examination) base(ctx context.Context, dn string) {
	entries, err := x.client.search(ctx, x.conn, query{
		base: dn, scope: ldap.ScopeWholeSubtree,
		// A page of one. Samba takes no notice of a limit, and the library
		// ends the connection over what is beyond it. The rest of the
		// pages is forgotten with the connection, or for newer ones.
		controls:   []ldap.Control{ldap.NewControlPaging(1)},
		filter:     fmt.Sprintf("(&(sAMAccountType=%d)(!(adminCount=1))(!(isCriticalSystemObject=TRUE))%s)", normalUser, x.others()),
		attributes: []string{"objectGUID"},
	})
	switch a, _ := errors.AsType[*answer](err); {
	case len(entries) > 0:
		x.rights(ctx, "account "+entries[0].DN, entries[0].DN, dn,
			rights.ResetPassword, rights.WriteLockoutTime, rights.WritePwdLastSet)
	case a != nil && a.result == ldap.LDAPResultNoSuchObject:
		x.add("base "+dn, errors.New("there is no such object"))
	case err != nil:
		x.add("base "+dn, err)
	default:
		x.add("base "+dn, errors.New("there is no ordinary account below it on which the rights could be looked at"))
	}
}

// others is the part of a filter that leaves out the service account.
func (x *examination) others() (terms string) {
	for _, sid := range x.conn.self {
		terms += "(!(objectSid=" + escapeBytes(sid) + "))"
	}
	return terms
}

// rights checks rights on the object dn, which are granted on at.
func (x *examination) rights(ctx context.Context, what, dn, at string, wanted ...rights.Right) {
	list, err := x.client.list(ctx, x.conn, dn)
	if err != nil {
		x.add("rights on the "+what, err)
		return
	}
	for _, r := range wanted {
		line := fmt.Sprintf("%s on the %s", r, what)
		if what == "domain" {
			line = fmt.Sprintf("%s on the domain %s", r, dn)
		}
		if list.Allows(x.token, r) {
			x.add(line, nil)
			continue
		}
		if dn != at && !list.Inherits() {
			x.add(line, errors.New("the service account does not have it, and the account inherits no rights from above"))
			continue
		}
		dsacls, sambaTool := r.Grant(at, x.trustee())
		x.add(line, errors.New("the service account does not have it"), dsacls, sambaTool)
	}
}

// trustee returns the SID of the service account as text.
func (x *examination) trustee() string {
	if len(x.conn.self) == 1 {
		return rights.FormatSID(x.conn.self[0])
	}
	return "SID-OF-THE-SERVICE-ACCOUNT"
}

func (x *examination) group(ctx context.Context, dn string) {
	entries, err := x.client.search(ctx, x.conn, object(dn, "objectClass"))
	if a, ok := errors.AsType[*answer](err); ok && a.result == ldap.LDAPResultNoSuchObject || err == nil && len(entries) == 0 {
		err = errors.New("there is no such object, or the service account may not see it")
	}
	if err == nil && !slices.ContainsFunc(entries[0].GetEqualFoldAttributeValues("objectClass"), func(class string) bool {
		return strings.EqualFold(class, "group")
	}) {
		err = errors.New("it is no group")
	}
	x.add("group "+dn, err)
}
