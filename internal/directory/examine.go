package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/directory/rights"
)

// sampleSize is how many accounts of each base are looked at. The rights are
// looked at on the first.
const sampleSize = 50

// lacking is what is wrong with a right that is not there.
const lacking = "the service account does not have it"

// A Finding is the result of one check.
type Finding struct {
	What   string   // was looked at
	Err    error    // nil: it is as it must be
	Advice bool     // Err does not stand in the way, but should be known
	Remedy []string // commands that would mend it, each an alternative; "# " begins words in place of one
}

// Examine checks what resets need of every domain controller, of the domain and
// of each of the bases, on the first ordinary account that it finds there, that
// the groups exist, and that the service account is itself safe. It tries
// everything once, and changes nothing. What depends on a check that failed is
// left out.
func (c *Client) Examine(ctx context.Context, bases, groups []string) []Finding {
	x := &examination{client: c}
	if x.conn = x.controllers(ctx); x.conn == nil {
		return x.found
	}
	defer x.conn.close()
	x.rules(x.conn.base, c.Rules())
	var err error
	if x.token, err = c.token(ctx, x.conn); err != nil {
		x.add("groups of the service account", err)
	} else {
		x.safety(ctx, bases)
		for _, base := range bases {
			x.base(ctx, base)
		}
		x.rights(ctx, "domain "+x.conn.base, x.conn.base, x.conn.base, rights.UnexpirePassword)
		x.policies(ctx)
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
	psos   []string // fine-grained policies of accounts that were looked at
	found  []Finding
	ended  bool // nothing more can be looked at, as the last line says
}

func (x *examination) add(what string, err error, remedy ...string) {
	x.put(Finding{What: what, Err: err, Remedy: remedy})
}

func (x *examination) advise(what, text string, remedy ...string) {
	x.put(Finding{What: what, Err: errors.New(text), Advice: true, Remedy: remedy})
}

// put adds f, unless it comes of a connection or a time that is over.
func (x *examination) put(f Finding) {
	f.What = printable(f.What) // it may have an account's name in it
	over := errors.Is(f.Err, context.DeadlineExceeded) || errors.Is(f.Err, context.Canceled)
	switch {
	case x.ended:
	case x.conn != nil && (over || !x.conn.alive()):
		x.ended = true
		why := cmp.Or(x.conn.fault, f.Err, errors.New("it was closed"))
		x.found = append(x.found, Finding{What: "connection to " + x.conn.from.addr.hostport,
			Err: fmt.Errorf("it ended before this, and nothing more was looked at: %s (%s)", f.What, printable(why.Error()))})
	default:
		x.found = append(x.found, f)
	}
}

// unexplained is what it means that rules for passwords cannot be read.
const unexplained = ", so that it cannot say why a password is refused"

// rules shows rules for passwords, of the domain or a fine-grained policy.
func (x *examination) rules(dn string, r policy.Rules) {
	what := "rules for passwords of " + dn
	if !r.Known {
		x.add(what, errors.New("the service account may not read them"+unexplained), rights.GrantRead(dn, x.trustee(), false)...)
		return
	}
	complexity := "no complexity"
	if r.Complexity {
		complexity = "complexity"
	}
	x.add(fmt.Sprintf("%s: at least %d characters, %s, the last %d not again, minimum age %s",
		what, r.MinLength, complexity, r.History, r.MinAge), nil)
}

// policies looks at the fine-grained policies of the accounts that were seen.
func (x *examination) policies(ctx context.Context) {
	const what = "fine-grained policies"
	var unknown []string
	for _, pso := range x.psos {
		r, err := x.client.rulesAt(ctx, x.conn, pso)
		switch {
		case err != nil:
			x.add(what, err)
			return
		case r.Known:
			x.rules(pso, r)
		default:
			unknown = append(unknown, pso)
		}
	}
	if len(unknown) > 0 {
		are := "is"
		if len(unknown) > 1 {
			are = "are"
		}
		x.add(what, fmt.Errorf("the service account may not read %d that %s in force here, such as %s%s",
			len(unknown), are, printable(unknown[0]), unexplained),
			rights.GrantRead("CN=Password Settings Container,CN=System,"+x.conn.base, x.trustee(), true)...)
	}
}

// base checks the rights on a sample account in or below dn. Accounts that
// nothing can be delegated on say nothing of the others.
func (x *examination) base(ctx context.Context, dn string) {
	entries, err := x.client.search(ctx, x.conn, query{
		base: dn, scope: ldap.ScopeWholeSubtree,
		// One page. Samba takes no notice of a limit, and the library
		// ends the connection over what is beyond it. The rest of the
		// pages is forgotten with the connection, or for newer ones.
		controls:   []ldap.Control{ldap.NewControlPaging(sampleSize)},
		filter:     fmt.Sprintf("(&(sAMAccountType=%d)(!(adminCount=1))(!(isCriticalSystemObject=TRUE))%s)", normalUser, x.others()),
		attributes: entryAttributes,
	})
	for _, e := range entries {
		if pso := e.GetEqualFoldAttributeValue("msDS-ResultantPSO"); pso != "" && !slices.Contains(x.psos, pso) {
			x.psos = append(x.psos, pso)
		}
	}
	switch a, _ := errors.AsType[*answer](err); {
	case len(entries) > 0:
		x.properties(ctx, entries[0], dn)
		x.rights(ctx, "account "+entries[0].DN, entries[0].DN, dn,
			rights.ResetPassword, rights.WriteLockoutTime, rights.WritePwdLastSet)
	case a != nil && a.result == ldap.LDAPResultNoSuchObject:
		x.add("base "+dn, errors.New("there is no such object, or the service account may not see it"))
	case err != nil:
		x.add("base "+dn, err)
	default:
		x.add("base "+dn, errors.New("there is no ordinary account below it on which the rights could be looked at"))
	}
}

// properties checks that what every account has can be read of this one, which
// lies in base.
func (x *examination) properties(ctx context.Context, e *ldap.Entry, base string) {
	what := fmt.Sprintf("%s of the account %s", rights.ReadProperties, e.DN)
	_, _, hidden := x.conn.entry(e, time.Now())
	if hidden == nil {
		x.add(what, nil)
		return
	}
	list, _, err := x.descriptor(ctx, e.DN, listOnly)
	switch {
	case err != nil:
		x.add(what, err)
	case list.Allows(x.token, rights.ReadProperties):
		x.add(what, fmt.Errorf("it has that, but an entry denies it some of them: %w", hidden))
	default:
		x.lack(ctx, what, lacking+": "+hidden.Error(), rights.ReadProperties, e.DN, base, list)
	}
}

// others is the part of a filter that leaves out the service account.
func (x *examination) others() (terms string) {
	for _, sid := range x.conn.self {
		terms += "(!(objectSid=" + escapeBytes(sid) + "))"
	}
	return terms
}

// descriptor reads the access control list of an object. Its error is nil if
// the service account may not read it; readable says so.
func (x *examination) descriptor(ctx context.Context, dn string, parts descriptorParts) (l rights.List, readable bool, err error) {
	q := object(dn, "nTSecurityDescriptor")
	q.controls = []ldap.Control{parts}
	entries, err := x.client.search(ctx, x.conn, q)
	if err != nil || len(entries) != 1 {
		return l, false, err
	}
	raw := entries[0].GetEqualFoldRawAttributeValue("nTSecurityDescriptor")
	if len(raw) == 0 {
		return l, false, nil
	}
	l, err = rights.Parse(raw)
	return l, err == nil, err
}

// rights checks rights on the object dn, which is in base or is base itself.
func (x *examination) rights(ctx context.Context, what, dn, base string, wanted ...rights.Right) {
	list, readable, err := x.descriptor(ctx, dn, listOnly)
	if err != nil {
		x.add("rights on the "+what, err)
		return
	}
	if !readable {
		line, why := fmt.Sprintf("%s on the %s", rights.ReadPermissions, what), lacking+", so that its other rights cannot be seen"
		if dn == base {
			x.add(line, errors.New(why), rights.GrantRead(base, x.trustee(), false)...)
			return
		}
		x.lack(ctx, line, why, rights.ReadPermissions, dn, base, list)
		return
	}
	for _, r := range wanted {
		line := fmt.Sprintf("%s on the %s", r, what)
		if list.Allows(x.token, r) {
			x.add(line, nil)
			continue
		}
		x.lack(ctx, line, lacking, r, dn, base, list)
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
