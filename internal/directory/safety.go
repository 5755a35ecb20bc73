package directory

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/rights"
)

// Relative identifiers (MS-DTYP 2.4.2.4).
const (
	ridAdministrator     = 500
	ridDomainAdmins      = 512
	ridDomainControllers = 516
	ridSchemaAdmins      = 518
	ridEnterpriseAdmins  = 519

	// They write the keys of every account, by what a domain is made with.
	ridKeyAdmins           = 526
	ridEnterpriseKeyAdmins = 527
)

// privileged are the groups that a service account must not be in: those that
// AdminSDHolder protects (MS-ADTS 3.1.1.6.1), and those that come to the same.
var privileged = map[uint32]string{
	498: "Enterprise Read-only Domain Controllers", ridDomainAdmins: "Domain Admins", ridDomainControllers: "Domain Controllers",
	ridSchemaAdmins: "Schema Admins", ridEnterpriseAdmins: "Enterprise Admins", 520: "Group Policy Creator Owners",
	521: "Read-only Domain Controllers", ridKeyAdmins: "Key Admins", ridEnterpriseKeyAdmins: "Enterprise Key Admins",
}

// privilegedHere are those of them that every machine has.
var privilegedHere = map[uint32]string{
	544: "Administrators", 548: "Account Operators", 549: "Server Operators", 550: "Print Operators", 551: "Backup Operators",
	552: "Replicator",
}

// weaknesses are bits of userAccountControl (MS-ADTS 2.2.16) that an account
// with rights must not have.
var weaknesses = []struct {
	flag int64
	text string
}{
	{flagNotRequired, `it may have an empty password (PASSWD_NOTREQD): clear the flag`},
	{0x80, `its password is kept so that it can be read (ENCRYPTED_TEXT_PASSWORD_ALLOWED): clear the flag, and change the password`},
	{0x80000, `it is trusted for delegation to any service (TRUSTED_FOR_DELEGATION): clear the flag`},
	{0x1000000, `it is trusted to act as others (TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION): clear the flag`},
	{0x400000, `its password can be guessed without being seen (DONT_REQUIRE_PREAUTH): clear the flag`},
}

// flagNotDelegated keeps others from acting as the account.
const flagNotDelegated = 0x100000

// safety checks that the service account is itself guarded as what it may do
// asks for: whoever gets hold of it resets everybody below the bases.
func (x *examination) safety(ctx context.Context, bases []string) {
	const what = "service account"
	if len(x.conn.self) != 1 {
		x.advise(what, fmt.Sprintf("bind_dn is %d accounts of this domain, so that whether it is safe is unknown", len(x.conn.self)))
		return
	}
	entries, err := x.client.search(ctx, x.conn, query{
		base: x.conn.base, scope: ldap.ScopeWholeSubtree, limit: 1,
		filter:     "(objectSid=" + escapeBytes(x.conn.self[0]) + ")",
		attributes: []string{"userAccountControl", "adminCount"},
	})
	if err == nil && len(entries) != 1 {
		err = errors.New("it cannot be found")
	}
	if err != nil {
		x.add(what, err)
		return
	}
	x.flags(entries[0])
	x.guards(ctx, entries[0].DN)
	if x.groups(entries[0]) {
		return // what follows it has by these groups
	}
	x.replication(ctx)
	x.reaches(ctx, bases)
}

func (x *examination) flags(e *ldap.Entry) {
	const what = "service account: flags"
	r := reader{e: e}
	flags := r.number("userAccountControl")
	if r.err != nil {
		x.add(what, fmt.Errorf("the service account may not read its own: %w", r.err))
		return
	}
	weak := false
	for _, w := range weaknesses {
		if flags&w.flag != 0 {
			weak = true
			x.add(what, errors.New(w.text))
		}
	}
	if !weak {
		x.add(what+": none that weakens it", nil)
	}
	if flags&flagNotDelegated == 0 {
		x.advise(what, `set "Account is sensitive and cannot be delegated" (NOT_DELEGATED): it never needs to be`)
	}
}

// groups reports whether the account is in a privileged group.
func (x *examination) groups(e *ldap.Entry) (is bool) {
	for _, sid := range x.token {
		rid, _ := lastRID(sid)
		name := ""
		if inDomainOf(sid, 21) {
			name = privileged[rid]
		} else if inDomainOf(sid, 32) {
			name = privilegedHere[rid]
		}
		if name != "" {
			is = true
			x.add("service account: privileged groups", fmt.Errorf("it is in %s (%s), directly or by another group: take it out; "+
				"it needs nothing but what is delegated to it", name, rights.FormatSID(sid)))
		}
	}
	if is {
		return true
	}
	x.add("service account: in no privileged group", nil)
	if n := e.GetEqualFoldAttributeValue("adminCount"); n != "" && n != "0" {
		x.advise("service account: adminCount", "it was in a privileged group once: if what came with that is gone, clear it")
	}
	return false
}

// inDomainOf reports whether sid is S-1-5-21-… or S-1-5-32-…, as first says.
func inDomainOf(sid []byte, first uint32) bool {
	parts := map[uint32]byte{21: 5, 32: 2}[first]
	return len(sid) == 8+4*int(parts) && sid[1] == parts &&
		bytes.Equal(sid[2:8], []byte{0, 0, 0, 0, 0, 5}) && binary.LittleEndian.Uint32(sid[8:]) == first
}

// replication checks that the account may not copy everybody's password hashes.
func (x *examination) replication(ctx context.Context) {
	const what = "service account: Replicating Directory Changes All (DCSync)"
	list, readable, err := x.descriptor(ctx, x.conn.base, listOnly)
	switch {
	case err != nil:
		x.add(what, err)
	case !readable:
		// The check of Unexpire Password says so, with what to do.
	case !list.Allows(x.token, rights.ReplicateSecrets):
		x.add(what+": it does not have it", nil)
	default:
		for _, h := range list.Holders(rights.ReplicateSecrets) {
			if slices.ContainsFunc(x.token, func(s []byte) bool { return bytes.Equal(s, h.SID) }) {
				x.add(what, fmt.Errorf("it may copy every password hash of the domain, by a grant to %s: revoke it", x.name(ctx, h.SID)),
					x.revoke(h, x.conn.base)...)
			}
		}
	}
}

// revoke returns the commands that take a grant from the service account; none
// if it is to somebody else too.
func (x *examination) revoke(h rights.Holder, dn string) []string {
	if !bytes.Equal(h.SID, x.conn.self[0]) {
		return nil
	}
	return h.Revoke(dn)
}

// reaches checks that nothing outside of the bases hands the account's rights
// down. It looks at containers; what was granted on single accounts it does not
// find.
func (x *examination) reaches(ctx context.Context, bases []string) {
	const what = "service account: reach"
	before, unreadable, seen := len(x.found), 0, 0
	err := x.containers(ctx, func(e *ldap.Entry) {
		if within(e.DN, bases) {
			return
		}
		seen++
		list, err := rights.Parse(e.GetEqualFoldRawAttributeValue("nTSecurityDescriptor"))
		if err != nil {
			unreadable++
			return
		}
		for _, h := range list.HandedDown(x.token, rights.ResetPassword, rights.WriteLockoutTime, rights.WritePwdLastSet,
			rights.ModifyPermissions, rights.ModifyOwner) {
			x.add(what, fmt.Errorf("it has %s below %s, outside of the policy's bases, by a grant to %s: revoke it there, or make that a base",
				join(h.Rights), printable(e.DN), x.name(ctx, h.SID)), x.revoke(h, e.DN)...)
		}
	})
	switch {
	case err != nil:
		x.add(what, err)
	case len(x.found) == before:
		x.add(fmt.Sprintf("%s: nothing is granted on the %d containers outside of the bases", what, seen-unreadable), nil)
	}
	if unreadable > 0 {
		x.advise(what, fmt.Sprintf("unknown on %d containers, whose permissions it may not read", unreadable))
	}
}

// listsPerPage is how many access control lists are asked for at once. One has
// 64 KiB at most (MS-DTYP 2.4.5); the rest is left for names.
const listsPerPage = maxAnswer/(64<<10) - 1

// containers calls do for everything in the domain that accounts can be in.
func (x *examination) containers(ctx context.Context, do func(*ldap.Entry)) error {
	err := x.client.pages(ctx, x.conn, query{
		base: x.conn.base, scope: ldap.ScopeWholeSubtree,
		filter:     "(|(objectClass=domainDNS)(objectClass=organizationalUnit)(objectClass=container)(objectClass=builtinDomain))",
		attributes: []string{"nTSecurityDescriptor"}, controls: []ldap.Control{listOnly},
	}, listsPerPage, do)
	if err != nil {
		return fmt.Errorf("reading the containers: %w", err)
	}
	return nil
}

// within reports whether dn is one of the bases or below one. A name that is not
// understood is in none.
func within(dn string, bases []string) bool {
	name, err := ldap.ParseDN(dn)
	return err == nil && slices.ContainsFunc(bases, func(base string) bool {
		b, err := ldap.ParseDN(base)
		return err == nil && (b.EqualFold(name) || b.AncestorOfFold(name))
	})
}
